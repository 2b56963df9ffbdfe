"""The account held against the broker's, after every cycle and every reconnect, and on demand.

Ask the broker for news first (`ExecutionDesk.sync`, or settle the session): what it has told and is not booked yet is
no difference. A simulated venue keeps only trades, so it is held against what fills alone come to; a real account is
held against the whole books, and dividends booked in the last weeks may be still unpaid there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quant_dagster.errors import BrokerError
from quant_dagster.execution import foreign
from quant_dagster.execution.broker import RemoteBroker, SimulatedVenue
from quant_dagster.execution.reconciliation.compare import Theirs, compare
from quant_dagster.execution.reconciliation.ours import traded_books, whole_books
from quant_dagster.execution.reconciliation.record import Run, record

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_TRIES = 4
UNPAID = timedelta(days=60)
"""How long after its ex-date a dividend may be still unpaid."""


@dataclass(frozen=True)
class ReconciliationReport:
    """One comparison with the broker. ``breaks`` are the rows of all that are open, ``accepted`` how many differences
    persons have explained before; ``equity_gap`` is theirs less ours where the broker says its own (information: the
    two may value at different prices)."""

    run_id: str
    broker: str
    session: date
    trigger: str
    at: datetime
    compared: dict[str, int]
    breaks: tuple[dict[str, Any], ...]
    opened: int
    agreed: int
    accepted: int
    paused: bool
    unknown: int
    """Orders and executions of nobody that wait for a decision."""
    equity_gap: Decimal | None

    @property
    def agrees(self) -> bool:
        return not self.breaks


def reconcile_account(
    context: TradingContext, session: date, trigger: str, *, equity: Decimal | None = None
) -> ReconciliationReport:
    """Compare the books with the broker's and record what does not agree; locks and pauses follow from it.

    Parameters
    ----------
    trigger
        ``cycle``, ``reconnect``, ``timer`` or ``command``.
    equity
        Ours, where the caller has just valued the account.

    Raises
    ------
    BrokerUnavailableError
        The broker could not be asked: nothing is recorded, nothing is known.
    BrokerError
        Executions came in all the while, so that no moment could be compared: nothing is recorded; try again.
    """
    broker = context.broker
    theirs = _still(context, session)
    account = theirs.account
    tolerance = Decimal(str(context.settings.execution.reconciliation.cash_tolerance))
    with context.ledger.write() as connection:
        at = context.ledger.now()
        if isinstance(broker, SimulatedVenue):
            opening = Decimal(str(context.settings.portfolio.initial_cash))
            ours = traded_books(connection, account.currency, opening)
        else:
            ours = whole_books(connection, account.currency, dividends_since=session - UNPAID)
        comparison = compare(ours, theirs, cash_tolerance=tolerance)
        done = record(connection, Run(broker.name, session, trigger, at), comparison)
        unknown = len(foreign.unresolved(connection, broker.name))
    gap = None if equity is None or account.equity is None else account.equity - equity
    return ReconciliationReport(
        run_id=done.run_id,
        broker=broker.name,
        session=session,
        trigger=trigger,
        at=at,
        compared=comparison.compared,
        breaks=done.open,
        opened=done.opened,
        agreed=done.closed,
        accepted=done.known,
        paused=done.paused,
        unknown=unknown,
        equity_gap=gap,
    )


def _still(context: TradingContext, session: date) -> Theirs:
    """What the broker says of one moment: nothing was executed, corrected or charged while it was asked.

    What it tells of is booked first; else a fill that came in between would look like money nobody can explain.
    """
    broker = context.broker
    if not isinstance(broker, RemoteBroker):
        return Theirs(context.broker.open_orders(), context.broker.executions(None), context.broker.account(), None)
    for _ in range(_TRIES):
        before = context.broker.executions(None)
        account = context.broker.account()
        broker.refresh()
        after = context.broker.executions(None)
        if before == after and all(one.commission is not None for one in after):
            if context.desk.holder is not None:
                context.desk.collector.enter(after)
            return Theirs(context.broker.open_orders(), after, account, session)
    raise BrokerError(
        broker.name, "executions came in, or their commissions were not told, all the while: compared again in a moment"
    )


def as_rows(report: ReconciliationReport) -> list[dict[str, Any]]:
    """The open breaks, as a command or a page shows them."""
    columns = ("break_id", "kind", "reference", "symbol", "ours", "theirs", "detail", "state", "opened_at")
    return [{name: row[name] for name in columns} for row in report.breaks]


def summary(report: ReconciliationReport) -> dict[str, Any]:
    """The run in one row of plain values, as an asset's metadata wants it."""
    return {
        "run_id": report.run_id,
        "broker": report.broker,
        "session": report.session.isoformat(),
        "trigger": report.trigger,
        "agrees": report.agrees,
        "breaks": len(report.breaks),
        "opened": report.opened,
        "agreed": report.agreed,
        "accepted": report.accepted,
        "unknown": report.unknown,
        "paused": report.paused,
        **{f"compared_{name}": count for name, count in report.compared.items()},
    }

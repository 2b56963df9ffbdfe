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

from quant_dagster.execution import foreign
from quant_dagster.execution.broker import RemoteBroker, SimulatedVenue
from quant_dagster.execution.reconciliation.compare import Theirs, compare
from quant_dagster.execution.reconciliation.ours import traded_books, whole_books
from quant_dagster.execution.reconciliation.record import Run, record

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

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
    """
    broker = context.broker
    account = broker.account()
    remote = isinstance(broker, RemoteBroker)
    theirs = Theirs(broker.open_orders(), broker.executions(None), account, session if remote else None)
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

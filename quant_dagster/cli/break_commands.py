"""``quant broker reconcile`` and what follows: breaks shown, explained, balanced or accepted by a person."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from quant_dagster.cli.control_commands import Actor, Reason
from quant_dagster.cli.options import Json, Limit, open_context, open_existing
from quant_dagster.errors import ConfigurationError, ControlError, OrderError

if TYPE_CHECKING:
    from datetime import date, datetime

    from quant_dagster.cycle.context import TradingContext

BreakId = Annotated[str, typer.Argument(metavar="BREAK", help="Id as 'quant broker breaks' has it, or its start.")]
_BREAK_COLUMNS = ["break_id", "kind", "symbol", "ours", "theirs", "detail"]


def register(app: typer.Typer) -> None:
    """Add the commands to ``quant broker``."""
    for command in (reconcile, breaks, propose, balance, accept):
        app.command()(command)


def reconcile(json: Json = False) -> None:
    """Hold the books against the broker's now; exit code 1 while anything does not agree.

    Connects for a moment. Where the trading daemon runs it compares by itself, and 'quant broker breaks' shows it.
    """
    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.cycle.account_watch import newest_valued
    from quant_dagster.cycle.broker_reconciliation import as_rows, reconcile_account, summary
    from quant_dagster.cycle.handover import connected, handed_over
    from quant_dagster.cycle.session import SessionCycle
    from quant_dagster.execution.broker import RemoteBroker

    context = ready()
    if handed_over(context):
        raise OrderError(
            f"broker '{context.broker.name}' is held by the trading daemon, which compares every "
            f"{context.settings.execution.reconciliation.every_minutes:g} minutes: 'quant broker breaks'"
        )
    with connected(context), context.desk.leased():
        if isinstance(context.broker, RemoteBroker):
            session = context.trading_session()
        else:
            session = newest_valued(context)
            SessionCycle(context, session).settle()  # what the venue has filled and nobody booked is no difference
        report = reconcile_account(context, session, "command")
    rows = as_rows(report)
    if json:
        print_json(summary(report) | {"open": rows})
    else:
        print_facts(summary(report), title=f"Reconciliation with broker '{report.broker}'", as_json=False)
        print_rows(rows, _BREAK_COLUMNS, title="Open breaks", as_json=False)
    if rows:
        raise typer.Exit(1)


def breaks(
    every: Annotated[bool, typer.Option("--all", help="Also those that were concluded.")] = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What did not agree with the broker and waits for a person, and when the two were compared last."""
    from quant_dagster.cli.output import console, print_json, print_rows
    from quant_dagster.execution.reconciliation.record import open_breaks
    from quant_dagster.operations.report.reconciliation import every_break, newest_runs

    context = open_existing()
    with context.ledger.read() as connection:
        rows = every_break(connection, limit) if every else open_breaks(connection)[:limit]
        runs = newest_runs(connection, 1)
    if json:
        print_json(rows)
    else:
        shown = [row | {"opened": short(row["opened_at"]), "closed": short(row["closed_at"])} for row in rows]
        concluded = ["state", "closed", "closed_by"] if every else []
        title = "Breaks" if every else "Open breaks"
        print_rows(shown, [*_BREAK_COLUMNS, "opened", *concluded], title=title, as_json=False)
        said = f"{short(runs[0]['recorded_at'])} UTC ({runs[0]['trigger']})" if runs else "never"
        console.print(f"Compared last: {said}.")


def propose(identifier: BreakId, json: Json = False) -> None:
    """Say which entry would make the books agree; nothing is posted."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution.reconciliation import balancing

    context = open_existing()
    break_id = _break(context, identifier)
    with context.ledger.read() as connection:
        entry = balancing.propose(connection, break_id)
    print_facts(asdict(entry), title="Balancing entry", as_json=json)


def balance(
    identifier: BreakId,
    actor: Actor,
    reason: Reason,
    price: Annotated[
        str | None, typer.Option("--price", help="Of a share, where the entry needs one ('quant broker propose').")
    ] = None,
    json: Json = False,
) -> None:
    """Post the entry that makes the books agree, and release the instrument. Asks for an operator's passphrase."""
    from dataclasses import asdict

    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution.reconciliation import balancing

    each = None if price is None else _price(price)
    context = open_existing()
    break_id = _break(context, identifier)
    entry = balancing.balance(
        context.ledger,
        break_id,
        operator=actor,
        passphrase=ask_passphrase(f"Passphrase of {actor}"),
        reason=reason,
        session=_session(context),
        currency=context.settings.portfolio.currency,
        price=each,
    )
    print_facts({**asdict(entry), "state": "balanced", **_mode(context)}, title="Balanced", as_json=json)


def accept(identifier: BreakId, actor: Actor, reason: Reason, json: Json = False) -> None:
    """Leave a difference as it is and release the instrument; nothing is posted. Asks for an operator's passphrase."""
    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution.reconciliation import balancing

    context = open_existing()
    break_id = _break(context, identifier)
    balancing.accept(
        context.ledger,
        break_id,
        operator=actor,
        passphrase=ask_passphrase(f"Passphrase of {actor}"),
        reason=reason,
        session=_session(context),
    )
    print_facts({"break_id": break_id, "state": "accepted", **_mode(context)}, title="Accepted", as_json=json)


def _break(context: TradingContext, beginning: str) -> str:
    """The id of the break that begins so; of several, the open one."""
    from quant_dagster.execution.reconciliation.record import open_breaks
    from quant_dagster.operations.report.reconciliation import every_break

    with context.ledger.read() as connection:
        waiting = [row["break_id"] for row in open_breaks(connection)]
        known = [row["break_id"] for row in every_break(connection)]
    for names in (waiting, known):
        found = [name for name in names if beginning and name.startswith(beginning)]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise ControlError(f"{len(found)} breaks begin with '{beginning}'; write more of the id")
    raise ControlError(f"there is no break '{beginning}'; 'quant broker breaks --all' lists them")


def _mode(context: TradingContext) -> dict[str, str]:
    """The control mode: a break of cash has paused the desk, and concluding it does not end that."""
    from quant_dagster.risk.control import ControlMode, read_mode

    mode = read_mode(context.ledger).mode
    if mode is ControlMode.NORMAL:
        return {"control_mode": mode.name}
    return {"control_mode": f"{mode.name}; 'quant control set NORMAL' when everything is explained"}


def _session(context: TradingContext) -> date:
    """The session an entry is made in: the one whose comparison is the newest."""
    from quant_dagster.operations.report.reconciliation import newest_runs

    with context.ledger.read() as connection:
        runs = newest_runs(connection, broker=context.broker.name)
    if not runs:
        raise ControlError(
            f"the books were never held against broker '{context.broker.name}': 'quant broker reconcile' does it"
        )
    session: date = runs[0]["session"]
    return session


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise ConfigurationError(f"--price '{text}' is not a number") from None
    if not price.is_finite() or price <= 0:
        raise ConfigurationError(f"--price '{text}' must be a positive number")
    return price


def short(instant: datetime | None) -> str:
    """An instant to the second, UTC; empty for None."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"


def ready() -> TradingContext:
    """For commands that ask the broker or change something."""
    context: TradingContext = open_context()
    context.open_ledger()
    return context

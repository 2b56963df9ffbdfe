"""``quant broker``: the connection, what the broker knows, what it knows and we do not, and the books against it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from quant_dagster.cli.control_commands import Actor, Reason
from quant_dagster.cli.options import Json, Limit, open_context
from quant_dagster.errors import ConfigurationError, ControlError, OrderError

if TYPE_CHECKING:
    from datetime import date

    from quant_dagster.cycle.context import TradingContext

app = typer.Typer(help="The broker: connection, account, unknown orders, reconciliation.", no_args_is_help=True)

BreakId = Annotated[str, typer.Argument(metavar="BREAK", help="Id as 'quant broker breaks' has it, or its start.")]
_BREAK_COLUMNS = ["break_id", "kind", "reference", "symbol", "ours", "theirs", "detail", "opened_at"]


@app.command()
def status(limit: Limit = 10, json: Json = False) -> None:
    """Who holds the broker, whether the daemon lives, and the newest changes of its connection."""
    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.cycle.handover import broker_status

    context = _ready()
    facts, changes = broker_status(context, limit)
    if json:
        print_json({**facts, "connection": changes})
        return
    print_facts(facts, title=f"Broker '{context.settings.execution.broker}'", as_json=False)
    columns = ["at", "state", "previous", "attempt", "reason"]
    print_rows(changes, columns, title="Connection", as_json=False)


@app.command()
def account(json: Json = False) -> None:
    """Ask the broker for its account: cash, positions, open orders. Connects for a moment unless the daemon runs."""
    from quant_dagster.cli.output import print_facts, print_json, print_rows
    from quant_dagster.cycle.handover import ask_account

    context = _ready()
    told, open_orders = ask_account(context)
    facts = {
        "account": told.account,
        "currency": told.currency,
        "equity": told.equity,
        **{f"cash {currency}": amount for currency, amount in told.cash.items()},
    }
    positions = [{"symbol": symbol, "quantity": quantity} for symbol, quantity in sorted(told.positions.items())]
    orders = [
        {
            "broker_order_id": one.broker_order_id,
            "client_order_id": one.client_order_id,
            "symbol": one.symbol,
            "side": one.side.value,
            "quantity": one.quantity,
            "filled": one.filled_quantity,
            "type": one.order_type,
            "limit": one.limit_price,
        }
        for one in open_orders
    ]
    if json:
        print_json({**facts, "positions": positions, "orders": orders})
        return
    print_facts(facts, title="Account", as_json=False)
    print_rows(positions, ["symbol", "quantity"], title="Positions at the broker", as_json=False)
    columns = ["broker_order_id", "client_order_id", "symbol", "side", "quantity", "filled", "type", "limit"]
    print_rows(orders, columns, title="Open orders at the broker", as_json=False)


@app.command()
def unknown(json: Json = False) -> None:
    """Orders and executions at the broker that belong to no order of ours; their instruments are locked."""
    from quant_dagster.cli.output import print_rows
    from quant_dagster.execution import foreign

    context = _ready()
    with context.ledger.read() as connection:
        rows = foreign.unresolved(connection)
    columns = ["broker", "kind", "reference", "symbol", "side", "quantity", "price", "detail", "recorded_at"]
    print_rows(rows, columns, title="Unknown at the broker", as_json=json)


@app.command()
def settle_unknown(
    kind: Annotated[str, typer.Argument(help="order or execution")],
    reference: Annotated[str, typer.Argument(help="As 'quant broker unknown' names it.")],
    verdict: Annotated[str, typer.Argument(help="adopt (orders under an id of ours), cancel (orders) or dismiss.")],
    actor: Actor,
    json: Json = False,
) -> None:
    """Decide on something unknown. Adopting and dismissing ask for the operator's passphrase.

    The instrument stays locked: 'quant data quarantine' lists the locks, 'quant data release' lifts one.
    """
    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.unknown_orders import settle_unknown as settle
    from quant_dagster.risk import operators

    if kind not in ("order", "execution") or verdict not in ("adopt", "cancel", "dismiss"):
        raise ConfigurationError("write: quant broker settle-unknown order|execution REFERENCE adopt|cancel|dismiss")
    context = _ready()
    operators.authenticate(context.ledger, actor, ask_passphrase(f"Passphrase of {actor}"))
    said = settle(context, kind, reference, verdict, actor=actor)
    print_facts({"reference": reference, "outcome": said}, title="Unknown", as_json=json)


@app.command()
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

    context = _ready()
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


@app.command()
def breaks(
    every: Annotated[bool, typer.Option("--all", help="Also those that were concluded.")] = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What did not agree with the broker and waits for a person, and when the two were compared last."""
    from quant_dagster.cli.output import console, print_rows
    from quant_dagster.execution.reconciliation.record import open_breaks
    from quant_dagster.operations.report_reconciliation import every_break, newest_runs

    context = _ready()
    with context.ledger.read() as connection:
        rows = every_break(connection, limit) if every else open_breaks(connection)[:limit]
        runs = newest_runs(connection, 1)
    columns = [*_BREAK_COLUMNS, "state", "closed_at", "closed_by"] if every else _BREAK_COLUMNS
    print_rows(rows, columns, title="Breaks" if every else "Open breaks", as_json=json)
    if not json:
        said = "never" if not runs else f"{runs[0]['recorded_at']:%Y-%m-%d %H:%M:%S %Z} ({runs[0]['trigger']})"
        console.print(f"Compared last: {said}.")


@app.command()
def propose(identifier: BreakId, json: Json = False) -> None:
    """Say which entry would make the books agree; nothing is posted."""
    from dataclasses import asdict

    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution.reconciliation import balancing

    context = _ready()
    break_id = _break(context, identifier)
    with context.ledger.read() as connection:
        entry = balancing.propose(connection, break_id)
    print_facts(asdict(entry), title="Balancing entry", as_json=json)


@app.command()
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
    context = _ready()
    entry = balancing.balance(
        context.ledger,
        _break(context, identifier),
        operator=actor,
        passphrase=ask_passphrase(f"Passphrase of {actor}"),
        reason=reason,
        session=_session(context),
        currency=context.settings.portfolio.currency,
        price=each,
    )
    print_facts({**asdict(entry), "state": "balanced"}, title="Balanced", as_json=json)


@app.command()
def accept(identifier: BreakId, actor: Actor, reason: Reason, json: Json = False) -> None:
    """Leave a difference as it is and release the instrument; nothing is posted. Asks for an operator's passphrase."""
    from quant_dagster.cli.control_commands import ask_passphrase
    from quant_dagster.cli.output import print_facts
    from quant_dagster.execution.reconciliation import balancing

    context = _ready()
    break_id = _break(context, identifier)
    balancing.accept(
        context.ledger,
        break_id,
        operator=actor,
        passphrase=ask_passphrase(f"Passphrase of {actor}"),
        reason=reason,
        session=_session(context),
    )
    print_facts({"break_id": break_id, "state": "accepted"}, title="Accepted", as_json=json)


def _break(context: TradingContext, beginning: str) -> str:
    """The id of the break that begins so; of several, the open one."""
    from quant_dagster.execution.reconciliation.record import open_breaks
    from quant_dagster.operations.report_reconciliation import every_break

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


def _session(context: TradingContext) -> date:
    """The session an entry is made in: the one whose comparison is the newest."""
    from quant_dagster.operations.report_reconciliation import newest_runs

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


def _ready() -> TradingContext:
    context: TradingContext = open_context()
    context.open_ledger()
    return context

"""``quant order``: a person's orders, and stepping in on orders that work."""

from __future__ import annotations

import uuid
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quant_dagster.cli.control_commands import Actor, Reason
from quant_dagster.cli.options import Json, open_existing
from quant_dagster.errors import ConfigurationError, OrderError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from quant_dagster.accounting.books import Side
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.execution.algorithms.parents import ParentEventKind

_LONGEST_NAME = 40

app = typer.Typer(help="A person's orders, and stepping in on orders that work.", no_args_is_help=True)

Symbol = Annotated[str, typer.Argument(help="Symbol of the universe.")]
Quantity = Annotated[str, typer.Argument(help="Shares.")]
AlgorithmOption = Annotated[
    str | None,
    typer.Option("--algorithm", help="twap, vwap, pov, iceberg, almgren_chriss or none; default: the settings'."),
]
Reference = Annotated[
    str | None, typer.Option("--reference", help="Your own name for the order: the same again is the same order.")
]
OrderId = Annotated[str, typer.Argument(metavar="ID", help="Id of an order or of an algorithm's order, or its start.")]


@app.command()
def buy(
    symbol: Symbol, quantity: Quantity, actor: Actor, algorithm: AlgorithmOption = None, reference: Reference = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Buy, through the risk gate; the trading daemon (or the next fills run) sends it."""
    from quant_dagster.accounting.books import Side

    _enter(Side.BUY, symbol, quantity, actor, algorithm, reference, as_json=json)


@app.command()
def sell(
    symbol: Symbol, quantity: Quantity, actor: Actor, algorithm: AlgorithmOption = None, reference: Reference = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Sell, through the risk gate; the trading daemon (or the next fills run) sends it."""
    from quant_dagster.accounting.books import Side

    _enter(Side.SELL, symbol, quantity, actor, algorithm, reference, as_json=json)


@app.command()
def show(order: OrderId, json: Json = False) -> None:
    """Everything that happened to an order, in the order it happened; of an algorithm's order, its slices too."""
    from quant_dagster.cli.output import print_facts, print_rows

    context = open_existing()
    with context.ledger.read() as connection:
        kind, identifier = _identify(connection, order)
        facts, events, slices = _history(connection, kind, identifier)
    if json:
        from quant_dagster.cli.output import print_json

        print_json({**facts, "events": events, "slices": slices})
        return
    print_facts(facts, title=f"Order {identifier}", as_json=False)
    print_rows(events, ["recorded_at", "kind", "payload"], title="What happened", as_json=False)
    if slices:
        columns = ["client_order_id", "status", "quantity", "filled_quantity", "average_fill_price", "sent_at"]
        print_rows(slices, columns, title="Slices", as_json=False)


@app.command()
def cancel(order: OrderId, actor: Actor, reason: Reason = "a person's word", json: Json = False) -> None:
    """Cancel what is not filled of an order, or stop an algorithm's order and its slices."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.order_entry import cancel_order
    from quant_dagster.execution.algorithms.parents import ParentEventKind

    actor = _name(actor)
    context = open_existing()
    with context.ledger.read() as connection:
        kind, identifier = _identify(connection, order)
    if kind == "parent":
        _set_parent(context, identifier, ParentEventKind.CANCELLED, actor, reason, as_json=json)
        return
    said = cancel_order(context, identifier, actor=actor, reason=reason)
    print_facts({"order": identifier, "outcome": said}, title="Cancel", as_json=json)


@app.command()
def modify(
    order: OrderId,
    actor: Actor,
    quantity: Annotated[str | None, typer.Option("--quantity", help="New quantity: less than now.")] = None,
    limit: Annotated[str | None, typer.Option("--limit", help="New limit price.")] = None,
    json: Json = False,
) -> None:
    """Change a working order's limit price, or make it smaller. More than was approved is a new order."""
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.order_entry import modify_order

    actor = _name(actor)
    context = open_existing()
    with context.ledger.read() as connection:
        _, identifier = _identify(connection, order)
    if quantity is None and limit is None:
        raise ConfigurationError("say what to change: --quantity, --limit, or both")
    wanted = None if quantity is None else _number(quantity, "--quantity")
    price = None if limit is None else _number(limit, "--limit")
    said = modify_order(context, identifier, actor=actor, quantity=wanted, limit_price=price)
    print_facts({"order": identifier, "outcome": said}, title="Modify", as_json=json)


@app.command()
def pause(order: OrderId, actor: Actor, reason: Reason = "a person's word", json: Json = False) -> None:
    """Make no further slices of an algorithm's order; those that work go on."""
    from quant_dagster.execution.algorithms.parents import ParentEventKind

    _step_in(order, ParentEventKind.PAUSED, actor, reason, as_json=json)


@app.command()
def resume(order: OrderId, actor: Actor, reason: Reason = "a person's word", json: Json = False) -> None:
    """Go on with a paused algorithm's order; what was missed is caught up."""
    from quant_dagster.execution.algorithms.parents import ParentEventKind

    _step_in(order, ParentEventKind.RESUMED, actor, reason, as_json=json)


def _enter(
    side: Side, symbol: str, quantity: str, actor: str, algorithm: str | None, reference: str | None, *, as_json: bool
) -> None:
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.order_entry import enter_order
    from quant_dagster.execution.algorithms.parents import Algorithm
    from quant_dagster.risk.reasons import words

    actor = _name(actor)
    if algorithm is not None and algorithm not in (*Algorithm, "none"):
        raise ConfigurationError(f"--algorithm '{algorithm}' is not one of {', '.join(Algorithm)}, none")
    context = open_existing()
    done = enter_order(
        context,
        symbol.upper(),
        side,
        _number(quantity, "quantity"),
        algorithm=algorithm,
        actor=actor,
        reference=reference or uuid.uuid4().hex[:12],
    )
    facts = {
        "order": done.order_id,
        "outcome": done.verdict.outcome.value,
        "approved": done.verdict.approved_quantity,
        "reasons": list(done.verdict.reasons),
        "because": [words(code) for code in done.verdict.reasons],
        "worked": done.worked,
    }
    print_facts(facts, title=f"{side.value.capitalize()} {quantity} {symbol.upper()}", as_json=as_json)
    if done.worked == "refused":
        raise typer.Exit(4)


def _step_in(order: str, kind: ParentEventKind, actor: str, reason: str, *, as_json: bool) -> None:
    actor = _name(actor)
    context = open_existing()
    with context.ledger.read() as connection:
        what, identifier = _identify(connection, order)
    if what != "parent":
        raise OrderError(f"{identifier} is not an algorithm's order: only those are paused and resumed")
    _set_parent(context, identifier, kind, actor, reason, as_json=as_json)


def _set_parent(
    context: TradingContext, identifier: str, kind: ParentEventKind, actor: str, reason: str, *, as_json: bool
) -> None:
    from quant_dagster.cli.output import print_facts
    from quant_dagster.cycle.slicing import set_parent

    parent = set_parent(context, identifier, kind, actor=actor, reason=reason)
    print_facts({"order": identifier, "state": parent.state}, title="Algorithm's order", as_json=as_json)


def _identify(connection: Connection, text: str) -> tuple[str, str]:
    """``order`` or ``parent``, and the whole id that ``text`` is the beginning of."""
    from sqlalchemy import select

    from quant_dagster.storage.ledger_tables import orders, parent_orders

    if not text.strip():
        raise OrderError("an order is named by its id, or by how it begins; 'quant orders' lists them")
    found = [
        (kind, name)
        for kind, column in (("order", orders.c.client_order_id), ("parent", parent_orders.c.parent_id))
        for name in connection.execute(select(column).where(column.startswith(text, autoescape=True))).scalars()
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise OrderError(f"there is no order {text}; 'quant orders' lists them")
    raise OrderError(f"{text} is the beginning of {len(found)} orders: {', '.join(name for _, name in found[:5])}")


def _history(
    connection: Connection, kind: str, identifier: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    from sqlalchemy import select

    from quant_dagster.storage.ledger_tables import order_events, orders, parent_events, parent_orders

    if kind == "order":
        row = connection.execute(select(orders).where(orders.c.client_order_id == identifier)).mappings().one()
        query = select(order_events).where(order_events.c.client_order_id == identifier)
        events = connection.execute(query.order_by(order_events.c.sequence)).mappings().all()
        return dict(row), [dict(event) for event in events], []
    row = connection.execute(select(parent_orders).where(parent_orders.c.parent_id == identifier)).mappings().one()
    query = select(parent_events).where(parent_events.c.parent_id == identifier)
    events = connection.execute(query.order_by(parent_events.c.sequence)).mappings().all()
    slices = connection.execute(
        select(orders).where(orders.c.parent_id == identifier).order_by(orders.c.created_at)
    ).mappings()
    return dict(row), [dict(event) for event in events], [dict(one) for one in slices]


def _name(actor: str) -> str:
    """The person's name: orders are kept under it."""
    name = actor.strip()
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise ConfigurationError(f"--actor '{name[:20]}' is no name: give yours, in at most {_LONGEST_NAME} characters")
    return name


def _number(text: str, what: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ConfigurationError(f"{what} '{text}' is not a number") from None
    if not value.is_finite() or value <= 0:
        raise ConfigurationError(f"{what} '{text}' must be a positive number")
    return value

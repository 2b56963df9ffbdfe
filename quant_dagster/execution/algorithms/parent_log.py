"""Parent orders in the ledger: events are appended, the parent's row is their projection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import (
    Algorithm,
    ParentEvent,
    ParentEventKind,
    ParentOrder,
    ParentState,
    apply,
    child_order_id,
)
from quant_dagster.execution.algorithms.progress import Progress, progress_of
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.observability import audit
from quant_dagster.risk.gate import Outcome, RiskDecision
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import orders, parent_events, parent_orders
from quant_dagster.storage.types import plain

_PROJECTED = ("state", "starts_at", "ends_at", "arrival_price", "events")

UNFINISHED = tuple(state for state in ParentState if not state.is_final)


def create(
    connection: Connection,
    decision: RiskDecision,
    *,
    algorithm: Algorithm,
    parameters: Parameters,
    at: datetime,
    estimated_bps: float | None = None,
) -> ParentOrder | None:
    """Make the parent order a risk decision allows; None when it exists already.

    Its id is the client order id that the whole order would have had.

    Raises
    ------
    OrderError
        The decision rejected the order, or it is one that waits for a stop price: that is not worked in slices.
    """
    intent = decision.intent
    if decision.outcome is Outcome.REJECTED or decision.approved_quantity <= 0:
        raise OrderError(f"parent order for {intent.symbol} was rejected by the risk gate: {decision.reasons}")
    if intent.stop_price is not None:
        raise OrderError(f"parent order for {intent.symbol} has a stop price: send it whole, not by {algorithm}")
    parent = ParentOrder(
        parent_id=intent.client_order_id,
        decision_id=intent.decision_id,
        strategy=intent.strategy,
        session=intent.session,
        symbol=intent.symbol,
        side=intent.side,
        quantity=decision.approved_quantity,
        algorithm=algorithm,
        parameters=parameters.as_json(),
        decision_price=intent.decision_price,
        created_at=at,
        origin=intent.origin.value,
        reduce_only=int(decision.reduce_only),
    )
    event = ParentEvent(parent.parent_id, ParentEventKind.APPROVED, _approval(parent, decision.outcome, estimated_bps))
    approved = apply(parent, event)
    row = {name: getattr(approved, name) for name in ParentOrder.__dataclass_fields__}
    if not insert_new(connection, parent_orders, row):
        return None
    _append(connection, approved, event, actor="risk", at=at)
    return approved


def record(connection: Connection, event: ParentEvent, *, actor: str, at: datetime) -> ParentOrder:
    """Append an event and move the projection; illegal events raise `OrderError` and record nothing.

    A ``SLICED`` event is held against the children in the ledger: its number is above theirs, its order is not made
    yet, and it claims no more than they leave. Call it before the slice's order is inserted, in the same transaction.
    """
    before = get(connection, event.parent_id)
    parent = apply(before, event)
    if event.kind is ParentEventKind.SLICED:
        _require_next(before, event, progress(connection, before))
    _append(connection, parent, event, actor=actor, at=at)
    projection = {name: getattr(parent, name) for name in _PROJECTED}
    connection.execute(parent_orders.update().where(parent_orders.c.parent_id == parent.parent_id).values(**projection))
    return parent


def get(connection: Connection, parent_id: str) -> ParentOrder:
    """One parent order; `OrderError` when there is none of that id."""
    row = connection.execute(select(parent_orders).where(parent_orders.c.parent_id == parent_id)).mappings().first()
    if row is None:
        raise OrderError(f"there is no parent order {parent_id} in the ledger")
    return _as_parent(row)


def with_state(
    connection: Connection, states: Iterable[ParentState] = UNFINISHED, *, until: date | None = None
) -> list[ParentOrder]:
    """Parent orders in any of ``states``, decided up to ``until``, in the order they were decided."""
    query = select(parent_orders).where(parent_orders.c.state.in_([state.value for state in states]))
    if until is not None:
        query = query.where(parent_orders.c.session <= until)
    query = query.order_by(parent_orders.c.session, parent_orders.c.parent_id)
    return [_as_parent(row) for row in connection.execute(query).mappings()]


def of_session(connection: Connection, session: date) -> list[ParentOrder]:
    """Parent orders decided in ``session``, whatever became of them."""
    query = select(parent_orders).where(parent_orders.c.session == session).order_by(parent_orders.c.parent_id)
    return [_as_parent(row) for row in connection.execute(query).mappings()]


def children(connection: Connection, parent_id: str) -> list[Order]:
    """The orders that are slices of a parent order, by id; `progress` has them by number."""
    query = select(orders).where(orders.c.parent_id == parent_id).order_by(orders.c.client_order_id)
    return [_as_child(row) for row in connection.execute(query).mappings()]


def progress(connection: Connection, parent: ParentOrder) -> Progress:
    """What a parent order's slices have done so far, by number."""
    return progress_of(parent, children(connection, parent.parent_id))


def problems(connection: Connection) -> list[str]:
    """Parent orders whose row is not what their events say, or whose slices are not; empty when all can be rebuilt."""
    found = []
    events: dict[str, list[Any]] = {}
    in_order = select(parent_events).order_by(parent_events.c.parent_id, parent_events.c.sequence)
    for event in connection.execute(in_order):
        events.setdefault(event.parent_id, []).append(event)
    for row in connection.execute(select(parent_orders).order_by(parent_orders.c.parent_id)).mappings():
        name = f"parent order {row['parent_id']}"
        try:
            stored = _as_parent(row)
            found += [f"{name}: {problem}" for problem in _differences(stored, events.get(stored.parent_id, []))]
            found += [f"{name}: {problem}" for problem in _slice_problems(connection, stored, events)]
        except (OrderError, ValueError, KeyError, ArithmeticError) as error:
            found.append(f"{name}: its row or its events cannot be read: {error}")
    return found


def event_payload(event: dict[str, Any]) -> dict[str, Any]:
    """What the audit log keeps of a parent order's event, under the key ``parent:<id>:<sequence>``."""
    return {name: event[name] for name in ("parent_id", "sequence", "kind", "payload")}


def _differences(stored: ParentOrder, events: list[Any]) -> list[str]:
    parent = replace(stored, state=None, starts_at=None, ends_at=None, arrival_price=None, events=0)
    for event in events:
        parent = apply(parent, ParentEvent(event.parent_id, ParentEventKind(event.kind), event.payload))
    found = [] if parent == stored else [f"the row says {stored}, its events say {parent}"]
    if [event.sequence for event in events] != list(range(1, len(events) + 1)):
        found.append("its events are not numbered one after the other")
    approval = events[0].payload if events else {}
    if {name: approval.get(name) for name in ("quantity", "algorithm", "parameters")} != {
        "quantity": plain(stored.quantity),
        "algorithm": stored.algorithm.value,
        "parameters": dict(stored.parameters),
    }:
        found.append("quantity, algorithm or parameters are not those that were approved")
    return found


def _slice_problems(connection: Connection, parent: ParentOrder, events: dict[str, list[Any]]) -> list[str]:
    """Slices announced and not there, or there and not announced."""
    announced = {
        event.payload["client_order_id"]: Decimal(event.payload["quantity"])
        for event in events.get(parent.parent_id, [])
        if event.kind == ParentEventKind.SLICED
    }
    made = {order.client_order_id: order for order in children(connection, parent.parent_id)}
    found = [f"slice {name} was announced, and there is no such order" for name in sorted(announced.keys() - made)]
    found += [f"order {name} is a slice that was not announced" for name in sorted(made.keys() - announced)]
    for name in sorted(announced.keys() & made.keys()):
        order = made[name]
        if order.quantity > announced[name] or (order.symbol, order.side) != (parent.symbol, parent.side):
            found.append(f"slice {name} is {order.side} {order.quantity} {order.symbol}, not what was announced")
    return found


def _require_next(parent: ParentOrder, event: ParentEvent, done: Progress) -> None:
    number = int(event.payload["number"])
    expected = child_order_id(parent, number)
    if (
        number <= done.last_number
        or event.payload["client_order_id"] != expected
        or Decimal(event.payload["claimed"]) != done.claimed
    ):
        raise OrderError(
            f"parent order {parent.parent_id} ({parent.symbol}): slice {number} does not follow slice "
            f"{done.last_number} with {done.claimed} filled or open, by its ledger; nothing was recorded: ask again "
            "what is due"
        )


def _append(connection: Connection, parent: ParentOrder, event: ParentEvent, *, actor: str, at: datetime) -> None:
    row = {
        "parent_id": event.parent_id,
        "sequence": parent.events,
        "kind": event.kind.value,
        "payload": event.payload,
    }
    connection.execute(parent_events.insert().values(**row, recorded_at=at))
    audit.append(
        connection,
        f"parent:{event.parent_id}:{parent.events}",
        f"parent_{event.kind.value}",
        actor=actor,
        at=at,
        session=parent.session,
        payload=event_payload(row),
    )


def _approval(parent: ParentOrder, outcome: Outcome, estimated_bps: float | None) -> dict[str, Any]:
    estimate = {} if estimated_bps is None else {"estimated_bps": f"{estimated_bps:.6f}"}
    return {
        "outcome": outcome.value,
        "quantity": plain(parent.quantity),
        "algorithm": parent.algorithm.value,
        "parameters": dict(parent.parameters),
    } | estimate


def _as_parent(row: Any) -> ParentOrder:
    content = {name: row[name] for name in ParentOrder.__dataclass_fields__}
    typed = {
        "side": Side(row["side"]),
        "algorithm": Algorithm(row["algorithm"]),
        "state": ParentState(row["state"]),
    }
    return ParentOrder(**content | typed)


def _as_child(row: Any) -> Order:
    content = {name: row[name] for name in Order.__dataclass_fields__}
    return Order(**content | {"side": Side(row["side"]), "status": OrderStatus(row["status"])})

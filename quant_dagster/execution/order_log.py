"""Orders in the ledger: events are appended, the order's row is their projection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import ZERO, Order, OrderEvent, OrderEventKind, OrderStatus, apply
from quant_dagster.observability import audit
from quant_dagster.risk.gate import Outcome, RiskDecision
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import order_events, orders

_PROJECTED = (
    "status", "quantity", "limit_price", "filled_quantity", "average_fill_price", "broker_order_id", "sent_at",
    "arrival_price", "events",
)  # fmt: skip


def create(
    connection: Connection,
    decision: RiskDecision,
    *,
    order_type: str,
    time_in_force: str,
    at: datetime,
    limit_price: Decimal | None = None,
    parent_id: str | None = None,
) -> Order | None:
    """Make the order a risk decision allows; None when it exists already.

    Parameters
    ----------
    parent_id
        The algorithm's order it is a slice of.

    Raises
    ------
    OrderError
        The decision rejected the order: there is no other way to make one.
    """
    if decision.outcome is Outcome.REJECTED or decision.approved_quantity <= 0:
        raise OrderError(f"order for {decision.intent.symbol} was rejected by the risk gate: {decision.reasons}")
    intent = decision.intent
    order = Order(
        client_order_id=intent.client_order_id,
        decision_id=intent.decision_id,
        strategy=intent.strategy,
        session=intent.session,
        symbol=intent.symbol,
        side=intent.side,
        quantity=decision.approved_quantity,
        order_type=order_type,
        time_in_force=time_in_force,
        decision_price=intent.decision_price,
        created_at=at,
        origin=intent.origin.value,
        reduce_only=int(decision.reduce_only),
        stop_price=intent.stop_price,
        limit_price=limit_price,
        parent_id=parent_id,
    )
    return _insert(connection, order, decision.outcome.value, actor="risk", at=at)


def adopt(connection: Connection, order: Order, *, actor: str, at: datetime) -> Order | None:
    """Take up an order that the broker has and the ledger lost; None when it is there."""
    return _insert(connection, order, f"adopted by {actor}", actor=actor, at=at)


def _insert(connection: Connection, order: Order, outcome: str, *, actor: str, at: datetime) -> Order | None:
    payload: dict[str, Any] = {"outcome": outcome, "quantity": order.quantity}
    if order.limit_price is not None:
        payload["limit_price"] = order.limit_price
    event = OrderEvent(order.client_order_id, OrderEventKind.APPROVED, order.session, _plain(payload))
    approved = apply(order, event)
    row = {name: getattr(approved, name) for name in approved.__dataclass_fields__}
    if not insert_new(connection, orders, row):
        return None
    _append(connection, event, approved.events, actor=actor, at=at)
    return approved


def record(connection: Connection, event: OrderEvent, *, actor: str, at: datetime) -> Order:
    """Append an event and move the projection; illegal events raise `OrderError` and record nothing."""
    order = apply(get(connection, event.client_order_id), event)
    _append(connection, replace(event, payload=_plain(event.payload)), order.events, actor=actor, at=at)
    projection = {name: getattr(order, name) for name in _PROJECTED}
    connection.execute(orders.update().where(orders.c.client_order_id == order.client_order_id).values(**projection))
    return order


def get(connection: Connection, client_order_id: str) -> Order:
    """One order; `OrderError` when there is none of that id."""
    order = find(connection, client_order_id)
    if order is None:
        raise OrderError(f"there is no order {client_order_id} in the ledger")
    return order


def find(connection: Connection, client_order_id: str) -> Order | None:
    """One order; None when there is none of that id."""
    row = connection.execute(select(orders).where(orders.c.client_order_id == client_order_id)).mappings().first()
    return None if row is None else _as_order(row)


def last_payload(connection: Connection, order: Order) -> dict[str, Any]:
    """What the newest event of an order said."""
    query = select(order_events.c.payload).where(
        order_events.c.client_order_id == order.client_order_id, order_events.c.sequence == order.events
    )
    return dict(connection.execute(query).scalar_one())


def with_status(connection: Connection, statuses: Iterable[OrderStatus], *, until: date | None = None) -> list[Order]:
    """Orders in any of ``statuses``, decided up to ``until``, in the order they were decided."""
    query = select(orders).where(orders.c.status.in_([status.value for status in statuses]))
    if until is not None:
        query = query.where(orders.c.session <= until)
    query = query.order_by(orders.c.session, orders.c.client_order_id)
    return [_as_order(row) for row in connection.execute(query).mappings()]


def as_known_on(connection: Connection, day: date) -> list[Order]:
    """Orders of sessions up to ``day``, each as its events up to that session made it."""
    query = select(orders).where(orders.c.session <= day).order_by(orders.c.session, orders.c.client_order_id)
    found = []
    for stored in (_as_order(row) for row in connection.execute(query).mappings()):
        order = _blank(stored)
        for event in connection.execute(
            select(order_events)
            .where(order_events.c.client_order_id == stored.client_order_id, order_events.c.session <= day)
            .order_by(order_events.c.sequence)
        ):
            order = apply(
                order, OrderEvent(event.client_order_id, OrderEventKind(event.kind), event.session, event.payload)
            )
        found.append(order)
    return found


def _blank(stored: Order) -> Order:
    """The order before its first event; that says what was approved."""
    return replace(
        stored,
        status=None,
        limit_price=None,
        filled_quantity=ZERO,
        average_fill_price=None,
        broker_order_id=None,
        sent_at=None,
        arrival_price=None,
        events=0,
    )


OPEN = tuple(status for status in OrderStatus if not status.is_final)


def problems(connection: Connection) -> list[str]:
    """Orders whose row is not what their events say; empty when the projection can be rebuilt exactly."""
    found = []
    events: dict[str, list[Any]] = {}
    for row in connection.execute(
        select(order_events).order_by(order_events.c.client_order_id, order_events.c.sequence)
    ):
        events.setdefault(row.client_order_id, []).append(row)
    for stored in (_as_order(row) for row in connection.execute(select(orders)).mappings()):
        order = _blank(stored)
        try:
            for event in events.get(stored.client_order_id, []):
                kind = OrderEventKind(event.kind)
                order = apply(order, OrderEvent(event.client_order_id, kind, event.session, event.payload))
        except (OrderError, ValueError) as error:
            found.append(f"order {stored.client_order_id}: its events cannot be replayed: {error}")
            continue
        if order != stored:
            found.append(f"order {stored.client_order_id}: the row says {stored}, its events say {order}")
    return found


def _append(connection: Connection, event: OrderEvent, sequence: int, *, actor: str, at: datetime) -> None:
    row = {
        "client_order_id": event.client_order_id,
        "sequence": sequence,
        "kind": event.kind.value,
        "session": event.session,
        "payload": event.payload,
    }
    connection.execute(order_events.insert().values(**row, recorded_at=at))
    audit.append(
        connection,
        f"order:{event.client_order_id}:{sequence}",
        f"order_{event.kind.value}",
        actor=actor,
        at=at,
        session=event.session,
        payload=audit.order_event_payload(row),
    )


def _plain(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value) if not isinstance(value, (str, int, type(None))) else value for key, value in payload.items()
    }


def _as_order(row: Any) -> Order:
    content = {name: row[name] for name in Order.__dataclass_fields__}
    return Order(**content | {"side": Side(row["side"]), "status": OrderStatus(row["status"])})

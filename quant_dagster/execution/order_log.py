"""Orders in the ledger: events are appended, the order's row is their projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, select

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


_CHUNK = 500
"""Values in one ``IN`` list."""


# Built once: building a statement costs as much as running it.
_FIND = select(orders).where(orders.c.client_order_id == bindparam("wanted"))
_INSERT_EVENT = order_events.insert()
_PROJECT = (
    orders.update()
    .where(orders.c.client_order_id == bindparam("of_order"))
    .values(**{name: bindparam(f"new_{name}") for name in _PROJECTED})
)


def create(
    connection: Connection,
    decision: RiskDecision,
    *,
    order_type: str,
    time_in_force: str,
    at: datetime,
    limit_price: Decimal | None = None,
    parent_id: str | None = None,
    estimated_bps: float | None = None,
) -> Order | None:
    """Make the order a risk decision allows; None when it exists already.

    Parameters
    ----------
    estimated_bps
        What it will probably cost, basis points; None: not known.
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
    return _insert(connection, order, decision.outcome.value, actor="risk", at=at, estimated_bps=estimated_bps)


def adopt(connection: Connection, order: Order, *, actor: str, at: datetime) -> Order | None:
    """Take up an order that the broker has and the ledger lost; None when it is there."""
    return _insert(connection, order, f"adopted by {actor}", actor=actor, at=at)


def _insert(
    connection: Connection,
    order: Order,
    outcome: str,
    *,
    actor: str,
    at: datetime,
    estimated_bps: float | None = None,
) -> Order | None:
    payload: dict[str, Any] = {"outcome": outcome, "quantity": order.quantity}
    if order.limit_price is not None:
        payload["limit_price"] = order.limit_price
    if estimated_bps is not None:
        payload["estimated_bps"] = f"{estimated_bps:.6f}"
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
    _project(connection, [order])
    return order


class Recorder:
    """Events of many orders on their way into the ledger, inside one write transaction.

    What `flush` writes is what `record` would have written one by one.

    Parameters
    ----------
    chain
        Where audit rows go, in order with those of others; whoever made it flushes it.
    """

    def __init__(self, connection: Connection, chain: audit.Buffer, at: datetime) -> None:
        self._connection = connection
        self._chain = chain
        self._at = at
        self._orders: dict[str, Order] = {}
        self._changed: dict[str, None] = {}
        self._events: list[dict[str, Any]] = []

    def expect(self, client_order_ids: Iterable[str]) -> None:
        """Read these orders at once."""
        wanted = list(dict.fromkeys(client_order_ids))
        for first in range(0, len(wanted), _CHUNK):
            query = select(orders).where(orders.c.client_order_id.in_(wanted[first : first + _CHUNK]))
            for row in self._connection.execute(query).mappings():
                self._orders[row["client_order_id"]] = _as_order(row)

    def adopt(self, made: Iterable[Order]) -> None:
        """Take orders as they are, rather than read them."""
        self._orders |= {order.client_order_id: order for order in made}

    def find(self, client_order_id: str) -> Order | None:
        """An expected order as it stands after what was recorded; None when there is none of that id."""
        return self._orders.get(client_order_id)

    def record(self, event: OrderEvent, *, actor: str) -> Order:
        """As the function `record`, for an order that was expected."""
        order = apply(self._orders[event.client_order_id], event)
        row = _event_row(replace(event, payload=_plain(event.payload)), order.events)
        self._events.append(row | {"recorded_at": self._at})
        _audit(self._chain.append, row, actor=actor, at=self._at)
        self._orders[order.client_order_id] = order
        self._changed[order.client_order_id] = None
        return order

    def flush(self) -> None:
        """Write what waits, but for the chain."""
        if self._events:
            self._connection.execute(order_events.insert(), self._events)
            _project(self._connection, [self._orders[name] for name in self._changed])
        self._events, self._changed = [], {}


def rebuild(connection: Connection) -> int:
    """Make every order's row what its events say it is; returns how many rows were not.

    Raises
    ------
    OrderError
        The events of an order cannot be replayed; nothing was changed.
    """
    wrong = []
    for stored, order in _replayed(connection):
        if isinstance(order, str):
            raise OrderError(f"order {stored.client_order_id}: its events cannot be replayed: {order}")
        if order != stored:
            wrong.append(order)
    _project(connection, wrong)
    return len(wrong)


def get(connection: Connection, client_order_id: str) -> Order:
    """One order; `OrderError` when there is none of that id."""
    order = find(connection, client_order_id)
    if order is None:
        raise OrderError(f"there is no order {client_order_id} in the ledger")
    return order


def find(connection: Connection, client_order_id: str) -> Order | None:
    """One order; None when there is none of that id."""
    row = connection.execute(_FIND, {"wanted": client_order_id}).mappings().first()
    return None if row is None else _as_order(row)


def newest_event(
    connection: Connection, client_order_id: str, kind: OrderEventKind | None = None
) -> tuple[dict[str, Any], datetime]:
    """What the newest event of an order (of a kind) said, and when it was recorded; `OrderError` when there is none."""
    query = select(order_events.c.payload, order_events.c.recorded_at)
    query = query.where(order_events.c.client_order_id == client_order_id)
    if kind is not None:
        query = query.where(order_events.c.kind == kind.value)
    row = connection.execute(query.order_by(order_events.c.sequence.desc()).limit(1)).first()
    if row is None:
        raise OrderError(f"order {client_order_id} has no event{'' if kind is None else f' {kind}'}")
    return dict(row.payload), row.recorded_at


def highest_number(connection: Connection) -> int:
    """The highest number an order was ever sent under; 0 when none had one."""
    query = select(orders.c.broker_order_id).where(orders.c.broker_order_id.is_not(None)).distinct()
    numbers = [int(number) for number in connection.execute(query).scalars() if number.isdecimal()]
    return max(numbers, default=0)


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
    for stored, order in _replayed(connection):
        if isinstance(order, str):
            found.append(f"order {stored.client_order_id}: its events cannot be replayed: {order}")
        elif order != stored:
            found.append(f"order {stored.client_order_id}: the row says {stored}, its events say {order}")
    return found


def _replayed(connection: Connection) -> Iterator[tuple[Order, Order | str]]:
    """Every order as stored, and as its events make it or why they do not."""
    events: dict[str, list[Any]] = {}
    columns = (order_events.c.client_order_id, order_events.c.kind, order_events.c.session, order_events.c.payload)
    in_order = select(*columns).order_by(order_events.c.client_order_id, order_events.c.sequence)
    for row in connection.execute(in_order):
        events.setdefault(row[0], []).append(row)
    for stored in [_as_order(row) for row in connection.execute(select(orders)).mappings()]:
        order = _blank(stored)
        try:
            for name, kind, session, payload in events.get(stored.client_order_id, []):
                order = apply(order, OrderEvent(name, OrderEventKind(kind), session, payload))
        except (OrderError, ValueError) as error:
            yield stored, str(error)
            continue
        yield stored, order


def _project(connection: Connection, changed: Sequence[Order]) -> None:
    """Write the columns that follow from events."""
    if not changed:
        return
    rows = [
        {f"new_{name}": getattr(order, name) for name in _PROJECTED} | {"of_order": order.client_order_id}
        for order in changed
    ]
    connection.execute(_PROJECT, rows)


def _append(connection: Connection, event: OrderEvent, sequence: int, *, actor: str, at: datetime) -> None:
    row = _event_row(event, sequence)
    connection.execute(_INSERT_EVENT, row | {"recorded_at": at})
    _audit(partial(audit.append, connection), row, actor=actor, at=at)


def _event_row(event: OrderEvent, sequence: int) -> dict[str, Any]:
    return {
        "client_order_id": event.client_order_id,
        "sequence": sequence,
        "kind": event.kind.value,
        "session": event.session,
        "payload": event.payload,
    }


def _audit(append: Callable[..., object], row: dict[str, Any], *, actor: str, at: datetime) -> None:
    append(
        f"order:{row['client_order_id']}:{row['sequence']}",
        f"order_{row['kind']}",
        actor=actor,
        at=at,
        session=row["session"],
        payload=audit.order_event_payload(row),
    )


def _plain(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value) if not isinstance(value, (str, int, type(None))) else value for key, value in payload.items()
    }


def _as_order(row: Any) -> Order:
    content = {name: row[name] for name in Order.__dataclass_fields__}
    return Order(**content | {"side": Side(row["side"]), "status": OrderStatus(row["status"])})

"""From what a broker executed to the books: each execution entered once, whatever arrives twice, late or corrected.

An execution and the event it is to its order are recorded in one transaction. One that belongs to no order of ours is
kept apart (`foreign`), and never booked by guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Booked, Fill
from quant_dagster.accounting.fills import CHUNK, COMMISSION_CURRENCY
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign, order_log
from quant_dagster.execution.broker import Execution
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus, fill_kind, restatement_kind
from quant_dagster.market_data import quarantine
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import fills
from quant_dagster.storage.types import plain

ZERO = Decimal(0)
_TOGETHER = 500
"""Executions entered in one transaction."""


@dataclass(frozen=True)
class Booking:
    """What entering executions came to, in numbers of executions. ``orders`` are the ids of the orders they changed."""

    new: int = 0
    corrected: int = 0
    commissions: int = 0
    unknown: int = 0
    orders: tuple[str, ...] = ()


def book_executions(ledger: Ledger, broker: str, executions: Sequence[Execution]) -> Booking:
    """Enter executions in the order given; entering them again changes nothing.

    Raises
    ------
    BooksError
        One contradicts what was booked before. Those of earlier transactions stay entered.
    """
    unseen = _unseen(ledger, executions)
    counts = dict.fromkeys(Booked, 0)
    unknown = 0
    changed: dict[str, None] = {}
    for first in range(0, len(unseen), _TOGETHER):
        with ledger.write() as connection:
            for execution, done in _book_all(connection, broker, unseen[first : first + _TOGETHER], ledger.now()):
                if done is None:
                    unknown += 1
                    continue
                counts[done] += 1
                if done is not Booked.NOTHING:
                    changed[execution.client_order_id] = None
    return Booking(counts[Booked.NEW], counts[Booked.CORRECTED], counts[Booked.COMMISSION], unknown, tuple(changed))


def book_one(connection: Connection, broker: str, execution: Execution, *, at: datetime) -> Booked | None:
    """Enter one execution; None when it belongs to no order and was kept apart."""
    known = connection.execute(select(fills).where(fills.c.execution_id == execution.execution_id)).first()
    # One that a person has put under an order of ours stays with that order, whatever its broker calls it.
    order = order_log.find(connection, execution.client_order_id if known is None else known.client_order_id)
    if order is None:
        reason = f"no order of ours has the id '{execution.client_order_id}'"
        foreign.keep_execution(connection, broker, execution, reason, at=at)
        return None
    if (order.symbol, order.side) != (execution.symbol, execution.side):
        reason = f"order {order.client_order_id} is to {order.side} {order.symbol}"
        foreign.keep_execution(connection, broker, execution, reason, at=at)
        return None
    done = books.book(connection, _as_fill(order, execution, broker), at=at)
    if done is Booked.NEW and execution.quantity:
        _record_fill(connection, _known_as_sent(connection, order, broker, at), execution, at)
    elif done is Booked.CORRECTED and known is not None:
        _record_restatement(connection, order, execution, known.quantity, known.price, at)
    return done


def _book_all(
    connection: Connection, broker: str, executions: Sequence[Execution], at: datetime
) -> list[tuple[Execution, Booked | None]]:
    """Enter executions in their order: the plain ones together, what stands between them one by one."""
    if len(executions) == 1:
        return [(executions[0], book_one(connection, broker, executions[0], at=at))]
    known = set(_rows(connection, [one.execution_id for one in executions]))
    done: list[tuple[Execution, Booked | None]] = []
    batch: _Batch | None = None
    for place, execution in enumerate(executions):
        if batch is None and execution.execution_id not in known:
            batch = _Batch(connection, broker, at, known)
            batch.expect(executions[place:])
        if batch is not None and batch.is_plain(execution):
            done.append((execution, batch.book(execution)))
        else:
            if batch is not None:
                batch.flush()
            done.append((execution, book_one(connection, broker, execution, at=at)))
            batch = None
        known.add(execution.execution_id)
    if batch is not None:
        batch.flush()
    return done


class _Batch:
    """New executions of orders that are working: read together, entered in memory, written together."""

    def __init__(self, connection: Connection, broker: str, at: datetime, known: set[str]) -> None:
        self._broker = broker
        self._chain = audit.Buffer(connection)
        self._orders = order_log.Recorder(connection, self._chain, at)
        self._journal = books.Journal(connection, at, self._chain)
        self._known = known

    def expect(self, executions: Sequence[Execution]) -> None:
        self._orders.expect(one.client_order_id for one in executions)
        ours = [(self._orders.find(one.client_order_id), one) for one in executions]
        self._journal.expect([_as_fill(order, one, self._broker) for order, one in ours if order is not None])

    def is_plain(self, execution: Execution) -> bool:
        """Is it new, and what its order waits for?"""
        order = self._orders.find(execution.client_order_id)
        return (
            order is not None
            and order.status is not OrderStatus.APPROVED
            and execution.execution_id not in self._known
            and (order.symbol, order.side) == (execution.symbol, execution.side)
            and execution.quantity > 0
            and fill_kind(order, execution.quantity) is not OrderEventKind.OVERFILLED
        )

    def book(self, execution: Execution) -> Booked:
        order = self._orders.find(execution.client_order_id)
        if order is None:
            raise OrderError(f"there is no order {execution.client_order_id} in the ledger")
        done = self._journal.book(_as_fill(order, execution, self._broker))
        event = _fill_event(order, execution)
        self._orders.record(event, actor="broker")
        return done

    def flush(self) -> None:
        self._orders.flush()
        self._journal.flush()


def _rows(connection: Connection, execution_ids: Sequence[str]) -> dict[str, Any]:
    """What decides whether an execution says something new, by its id."""
    columns = (fills.c.execution_id, fills.c.correction, fills.c.commission, fills.c.quantity, fills.c.price)
    found: dict[str, Any] = {}
    for first in range(0, len(execution_ids), CHUNK):
        query = select(*columns).where(fills.c.execution_id.in_(execution_ids[first : first + CHUNK]))
        found |= {row.execution_id: row for row in connection.execute(query)}
    return found


def _unseen(ledger: Ledger, executions: Sequence[Execution]) -> list[Execution]:
    """Those that say something the books do not have yet; a sweep repeats thousands that they have."""
    if not executions:
        return []
    with ledger.read() as connection:
        known = _rows(connection, [one.execution_id for one in executions])

    def new(one: Execution) -> bool:
        row = known.get(one.execution_id)
        if row is None or one.correction > row.correction:
            return True
        same = row.quantity == one.quantity and row.price == one.price
        return one.correction == row.correction and not (same and (one.commission or ZERO) in (ZERO, row.commission))

    return [one for one in executions if new(one)]


def _as_fill(order: Order, execution: Execution, broker: str) -> Fill:
    return Fill(
        execution_id=execution.execution_id,
        client_order_id=order.client_order_id,
        session=execution.session,
        symbol=order.symbol,
        side=order.side,
        quantity=execution.quantity,
        price=execution.price,
        commission=execution.commission or ZERO,
        decision_price=order.decision_price,
        reference_price=execution.reference_price or order.arrival_price or order.decision_price,
        provenance=_provenance(execution, broker),
        correction=execution.correction,
        executed_at=execution.executed_at,
        currency=execution.currency,
    )


def _provenance(execution: Execution, broker: str) -> dict[str, Any]:
    said = execution.provenance or {"broker": broker}
    if execution.commission and execution.commission_currency != execution.currency:
        return said | {COMMISSION_CURRENCY: execution.commission_currency}
    return said


def _known_as_sent(connection: Connection, order: Order, broker: str, at: datetime) -> Order:
    """A ledger that was put back to an earlier state does not know that it sent the order; its fill says so."""
    if order.status is not OrderStatus.APPROVED:
        return order
    payload = {"broker": broker, "recovered": "the broker has executed it"}
    event = OrderEvent(order.client_order_id, OrderEventKind.SUBMITTING, order.session, payload)
    return order_log.record(connection, event, actor="desk", at=at)


def _record_fill(connection: Connection, order: Order, execution: Execution, at: datetime) -> None:
    event = _fill_event(order, execution)
    order_log.record(connection, event, actor="broker", at=at)
    if event.kind is OrderEventKind.OVERFILLED:
        filled = plain(order.filled_quantity + execution.quantity)
        said = f"order {order.client_order_id}: {filled} filled of {plain(order.quantity)}"
        quarantine.place(connection, order.symbol, execution.session, said, actor="broker", at=at)


def _fill_event(order: Order, execution: Execution) -> OrderEvent:
    payload = {"execution_id": execution.execution_id, "quantity": execution.quantity, "price": execution.price}
    kind = fill_kind(order, execution.quantity)
    return OrderEvent(order.client_order_id, kind, execution.session, payload)


def _record_restatement(
    connection: Connection, order: Order, execution: Execution, quantity: Decimal, price: Decimal, at: datetime
) -> None:
    payload = {
        "execution_id": execution.execution_id,
        "correction": execution.correction,
        "quantity": execution.quantity,
        "price": execution.price,
        "previous_quantity": quantity,
        "previous_price": price,
    }
    kind = restatement_kind(order, execution.quantity - quantity)
    event = OrderEvent(order.client_order_id, kind, execution.session, payload)
    order_log.record(connection, event, actor="broker", at=at)

"""From what a broker executed to the books: each execution entered once, whatever arrives twice, late or corrected.

An execution and the event it is to its order are recorded in one transaction. One that belongs to no order of ours is
kept apart (`foreign`), and never booked by guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Booked, Fill
from quant_dagster.execution import foreign, order_log
from quant_dagster.execution.broker import Execution
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus, fill_kind, restatement_kind
from quant_dagster.market_data import quarantine
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import fills

ZERO = Decimal(0)
_TOGETHER = 200
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
            now = ledger.now()
            for execution in unseen[first : first + _TOGETHER]:
                done = _book(connection, broker, execution, now)
                if done is None:
                    unknown += 1
                    continue
                counts[done] += 1
                if done is not Booked.NOTHING:
                    changed[execution.client_order_id] = None
    return Booking(counts[Booked.NEW], counts[Booked.CORRECTED], counts[Booked.COMMISSION], unknown, tuple(changed))


def _unseen(ledger: Ledger, executions: Sequence[Execution]) -> list[Execution]:
    """Those that say something the books do not have yet; a sweep repeats thousands that they have."""
    if not executions:
        return []
    with ledger.read() as connection:
        query = select(fills.c.execution_id, fills.c.correction, fills.c.commission, fills.c.quantity, fills.c.price)
        known = {row.execution_id: row for row in connection.execute(query)}

    def new(one: Execution) -> bool:
        row = known.get(one.execution_id)
        if row is None or one.correction > row.correction:
            return True
        same = row.quantity == one.quantity and row.price == one.price
        return one.correction == row.correction and not (same and (one.commission or ZERO) in (ZERO, row.commission))

    return [one for one in executions if new(one)]


def _book(connection: Connection, broker: str, execution: Execution, at: datetime) -> Booked | None:
    """Enter one execution; None when it belongs to no order."""
    order = order_log.find(connection, execution.client_order_id)
    if order is None:
        reason = f"no order of ours has the id '{execution.client_order_id}'"
        foreign.keep_execution(connection, broker, execution, reason, at=at)
        return None
    if (order.symbol, order.side) != (execution.symbol, execution.side):
        reason = f"order {order.client_order_id} is to {order.side} {order.symbol}"
        foreign.keep_execution(connection, broker, execution, reason, at=at)
        return None
    before = connection.execute(select(fills).where(fills.c.execution_id == execution.execution_id)).first()
    done = books.book(connection, _as_fill(order, execution, broker), at=at)
    if done is Booked.NEW and execution.quantity:
        _record_fill(connection, _known_as_sent(connection, order, broker, at), execution, at)
    elif done is Booked.CORRECTED and before is not None:
        _record_restatement(connection, order, execution, before.quantity, before.price, at)
    return done


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
        provenance=execution.provenance or {"broker": broker},
        correction=execution.correction,
        executed_at=execution.executed_at,
        currency=execution.currency,
    )


def _known_as_sent(connection: Connection, order: Order, broker: str, at: datetime) -> Order:
    """A ledger that was put back to an earlier state does not know that it sent the order; its fill says so."""
    if order.status is not OrderStatus.APPROVED:
        return order
    payload = {"broker": broker, "recovered": "the broker has executed it"}
    event = OrderEvent(order.client_order_id, OrderEventKind.SUBMITTING, order.session, payload)
    return order_log.record(connection, event, actor="desk", at=at)


def _record_fill(connection: Connection, order: Order, execution: Execution, at: datetime) -> None:
    kind = fill_kind(order, execution.quantity)
    payload = {"execution_id": execution.execution_id, "quantity": execution.quantity, "price": execution.price}
    event = OrderEvent(order.client_order_id, kind, execution.session, payload)
    order_log.record(connection, event, actor="broker", at=at)
    if kind is OrderEventKind.OVERFILLED:
        said = f"order {order.client_order_id}: {order.filled_quantity + execution.quantity} filled of {order.quantity}"
        quarantine.place(connection, order.symbol, execution.session, said, actor="broker", at=at)


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

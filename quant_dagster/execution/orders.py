"""The order state machine: one table of (status, event) -> status; what is not in it cannot happen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.storage.types import money

ZERO = Decimal(0)


class OrderStatus(StrEnum):
    """Where an order stands."""

    APPROVED = "approved"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_REPLACE = "pending_replace"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """No further fill is expected."""
        return self in _FINAL

    @property
    def is_sent(self) -> bool:
        """The broker may have it."""
        return self not in (OrderStatus.APPROVED, OrderStatus.REJECTED)


_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED})


class OrderEventKind(StrEnum):
    """What can happen to an order."""

    APPROVED = "approved"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    OVERFILLED = "overfilled"
    """More was executed than was ordered: the shares are ours all the same."""
    RESTATED = "restated"
    """An execution was corrected; the order stands where it stood."""
    RESTATED_WHOLE = "restated_whole"
    """An execution was corrected upwards, and now everything is filled."""
    RESTATED_DOWN = "restated_down"
    """An execution of a filled order was corrected downwards or taken back; venues do not work the rest again."""
    PENDING_REPLACE = "pending_replace"
    REPLACED = "replaced"
    REPLACED_WHOLE = "replaced_whole"
    """Changed to what had been filled meanwhile: nothing is left to fill."""
    REPLACE_REJECTED = "replace_rejected"
    PENDING_CANCEL = "pending_cancel"
    CANCEL_REJECTED = "cancel_rejected"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


S, E = OrderStatus, OrderEventKind

TRANSITIONS: dict[tuple[OrderStatus | None, OrderEventKind], OrderStatus] = {
    (None, E.APPROVED): S.APPROVED,
    (S.APPROVED, E.SUBMITTING): S.SUBMITTING,
    (S.APPROVED, E.CANCELED): S.CANCELED,  # withdrawn before it was sent
    (S.APPROVED, E.EXPIRED): S.EXPIRED,  # its session passed before it was sent
    (S.SUBMITTING, E.SUBMITTING): S.SUBMITTING,  # again, under another number: the broker has never seen the first
    (S.SUBMITTING, E.ACCEPTED): S.ACCEPTED,
    (S.SUBMITTING, E.REJECTED): S.REJECTED,
    (S.SUBMITTING, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,  # the fill overtook the acknowledgement
    (S.SUBMITTING, E.FILLED): S.FILLED,
    (S.SUBMITTING, E.PENDING_CANCEL): S.PENDING_CANCEL,  # cancelled before it was acknowledged
    (S.SUBMITTING, E.EXPIRED): S.EXPIRED,
    (S.SUBMITTING, E.CANCELED): S.CANCELED,
    (S.ACCEPTED, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,
    (S.ACCEPTED, E.FILLED): S.FILLED,
    (S.ACCEPTED, E.PENDING_REPLACE): S.PENDING_REPLACE,
    (S.ACCEPTED, E.PENDING_CANCEL): S.PENDING_CANCEL,
    (S.ACCEPTED, E.CANCELED): S.CANCELED,
    (S.ACCEPTED, E.REJECTED): S.REJECTED,  # venues do reject what they accepted
    (S.ACCEPTED, E.EXPIRED): S.EXPIRED,
    (S.PARTIALLY_FILLED, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,
    (S.PARTIALLY_FILLED, E.FILLED): S.FILLED,
    (S.PARTIALLY_FILLED, E.PENDING_REPLACE): S.PENDING_REPLACE,
    (S.PARTIALLY_FILLED, E.PENDING_CANCEL): S.PENDING_CANCEL,
    (S.PARTIALLY_FILLED, E.CANCELED): S.CANCELED,
    (S.PARTIALLY_FILLED, E.REJECTED): S.REJECTED,  # the rest of it
    (S.PARTIALLY_FILLED, E.EXPIRED): S.EXPIRED,
    (S.PENDING_REPLACE, E.PARTIALLY_FILLED): S.PENDING_REPLACE,  # filled a little more while the change travelled
    (S.PENDING_REPLACE, E.FILLED): S.FILLED,
    (S.PENDING_REPLACE, E.REPLACED): S.ACCEPTED,
    (S.PENDING_REPLACE, E.REPLACED_WHOLE): S.FILLED,
    (S.PENDING_REPLACE, E.REPLACE_REJECTED): S.ACCEPTED,
    (S.PENDING_REPLACE, E.PENDING_CANCEL): S.PENDING_CANCEL,
    (S.PENDING_REPLACE, E.CANCELED): S.CANCELED,
    (S.PENDING_REPLACE, E.REJECTED): S.REJECTED,
    (S.PENDING_REPLACE, E.EXPIRED): S.EXPIRED,
    (S.PENDING_CANCEL, E.PARTIALLY_FILLED): S.PENDING_CANCEL,  # filled a little more while the cancel travelled
    (S.PENDING_CANCEL, E.FILLED): S.FILLED,
    (S.PENDING_CANCEL, E.REPLACED): S.PENDING_CANCEL,  # the change arrived before the cancel
    (S.PENDING_CANCEL, E.REPLACED_WHOLE): S.FILLED,
    (S.PENDING_CANCEL, E.CANCELED): S.CANCELED,
    (S.PENDING_CANCEL, E.CANCEL_REJECTED): S.ACCEPTED,
    (S.PENDING_CANCEL, E.REJECTED): S.REJECTED,
    (S.PENDING_CANCEL, E.EXPIRED): S.EXPIRED,
    (S.CANCELED, E.PARTIALLY_FILLED): S.CANCELED,  # a late fill report: the shares are ours, book them
    (S.CANCELED, E.FILLED): S.FILLED,
    (S.EXPIRED, E.PARTIALLY_FILLED): S.EXPIRED,
    (S.EXPIRED, E.FILLED): S.FILLED,
    (S.REJECTED, E.PARTIALLY_FILLED): S.REJECTED,  # what a venue executed it cannot have rejected: the shares are ours
    (S.REJECTED, E.FILLED): S.FILLED,
    (S.FILLED, E.RESTATED_DOWN): S.CANCELED,
}
_CAN_BE_FILLED = tuple(status for status in OrderStatus if status is not S.APPROVED)
TRANSITIONS |= {(status, E.OVERFILLED): S.FILLED for status in _CAN_BE_FILLED}
TRANSITIONS |= {(status, E.RESTATED): status for status in _CAN_BE_FILLED}
TRANSITIONS |= {(status, E.RESTATED_WHOLE): S.FILLED for status in _CAN_BE_FILLED if status is not S.FILLED}

FILLS = (E.PARTIALLY_FILLED, E.FILLED, E.OVERFILLED)
"""Events that carry a new execution."""
RESTATEMENTS = (E.RESTATED, E.RESTATED_WHOLE, E.RESTATED_DOWN)
"""Events that carry a corrected one."""


@dataclass(frozen=True)
class Order:
    """An order and the projection of its events. Prices in account currency, quantities in shares.

    A venue fills no more of a ``reduce_only`` (1) order than closes what is held; one with a ``stop_price`` waits until
    the market is there, then is a market order.
    """

    client_order_id: str
    decision_id: str | None
    strategy: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    order_type: str
    time_in_force: str
    decision_price: Decimal
    created_at: datetime
    origin: str = "strategy"
    reduce_only: int = 0
    stop_price: Decimal | None = None
    limit_price: Decimal | None = None
    parent_id: str | None = None
    status: OrderStatus | None = None
    filled_quantity: Decimal = ZERO
    average_fill_price: Decimal | None = None
    broker_order_id: str | None = None
    sent_at: datetime | None = None
    arrival_price: Decimal | None = None
    events: int = 0

    @property
    def is_sent(self) -> bool:
        """The broker may have it."""
        return self.status is not None and self.status.is_sent

    @property
    def is_final(self) -> bool:
        """No further fill is expected."""
        return self.status is not None and self.status.is_final

    @property
    def remaining(self) -> Decimal:
        """Shares not yet filled; negative when more was executed than ordered."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True)
class OrderEvent:
    """Something that happened to an order in ``session``; fills carry execution_id, quantity and price."""

    client_order_id: str
    kind: OrderEventKind
    session: date
    payload: dict[str, Any]


def client_order_id(strategy: str, session: date, symbol: str, intent: str) -> str:
    """The id an order has before it exists, so that making it twice makes it once."""
    content = "|".join((strategy, session.isoformat(), symbol, intent))
    return "q" + hashlib.sha256(content.encode()).hexdigest()[:23]


def apply(order: Order, event: OrderEvent) -> Order:
    """The order after an event.

    Raises
    ------
    OrderError
        The event is for another order, is not legal in the order's state, or says of the filled quantity what its
        executions do not.
    """
    if event.client_order_id != order.client_order_id:
        raise OrderError(f"event of order {event.client_order_id} applied to order {order.client_order_id}")
    status = TRANSITIONS.get((order.status, event.kind))
    if status is None:
        raise OrderError(
            f"order {order.client_order_id} ({order.symbol}) is {order.status or 'new'}: "
            f"'{event.kind}' cannot happen to it; nothing was recorded"
        )
    changed = replace(order, status=status, events=order.events + 1)
    match event.kind:
        case E.APPROVED | E.REPLACED | E.REPLACED_WHOLE:
            return _with_terms(changed, event)
        case E.SUBMITTING:
            return _sent(changed, event.payload)
        case kind if kind in FILLS:
            return _filled(order, changed, event)
        case kind if kind in RESTATEMENTS:
            return _restated(order, changed, event)
        case _:
            return changed


def fill_kind(order: Order, quantity: Decimal) -> OrderEventKind:
    """What a new execution of ``quantity`` is to the order."""
    filled = order.filled_quantity + quantity
    if filled > order.quantity:
        return E.OVERFILLED
    return E.FILLED if filled == order.quantity else E.PARTIALLY_FILLED


def restatement_kind(order: Order, change: Decimal) -> OrderEventKind:
    """What a correction is to the order that changes its filled quantity by ``change``."""
    filled = order.filled_quantity + change
    if order.status is S.FILLED:
        return E.RESTATED_DOWN if filled < order.quantity else E.RESTATED
    return E.RESTATED_WHOLE if filled >= order.quantity else E.RESTATED


def _with_terms(order: Order, event: OrderEvent) -> Order:
    """What was approved, or changed since; events of earlier versions do not say the price."""
    quantity = Decimal(event.payload.get("quantity", order.quantity))
    limit = event.payload.get("limit_price", order.limit_price)
    if event.kind is not E.APPROVED:
        whole = quantity == order.filled_quantity
        if not order.filled_quantity <= quantity <= order.quantity or whole != (event.kind is E.REPLACED_WHOLE):
            raise OrderError(
                f"order {order.client_order_id} ({order.symbol}): {order.quantity} cannot become {quantity} with "
                f"{order.filled_quantity} filled; more than was approved is a new order, less than was filled is none"
            )
    return replace(order, quantity=quantity, limit_price=None if limit is None else Decimal(limit))


def _sent(order: Order, payload: dict[str, Any]) -> Order:
    sent, arrival = payload.get("sent_at"), payload.get("arrival_price")
    limit = payload.get("limit_price", order.limit_price)
    return replace(
        order,
        limit_price=None if limit is None else Decimal(limit),
        broker_order_id=payload.get("broker_order_id") or None,
        sent_at=None if sent is None else datetime.fromisoformat(sent),
        arrival_price=None if arrival is None else Decimal(arrival),
    )


def _filled(order: Order, changed: Order, event: OrderEvent) -> Order:
    quantity, price = Decimal(event.payload["quantity"]), Decimal(event.payload["price"])
    filled = order.filled_quantity + quantity
    if quantity <= 0 or event.kind is not fill_kind(order, quantity):
        raise OrderError(
            f"order {order.client_order_id} ({order.symbol}): a fill of {quantity} would make {filled} of "
            f"{order.quantity}, which is not '{event.kind}'; nothing was recorded"
        )
    paid = (order.average_fill_price or ZERO) * order.filled_quantity + price * quantity
    return replace(changed, filled_quantity=filled, average_fill_price=money(paid / filled))


def _restated(order: Order, changed: Order, event: OrderEvent) -> Order:
    """``previous_quantity`` and ``previous_price`` are what the execution was booked with before."""
    was, at = Decimal(event.payload["previous_quantity"]), Decimal(event.payload["previous_price"])
    quantity, price = Decimal(event.payload["quantity"]), Decimal(event.payload["price"])
    filled = order.filled_quantity - was + quantity
    if quantity < 0 or filled < 0 or event.kind is not restatement_kind(order, quantity - was):
        raise OrderError(
            f"order {order.client_order_id} ({order.symbol}): correcting {was} to {quantity} would make {filled} of "
            f"{order.quantity}, which is not '{event.kind}'; nothing was recorded"
        )
    paid = (order.average_fill_price or ZERO) * order.filled_quantity - at * was + price * quantity
    return replace(changed, filled_quantity=filled, average_fill_price=money(paid / filled) if filled else None)

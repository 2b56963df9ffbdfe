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
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """No further fill is expected."""
        return self in _FINAL


_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED})


class OrderEventKind(StrEnum):
    """What can happen to an order."""

    APPROVED = "approved"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
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
    (S.SUBMITTING, E.ACCEPTED): S.ACCEPTED,
    (S.SUBMITTING, E.REJECTED): S.REJECTED,
    (S.SUBMITTING, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,  # the fill overtook the acknowledgement
    (S.SUBMITTING, E.FILLED): S.FILLED,
    (S.SUBMITTING, E.EXPIRED): S.EXPIRED,
    (S.SUBMITTING, E.CANCELED): S.CANCELED,
    (S.ACCEPTED, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,
    (S.ACCEPTED, E.FILLED): S.FILLED,
    (S.ACCEPTED, E.PENDING_CANCEL): S.PENDING_CANCEL,
    (S.ACCEPTED, E.CANCELED): S.CANCELED,
    (S.ACCEPTED, E.REJECTED): S.REJECTED,  # venues do reject what they accepted
    (S.ACCEPTED, E.EXPIRED): S.EXPIRED,
    (S.PARTIALLY_FILLED, E.PARTIALLY_FILLED): S.PARTIALLY_FILLED,
    (S.PARTIALLY_FILLED, E.FILLED): S.FILLED,
    (S.PARTIALLY_FILLED, E.PENDING_CANCEL): S.PENDING_CANCEL,
    (S.PARTIALLY_FILLED, E.CANCELED): S.CANCELED,
    (S.PARTIALLY_FILLED, E.EXPIRED): S.EXPIRED,
    (S.PENDING_CANCEL, E.PARTIALLY_FILLED): S.PENDING_CANCEL,  # filled a little more while the cancel travelled
    (S.PENDING_CANCEL, E.FILLED): S.FILLED,
    (S.PENDING_CANCEL, E.CANCELED): S.CANCELED,
    (S.PENDING_CANCEL, E.CANCEL_REJECTED): S.ACCEPTED,
    (S.PENDING_CANCEL, E.EXPIRED): S.EXPIRED,
    (S.CANCELED, E.PARTIALLY_FILLED): S.CANCELED,  # a late fill report: the shares are ours, book them
    (S.CANCELED, E.FILLED): S.FILLED,
    (S.EXPIRED, E.PARTIALLY_FILLED): S.EXPIRED,
    (S.EXPIRED, E.FILLED): S.FILLED,
}


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
    status: OrderStatus | None = None
    filled_quantity: Decimal = ZERO
    average_fill_price: Decimal | None = None
    events: int = 0

    @property
    def remaining(self) -> Decimal:
        """Shares not yet filled."""
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
        The event is for another order, is not legal in the order's state, or would overfill it.
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
    if event.kind not in (E.PARTIALLY_FILLED, E.FILLED):
        return changed
    quantity, price = Decimal(event.payload["quantity"]), Decimal(event.payload["price"])
    filled = order.filled_quantity + quantity
    if quantity <= 0 or filled > order.quantity:
        raise OrderError(
            f"order {order.client_order_id} ({order.symbol}): a fill of {quantity} would make {filled} of "
            f"{order.quantity}; nothing was recorded"
        )
    if (event.kind is E.FILLED) != (filled == order.quantity):
        raise OrderError(f"order {order.client_order_id}: '{event.kind}' with {filled} of {order.quantity} filled")
    paid = (order.average_fill_price or ZERO) * order.filled_quantity + price * quantity
    return replace(changed, filled_quantity=filled, average_fill_price=money(paid / filled))

"""How long an order may work: ``execution.deadline_seconds`` after it was sent, then the rest of it is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from quant_dagster.execution import order_log
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.storage.types import plain

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def overdue(context: TradingContext, now: datetime) -> Iterator[tuple[Order, str]]:
    """Orders that are over their deadline at ``now`` (the market's time), each with what a person should hear."""
    seconds = context.settings.execution.deadline_seconds
    with context.ledger.read() as connection:
        open_orders = order_log.with_status(connection, order_log.OPEN)
    opens = context.calendar.open_time(context.trading_session())
    for order in open_orders:
        if not has_deadline(order) or order.status is OrderStatus.PENDING_CANCEL or order.sent_at is None:
            continue
        if now < max(order.sent_at, opens) + timedelta(seconds=seconds):
            continue
        price = "" if order.average_fill_price is None else f" at {plain(order.average_fill_price)}"
        name = f"order {order.client_order_id} ({order.side} {plain(order.quantity)} {order.symbol})"
        yield (
            order,
            f"{name} is over its deadline of {seconds:g} s with "
            f"{plain(order.filled_quantity)} filled{price}: cancelling the rest",
        )


def has_deadline(order: Order) -> bool:
    """Protective stops and orders good till cancelled are meant to stay."""
    return order.stop_price is None and order.time_in_force == "day"

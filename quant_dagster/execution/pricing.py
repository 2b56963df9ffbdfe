"""What an order is sent at: the market's price when it goes out, and the limit set on the side that fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.execution.orders import Order
from quant_dagster.market_data.instruments import on_tick
from quant_dagster.storage.types import money


@dataclass(frozen=True)
class Quote:
    """A market's best prices, None where it has none, in the instrument's currency."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None

    @property
    def middle(self) -> Decimal | None:
        """Halfway between bid and ask; without both, the last trade's price."""
        if self.bid is not None and self.ask is not None:
            return (self.bid + self.ask) / 2
        return self.last


@dataclass(frozen=True)
class Pricing:
    """How an order is sent. ``refused`` is why it is not, empty when it is."""

    limit_price: Decimal | None = None
    arrival_price: Decimal | None = None
    at: datetime | None = None
    refused: str = ""


def as_approved(order: Order) -> Pricing:
    """An order goes out as it was approved."""
    return Pricing(order.limit_price)


def limit_price(side: Side, reference: Decimal, offset: float, tick: Decimal) -> Decimal:
    """``reference`` moved by the fraction ``offset`` towards the side that fills, on the tick grid, never beyond it.

    >>> limit_price(Side.BUY, Decimal("100"), 0.001, Decimal("0.01"))
    Decimal('100.100000')
    """
    price = reference * (1 + side.sign * Decimal(repr(offset)))
    rounded = on_tick(price, tick, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)
    return money(rounded)


class MarketPricing:
    """Prices orders by what the market quotes when they are sent, by their decision price when it quotes nothing.

    Parameters
    ----------
    quote
        The market's quote of a symbol, None when there is none.
    tick
        The price grid of a symbol.
    offset
        Fraction by which a limit lies on the side that fills.
    collar
        Largest fraction the price may have moved from the decision price; beyond it the order is not sent, because
        what the risk gate approved is not what would be bought any more.
    now
        The market's time.
    """

    def __init__(
        self,
        quote: Callable[[str], Quote | None],
        tick: Callable[[str], Decimal],
        *,
        offset: float,
        collar: float,
        now: Callable[[], datetime],
    ) -> None:
        self.quote = quote
        self.tick = tick
        self.offset = offset
        self.collar = Decimal(repr(collar))
        self.now = now

    def __call__(self, order: Order) -> Pricing:
        """The price of one order, now."""
        quoted = self.quote(order.symbol)
        arrival = quoted.middle if quoted is not None else None
        at = self.now()
        if arrival is not None and abs(arrival / order.decision_price - 1) > self.collar:
            moved = f"price_collar: {order.symbol} is at {arrival}, it was approved at {order.decision_price}"
            return Pricing(None, money(arrival), at, refused=moved)
        limit = order.limit_price
        if order.order_type == "limit" and limit is None:
            limit = limit_price(order.side, arrival or order.decision_price, self.offset, self.tick(order.symbol))
        return Pricing(limit, None if arrival is None else money(arrival), at)

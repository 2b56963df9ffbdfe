"""For which prices a book is complete: a snapshot ends somewhere, and changes alone begin with nothing.

A book made of changes says of a price what was last said of it, and nothing of a price that was not spoken of. What
stands at such a price can still be told in two ways, neither of which needs a second source:

- no bid can stand at or above an ask, and no ask at or below a bid: on the far side of any best price the book is
  complete from that moment on, since whatever comes there later comes as a change;
- prices that were spoken of, and are next to complete ones, are complete as well.

The best bid is certain when every price between it and the complete part is complete: nothing better can be hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.order_book.book import Level


class KnownRange:
    """The prices a book is complete for: bids from a price up, asks from a price down.

    Parameters
    ----------
    tick_size
        Smallest step of a price.
    bids_from, asks_to
        Where it begins: bids at or above ``bids_from`` and asks at or below ``asks_to`` are complete.
    """

    def __init__(self, tick_size: float, bids_from: float = math.inf, asks_to: float = 0.0) -> None:
        if not tick_size > 0.0:
            raise ConfigurationError(f"tick size {tick_size}: it must be above 0")
        exponent = Decimal(repr(tick_size)).normalize().as_tuple().exponent
        self.tick_size = tick_size
        self._decimals = max(0, -int(exponent))
        self.bids_from, self.asks_to = bids_from, asks_to
        self._bid_prices: set[float] = set()
        self._ask_prices: set[float] = set()
        self.bid_certain = self.ask_certain = False

    @classmethod
    def of_snapshot(cls, bids: Sequence[Level], asks: Sequence[Level], tick_size: float | None) -> KnownRange | None:
        """A snapshot is complete down to its last bid and up to its last ask."""
        if tick_size is None:
            return None
        lowest = min((price for price, _ in bids), default=math.inf)
        highest = max((price for price, _ in asks), default=0.0)
        known = cls(tick_size, lowest, highest)
        known.bid_certain, known.ask_certain = bool(bids), bool(asks)
        return known

    @classmethod
    def of_nothing(cls, tick_size: float | None) -> KnownRange | None:
        """Nothing is known yet."""
        return None if tick_size is None else cls(tick_size)

    @property
    def top_is_certain(self) -> bool:
        """Whether nothing better than the best bid and ask can be hidden."""
        return self.bid_certain and self.ask_certain

    def saw(self, bids: Iterable[Level], asks: Iterable[Level], best_bid: Level | None, best_ask: Level | None) -> None:
        """Take in a change and the best levels after it."""
        self._bid_prices.update([price for price, _ in bids])
        self._ask_prices.update([price for price, _ in asks])
        if best_ask is not None and best_ask[0] < self.bids_from:
            self.bids_from = best_ask[0]
        if best_bid is not None and best_bid[0] > self.asks_to:
            self.asks_to = best_bid[0]
        self.bid_certain = best_bid is not None and self._reaches_bid(best_bid[0])
        self.ask_certain = best_ask is not None and self._reaches_ask(best_ask[0])

    def _reaches_bid(self, best: float) -> bool:
        while best < self.bids_from:
            below = self._step(self.bids_from, -1)
            if below not in self._bid_prices:
                return False
            self.bids_from = below
        return True

    def _reaches_ask(self, best: float) -> bool:
        while best > self.asks_to:
            above = self._step(self.asks_to, 1)
            if above not in self._ask_prices:
                return False
            self.asks_to = above
        return True

    def _step(self, price: float, ticks: int) -> float:
        # Rounded to the tick's decimals, so that it is the very number the venue's text is read as.
        return round(price + ticks * self.tick_size, self._decimals)

"""The levels of an order book: set a level, ask for the best, look into the depth.

Sizes are absolute: a change says what stands at a price now, and 0 removes the level. Whether changes come in the
right order is judged in ``sync``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quant_dagster.errors import MalformedDataError

Level = tuple[float, float]
"""Price and size."""

_SPARE_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class TopOfBook:
    """Best bid and ask with their sizes, in the venue's units."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float

    @property
    def mid(self) -> float:
        """Middle of best bid and ask."""
        return (self.bid + self.ask) / 2.0

    @property
    def spread(self) -> float:
        """Best ask less best bid; positive unless the book is crossed."""
        return self.ask - self.bid

    @property
    def microprice(self) -> float:
        """Best prices weighted by the size on the *other* side: nearer to the side that would be used up first.

        The weighted mid of Stoikov, "The micro-price: a high-frequency estimator of future prices", Quantitative
        Finance 18 (2018), section 1.
        """
        return (self.bid * self.ask_size + self.ask * self.bid_size) / (self.bid_size + self.ask_size)


class OrderBook:
    """Both sides of a book.

    A side is a dictionary from price to size beside a heap of prices. A price leaves the dictionary at once and the
    heap only when it would be the best: a change costs constant time, and the best price is there without a search.
    """

    __slots__ = ("_asks", "_bids")

    def __init__(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        self._bids, self._asks = _Side(-1.0), _Side(1.0)
        self.change(bids, asks)

    def change(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set levels to new absolute sizes; size 0 removes a level, also one that is not there.

        Raises
        ------
        MalformedDataError
            A price is not above 0, or a size is negative or no number. The book may be half changed: drop it.
        """
        self._bids.change(bids)
        self._asks.change(asks)

    @property
    def best_bid(self) -> Level | None:
        """Highest bid and its size; None without bids."""
        return self._bids.best()

    @property
    def best_ask(self) -> Level | None:
        """Lowest ask and its size; None without asks."""
        return self._asks.best()

    @property
    def top(self) -> TopOfBook | None:
        """Both best levels; None while a side is empty."""
        bid, ask = self._bids.best(), self._asks.best()
        return None if bid is None or ask is None else TopOfBook(*bid, *ask)

    @property
    def crossed(self) -> bool:
        """Whether a bid stands at or above an ask: no venue that matches continuously has such a book."""
        bid, ask = self._bids.best(), self._asks.best()
        return bid is not None and ask is not None and bid[0] >= ask[0]

    def depth(self, levels: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """The best ``levels`` bids and asks, best first; fewer where there are fewer."""
        return self._bids.first(levels), self._asks.first(levels)

    def size_within(self, distance: float) -> Level:
        """Size of all bids and of all asks at most ``distance`` (in price) from their own best; (0, 0): empty."""
        return self._bids.size_within(distance), self._asks.size_within(distance)

    def levels(self) -> tuple[dict[float, float], dict[float, float]]:
        """Copies of both sides, price to size, in no order."""
        return dict(self._bids.sizes), dict(self._asks.sizes)

    def __len__(self) -> int:
        return len(self._bids.sizes) + len(self._asks.sizes)


class _Side:
    """One side; ``sign`` is -1 for bids, so that the smallest heap entry is the best price."""

    __slots__ = ("_heap", "_sign", "sizes")

    def __init__(self, sign: float) -> None:
        self.sizes: dict[float, float] = {}
        self._heap: list[float] = []
        self._sign = sign

    def change(self, levels: Iterable[Level]) -> None:
        sizes, heap, sign = self.sizes, self._heap, self._sign
        for price, size in levels:
            if size > 0.0 and price > 0.0:
                if price not in sizes:
                    heapq.heappush(heap, sign * price)
                sizes[price] = size
            elif size == 0.0:
                sizes.pop(price, None)
            else:
                raise MalformedDataError(f"order book level of size {size} at price {price}: ask for a new snapshot")
        if len(heap) > 2 * len(sizes) + _SPARE_ENTRIES:
            heap[:] = [sign * price for price in sizes]
            heapq.heapify(heap)

    def best(self) -> Level | None:
        heap, sizes, sign = self._heap, self.sizes, self._sign
        while heap:
            price = sign * heap[0]
            size = sizes.get(price)
            if size is not None:
                return price, size
            heapq.heappop(heap)
        return None

    def first(self, levels: int) -> tuple[Level, ...]:
        pick = heapq.nlargest if self._sign < 0.0 else heapq.nsmallest
        return tuple((price, self.sizes[price]) for price in pick(levels, self.sizes))

    def size_within(self, distance: float) -> float:
        best = self.best()
        if best is None:
            return 0.0
        return sum(self._sizes_from(best[0], distance))

    def _sizes_from(self, best: float, distance: float) -> Iterator[float]:
        # In the order of prices, so that the sum does not depend on the order in which levels came.
        for price in sorted(self.sizes):
            if abs(price - best) <= distance:
                yield self.sizes[price]

"""What the venue has told so far: orders, trades, and what of it is news. Asks nothing itself."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from quant_dagster.execution.brokers.binance_spot.messages import VenueOrder, VenueTrade

_OURS = re.compile(r"^q[0-9a-f]{23}$")
_ZERO = Decimal(0)
Key = tuple[str, int]


@dataclass(frozen=True)
class Attempt:
    """An order that went out and was not answered: it may arrive until ``stamp`` (ms) plus the receive window."""

    market_id: str
    stamp: int


@dataclass(frozen=True)
class News:
    """What was heard since it was last asked for."""

    orders: tuple[VenueOrder, ...]
    trades: tuple[VenueTrade, ...]
    notices: tuple[str, ...]


class SpotView:
    """Everything that was heard, from any thread."""

    def __init__(self) -> None:
        self.attempts: dict[str, Attempt] = {}
        self._lock = threading.RLock()
        self._orders: dict[Key, VenueOrder] = {}
        self._by_client: dict[str, Key] = {}
        self._sent: set[str] = set()
        self._trades: dict[Key, VenueTrade] = {}
        self._of_order: dict[Key, set[Key]] = {}
        self._newest_trade: dict[str, int] = {}
        self._changed_orders: dict[Key, None] = {}
        self._changed_trades: dict[Key, None] = {}
        self._notices: list[str] = []
        self._said: set[str] = set()

    def sending(self, client_order_id: str, market_id: str, stamp: int) -> None:
        """An order goes out now."""
        with self._lock:
            self._sent.add(client_order_id)
            self.attempts[client_order_id] = Attempt(market_id, stamp)

    def take_order(self, order: VenueOrder) -> VenueOrder:
        """Note what was told of an order; what is known afterwards. Older answers do not undo newer ones."""
        with self._lock:
            known = self._orders.get(order.key)
            if known is not None and (order.executed < known.executed or (known.is_over and not order.is_over)):
                order = known
            self._orders[order.key] = order
            reference = order.client_order_id
            earlier = self._by_client.get(reference)
            if earlier is not None and earlier != order.key and self.is_ours(reference):
                self.notice(f"the venue has two orders under the id {reference}: check what each of them filled")
            if earlier is None or earlier[0] != order.key[0] or earlier[1] <= order.key[1]:
                self._by_client[reference] = order.key
            self.attempts.pop(reference, None)
            if known != order and self.is_ours(reference):
                self._changed_orders[order.key] = None
            return order

    def take_trade(self, trade: VenueTrade) -> None:
        """Note a trade; one that was heard of before is no news."""
        with self._lock:
            key = (trade.market_id, trade.trade_id)
            if key in self._trades:
                return
            self._trades[key] = trade
            self._of_order.setdefault((trade.market_id, trade.order_id), set()).add(key)
            self._changed_trades[key] = None

    def swept(self, market_id: str, trade_id: int) -> None:
        """All trades of a market up to this one were told."""
        with self._lock:
            self._newest_trade[market_id] = max(trade_id, self._newest_trade.get(market_id, -1))

    def newest_trade(self, market_id: str) -> int | None:
        """Up to which trade a market was told; None: never asked, or it has none."""
        return self._newest_trade.get(market_id)

    def reference(self, order: VenueOrder) -> str:
        """The id an order was sent under by us; empty for one that is not ours."""
        return order.client_order_id if self.is_ours(order.client_order_id) else ""

    def is_ours(self, client_order_id: str) -> bool:
        """Was it sent under an id of ours? The venue's own programs and other clients make up theirs differently."""
        return client_order_id in self._sent or _OURS.match(client_order_id) is not None

    def order(self, client_order_id: str) -> VenueOrder | None:
        """The newest order under an id."""
        with self._lock:
            key = self._by_client.get(client_order_id)
            return None if key is None else self._orders[key]

    def order_at(self, market_id: str, order_id: int) -> VenueOrder | None:
        """The order under the venue's id."""
        return self._orders.get((market_id, order_id))

    def working(self) -> list[VenueOrder]:
        """Orders of ours that were not heard to be over."""
        with self._lock:
            return [one for one in self._orders.values() if not one.is_over and self.is_ours(one.client_order_id)]

    def incomplete(self) -> list[VenueOrder]:
        """Orders of ours of which more was filled than trades were told."""
        with self._lock:
            ours = [one for one in self._orders.values() if self.is_ours(one.client_order_id)]
            return [one for one in ours if one.executed > self.traded(one)]

    def traded(self, order: VenueOrder) -> Decimal:
        """Quantity the trades of an order add up to."""
        with self._lock:
            return sum((self._trades[key].quantity for key in self._of_order.get(order.key, ())), _ZERO)

    def trades(self, orders: Iterable[Key] | None = None) -> list[VenueTrade]:
        """Trades of some orders, or all, oldest first."""
        with self._lock:
            keys: Iterable[Key] = self._trades
            if orders is not None:
                keys = [key for order in orders for key in self._of_order.get(order, ())]
            found = [self._trades[key] for key in keys]
        return sorted(found, key=lambda one: (one.executed_at, one.market_id, one.trade_id))

    def unnamed(self, market_id: str) -> list[int]:
        """Ids of orders that traded in a market and of which nothing else is known."""
        with self._lock:
            traded = {order for market, order in self._of_order if market == market_id}
            return sorted(order for order in traded if (market_id, order) not in self._orders)

    def markets(self) -> set[str]:
        """Markets in which anything was heard of."""
        with self._lock:
            return {market for market, _ in self._orders} | {market for market, _ in self._trades}

    def notice(self, text: str) -> None:
        """Something a person should hear of, once."""
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self._notices.append(text)

    def news(self) -> News:
        """Hand over what is new, once. A trade waits until its order is known: else it would be nobody's."""
        with self._lock:
            trades = [self._trades[key] for key in self._changed_trades]
            named = [one for one in trades if (one.market_id, one.order_id) in self._orders]
            found = News(
                tuple(self._orders[key] for key in self._changed_orders),
                tuple(named),
                tuple(self._notices),
            )
            for one in named:
                del self._changed_trades[(one.market_id, one.trade_id)]
            self._changed_orders, self._notices = {}, []
            return found

    @property
    def has_news(self) -> bool:
        """Would `news` hand over anything?"""
        with self._lock:
            trades = [self._trades[key] for key in self._changed_trades]
            named = any((one.market_id, one.order_id) in self._orders for one in trades)
            return bool(self._changed_orders or named or self._notices)

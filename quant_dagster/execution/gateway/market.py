"""What moves prices behind the gateway: a clock, and either scripted prices or real bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from zlib import crc32

from quant_dagster.errors import ConfigurationError
from quant_dagster.execution.gateway.records import Event, Instrument, OrderType
from quant_dagster.execution.gateway.venue import Venue


class Clock(Protocol):
    """Market time, which need not be the time of day."""

    def now(self) -> datetime:
        """The instant in the market, UTC."""
        ...


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def move_to(self, instant: datetime) -> None:
        """Move on to an instant; it never goes back."""
        if instant < self._now:
            raise ConfigurationError(f"market time is {self._now} already: it cannot go back to {instant}")
        self._now = instant


class RunningClock:
    """Runs ``speed`` times as fast as real time, from an instant of the market."""

    def __init__(self, start: datetime, speed: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        if not speed > 0:
            raise ConfigurationError(f"speed {speed}: market time runs forward, so it is above zero")
        self.start, self.speed = start, speed
        self._monotonic = monotonic
        self._began = monotonic()

    def now(self) -> datetime:
        return self.start + timedelta(seconds=(self._monotonic() - self._began) * self.speed)


@dataclass(frozen=True)
class Quote:
    """Best prices and the last trade, as far as the market knows them."""

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None


HistoryBar = tuple[datetime, Decimal, Decimal, Decimal, Decimal, Decimal]
"""Start (UTC), open, high, low, close, volume."""


class Market(Protocol):
    """Prices, and the trades that come of them."""

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """What can be traded, by symbol."""
        ...

    def mark(self, symbol: str) -> Decimal | None:
        """The price a symbol is valued at now."""
        ...

    def quote(self, symbol: str) -> Quote:
        """Best prices now."""
        ...

    def advance(self, venue: Venue, to: datetime) -> list[Event]:
        """Let the market go on to an instant: every working order meets what it has not met yet."""
        ...

    def history(self, symbol: str, *, daily: bool, until: datetime) -> Sequence[HistoryBar]:
        """Finished bars up to an instant, oldest first."""
        ...


class ScriptedMarket:
    """Prices that stand still until they are set, and trade nothing unless told to.

    Parameters
    ----------
    prices
        Last price by symbol.
    fills_at_once
        Fill every order that the price reaches, whole, at the price.
    """

    def __init__(self, prices: Mapping[str, Decimal], *, fills_at_once: bool = False) -> None:
        self._prices = dict(prices)
        self._instruments = {symbol: instrument(symbol) for symbol in prices}
        self.fills_at_once = fills_at_once

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self._instruments

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move a price; orders meet it when the market next advances."""
        if symbol not in self._prices:
            raise ConfigurationError(f"{symbol} is not traded here; these are: {', '.join(sorted(self._prices))}")
        self._prices[symbol] = price

    def mark(self, symbol: str) -> Decimal | None:
        return self._prices.get(symbol)

    def quote(self, symbol: str) -> Quote:
        price = self._prices[symbol]
        return Quote(price - self._instruments[symbol].tick_size, price + self._instruments[symbol].tick_size, price)

    def advance(self, venue: Venue, to: datetime) -> list[Event]:
        events: list[Event] = []
        if not self.fills_at_once:
            return events
        progress = True
        while progress:  # a fill may release orders that the price reaches as well
            progress = False
            for symbol in venue.active_symbols():
                price = self._prices[symbol]
                for order in venue.working(symbol):
                    current = venue.order(order.perm_id)
                    if current.state.is_final or not reaches(current.ticket.order_type, current.sign, price,
                                                             current.ticket.limit, current.ticket.stop):  # fmt: skip
                        continue
                    if current.ticket.order_type == OrderType.STOP and not current.triggered:
                        events += venue.trigger(current.perm_id)
                    events += venue.execute(current.perm_id, current.remaining, price, to)
                    progress = True
        return events

    def history(self, symbol: str, *, daily: bool, until: datetime) -> Sequence[HistoryBar]:
        return []


def reaches(order_type: str, sign: int, price: Decimal, limit: Decimal | None, stop: Decimal | None) -> bool:
    """Whether an order may trade at a price: any for a market order, its limit or better, its stop or worse."""
    if order_type == OrderType.LIMIT and limit is not None:
        return sign * (limit - price) >= 0
    if order_type == OrderType.STOP and stop is not None:
        return sign * (price - stop) >= 0
    return order_type == OrderType.MARKET


def instrument(symbol: str) -> Instrument:
    """A US stock; its contract id is made from the symbol, so that it is the same in every run."""
    return Instrument(symbol, 10_000_000 + crc32(symbol.encode()) % 900_000_000)

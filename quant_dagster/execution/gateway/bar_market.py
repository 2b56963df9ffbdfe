"""A market of real bars: what fills when, at what price and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from quant_dagster.execution.gateway.bars import Bar, SymbolBars
from quant_dagster.execution.gateway.market import HistoryBar, Quote, instrument, reaches
from quant_dagster.execution.gateway.records import ZERO, Event, Instrument, OrderType, VenueOrder
from quant_dagster.execution.gateway.venue import Venue
from quant_dagster.market_data.instruments import on_tick

_NEW_YORK = ZoneInfo("America/New_York")
_PRICE_STEP = Decimal("0.0001")


@dataclass
class _Meeting:
    """A bar that orders are meeting: which were there when it began, and how many shares are left for them."""

    number: int
    present: frozenset[int]
    left: Decimal


class BarMarket:
    """Orders meet bars.

    A working order meets every bar that begins after it arrived. At the bar's open a market order fills there (half
    the spread worse), a limit order that the open reaches fills at the open, a stop order that the open passed
    becomes a market order. What the bar reaches later, on the way from the open to the extreme nearer to it, to the
    other extreme, to the close, fills when the bar ends: a limit order at its limit, a stop order at its stop. All
    orders together get no more than a share of the bar's volume; what is left of an order meets the next bar. At the
    close DAY orders end.

    Parameters
    ----------
    bars
        By symbol, of the session and of earlier ones, which serve as history.
    opens, closes
        The session's first and last instant, UTC.
    participation
        Share of a bar's volume that orders may take, above 0, at most 1.
    spread_bps
        Whole spread that market orders pay half of, in basis points of the price.
    """

    def __init__(
        self,
        bars: Mapping[str, SymbolBars],
        *,
        opens: datetime,
        closes: datetime,
        participation: Decimal = Decimal("0.1"),
        spread_bps: Decimal = Decimal(2),
    ) -> None:
        self.opens, self.closes = opens, closes
        self._bars = dict(bars)
        self._instruments = {symbol: instrument(symbol) for symbol in bars}
        self._participation = participation
        self._half_spread = spread_bps / 20_000
        self._at: datetime | None = None
        self._meetings: dict[str, _Meeting] = {}

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self._instruments

    @property
    def session(self) -> date:
        """The day that is traded."""
        return self.opens.astimezone(_NEW_YORK).date()

    def begin(self, venue: Venue, at: datetime) -> None:
        """Set market time; bars that began before it are past."""
        self._at = at
        venue.is_open = self.opens <= at < self.closes
        venue.when_open = self.opens.astimezone(_NEW_YORK).strftime("%Y-%m-%d %H:%M:%S US/Eastern")

    def mark(self, symbol: str) -> Decimal | None:
        """The last price; before the first bar its open, which is all there is to value an order at."""
        bars = self._bars[symbol]
        last = self._last(symbol)
        return last if last is not None else (bars.bars[0].open if bars.bars else None)

    def quote(self, symbol: str) -> Quote:
        last = self._last(symbol)
        if last is None:
            return Quote(None, None, None)
        tick = self._instruments[symbol].tick_size
        away = last * self._half_spread
        return Quote(on_tick(last - away, tick, ROUND_FLOOR), on_tick(last + away, tick, ROUND_CEILING), last)

    def _last(self, symbol: str) -> Decimal | None:
        bars = self._bars[symbol]
        number = bars.at(self._at) if self._at is not None else -1
        if number < 0 or self._at is None:
            return None
        bar = bars.bars[number]
        # Of a bar that is under way only the open is known.
        return bar.close if bar.end <= self._at else bar.open

    def advance(self, venue: Venue, to: datetime) -> list[Event]:
        if self._at is None:
            self.begin(venue, to)
        events: list[Event] = []
        while (now := self._next(venue, to)) is not None:
            symbols = venue.active_symbols()
            for symbol in symbols:
                events += self._end_of_bar(venue, symbol, now)
            self._at = now
            if now == self.opens:
                events += venue.set_open(True)
            for symbol in symbols:
                events += self._start_of_bar(venue, symbol, now)
            if now == self.closes:
                events += venue.set_open(False)
                events += venue.expire_day_orders(now)
        self._at = max(to, self._at or to)
        return events

    def _next(self, venue: Venue, to: datetime) -> datetime | None:
        """The next instant after now, up to another, at which something can happen to an order."""
        at = self._at
        if at is None or at >= to:
            return None
        moments = [moment for moment in (self.opens, self.closes) if at < moment <= to]
        for symbol in venue.active_symbols():
            bars = self._bars[symbol]
            number = bars.at(at)
            if number >= 0 and at < bars.bars[number].end <= to:
                moments.append(bars.bars[number].end)
            if number + 1 < len(bars.bars) and bars.starts[number + 1] <= to:
                moments.append(bars.starts[number + 1])
        return min(moments, default=None)

    def _start_of_bar(self, venue: Venue, symbol: str, now: datetime) -> list[Event]:
        bars = self._bars[symbol]
        number = bars.at(now)
        if number < 0 or bars.starts[number] != now:
            return []
        bar = bars.bars[number]
        orders = venue.working(symbol)
        left = (bar.volume * self._participation).to_integral_value(ROUND_DOWN)
        meeting = _Meeting(number, frozenset(one.perm_id for one in orders), left)
        self._meetings[symbol] = meeting
        events: list[Event] = []
        for order in orders:
            current = venue.order(order.perm_id)
            ticket = current.ticket
            if current.state.is_final:
                continue
            if current.triggered or reaches(ticket.order_type, current.sign, bar.open, ticket.limit, ticket.stop):
                if ticket.order_type == OrderType.STOP and not current.triggered:
                    events += venue.trigger(current.perm_id)
                price = bar.open if ticket.order_type == OrderType.LIMIT else self._worse(bar.open, current)
                events += self._trade(venue, meeting, current.perm_id, price, now)
        return events

    def _end_of_bar(self, venue: Venue, symbol: str, now: datetime) -> list[Event]:
        meeting = self._meetings.get(symbol)
        bars = self._bars[symbol]
        if meeting is None or bars.bars[meeting.number].end != now:
            return []
        del self._meetings[symbol]
        bar = bars.bars[meeting.number]
        events: list[Event] = []
        for first, last in pairwise(bar.path()):
            for perm_id, price in self._reached(venue, symbol, meeting, first, last):
                current = venue.order(perm_id)
                if current.state.is_final or current.triggered:
                    continue
                if current.ticket.order_type == OrderType.STOP:
                    events += venue.trigger(perm_id)
                events += self._trade(venue, meeting, perm_id, price, now)
        return events

    @staticmethod
    def _reached(
        venue: Venue, symbol: str, meeting: _Meeting, first: Decimal, last: Decimal
    ) -> list[tuple[int, Decimal]]:
        """Orders whose price lies on the way from one price to another, in the order the way passes them."""
        found: list[tuple[Decimal, int, Decimal]] = []
        low, high = min(first, last), max(first, last)
        for order in venue.working(symbol):
            wanted = order.ticket.limit if order.ticket.order_type == OrderType.LIMIT else order.ticket.stop
            if order.perm_id not in meeting.present or wanted is None:
                continue
            if low <= wanted <= high and _passes(order, first, last):
                found.append((abs(wanted - first), order.perm_id, wanted))
        return [(perm_id, wanted) for _, perm_id, wanted in sorted(found)]

    def _worse(self, price: Decimal, order: VenueOrder) -> Decimal:
        rounding = ROUND_CEILING if order.sign > 0 else ROUND_FLOOR
        return on_tick(price * (1 + order.sign * self._half_spread), _PRICE_STEP, rounding)

    @staticmethod
    def _trade(venue: Venue, meeting: _Meeting, perm_id: int, price: Decimal, now: datetime) -> list[Event]:
        quantity = min(venue.order(perm_id).remaining, meeting.left)
        if quantity <= 0:
            return []
        meeting.left -= quantity
        return venue.execute(perm_id, quantity, price, now)

    def history(self, symbol: str, *, daily: bool, until: datetime) -> Sequence[HistoryBar]:
        done = [bar for bar in self._bars[symbol].bars if bar.end <= until]
        if not daily:
            return [(bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in done]
        days: dict[date, list[Bar]] = {}
        for bar in done:
            days.setdefault(bar.start.astimezone(_NEW_YORK).date(), []).append(bar)
        return [
            (day[0].start, day[0].open, max(bar.high for bar in day), min(bar.low for bar in day), day[-1].close,
             sum((bar.volume for bar in day), ZERO))
            for day in days.values()
        ]  # fmt: skip


def _passes(order: VenueOrder, first: Decimal, last: Decimal) -> bool:
    """A price going down meets purchases at a limit and sales at a stop; going up, the others."""
    falling = last < first
    if order.ticket.order_type == OrderType.LIMIT:
        return falling == (order.sign > 0) and first != last
    return falling == (order.sign < 0) and first != last

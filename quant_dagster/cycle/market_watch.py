"""The market as the trading daemon sees it through its broker: quotes and traded volume, asked for no oftener than
they can change anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from quant_dagster.errors import BrokerError, DataUnavailableError
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder
from quant_dagster.execution.algorithms.progress import MarketView
from quant_dagster.execution.pricing import Quote

if TYPE_CHECKING:
    import polars as pl

    from quant_dagster.cycle.context import TradingContext

_QUOTE_SECONDS = 1.0
_VOLUME_SECONDS = 10.0


@runtime_checkable
class QuotingBroker(Protocol):
    """A broker that also tells prices."""

    def snapshot(self, symbol: str) -> Quote | None:
        """The market of a symbol now; None where the login has no data for it."""
        ...

    def history(self, symbol: str, start: datetime, end: datetime, bar_seconds: int) -> pl.DataFrame:
        """Bars that begin in ``[start, end)``: at least ``volume``."""
        ...


@runtime_checkable
class PreparingBroker(Protocol):
    """A broker that can look up what it trades before it has to."""

    def prepare(self, symbols: Sequence[str]) -> dict[str, str]:
        """Look symbols up; says which cannot be traded, and why."""
        ...


class MarketWatch:
    """Quotes and volumes, remembered for a moment."""

    def __init__(self, context: TradingContext) -> None:
        self.context = context
        self._quotes: dict[str, tuple[float, Quote | None]] = {}
        self._volumes: dict[str, tuple[float, Decimal | None]] = {}

    def quote(self, symbol: str) -> Quote | None:
        """The market of a symbol; None where the broker tells none."""
        broker = self.context.broker
        if not isinstance(broker, QuotingBroker):
            return None
        known = self._quotes.get(symbol)
        if known is None or time.monotonic() - known[0] > _QUOTE_SECONDS:
            known = self._quotes[symbol] = (time.monotonic(), broker.snapshot(symbol))
        return known[1]

    def prepare(self, symbols: Sequence[str]) -> dict[str, str]:
        """Have the broker look symbols up, so that sending waits for nothing; which cannot be traded, and why."""
        broker = self.context.broker
        return broker.prepare(symbols) if isinstance(broker, PreparingBroker) and symbols else {}

    def view(self, parent: ParentOrder) -> MarketView:
        """What an algorithm may know of a parent order's market."""
        calendar, session = self.context.calendar, self.context.trading_session()
        waiting = parent.starts_at is None
        quote = self.quote(parent.symbol) if waiting or not parent.algorithm.is_scheduled else None
        return MarketView(
            opens_at=calendar.open_time(session),
            closes_at=calendar.close_time(session),
            volume=self._volume(parent) if parent.algorithm is Algorithm.POV else None,
            last_price=None if quote is None else quote.middle,
        )

    def _volume(self, parent: ParentOrder) -> Decimal | None:
        """Shares traded since the parent's start; None where the broker does not say."""
        broker, started = self.context.broker, parent.starts_at
        if started is None or not isinstance(broker, QuotingBroker):
            return None
        known = self._volumes.get(parent.parent_id)
        if known is not None and time.monotonic() - known[0] <= _VOLUME_SECONDS:
            return known[1]
        try:
            bars = broker.history(parent.symbol, started, self.context.market_now(), 60)
            traded = Decimal(str(bars["volume"].sum() or 0))
        except (BrokerError, DataUnavailableError):
            traded = None
        self._volumes[parent.parent_id] = (time.monotonic(), traded)
        return traded

"""The market as the trading daemon sees it through its broker: quotes and traded volume, asked for no oftener than
they can change anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal

from quant_dagster.errors import BrokerError, DataUnavailableError
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder
from quant_dagster.execution.algorithms.progress import MarketView
from quant_dagster.execution.broker import Broker, PreparingBroker, QuotingBroker
from quant_dagster.execution.pricing import Quote
from quant_dagster.market_data.calendars import ExchangeCalendar

_QUOTE_SECONDS = 1.0
_VOLUME_SECONDS = 10.0


class MarketWatch:
    """Quotes and volumes, remembered for a moment.

    Parameters
    ----------
    session
        The session that trades now, or the next one that will.
    now
        The market's time.
    """

    def __init__(
        self,
        broker: Broker,
        calendar: ExchangeCalendar,
        *,
        session: Callable[[], date],
        now: Callable[[], datetime],
    ) -> None:
        self.broker = broker
        self.calendar = calendar
        self._session, self._now = session, now
        self._quotes: dict[str, tuple[float, Quote | None]] = {}
        self._volumes: dict[str, tuple[float, Decimal | None]] = {}

    def quote(self, symbol: str) -> Quote | None:
        """The market of a symbol; None where the broker tells none."""
        broker = self.broker
        if not isinstance(broker, QuotingBroker):
            return None
        known = self._quotes.get(symbol)
        if known is None or time.monotonic() - known[0] > _QUOTE_SECONDS:
            known = self._quotes[symbol] = (time.monotonic(), broker.snapshot(symbol))
        return known[1]

    def prepare(self, symbols: Sequence[str]) -> dict[str, str]:
        """Have the broker look symbols up, so that sending waits for nothing; which cannot be traded, and why."""
        broker = self.broker
        return broker.prepare(symbols) if isinstance(broker, PreparingBroker) and symbols else {}

    def view(self, parent: ParentOrder) -> MarketView:
        """What an algorithm may know of a parent order's market."""
        session = self._session()
        waiting = parent.starts_at is None
        quote = self.quote(parent.symbol) if waiting or not parent.algorithm.is_scheduled else None
        return MarketView(
            opens_at=self.calendar.open_time(session),
            closes_at=self.calendar.close_time(session),
            volume=self._volume(parent) if parent.algorithm is Algorithm.POV else None,
            last_price=None if quote is None else quote.middle,
        )

    def _volume(self, parent: ParentOrder) -> Decimal | None:
        """Shares traded since the parent's start; None where the broker does not say."""
        broker, started = self.broker, parent.starts_at
        if started is None or not isinstance(broker, QuotingBroker):
            return None
        known = self._volumes.get(parent.parent_id)
        if known is not None and time.monotonic() - known[0] <= _VOLUME_SECONDS:
            return known[1]
        try:
            bars = broker.history(parent.symbol, started, self._now(), 60)
            traded = Decimal(str(bars["volume"].sum() or 0))
        except (BrokerError, DataUnavailableError):
            traded = None
        self._volumes[parent.parent_id] = (time.monotonic(), traded)
        return traded

"""Market data over the trading connection: what arrival prices and benchmarks are taken from. Not a data vendor."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from quant_dagster.errors import BrokerError, BrokerUnavailableError, DataUnavailableError
from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.brokers.ibkr.client import IbkrClient
from quant_dagster.execution.brokers.ibkr.codes import answer_to
from quant_dagster.execution.brokers.ibkr.contracts import Contracts, Unqualified
from quant_dagster.execution.brokers.ibkr.hearing import NAME
from quant_dagster.execution.pricing import Quote

if TYPE_CHECKING:
    import polars as pl

_SIZES = {1: "1 secs", 5: "5 secs", 10: "10 secs", 15: "15 secs", 30: "30 secs", 60: "1 min", 120: "2 mins",
          180: "3 mins", 300: "5 mins", 600: "10 mins", 900: "15 mins", 1200: "20 mins", 1800: "30 mins",
          3600: "1 hour", 7200: "2 hours", 10800: "3 hours", 14400: "4 hours", 28800: "8 hours",
          86400: "1 day"}  # fmt: skip
_DAY = 86400
_NO_SUBSCRIPTION = frozenset({354, 10089, 10090, 10091, 10167, 10168, 10186, 10197})
_BID, _ASK, _LAST = 1, 2, 4


class Prices:
    """Snapshots and bars of symbols the broker knows."""

    def __init__(self, client: IbkrClient, contracts: Contracts) -> None:
        self._client, self._contracts = client, contracts

    def snapshot(self, symbol: str) -> Quote | None:
        """Bid, ask and last as they are now; None where the login has no market data for the symbol."""
        found = self._contracts.qualify(symbol)
        if isinstance(found, Unqualified):
            raise BrokerError(NAME, found.reason)
        try:
            ticks = self._client.ask(lambda: self._client.ticks(found.contract), f"asking for the market of {symbol}")
        except self._client.request_error as error:
            code = getattr(error, "code", 0)
            if code in _NO_SUBSCRIPTION:
                return None
            raise BrokerError(NAME, f"the market of {symbol} was asked for: {error}") from error
        return Quote(ticks.get(_BID), ticks.get(_ASK), ticks.get(_LAST))

    def history(self, symbol: str, start: datetime, end: datetime, bar_seconds: int, *, seconds: float) -> pl.DataFrame:
        """Bars of regular hours that begin in ``[start, end)``. See `IbkrBroker.history`."""
        import polars as pl

        size = _SIZES.get(bar_seconds)
        if size is None:
            raise BrokerError(NAME, f"bars of {bar_seconds} s are not to be had; only {sorted(_SIZES)}")
        if start.tzinfo is None or end.tzinfo is None or start >= end:
            raise BrokerError(NAME, f"history from {start} to {end}: two instants with time zones, in this order")
        found = self._contracts.qualify(symbol)
        if isinstance(found, Unqualified):
            raise DataUnavailableError(symbol, NAME, start.date(), end.date(), found.reason)
        length = math.ceil((end - start).total_seconds())
        duration = f"{max(length, bar_seconds)} S" if length <= _DAY else f"{math.ceil(length / _DAY) + 1} D"
        until = end.astimezone(UTC).strftime("%Y%m%d %H:%M:%S UTC")
        try:
            bars = self._client.ask(
                lambda: self._client.bars(found.contract, until, duration, size, seconds),
                f"asking for bars of {symbol}", seconds,
            )  # fmt: skip
        except self._client.request_error as error:
            if answer_to(getattr(error, "code", 0)).answer is Answer.RECONCILE:
                raise BrokerUnavailableError(NAME, f"bars of {symbol}: {error}") from error
            raise DataUnavailableError(symbol, NAME, start.date(), end.date(), str(error)) from error
        rows = [row for row in (_row(symbol, bar) for bar in bars) if start <= row["bar_start"] < end]
        if not rows:
            raise DataUnavailableError(symbol, NAME, start.date(), end.date(), "the broker sent no bars")
        return pl.DataFrame(rows, schema=_schema())


def _row(symbol: str, bar: Any) -> dict[str, Any]:
    began = bar.date
    if not isinstance(began, datetime):  # a daily bar is named by its day
        began = datetime(began.year, began.month, began.day, tzinfo=UTC) if isinstance(began, date) else began
    if not isinstance(began, datetime) or began.tzinfo is None:
        raise BrokerError(NAME, f"a bar of {symbol} begins at '{bar.date}', which names no instant")
    return {
        "symbol": symbol, "bar_start": began.astimezone(UTC), "open": bar.open, "high": bar.high, "low": bar.low,
        "close": bar.close, "volume": float(bar.volume),
    }  # fmt: skip


def _schema() -> dict[str, Any]:
    import polars as pl

    prices = {name: pl.Float64() for name in ("open", "high", "low", "close", "volume")}
    return {"symbol": pl.String(), "bar_start": pl.Datetime("us", "UTC")} | prices

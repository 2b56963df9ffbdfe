"""Market data over the trading connection: what arrival prices and benchmarks are taken from. Not a data vendor."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from quant_dagster.errors import BrokerError, BrokerUnavailableError, DataUnavailableError
from quant_dagster.execution.brokers.binance_spot.client import NAME, BinanceClient
from quant_dagster.execution.brokers.binance_spot.markets import Market
from quant_dagster.execution.brokers.binance_spot.messages import instant
from quant_dagster.execution.pricing import Quote

if TYPE_CHECKING:
    import polars as pl

_INTERVALS = {1: "1s", 60: "1m", 180: "3m", 300: "5m", 900: "15m", 1800: "30m", 3600: "1h", 7200: "2h", 14400: "4h",
              21600: "6h", 28800: "8h", 43200: "12h", 86400: "1d", 259200: "3d", 604800: "1w"}  # fmt: skip
_PAGE = 1000


def snapshot(client: BinanceClient, market: Market) -> Quote | None:
    """Best bid and ask and the last price; None where the book is empty and nothing ever traded."""
    doing, where = f"asking for the market of {market.symbol}", {"symbol": market.id}
    book = client.ask(doing, "publicGetTickerBookTicker", where, signed=False)
    last = client.ask(doing, "publicGetTickerPrice", where, signed=False)
    try:
        prices = [Decimal(book["bidPrice"]), Decimal(book["askPrice"]), Decimal(last["price"])]
    except (KeyError, TypeError, InvalidOperation) as error:
        raise BrokerUnavailableError(NAME, f"the market of {market.symbol} cannot be read: {book}, {last}") from error
    bid, ask, traded = (price or None for price in prices)  # an empty side is quoted as 0
    return Quote(bid, ask, traded) if any(prices) else None


def history(
    client: BinanceClient, market: Market, symbol: str, start: datetime, end: datetime, bar_seconds: int
) -> pl.DataFrame:
    """Bars that begin in ``[start, end)``. See `BinanceSpotBroker.history`."""
    import polars as pl

    interval = _INTERVALS.get(bar_seconds)
    if interval is None:
        raise BrokerError(NAME, f"bars of {bar_seconds} s are not to be had; only {sorted(_INTERVALS)}")
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise BrokerError(NAME, f"history from {start} to {end}: two instants with time zones, in this order")
    first, last = math.ceil(start.timestamp() * 1000), math.ceil(end.timestamp() * 1000) - 1
    rows: list[dict[str, Any]] = []
    while first <= last:
        asked = {"symbol": market.id, "interval": interval, "startTime": first, "endTime": last, "limit": _PAGE}
        page = client.ask(f"asking for bars of {symbol}", "publicGetKlines", asked, signed=False)
        rows += [_row(symbol, bar) for bar in page]
        if len(page) < _PAGE:
            break
        first = int(page[-1][0]) + 1
    if not rows:
        raise DataUnavailableError(symbol, NAME, start.date(), (end - timedelta(microseconds=1)).date(), "no bars")
    schema: dict[str, Any] = {"symbol": pl.String(), "bar_start": pl.Datetime("us", "UTC")}
    schema |= {name: pl.Float64() for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame(rows, schema=schema)


def _row(symbol: str, bar: Any) -> dict[str, Any]:
    try:
        numbers = dict(zip(("open", "high", "low", "close", "volume"), map(float, bar[1:6]), strict=True))
        return {"symbol": symbol, "bar_start": instant(bar[0])} | numbers
    except (TypeError, ValueError, IndexError) as error:
        raise BrokerUnavailableError(NAME, f"a bar of {symbol} cannot be read: {bar}") from error

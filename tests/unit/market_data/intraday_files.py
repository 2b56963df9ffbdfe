"""The real intraday files as sources, and small frames for what they do not show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from quant_dagster.market_data.intraday.options import QUOTE_FIELDS, BarTime, IntradayFile, IntradayKind
from quant_dagster.market_data.vendors.protocol import PRICE_FIELDS
from quant_dagster.storage.tables import lake_table
from tests.support.market_data import shared_data

NEW_YORK = "America/New_York"


def us24() -> IntradayFile:
    """24 US symbols over five sessions; bars named by their end."""
    columns = {"symbol": "symbol", "time": "bar_end_ny", **{name: name for name in PRICE_FIELDS}}
    path = shared_data("intraday_1min_us24_2019-02-11_15.parquet")
    return IntradayFile(path, IntradayKind.BARS, NEW_YORK, BarTime.END, columns, vendor="eqker")


def lean_bars(*, extended_hours: bool = False) -> IntradayFile:
    """10 US symbols, some days each, with trades before and after regular hours; bars named by their start."""
    columns = {"symbol": "symbol", "time": "bar_start_ny", **{name: name for name in PRICE_FIELDS}}
    path = shared_data("intraday_1min_lean_trades.parquet")
    return IntradayFile(
        path, IntradayKind.BARS, NEW_YORK, BarTime.START, columns, vendor="lean", extended_hours=extended_hours
    )


def lean_quotes() -> IntradayFile:
    """Bid and ask bars of the same."""
    columns = {"symbol": "symbol", "time": "bar_start_ny", **{name: name for name in QUOTE_FIELDS}}
    path = shared_data("intraday_1min_lean_quotes.parquet")
    return IntradayFile(path, IntradayKind.QUOTES, NEW_YORK, BarTime.START, columns, vendor="lean")


def minute_bars(first: datetime, minutes: list[int], symbol: str = "A", price: float = 10.0) -> pl.DataFrame:
    """Bars as the lake holds them, ``minutes`` after ``first`` (UTC): each closes a hundredth above the last."""
    starts = [first + timedelta(minutes=n) for n in minutes]
    closes = [price + n / 100 for n in range(len(minutes))]
    table = lake_table("intraday_bars")
    return pl.DataFrame(
        {
            "vendor": ["test"] * len(minutes), "symbol": [symbol] * len(minutes),
            "session": [start.date() for start in starts], "bar_start": starts, "seconds": [60] * len(minutes),
            "open": closes, "high": [close + 0.5 for close in closes], "low": [close - 0.5 for close in closes],
            "close": closes, "volume": [100.0] * len(minutes),
            "known_at": [start + timedelta(minutes=1) for start in starts],
        },
        schema=table.schema,
    )  # fmt: skip


def at(text: str) -> datetime:
    """An instant, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

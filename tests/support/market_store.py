"""Real rows as the lake holds them, for tests of the PostgreSQL market store."""

from __future__ import annotations

from datetime import date

import polars as pl

from quant_dagster.storage.tables import TIMESTAMP, lake_table
from tests.support.market_data import shared_data

NEW_YORK = "America/New_York"


def minute_bars(*symbols: str) -> pl.DataFrame:
    """Real one-minute bars of February 2019 as rows of ``intraday_bars``."""
    bars = pl.read_parquet(shared_data("intraday_1min_us24_2019-02-11_15.parquet"))
    ends = pl.col("bar_end_ny").dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC")
    rows = bars.with_columns(pl.col("symbol").cast(pl.String)).filter(pl.col("symbol").is_in(list(symbols)))
    return rows.select(
        pl.lit("eqker").alias("vendor"),
        "symbol",
        pl.col("bar_end_ny").dt.date().alias("session"),
        ends.dt.offset_by("-1m").alias("bar_start"),
        pl.lit(60, pl.Int32).alias("seconds"),
        *(pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume")),
        ends.alias("known_at"),
    ).cast(lake_table("intraday_bars").schema)  # type: ignore[arg-type]


def daily_bars(start: date, end: date, *symbols: str) -> pl.DataFrame:
    """Real daily bars as rows of ``bars``."""
    prices = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"))
    rows = prices.with_columns(pl.col("symbol").cast(pl.String)).filter(
        pl.col("symbol").is_in(list(symbols)), pl.col("date").is_between(start, end), pl.col("close").is_not_null()
    )
    return rows.select(
        "symbol",
        pl.col("date").alias("session"),
        *(pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume")),
        pl.lit("yahoo").alias("vendor"),
        pl.col("date").cast(TIMESTAMP).alias("known_at"),
        pl.lit("0" * 16).alias("row_hash"),
        pl.lit(None, pl.Float64).alias("level_factor"),
        pl.lit(None, pl.String).alias("vendor_change"),
    ).cast(lake_table("bars").schema)  # type: ignore[arg-type]

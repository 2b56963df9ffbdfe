"""What several of the measurements share: the clock, and the panel of 498 stocks. It measures nothing by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.market_data.panel import Panel  # noqa: E402

T = TypeVar("T")


def best(compute: Callable[[], T], runs: int = 3) -> tuple[float, T]:
    """Seconds by the clock, the least of some runs after one that warms up, and the result."""
    seconds, result = float("inf"), compute()
    for _ in range(runs):
        begin = time.perf_counter()
        result = compute()
        seconds = min(seconds, time.perf_counter() - begin)
    return seconds, result


def stock_panel() -> Panel:
    """Bars of all symbols."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    path = folder / "us_daily_yahoo_2014_2024.parquet"
    if not path.exists():
        sys.exit(f"{path} is not there; set QUANT_TEST_DATA to the folder that has it")
    bars = pl.read_parquet(path).rename({"date": "session"}).with_columns(pl.col("session").cast(pl.Date))
    return Panel.from_bars(bars)

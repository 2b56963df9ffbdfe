"""What a backfill costs: 498 symbols x 2,523 sessions from one Parquet file, and one more session.

Everything a desk does with prices is in it: screening, contracts, the lake, bars, detectors, score, expectations. It is
compared with reading the file and writing the same rows of the same three tables, in the same process.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.quality.expectations import run_expectations
from quant_dagster.settings import load_settings
from quant_dagster.storage.lake import Lake

DATA = Path(os.environ.get("QUANT_TEST_DATA", "../shared/data")) / "us_daily_yahoo_2014_2024.parquet"
START = date(2014, 1, 2)
TABLES = ("raw_prices", "bars", "quality")


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def desk(home: Path, path: Path) -> TradingContext:
    market = {"sources": {"prices": {"path": path}}, "vendors": ["prices"]}
    return TradingContext(load_settings({"home": home, "universe": "all_files", "market_data": market}))


def main() -> None:
    if not DATA.is_file():
        sys.exit(f"{DATA} is not there: set QUANT_TEST_DATA to the folder that holds it")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        warm_up(root)
        home = root / "home"
        loading = timed(lambda: history.backfill(desk(home, DATA), START))
        lake = Lake(home / "lake")
        bars = lake.read("bars")
        expecting = timed(lambda: run_expectations(bars))
        rows = {name: lake.read(name) for name in TABLES}

        def read_and_write() -> None:
            pl.read_parquet(DATA)
            other = Lake(root / "other")
            for name in TABLES:
                other.merge(name, rows[name])

        plain = timed(read_and_write)
        last = pl.read_parquet(DATA)["date"].max()
        newest = increment(root, last)
    total = loading + expecting
    print(f"rows {bars.height:,}, symbols {bars['symbol'].n_unique()}, sessions {bars['session'].n_unique()}")
    print(f"backfill {loading:.1f} s + expectations {expecting:.1f} s = {total:.1f} s")
    print(f"reading the file and writing the rows of three tables {plain:.1f} s")
    print(f"the work beside it: {(total - plain) / plain:.1f} x that")
    print(f"one more session of every symbol: {newest:.2f} s")


def warm_up(root: Path) -> None:
    """Imports and compiled kernels are not what is measured."""
    few = pl.read_parquet(DATA).filter(pl.col("symbol").is_in(["AAPL", "MSFT"]))
    few.write_parquet(root / "few.parquet")
    context = desk(root / "few", root / "few.parquet")
    history.backfill(context, START)
    run_expectations(context.lake.read("bars"))


def increment(root: Path, last: date) -> float:
    """Seconds to load, build, score and reconcile one session on top of all the others, in a desk that is open."""
    whole = pl.read_parquet(DATA)
    path = root / "growing.parquet"
    whole.filter(pl.col("date") < last).write_parquet(path)
    home = root / "growing"
    history.backfill(desk(home, path), START)
    whole.write_parquet(path)
    context = desk(home, path)
    return timed(lambda: history.backfill(context, last, last))


if __name__ == "__main__":
    main()

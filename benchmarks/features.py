"""Features of 498 stocks over ten years: the kernels beside pandas, and one symbol served online.

    python benchmarks/features.py [--online]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. pandas computes what it has
grouped forms for (the reference of the tests, values compared here too); the kernels compute every feature there is,
so the ratio is on the safe side. The best of three runs on each side; the first is a warm-up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.features.compute import compute, to_long  # noqa: E402
from quant_dagster.features.definitions import FEATURES  # noqa: E402
from quant_dagster.features.store import FeatureStore  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402
from tests.unit.features.pandas_reference import grid, reference_features  # noqa: E402

T = TypeVar("T")
COLD = (
    "import time; from quant_dagster.features.compute import compute;"
    "from tests.unit.features.real_panels import mixed_panel; p = mixed_panel();"
    "from quant_dagster.features.calendar import calendar_features as c; c(p.sessions);"
    "t, w = time.process_time(), time.perf_counter(); compute(p, threads=1);"
    "print(time.process_time() - t, time.perf_counter() - w)"
)


def main() -> None:
    """Run every part that was asked for and print what was measured."""
    data = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    source = data / "us_daily_yahoo_2014_2024.parquet"
    if not source.exists():
        sys.exit(f"{source} is not there: set QUANT_TEST_DATA to the folder that holds it")
    panel = Panel.from_bars(pl.read_parquet(source).rename({"date": "session"}))
    print(f"panel: {panel.close.shape[0]} sessions x {panel.close.shape[1]} symbols")
    compile_time()
    against_pandas(panel)
    if "--online" in sys.argv:
        online(panel)


def compile_time() -> None:
    """Seconds to compile all kernels in a fresh process, and to load them from the cache in the next."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(PROJECT)}
        for label in ("empty cache", "cached"):
            command = [sys.executable, "-c", COLD]
            done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
            cpu, wall = done.stdout.split()
            print(
                f"first compute of a process, {label}: {float(cpu):.2f} s of one core, {float(wall):.2f} s by the clock"
            )


def against_pandas(panel: Panel) -> None:
    """Time both sides on the same panel and compare every value both give."""
    features, ours = best(lambda: compute(panel))
    one_thread = best(lambda: compute(panel, threads=1))[1]
    data = grid(panel)
    reference, theirs = best(lambda: reference_features(data), times=2)
    worst, compared = 0.0, 0
    for name, series in reference.items():
        expected = series.to_numpy().reshape(len(panel.symbols), -1).T
        actual = features[name]
        both = np.isfinite(expected) & np.isfinite(actual)
        compared += int(both.sum())
        difference = np.abs(actual[both] - expected[both]) / (1.0 + np.abs(expected[both]))
        quantile = float(np.quantile(difference, 0.99999))
        worst = max(worst, quantile)
        if quantile > 1e-7:
            print(f"  {name}: 99.999 % of values differ by less than {quantile:.1e}, worst {difference.max():.1e}")
    print(f"kernels, {len(FEATURES)} features: {ours:.2f} s ({one_thread:.2f} s in one thread)")
    print(f"pandas groupby, {len(reference)} of them: {theirs:.2f} s")
    print(f"ratio: {theirs / ours:.1f} ({theirs / one_thread:.1f} in one thread)")
    print(f"agreement over {compared:,} values: 99.999 % within {worst:.1e} (relative to 1 + |value|)")


def online(panel: Panel) -> None:
    """Push the newest session to the SQLite online store and read one symbol many times."""
    frame = to_long(compute(panel), slice(-5, None))
    last = panel.last_session
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(PROJECT / "feature_repo", Path(folder))
        store.apply()
        known = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + timedelta(hours=23)
        _, seconds = best(lambda: store.write_offline(frame.with_columns(known.alias("known_at"))), times=1)
        print(f"write 5 sessions of all symbols offline: {seconds:.2f} s")
        push, seconds = best(lambda: store.push_online(last), times=1)
        print(f"push one session online ({push.written} symbol rows): {seconds:.2f} s")
        now = frame.with_columns(known.alias("now"))["now"].max()
        for label, asked in (("all features", None), ("5 features", list(FEATURES)[:5])):
            times = []
            for i in range(400):
                start = time.perf_counter()
                symbols = [panel.symbols[i % len(panel.symbols)]]
                store.get_online(symbols, now=now) if asked is None else store.get_online(symbols, asked, now=now)
                times.append((time.perf_counter() - start) * 1e3)
            p50, p99 = np.quantile(times[20:], [0.5, 0.99])
            print(f"one symbol online, {label}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def best(run: Callable[[], T], times: int = 4) -> tuple[T, float]:
    """Result and shortest time of some runs."""
    seconds = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        result = run()
        seconds = min(seconds, time.perf_counter() - start)
    return result, seconds


if __name__ == "__main__":
    main()

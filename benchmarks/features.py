"""Features of 498 stocks over ten years: the kernels beside pandas and polars, one session more, and online serving.

    python benchmarks/features.py [--online]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. pandas computes what it has
grouped forms for (the reference of the tests, values compared here too); the kernels compute every feature there is,
so the ratio is on the safe side; the same goes for polars' ``.over("symbol")``. The best of some runs on each side;
the first of ours is a warm-up. One session more: a state takes the session's bars and gives every feature of every
symbol, compared bit for bit with the batch.
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

from quant_dagster.features.compute import FeatureFrame, compute, to_long  # noqa: E402
from quant_dagster.features.cross_section import market_return  # noqa: E402
from quant_dagster.features.definitions import FEATURES  # noqa: E402
from quant_dagster.features.incremental import FeatureState, latest_values  # noqa: E402
from quant_dagster.features.store import FeatureStore  # noqa: E402
from quant_dagster.market_data.panel import FIELDS, Panel  # noqa: E402
from tests.unit.features.pandas_reference import grid, reference_features  # noqa: E402
from tests.unit.features.polars_reference import polars_features, polars_grid  # noqa: E402

T = TypeVar("T")
COLD = (
    "import time; from quant_dagster.features.compute import compute;"
    "from tests.unit.features.real_panels import mixed_panel; p = mixed_panel();"
    "from quant_dagster.features.calendar import calendar_features as c; c(p.sessions);"
    "t, w = time.process_time(), time.perf_counter(); compute(p, threads=1);"
    "print(time.process_time() - t, time.perf_counter() - w)"
)
COLD_SESSION = COLD.replace("compute(p, threads=1)", "latest_values(p, threads=1)").replace(
    "compute import compute", "incremental import latest_values"
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
    one_session(panel)
    against_pandas_and_polars(panel)
    if "--online" in sys.argv:
        online(panel)


def compile_time() -> None:
    """Seconds to compile all kernels in a fresh process, and to load them from the cache in the next."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(PROJECT)}
        for label, program in (
            ("empty cache", COLD),
            ("cached", COLD),
            ("its kernels for one session not compiled yet", COLD_SESSION),
            ("those cached too", COLD_SESSION),
        ):
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
            cpu, wall = done.stdout.split()
            print(
                f"first compute of a process, {label}: {float(cpu):.2f} s of one core, {float(wall):.2f} s by the clock"
            )


def one_session(panel: Panel) -> None:
    """Time the state's updates over the last 250 sessions, and the ways to come by one, and compare the bits."""
    features, batch = best(lambda: compute(panel))
    n, last = len(panel.sessions), 250
    state, building = best(lambda: FeatureState.of(panel.rows(0, n - last)))
    _, newest = best(lambda: latest_values(panel))
    bars = [np.stack([getattr(panel, field)[row] for field in FIELDS]) for row in range(n - last, n)]
    close = np.where(panel.close.T > 0.0, panel.close.T, np.nan)
    market = market_return(np.diff(np.log(close), axis=1, prepend=np.nan))[n - last :].tolist()
    column = panel.symbols.index("AAPL")
    one, one_bars = state.one("AAPL"), [np.ascontiguousarray(bar[:, [column]]) for bar in bars]
    times, one_times, different = [], [], 0
    ranks = [i for i, name in enumerate(FEATURES) if name.startswith("rank_")]
    for i in range(last):
        start = time.perf_counter()
        values = state.update(panel.sessions[n - last + i], bars[i])
        times.append(time.perf_counter() - start)
        different += different_bits(values, features.values[:, :, n - last + i])
    for i in range(last):
        start = time.perf_counter()
        values = one.update(panel.sessions[n - last + i], one_bars[i], market[i])
        one_times.append(time.perf_counter() - start)
        expected = features.values[:, [column], n - last + i].copy()
        expected[ranks] = np.nan
        different += different_bits(values, expected)
    print(
        f"all features of the newest session: batch {batch * 1e3:.0f} ms, without a state {newest * 1e3:.0f} ms "
        f"({batch / newest:.1f}x less), state built in {building * 1e3:.0f} ms"
    )
    for label, seconds in ((f"{len(panel.symbols)} symbols", times), ("one symbol", one_times)):
        p50, p90 = np.quantile(seconds[10:], [0.5, 0.9]) * 1e6
        least = min(seconds) * 1e6
        print(f"one session more, {label}: p50 {p50:.1f} us, p90 {p90:.1f} us, least {least:.1f} us")
    print(f"values that differ from the batch by a bit: {different} of {last * features.values[:, :, 0].size:,}")


def different_bits(actual: np.ndarray, expected: np.ndarray) -> int:
    """How many values are not the same bits; NaN equals NaN."""
    wrong = actual.view(np.int64) != np.ascontiguousarray(expected).view(np.int64)
    return int((wrong & ~(np.isnan(actual) & np.isnan(expected))).sum())


def against_pandas_and_polars(panel: Panel) -> None:
    """Time all sides on the same panel and compare every value that two of them give."""
    features, ours = best(lambda: compute(panel))
    one_thread = best(lambda: compute(panel, threads=1))[1]
    print(f"kernels, {len(FEATURES)} features: {ours:.2f} s ({one_thread:.2f} s in one thread)")
    long = polars_grid(panel)
    frame, theirs = best(lambda: polars_features(long), times=3)
    columns = {name: frame[name].to_numpy() for name in FEATURES if name in frame.columns}
    report("polars .over", features, columns, theirs, ours, one_thread)
    del frame, columns
    data = grid(panel)
    reference, theirs = best(lambda: reference_features(data), times=2)
    columns = {name: series.to_numpy() for name, series in reference.items()}
    report("pandas groupby", features, columns, theirs, ours, one_thread)


def report(
    label: str,
    features: FeatureFrame,
    reference: dict[str, np.ndarray],
    theirs: float,
    ours: float,
    one_thread: float,
) -> None:
    """Print a ratio with the agreement it rests on."""
    worst, compared = 0.0, 0
    for name, values in reference.items():
        expected = values.reshape(len(features.symbols), -1).T
        actual = features[name]
        both = np.isfinite(expected) & np.isfinite(actual)
        compared += int(both.sum())
        difference = np.abs(actual[both] - expected[both]) / (1.0 + np.abs(expected[both]))
        quantile = float(np.quantile(difference, 0.99999))
        worst = max(worst, quantile)
        if quantile > 1e-7:
            print(f"  {name}: 99.999 % of values differ by less than {quantile:.1e}, worst {difference.max():.1e}")
    print(f"{label}, {len(reference)} of them: {theirs:.2f} s")
    print(f"  ratio: {theirs / ours:.1f} ({theirs / one_thread:.1f} in one thread)")
    print(f"  agreement over {compared:,} values: 99.999 % within {worst:.1e} (relative to 1 + |value|)")


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

"""Detectors over a whole panel beside the per-symbol pandas loop a user would otherwise write.

    python benchmarks/quality.py

Both sides find the same things (missing sessions, stale runs, repeated bars, prices outside their range, zero and
absurd volume, crossed ranges, runs without volume, first-digit deviation, huge moves with what is usual for them) in
498 stocks over ten years; what they find is compared cell by cell. The whole-panel side is the best of three runs.
Reads us_daily_yahoo_2014_2024.parquet from ../shared/data, or from the folder QUANT_TEST_DATA names.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.market_data.panel import FIELDS, Panel  # noqa: E402
from quant_dagster.quality import bar_errors, benford, detectors  # noqa: E402
from quant_dagster.quality.detectors import DetectorSettings  # noqa: E402
from quant_dagster.quality.moves import measure_day  # noqa: E402
from quant_dagster.quality.score import score  # noqa: E402
from tests.unit.quality.planted_faults import aligned, read_rows  # noqa: E402

SETTINGS = DetectorSettings()


def main() -> None:
    """Measure both sides and print the ratio and the agreement."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT.parent / "shared" / "data"))
    home, second = (folder / f"us_daily_{name}_2014_2024.parquet" for name in ("yahoo", "nasdaqcom"))
    if not home.exists() or not second.exists():
        sys.exit(f"{home} or {second.name} is not there: set QUANT_TEST_DATA to the folder that holds them")
    panel = Panel.from_bars(read_rows(home))
    other = aligned(read_rows(second), panel)
    print(f"panel: {panel.close.shape[0]} sessions x {panel.close.shape[1]} symbols")
    ours, seconds = best_of(3, lambda: whole_panel(panel))
    theirs, loop_seconds = best_of(1, lambda: symbol_by_symbol(panel))
    print(f"the same detectors: {seconds:.2f} s; pandas by symbol: {loop_seconds:.1f} s; {loop_seconds / seconds:.1f}x")
    for name, mask in ours.items():
        differing = int((mask != theirs[name]).sum())
        print(f"  {name}: {int(mask.sum())} found, {differing} cells differ")
    _, alone = best_of(3, lambda: score(panel))
    _, beside = best_of(3, lambda: score(panel, None, (other,)))
    print(f"whole score (20 issues, and more than the loop does): {alone:.2f} s, {loop_seconds / alone:.1f}x; "
          f"with a second vendor (26 issues): {beside:.2f} s, {loop_seconds / beside:.1f}x")  # fmt: skip


def whole_panel(panel: Panel) -> dict[str, np.ndarray]:
    """The detectors as the desk runs them."""
    excess, day = detectors.ohlc_excess(panel), measure_day(panel, SETTINGS)
    limit = np.fmax(SETTINGS.move, SETTINGS.move_sigmas * np.where(np.isnan(day.usual), 0.0, day.usual))
    return {
        "missing session": detectors.missing_sessions(panel, SETTINGS),
        "stale price": detectors.stale_prices(panel, SETTINGS),
        "repeated bar": detectors.repeated_bars(panel),
        "price outside its range": excess > SETTINGS.ohlc_tolerance,
        "crossed range": bar_errors.crossed_range(panel, SETTINGS),
        "zero volume": detectors.zero_volume(panel),
        "run without volume": bar_errors.zero_volume_runs(panel, SETTINGS),
        "absurd volume": detectors.absurd_volume(panel, SETTINGS),
        "first digits": benford.unlikely_digits(panel, SETTINGS),
        "huge move": np.abs(day.move) > limit,
        "wide range": day.wide >= SETTINGS.confirming,
        "busy session": day.busy >= SETTINGS.confirming,
        "extreme wick": bar_errors.extreme_wicks(panel, day, SETTINGS),
        "repeated prices": bar_errors.repeated_prices(panel),
        "traded without volume": bar_errors.traded_without_volume(panel),
    }


def symbol_by_symbol(panel: Panel) -> dict[str, np.ndarray]:
    """The same with pandas, one symbol after the other."""
    found: dict[str, list[np.ndarray]] = {}
    for column in range(len(panel.symbols)):
        frame = pd.DataFrame({name: getattr(panel, name)[:, column] for name in FIELDS})
        for name, mask in _of_symbol(frame).items():
            found.setdefault(name, []).append(mask.to_numpy(dtype=bool))
    return {name: np.stack(columns, axis=1) for name, columns in found.items()}


def _of_symbol(bars: pd.DataFrame) -> dict[str, pd.Series]:
    s = SETTINGS
    absent, row = bars.close.isna(), pd.Series(range(len(bars)))
    since = row - row.where(~absent).ffill()
    run = bars.close.groupby((bars.close != bars.close.shift()).cumsum()).cumcount() + 1
    run = run.where(~absent, 0)
    top = bars[["open", "close", "low"]].max(axis=1) / bars.high - 1
    bottom = 1 - bars[["open", "close", "high"]].min(axis=1) / bars.low
    excess = pd.concat([top, bottom], axis=1).max(axis=1).clip(lower=0)
    log_volume = np.log(bars.volume.where(bars.volume > 0))
    relative = log_volume - log_volume.shift().rolling(s.window, min_periods=s.minimum).mean()
    log_close = np.log(bars.close)
    step = log_close.diff()
    from_level = log_close - log_close.shift().rolling(5, min_periods=1).median()
    move = from_level.where((from_level.abs() < step.abs()) | step.isna(), step)
    usual = step.abs().clip(upper=0.25).shift().rolling(s.window, min_periods=s.minimum).mean() * np.sqrt(np.pi / 2)
    spread = np.log(bars.high / bars.low)
    digit = np.floor(bars.volume / 10 ** np.floor(np.log10(bars.volume.where(bars.volume > 0))) + 1e-9)
    counts = digit.notna().astype(float).rolling(s.digits_window, min_periods=1).sum()
    deviation = sum(
        ((digit == d).astype(float).rolling(s.digits_window, min_periods=1).sum() / counts - benford.LAW[d - 1]).abs()
        for d in range(1, 10)
    )
    none = bars.volume == 0
    wide = spread / spread.shift().rolling(s.window, min_periods=s.minimum).mean()
    body = bars[["open", "close"]]
    wick = pd.concat([np.log(bars.high / body.max(axis=1)), np.log(body.min(axis=1) / bars.low)], axis=1).max(axis=1)
    ordinary = ~(relative >= np.log(s.confirming)) | (wick > 4 * s.extreme_wick)
    moved = (bars.high > bars.low) | (bars.close.shift().notna() & (bars.close != bars.close.shift()))
    prices = ["open", "high", "low", "close"]
    return {
        "missing session": absent & (since <= s.gone_after),
        "stale price": run >= s.stale_after,
        "repeated bar": (bars == bars.shift()).all(axis=1) & (bars.volume > 0),
        "price outside its range": excess > s.ohlc_tolerance,
        "crossed range": bars.high < bars.low * (1 - s.ohlc_tolerance),
        "zero volume": none,
        "run without volume": none.rolling(s.zero_run).sum() == s.zero_run,
        "absurd volume": relative.abs() > np.log(s.absurd_volume),
        "first digits": (deviation / 9 > s.digits_deviation) & (counts >= s.digits_minimum),
        "huge move": move.abs() > np.fmax(s.move, s.move_sigmas * usual.fillna(0)),
        "wide range": wide >= s.confirming,
        "busy session": np.exp(relative + move.clip(upper=0).fillna(0)) >= s.confirming,
        "extreme wick": (wick > s.extreme_wick) & ~(wide < s.wick_multiple) & ordinary,
        "repeated prices": (bars[prices] == bars[prices].shift()).all(axis=1) & (bars.high > bars.low),
        "traded without volume": none & moved,
    }


def best_of(runs: int, work: Callable[[], dict[str, np.ndarray] | object]) -> tuple[dict[str, np.ndarray], float]:
    """What ``work`` returns, and the shortest of its runs in seconds."""
    shortest, result = np.inf, None
    for _ in range(runs):
        started = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - started)
    return result, float(shortest)  # type: ignore[return-value]


if __name__ == "__main__":
    main()

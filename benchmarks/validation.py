"""Walking forward over 498 stocks: every GARCH refit through the desk's own function, beside the arch package.

    python benchmarks/validation.py [--origins 250] [--fits 40]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. One GARCH(1,1) per stock and
origin, from one start, together with all naive forecasts, losses, tests and the judgement; arch fits ``--fits`` of the
same windows, one after the other, and its rate is extrapolated to all of them. Both are warm.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks.measuring import stock_panel  # noqa: E402
from quant_dagster.cycle.validation import trading_figures  # noqa: E402
from quant_dagster.forecasting.history import return_history  # noqa: E402
from quant_dagster.forecasting.parameters import ForecastParameters  # noqa: E402
from quant_dagster.forecasting.validation.evaluation import Evaluation  # noqa: E402
from quant_dagster.forecasting.validation.judgement import Provenance, Rules, judge  # noqa: E402
from quant_dagster.forecasting.validation.walk_forward import walk_forward  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402

SETTINGS = ForecastParameters(families=("garch11",), garch_starts=1)


def walk(panel: Panel, origins: int) -> Evaluation:
    """The walk-forward, over one session."""
    return walk_forward(panel, horizons=(1,), sessions=origins, settings=SETTINGS)


def arch_seconds(panel: Panel, fits: int) -> float:
    """Seconds arch takes for one fit of the newest window, over evenly spread stocks."""
    from arch import arch_model

    history = return_history(panel, SETTINGS.window, SETTINGS.longest_gap)
    columns = np.flatnonzero(history.counts == SETTINGS.window)
    chosen = columns[np.linspace(0, len(columns) - 1, fits).astype(int)]
    series = [100.0 * history.returns[:, j] for j in chosen]
    arch_model(series[0], mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
    start = time.perf_counter()
    for returns in series:
        arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
    return (time.perf_counter() - start) / fits


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--origins", type=int, default=250)
    parser.add_argument("--fits", type=int, default=40)
    options = parser.parse_args()
    panel = stock_panel()
    walk(panel, 1)
    start = time.perf_counter()
    evaluation = walk(panel, options.origins)
    walked = time.perf_counter() - start
    fits = int(evaluation.own[-1].sum())
    start = time.perf_counter()
    judgement = judge(evaluation, trading_figures, Provenance(date(2024, 3, 8), 0, "benchmark"), Rules())
    judged = time.perf_counter() - start
    each = arch_seconds(panel, options.fits)
    print(f"walk-forward: {len(panel.symbols)} symbols, {options.origins} origins, {fits} GARCH fits: {walked:.1f} s")
    print(f"judgement: {judged:.1f} s")
    print(f"arch: {1.0 / each:.0f} fits a second, {each * fits:.0f} s for as many (extrapolated)")
    print(f"ratio: {each * fits / walked:.0f}")
    garch = judgement.scores.filter(pl.col("model") == "garch11").row(0, named=True)
    print(f"garch11 against ewma: {garch['verdict']}, Diebold-Mariano {garch['diebold_mariano']:.2f}")


if __name__ == "__main__":
    main()

"""Singular spectra and mean reversion of 498 stocks: the panel's code beside a dense decomposition and statsmodels.

    python benchmarks/spectrum.py [--every 10]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA: the log price paths of the
newest 1000 returns. NumPy's singular value decomposition of each trajectory matrix and statsmodels' regression are
run on every 10th stock (``--every``) in this process, and their rates compared with the panel's, the better of three
runs. Both sides have one BLAS thread: more of them slow the dense side down tenfold on a machine that does other
work.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks.measuring import best  # noqa: E402
from quant_dagster.forecasting.families.protocol import Answer, Request  # noqa: E402
from quant_dagster.forecasting.families.reversion import ou_family  # noqa: E402
from quant_dagster.forecasting.families.spectrum import mssa_family, ssa_family  # noqa: E402
from quant_dagster.forecasting.history import return_history  # noqa: E402
from quant_dagster.forecasting.ornstein_uhlenbeck import fit_ornstein_uhlenbeck  # noqa: E402
from quant_dagster.forecasting.parameters import ForecastParameters  # noqa: E402
from quant_dagster.forecasting.spectrum.singular import forecast_spectrum  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402

FloatArray = np.ndarray
STEPS = 5


def load() -> Panel:
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet")
    return Panel.from_bars(bars.rename({"date": "session"}).with_columns(pl.col("symbol").cast(pl.String)))


def dense(x: FloatArray, window: int, components: int) -> FloatArray:
    """The forecast path by the singular value decomposition of the trajectory matrix, diagonal averages by NumPy."""
    width = len(x) - window + 1
    left, values, right = np.linalg.svd(np.lib.stride_tricks.sliding_window_view(x, width), full_matrices=False)
    kept = (left[:, :components] * values[:components]) @ right[:components]
    place = np.add.outer(np.arange(window), np.arange(width)).ravel()
    smooth = np.bincount(place, kept.ravel()) / np.bincount(place)
    pi = left[-1, :components]
    recurrence = left[:-1, :components] @ pi / (1.0 - pi @ pi)
    path = np.append(smooth, np.zeros(STEPS))
    for t in range(len(x), len(path)):
        path[t] = path[t - window + 1 : t] @ recurrence
    return path


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--every", type=int, default=10)
    every = arguments.parse_args().every
    settings, panel = ForecastParameters(), load()
    history = return_history(panel, settings.window, settings.longest_gap)
    tried = (history.counts >= settings.min_observations) & (history.stale == 0)
    whole = np.flatnonzero(history.counts == settings.window)
    paths = np.vstack([np.zeros((1, len(whole))), np.cumsum(history.returns[:, whole], axis=0)])
    paths -= paths.mean(axis=0)
    counts = np.full(len(whole), len(paths))
    sample = range(0, len(whole), every)
    with threadpool_limits(1):
        seconds, spectra = best(
            lambda: forecast_spectrum(
                paths, counts, window=settings.ssa_window, components=settings.ssa_components, steps=STEPS
            )
        )
        rows = [np.ascontiguousarray(paths[:, j]) for j in sample]
        beside, wanted = best(lambda: [dense(x, settings.ssa_window, settings.ssa_components) for x in rows])
    apart = max(
        max(np.abs(spectra.reconstruction[j] - path[:-STEPS]).max(), np.abs(spectra.path[j] - path[-STEPS:]).max())
        for j, path in zip(sample, wanted, strict=True)
    )
    rate, of_dense = len(whole) / seconds, len(rows) / beside
    print(f"SSA     {len(whole)} x {len(paths)}: {rate:8,.0f}/s; dense SVD {of_dense:8,.0f}/s")
    print(f"        ratio {rate / of_dense:.1f}")
    print(f"        largest difference of reconstruction and forecast {apart:.1e}")

    from statsmodels.regression.linear_model import OLS
    from statsmodels.tools import add_constant

    seconds, fits = best(lambda: fit_ornstein_uhlenbeck(paths, counts))
    beside, regressions = best(lambda: [OLS(x[1:], add_constant(x[:-1])).fit().params for x in rows])
    apart = max(abs(fits.coefficient[j] - found[1]) for j, found in zip(sample, regressions, strict=True))
    rate, of_ols = len(whole) / seconds, len(rows) / beside
    print(f"OU      {len(whole)} x {len(paths)}: {rate:8,.0f}/s; statsmodels OLS {of_ols:8,.0f}/s")
    print(f"        ratio {rate / of_ols:.1f}")
    print(f"        largest difference of the coefficient {apart:.1e}")

    request = Request(history, (1, STEPS), settings, 2, tried, panel.last(settings.window + 1))
    for family in (ssa_family, mssa_family, ou_family):
        seconds, replies = best(lambda family=family: family(request))
        answered = sum(isinstance(reply, Answer) for reply in replies)
        print(f"{family.__name__:12s} {len(replies)} symbols: {seconds:.2f} s, {answered} answered")


if __name__ == "__main__":
    main()

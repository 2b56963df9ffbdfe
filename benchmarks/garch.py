"""Conditional variances and correlations of 498 stocks from ten years of returns: the panel kernels beside arch.

    python benchmarks/garch.py [--every 10]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. The kernels fit every stock on
two threads, the better of three runs after one that compiles; arch fits every 10th stock (``--every``) in this one
process, returns in percent, ``rescale=False``, and its rate is compared with the kernels'. Both start their recursions
from arch's backcast, so that their likelihoods are of the same thing; agreement is of likelihoods, since two
optimisers may stop beside each other. Tests of the residuals are in neither time. The ratio by the clock has two cores
against one and suffers on a machine that does other work; the ratio per core is of processor time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.forecasting.history import ReturnHistory, return_history  # noqa: E402
from quant_dagster.forecasting.parameters import Backcast, ForecastParameters  # noqa: E402
from quant_dagster.forecasting.variance.correlations import correlate  # noqa: E402
from quant_dagster.forecasting.variance.egarch import EgarchFits, fit_egarch  # noqa: E402
from quant_dagster.forecasting.variance.garch import GarchFits, fit_garch  # noqa: E402
from quant_dagster.forecasting.variance.search import FITTED  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402

T = TypeVar("T")
WORKERS = 2
ORIGINS = 250
FEWEST = 250  # returns of a stock that arch is asked about


def load() -> Panel:
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet")
    return Panel.from_bars(bars.rename({"date": "session"}).with_columns(pl.col("symbol").cast(pl.String)))


def best(compute: Callable[[], T], runs: int = 3) -> tuple[float, float, T]:
    """Seconds by the clock and of processor time, the least of each, and the result."""
    seconds, processor, result = np.inf, np.inf, compute()  # the first run compiles
    for _ in range(runs):
        begin, begin_processor = time.perf_counter(), time.process_time()
        result = compute()
        seconds = min(seconds, time.perf_counter() - begin)
        processor = min(processor, time.process_time() - begin_processor)
    return seconds, processor, result


def arch_likelihood(y: np.ndarray, model: dict[str, object]) -> float:
    from arch import arch_model

    fit = arch_model(100 * y, mean="Constant", p=1, q=1, rescale=False, **model).fit(disp="off")  # type: ignore[arg-type]
    return float(fit.loglikelihood + len(y) * np.log(100))


def compare(
    name: str,
    fit: Callable[..., GarchFits | EgarchFits],
    model: dict[str, object],
    targets: dict[int, int],
    history: ReturnHistory,
    chosen: list[int],
) -> None:
    """One line for each number of starts; ``targets`` is starts to the ratio asked for (0: none)."""
    arch_likelihood(history.returns[:500, chosen[0]], model)  # its first fit imports and compiles
    begin, begin_processor = time.perf_counter(), time.process_time()
    likelihoods = np.array([arch_likelihood(history.returns[: history.counts[j], j], model) for j in chosen])
    library = len(chosen) / (time.perf_counter() - begin)
    library_core = len(chosen) / (time.process_time() - begin_processor)
    for starts, target in targets.items():
        seconds, processor, fits = best(
            lambda starts=starts: fit(
                history.returns, history.counts, steps=5, starts=starts, backcast=Backcast.ARCH, workers=WORKERS
            )
        )
        rate, core = len(history.counts) / seconds, len(history.counts) / processor
        gain = fits.log_likelihood[chosen] - likelihoods
        print(
            f"{name:12s} {starts} start(s) {rate:8,.0f}/s   arch {library:6.1f}/s   {rate / library:5,.0f} x "
            f"(per core {core / library_core:4,.0f} x) "
            f"{f'(target {target})' if target else '':12s} likelihood >= arch - 1e-3 on "
            f"{np.sum(gain >= -1e-3)} of {len(chosen)}, worst {gain.min():.1e}, best {gain.max():.1e}; "
            f"{np.sum(fits.status != FITTED)} of {len(fits.status)} not fitted",
            flush=True,
        )


def walk_forward(panel: Panel, settings: ForecastParameters, starts: int) -> None:
    """Refit every stock cold at each of the last sessions; arch on a few of the same windows, and its time scaled."""
    garch = {"vol": "GARCH", "o": 0}
    sessions, refits = len(panel.sessions), 0
    windows: list[np.ndarray] = []
    likelihoods: list[float] = []
    fit_garch(np.zeros((50, 1), order="F"), np.array([50]), steps=1)  # compiles
    spent = 0.0
    for origin in range(sessions - ORIGINS + 1, sessions + 1):
        begin = time.perf_counter()
        history = return_history(panel.rows(max(0, origin - settings.window - 1), origin), settings.window, 5)
        tried = (history.counts >= settings.min_observations) & (history.stale == 0)
        fits = fit_garch(
            history.returns,
            history.counts,
            steps=5,
            starts=starts,
            backcast=Backcast.ARCH,
            tried=tried,
            workers=WORKERS,
        )
        spent += time.perf_counter() - begin
        refits += int(np.sum(fits.status == FITTED))
        if origin % 10 == 0:
            j = (7 * origin) % len(tried)
            if tried[j]:
                windows.append(history.returns[: history.counts[j], j])
                likelihoods.append(float(fits.log_likelihood[j]))
    begin = time.perf_counter()
    theirs = [arch_likelihood(window, garch) for window in windows]
    library = (time.perf_counter() - begin) / len(windows) * refits
    gain = np.array(likelihoods) - np.array(theirs)
    print(
        f"walk-forward, {ORIGINS} origins, window {settings.window}, {starts} start(s), cold: {refits:,} refits in "
        f"{spent:.1f} s (target 20)   arch about {library:,.0f} s   {library / spent:,.0f} x   "
        f"likelihood >= arch - 1e-3 on {np.sum(gain >= -1e-3)} of {len(gain)}, worst {gain.min():.1e}",
        flush=True,
    )


def correlations(panel: Panel, settings: ForecastParameters) -> None:
    history = return_history(panel, settings.window, settings.longest_gap)
    ready = (history.counts >= settings.min_observations) & (history.stale == 0)
    fits = fit_garch(history.returns, history.counts, steps=1, tried=ready, workers=WORKERS)
    seconds, _, found = best(lambda: correlate(panel, history, fits, WORKERS))
    least = np.linalg.eigvalsh(found.matrix)[0]
    print(
        f"DCC(1,1) of {len(found.symbols)} stocks, {settings.window} sessions: {seconds:.2f} s, "
        f"a {found.dynamics.a:.4f}, b {found.dynamics.b:.4f}, smallest eigenvalue {least:.4f}, "
        f"correlation with the market {found.market_correlation.min():.2f} to {found.market_correlation.max():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=10, help="arch fits every n-th stock")
    every = parser.parse_args().every
    warnings.simplefilter("ignore")
    panel, settings = load(), ForecastParameters()
    history = return_history(panel, len(panel.sessions) - 1, 5)
    chosen = [j for j in range(0, len(panel.symbols), every) if history.counts[j] >= FEWEST]
    print(f"{len(panel.symbols)} stocks, {len(panel.sessions)} sessions, {WORKERS} threads\n")
    compare("GARCH(1,1)", fit_garch, {"vol": "GARCH", "o": 0}, {1: 60, 2: 0, 4: 15}, history, chosen)
    compare("GJR(1,1)", partial(fit_garch, asymmetric=True), {"vol": "GARCH", "o": 1}, {1: 0, 4: 30}, history, chosen)
    compare("EGARCH-t", fit_egarch, {"vol": "EGARCH", "o": 1, "dist": "t"}, {1: 0, 2: 0, 4: 0}, history, chosen)
    for starts in (1, settings.garch_starts):
        walk_forward(panel, settings, starts)
    correlations(panel, settings)


if __name__ == "__main__":
    main()

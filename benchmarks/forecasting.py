"""Forecasts of 498 stocks from ten years of returns: the panel kernels beside arch, hmmlearn and statsmodels.

    python benchmarks/forecasting.py [--every 25]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. The kernels fit every stock on
all processors; the reference library, which fits one series at a time, every 25th stock (``--every``), and its rate is
compared with the kernels' rate per second. Both are warm: compiled, imported, and the better of three runs for the
kernels. Agreement is of likelihoods, since two optimisers may stop beside each other.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.forecasting.autoregression import fit_autoregressions  # noqa: E402
from quant_dagster.forecasting.garch import fit_garch  # noqa: E402
from quant_dagster.forecasting.history import ReturnHistory, return_history  # noqa: E402
from quant_dagster.forecasting.parameters import Backcast  # noqa: E402
from quant_dagster.forecasting.records import LEVELS  # noqa: E402
from quant_dagster.forecasting.regimes import fit_regimes  # noqa: E402
from quant_dagster.forecasting.runner import forecast_session  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402

T = TypeVar("T")
WORKERS = os.cpu_count() or 1
COLD = (
    "import sys, time; sys.path.insert(0, '.'); w, c = time.perf_counter(), time.process_time();"
    "from benchmarks.forecasting import load; from quant_dagster.forecasting.runner import forecast_session;"
    "p = load(); print('  ready', round(time.perf_counter() - w, 2), 's');"
    "w, c = time.perf_counter(), time.process_time(); forecast_session(p, data_version=0);"
    "print('  session', round(time.perf_counter() - w, 2), 's, of processor time', round(time.process_time() - c, 2))"
)


def load() -> Panel:
    """Adjusted closes do not matter here: split-adjusted bars of all symbols."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet")
    return Panel.from_bars(bars.rename({"date": "session"}).with_columns(pl.col("symbol").cast(pl.String)))


def best(compute: Callable[[], T], runs: int = 3) -> tuple[float, T]:
    seconds, result = np.inf, compute()  # the first run compiles
    for _ in range(runs):
        begin = time.perf_counter()
        result = compute()
        seconds = min(seconds, time.perf_counter() - begin)
    return seconds, result


def report(name: str, kernel_rate: float, library: str, library_rate: float, agreement: str) -> None:
    print(
        f"{name:34s} {kernel_rate:9,.0f}/s   {library:12s} {library_rate:8.1f}/s   "
        f"{kernel_rate / library_rate:7,.0f} x   {agreement}"
    )


def garch(history: ReturnHistory, chosen: list[int]) -> None:
    from arch import arch_model

    likelihoods = []
    begin = time.perf_counter()
    for j in chosen:
        y = 100 * history.returns[: history.counts[j], j]
        fit = arch_model(y, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
        likelihoods.append(fit.loglikelihood + len(y) * np.log(100))
    library = len(chosen) / (time.perf_counter() - begin)
    for starts in (1, 2, 4):
        seconds, fits = best(
            lambda starts=starts: fit_garch(
                history.returns, history.counts, steps=5, starts=starts, backcast=Backcast.ARCH, workers=WORKERS
            )
        )
        gain = fits.log_likelihood[chosen] - np.array(likelihoods)
        agreement = (
            f"likelihood >= arch - 1e-3 on {np.sum(gain >= -1e-3)} of {len(chosen)}, "
            f"worst {gain.min():.1e}, best {gain.max():.1e}"
        )
        report(f"GARCH(1,1), {starts} start(s)", len(history.counts) / seconds, "arch", library, agreement)


def hmm(history: ReturnHistory, chosen: list[int], states: int) -> None:
    """hmmlearn is given the kernels' starting point, tolerance and scale, and no priors."""
    from hmmlearn.hmm import GaussianHMM

    from quant_dagster.forecasting.regimes import _start_variances

    options = {"states": states, "horizons": (1,), "probabilities": LEVELS, "tolerance": 1e-2, "workers": WORKERS}
    seconds, fits = best(lambda: fit_regimes(history.returns, history.counts, **options))  # type: ignore[arg-type]
    start = _start_variances(np.ascontiguousarray(history.returns.T), history.counts, states)
    moves = np.where(np.eye(states) > 0, 0.95, 0.05 / (states - 1))
    difference, iterations, spent = [], 0, 0.0
    for j in chosen:
        y = history.returns[: history.counts[j], j]
        z = ((y - y.mean()) / y.std())[:, None]
        model = GaussianHMM(states, n_iter=500, tol=1e-2, init_params="", covars_prior=0.0, min_covar=0.0)
        model.startprob_, model.transmat_ = np.full(states, 1 / states), moves.copy()
        model.means_, model.covars_ = np.zeros((states, 1)), start[j][:, None].copy()
        begin = time.perf_counter()
        model.fit(z)
        spent += time.perf_counter() - begin
        iterations += model.monitor_.iter == fits.iterations[j]
        if np.isfinite(fits.log_likelihood[j]):
            difference.append(abs(model.score(z) - len(y) * np.log(y.std()) - fits.log_likelihood[j]))
    agreement = (
        f"likelihood within {max(difference):.1e} on the {len(difference)} of {len(chosen)} with sound regimes, "
        f"same iterations on {iterations}"
    )
    report(f"Gaussian HMM, {states} states", len(history.counts) / seconds, "hmmlearn", len(chosen) / spent, agreement)


def autoregression(history: ReturnHistory, chosen: list[int]) -> None:
    from statsmodels.stats.diagnostic import acorr_ljungbox
    from statsmodels.stats.stattools import jarque_bera
    from statsmodels.tsa.ar_model import AutoReg, ar_select_order

    seconds, fits = best(lambda: fit_autoregressions(history.returns, history.counts, max_order=5, steps=5))
    same, worst = 0, 0.0
    begin = time.perf_counter()
    for j in chosen:
        y = history.returns[: history.counts[j], j]
        order = len(ar_select_order(y, 5, ic="bic").ar_lags or ())
        fit = AutoReg(y, order).fit()
        std = fit.get_prediction(len(y), len(y) + 4).se_mean
        acorr_ljungbox(fit.resid, lags=[10], model_df=order)
        jarque_bera(fit.resid)
        same += order == fits.order[j]
        worst = max(worst, float(np.abs(fits.step_std[j] / std - 1).max()))
    library = len(chosen) / (time.perf_counter() - begin)
    agreement = f"same order on {same} of {len(chosen)}, forecast errors within {worst:.0e}"
    report("AR(0-5) by BIC, with tests", len(history.counts) / seconds, "statsmodels", library, agreement)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=25, help="the reference library fits every n-th stock")
    every = parser.parse_args().every
    warnings.simplefilter("ignore")
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # it says when a regime collapses onto few observations
    panel = load()
    history = return_history(panel, 2520, 5)
    chosen = [j for j in range(0, len(panel.symbols), every) if history.counts[j] >= 250]
    print(f"{len(panel.symbols)} stocks, {len(history.returns)} returns, {WORKERS} processors\n")
    autoregression(history, chosen)
    garch(history, chosen)
    hmm(history, chosen, 2)
    hmm(history, chosen, 3)
    seconds, run = best(lambda: forecast_session(panel, data_version=0))
    print(
        f"\none session, window 1,000, all models: {seconds:.2f} s for {run.frame.height} rows, "
        f"{len(run.failures)} fallbacks"
    )
    with tempfile.TemporaryDirectory() as home:
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        for title in ("first process ever (compiles)", "second process (from the cache)"):
            print(title, flush=True)
            subprocess.run(
                [sys.executable, "-c", COLD], cwd=PROJECT, env=environment | {"QUANT_HOME": home}, check=True
            )


if __name__ == "__main__":
    main()

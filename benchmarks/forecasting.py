"""Forecasts of 498 stocks from ten years of returns: the panel kernels beside hmmlearn and statsmodels.

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
from quant_dagster.forecasting.history import ReturnHistory, return_history  # noqa: E402
from quant_dagster.forecasting.records import LEVELS  # noqa: E402
from quant_dagster.forecasting.regimes.hidden_markov import fit_regimes  # noqa: E402
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


def hmm(history: ReturnHistory, chosen: list[int], states: int) -> None:
    """hmmlearn is given the kernels' starting point, tolerance and scale, and no priors."""
    from hmmlearn.hmm import GaussianHMM

    from quant_dagster.forecasting.regimes.estimation import _start_variances

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


def arma(history: ReturnHistory, chosen: list[int], order: tuple[int, int, int, int], period: int) -> None:
    """statsmodels is given percent, on which its optimiser does best, and its own starting values."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    from quant_dagster.forecasting.arma.sarimax import fit_arma

    seconds, fits = best(
        lambda: fit_arma(history.returns, history.counts, orders=[order], period=period, workers=WORKERS), runs=2
    )
    gain, spent = [], 0.0
    p, q, seasonal_p, seasonal_q = order
    for j in chosen:
        y = 100 * history.returns[: history.counts[j], j]
        begin = time.perf_counter()
        model = SARIMAX(y, order=(p, 0, q), seasonal_order=(seasonal_p, 0, seasonal_q, period), trend="c")
        fit = model.fit(disp=False, maxiter=200)
        spent += time.perf_counter() - begin
        gain.append(fits.log_likelihoods[j, 0] - fit.llf - len(y) * np.log(100))
    agreement = (
        f"likelihood >= statsmodels - 1e-3 on {np.sum(np.array(gain) >= -1e-3)} of {len(chosen)}, "
        f"worst {min(gain):.1e}, best {max(gain):.1e}"
    )
    name = f"ARMA({p},{q})" + (f"({seasonal_p},{seasonal_q})_{period}" if period else "")
    report(name, len(history.counts) / seconds, "statsmodels", len(chosen) / spent, agreement)


def order_selection(history: ReturnHistory) -> None:
    from quant_dagster.forecasting.arma.sarimax import candidate_orders, fit_arma

    for period in (0, 5):
        orders = candidate_orders(2, period > 0)
        begin = time.perf_counter()
        fits = fit_arma(history.returns, history.counts, orders=orders, period=period, workers=WORKERS)
        seconds = time.perf_counter() - begin
        white = int(np.sum(fits.parameters.orders.sum(axis=1) == 0))
        print(
            f"order by BIC among {len(orders)}, period {period}: {seconds:.1f} s for {len(history.counts)} stocks; "
            f"{white} have no terms, {int(np.sum(~np.isfinite(fits.log_likelihoods)))} searches failed"
        )


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
    arma(history, chosen, (1, 1, 0, 0), 0)
    arma(history, chosen, (1, 0, 0, 1), 5)
    order_selection(history)
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

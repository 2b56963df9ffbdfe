"""VaR, ES and contributions of 498 stocks by every method, and ten years of backtests, beside pandas, arch and scipy.

    python benchmarks/risk_measures.py

Reads ../shared/data/us_daily_nasdaqcom_2014_2024.parquet, or that file in QUANT_TEST_DATA. Both sides measure the same
equal positions over the newest 500 sessions at 95 % and 99 %, the better of three runs after one that compiles and
imports. The plain side is what a user would write: pandas for the P&L and the contributions, symbol by symbol,
scikit-learn's Ledoit-Wolf covariance, one arch fit, scipy's Pareto fit, and no diagnostics of the tail; ours has them.
Symbols with too short a history are left out, missing returns of the others are completed before either starts.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks.measuring import best  # noqa: E402
from quant_dagster.risk.measures.backtests import backtest, judge, portfolio_returns  # noqa: E402
from quant_dagster.risk.measures.correlations import shrunk_correlation  # noqa: E402
from quant_dagster.risk.measures.heat import heat  # noqa: E402
from quant_dagster.risk.measures.holdings import SMALLEST_COVERAGE, Holdings, holdings  # noqa: E402
from quant_dagster.risk.measures.measure import Method, measure  # noqa: E402
from quant_dagster.settings import RiskMeasureSettings  # noqa: E402

CONFIDENCES = (0.95, 0.99)
WINDOW = 500
WORKERS = 2
POSITION = 2_000.0
Numbers = dict[tuple[str, float], tuple[float, float]]


def load() -> tuple[np.ndarray, list[str]]:
    """Simple returns, shape (sessions, symbols)."""
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_nasdaqcom_2014_2024.parquet").with_columns(
        pl.col("symbol").cast(pl.String)
    )
    table = bars.pivot(on="symbol", index="date", values="close").sort("date").drop("date")
    closes = table.to_numpy()
    return closes[1:] / closes[:-1] - 1.0, table.columns


def plain(returns: pd.DataFrame, values: pd.Series) -> Numbers:
    """The same measures from the usual libraries, symbol by symbol."""
    from arch import arch_model
    from scipy import stats
    from sklearn.covariance import LedoitWolf

    results: Numbers = {}

    def simulated(name: str, scenarios: pd.DataFrame) -> None:
        pnl = sum(scenarios[symbol] * values[symbol] for symbol in scenarios)
        for confidence in CONFIDENCES:
            var = -pnl.quantile(1.0 - confidence, interpolation="higher")
            tail = pnl <= pnl.nsmallest(round(len(pnl) * (1.0 - confidence))).iloc[-1]
            near = pnl.sub(-var).abs().nsmallest(int(tail.sum()) // 2 * 2 + 1).index
            for symbol in scenarios:
                _ = -(scenarios[symbol][tail] * values[symbol]).mean()
                _ = -(scenarios[symbol].loc[near] * values[symbol]).mean()
            results[name, confidence] = float(var), float(-pnl[tail].mean())

    def extreme(name: str, pnl: pd.Series) -> None:
        losses = -pnl
        count = len(losses) // 10
        threshold = losses.nlargest(count + 1).iloc[-1]
        shape, _, scale = stats.genpareto.fit(losses.nlargest(count) - threshold, floc=0.0)
        for confidence in CONFIDENCES:
            var = threshold + scale / shape * ((len(losses) * (1.0 - confidence) / count) ** -shape - 1.0)
            results[name, confidence] = float(var), float((var + scale - shape * threshold) / (1.0 - shape))

    simulated("historical", returns)
    covariance = LedoitWolf().fit(returns).covariance_
    deviation = float(np.sqrt(values @ covariance @ values))
    for confidence in CONFIDENCES:
        z = stats.norm.ppf(confidence)
        results["parametric", confidence] = z * deviation, stats.norm.pdf(z) / (1.0 - confidence) * deviation
        for j, symbol in enumerate(returns):
            _ = values[symbol] * (covariance[j] @ values) / deviation
    pnl = sum(returns[symbol] * values[symbol] for symbol in returns)
    fit = arch_model(pnl / pnl.std(), mean="Constant", p=1, q=1, rescale=False).fit(disp="off")
    ahead = float(np.sqrt(fit.forecast(horizon=1).variance.iloc[-1, 0]))
    factor = ahead / fit.conditional_volatility
    simulated("filtered_historical", returns.mul(factor, axis=0))
    extreme("extreme_value", pnl)
    extreme("conditional_extreme_value", pnl * factor)
    return results


def beside(held: Holdings, settings: RiskMeasureSettings) -> None:
    seconds, found = best(
        lambda: measure(held.returns, held.values, held.symbols, list(CONFIDENCES), settings.horizon, settings)
    )
    frame = pd.DataFrame(held.returns, columns=list(held.symbols))
    library, theirs = best(lambda: plain(frame, pd.Series(held.values, index=list(held.symbols))), runs=1)
    print(
        f"VaR, ES and contributions, {len(held.symbols)} names x {len(held.returns)} sessions, {len(Method)} methods "
        f"at 2 confidences: {1e3 * seconds:.0f} ms (target 100)   "
        f"plain {1e3 * library:,.0f} ms   {library / seconds:.0f} x"
    )
    gross = float(np.abs(held.values).sum())
    for one in found:
        var, es = theirs.get((one.method, one.confidence), (np.nan, np.nan))
        print(
            f"  {one.method:26s} {one.confidence:.0%}  VaR {one.var / gross:7.3%}  ES {one.es / gross:7.3%}   "
            f"plain {var / gross:7.3%} {es / gross:7.3%}   {'; '.join(one.diagnostics['warnings'])}"
        )
    correlation_seconds, correlations = best(lambda: shrunk_correlation(held.returns, held.symbols))
    print(f"shrunk correlations: {1e3 * correlation_seconds:.0f} ms, shrinkage {correlations.shrinkage:.3f}")
    print(f"{heat(correlations, held.values, gross)}\n")


def backtests(returns: np.ndarray, settings: RiskMeasureSettings) -> None:
    total = 0.0
    for method in Method:
        begin = time.perf_counter()
        results = backtest(returns, method, WINDOW, CONFIDENCES, settings.tail_share, WORKERS)
        verdicts = [judge(result, settings) for result in results]
        total += time.perf_counter() - begin
        for verdict in verdicts:
            print(
                f"  {verdict.method:26s} {verdict.confidence:.0%}  {verdict.exceedances:4d} of {verdict.expected:5.1f} "
                f"  Kupiec p {verdict.coverage.p_value:.3f}  independence p {verdict.independence.p_value:.3f}  "
                f"both p {verdict.conditional_coverage.p_value:.3f}  {verdict.zone:6s}  Z2 {verdict.shortfall:6.2f} "
                f"p {verdict.shortfall_p_value:.3f}  mean VaR {verdict.mean_var:.2%} ES {verdict.mean_es:.2%}"
            )
    print(f"backtests of {len(returns) - WINDOW} sessions, window {WINDOW}: {total:.1f} s in all")


def main() -> None:
    warnings.simplefilter("ignore")
    returns, symbols = load()
    settings = RiskMeasureSettings()
    newest = returns[-WINDOW:]
    old_enough = np.isfinite(newest).mean(axis=0) >= SMALLEST_COVERAGE
    beside(holdings(newest, POSITION * old_enough, symbols), settings)
    backtests(portfolio_returns(returns, np.full(len(symbols), 1.0 / len(symbols))), settings)


if __name__ == "__main__":
    main()

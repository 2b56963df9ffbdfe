"""Whether value at risk was foreseen: every method forecast session by session over real history, stored with its path.

Belongs here: which portfolio is looked at over which history, and what is stored. Does not: the forecasts and the tests
on them (``risk.measures.backtests``).
"""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.cycle import history
from quant_dagster.errors import RiskError
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.risk.measures.backtests import BASEL_SESSIONS, Backtest, Verdict, backtest, judge, portfolio_returns
from quant_dagster.risk.measures.holdings import SMALLEST_COVERAGE
from quant_dagster.risk.measures.measure import Method
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

FloatArray = NDArray[np.float64]
Sessions = NDArray[np.datetime64]
PortfolioName = Literal["equal_weight", "account"]

FILTERED = (Method.FILTERED_HISTORICAL, Method.CONDITIONAL_EXTREME_VALUE)
"""The methods that follow volatility: of the others' exceedances it is known that they cluster."""
_PATH_SESSIONS = 1000


def var_backtest(
    context: TradingContext, session: date, portfolio: PortfolioName = "equal_weight", start: date | None = None
) -> pl.DataFrame:
    """Backtest every method at every confidence of ``risk.measures`` up to ``session``, store and return the rows.

    Parameters
    ----------
    portfolio
        ``equal_weight`` of the members of the universe on ``session``, or the ``account`` as its equity went: what was
        held changed, so a forecast from its past returns is judged by what the desk then did.
    start
        First session forecast, or the first that a whole window comes before; None: ``risk.measures.backtest_start``.

    Returns
    -------
    polars.DataFrame
        Rows of ``var_backtests``. ``path`` is a JSON object of lists ``sessions``, ``returns``, ``value_at_risk`` and
        ``expected_shortfall``, the newest 1,000 of each; the last two are null where there was no forecast.

    Raises
    ------
    RiskError
        Too little history.
    """
    settings = context.settings.risk.measures
    first = start or settings.backtest_start
    if portfolio == "account":
        sessions, returns = account_returns(context, session)
    else:
        sessions, returns = equal_weight_returns(context, session, first, settings.window)
    cut = max(0, int(np.searchsorted(sessions, np.datetime64(first, "D"))) - settings.window)
    sessions, returns = sessions[cut:], returns[cut:]
    workers = context.settings.forecasting.workers or os.cpu_count() or 1
    rows = []
    for number, method in enumerate(Method):
        context.progress("backtesting value at risk", number, len(Method))
        results = backtest(returns, method, settings.window, settings.confidences, settings.tail_share, workers)
        rows += [_row(portfolio, result, judge(result, settings), sessions[settings.window :]) for result in results]
    context.progress("backtesting value at risk", len(Method), len(Method))
    frame = pl.DataFrame(rows, schema=TABLES["var_backtests"].schema)
    history.store(context, "var_backtests", frame)
    return frame


def backtest_all(context: TradingContext, session: date) -> pl.DataFrame:
    """`var_backtest` of the universe in equal weights, and of the account once 250 of its sessions can be forecast."""
    frames = [var_backtest(context, session)]
    if len(account_returns(context, session)[1]) >= context.settings.risk.measures.window + BASEL_SESSIONS:
        frames.append(var_backtest(context, session, "account"))
    return pl.concat(frames)


def equal_weight_returns(
    context: TradingContext, session: date, first: date, window: int
) -> tuple[Sessions, FloatArray]:
    """Returns of the universe's members on ``session`` in equal weights, from ``window`` sessions before ``first`` on.

    Sessions at the beginning in which fewer than half of them have a return are left out.

    Raises
    ------
    DataUnavailableError
        There are no bars.
    RiskError
        A later session lacks half of them.
    """
    members = context.symbols_on(session)
    # Trading days are at least 248 of 365; two weeks more cover the longest closures.
    panel = load_panel(context.lake, members, session, start=first - timedelta(days=int(window * 1.5) + 14))
    returns = panel.close[1:] / panel.close[:-1] - 1.0
    covered = np.isfinite(returns).mean(axis=1) >= SMALLEST_COVERAGE
    if not covered.any():
        raise RiskError(
            f"VaR backtest: no session up to {session} has returns of {SMALLEST_COVERAGE:.0%} of {len(members)} "
            "symbols; load more history"
        )
    cut = int(np.argmax(covered))
    weights = np.full(len(members), 1.0 / len(members))
    return panel.sessions[1 + cut :], portfolio_returns(returns[cut:], weights)


def account_returns(context: TradingContext, session: date) -> tuple[Sessions, FloatArray]:
    """What the account's recorded equity made from session to session, up to ``session``; nothing but trading moves it.

    Raises
    ------
    RiskError
        Equity that was not above zero: what came after it is no return.
    """
    context.ledger.upgrade()
    snapshots = context.ledger.frame("account_snapshots").filter(pl.col("session") <= session).sort("session")
    equity = snapshots["equity"].cast(pl.Float64).to_numpy()
    if not (equity > 0.0).all():
        raise RiskError("VaR backtest: the account's equity was not always above zero; backtest 'equal_weight'")
    return snapshots["session"].to_numpy().astype("datetime64[D]")[1:], equity[1:] / equity[:-1] - 1.0


def failing(rows: pl.DataFrame, level: float) -> pl.DataFrame:
    """The rows of ``var_backtests`` whose exceedances are too many, too few or too close together.

    That is where conditional coverage has a p-value below ``level``.
    """
    return rows.filter(pl.col("conditional_coverage_p") < level)


def holds(rows: pl.DataFrame, level: float) -> bool:
    """Is there, for every portfolio and confidence, a method that follows volatility and does not fail?"""
    sound = rows.filter(pl.col("method").is_in(list(FILTERED)) & (pl.col("conditional_coverage_p") >= level))
    asked = rows.select("portfolio", "confidence").unique()
    return asked.height > 0 and sound.select("portfolio", "confidence").unique().height == asked.height


def _row(portfolio: str, result: Backtest, verdict: Verdict, sessions: Sessions) -> dict[str, object]:
    return {
        "session": sessions[-1].astype(object),
        "portfolio": portfolio,
        "method": str(result.method),
        "confidence": result.confidence,
        "first": sessions[0].astype(object),
        "sessions": verdict.sessions,
        "missing": verdict.missing,
        "exceedances": verdict.exceedances,
        "expected": verdict.expected,
        "kupiec_p": verdict.coverage.p_value,
        "independence_p": verdict.independence.p_value,
        "conditional_coverage_p": verdict.conditional_coverage.p_value,
        "zone": str(verdict.zone),
        "shortfall_statistic": verdict.shortfall,
        "shortfall_p": verdict.shortfall_p_value,
        "mean_var": verdict.mean_var,
        "mean_es": verdict.mean_es,
        "path": json.dumps(
            {
                "sessions": [str(day) for day in sessions[-_PATH_SESSIONS:]],
                "returns": result.returns[-_PATH_SESSIONS:].tolist(),
                "value_at_risk": _known(result.var[-_PATH_SESSIONS:]),
                "expected_shortfall": _known(result.es[-_PATH_SESSIONS:]),
            }
        ),
    }


def _known(values: FloatArray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]

"""What each method would have forecast in every session, from the sessions before it, and how that turned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.backtest_statistics import (
    LikelihoodRatio,
    Zone,
    conditional_coverage,
    independence,
    kupiec,
    shortfall_p_value,
    shortfall_statistic,
    traffic_light,
)
from quant_dagster.risk.measures.empirical import value_at_risk
from quant_dagster.risk.measures.extreme_value import fit_tail
from quant_dagster.risk.measures.filtered import conditional_volatility
from quant_dagster.risk.measures.holdings import SMALLEST_COVERAGE
from quant_dagster.risk.measures.measure import Method
from quant_dagster.risk.measures.parametric import normal_multipliers, student_freedom, student_multipliers
from quant_dagster.settings import RiskMeasureSettings

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BASEL_SESSIONS = 250


@dataclass(frozen=True)
class Backtest:
    """One-session forecasts of one method at one confidence, for T sessions.

    Attributes
    ----------
    returns
        Shape (T,): what the portfolio made, in the units it was given in.
    var, es
        Shape (T,): forecasts from the ``window`` sessions before; NaN in both where the method could not be fitted
        or its tail has no mean.
    """

    method: Method
    confidence: float
    window: int
    returns: FloatArray
    var: FloatArray
    es: FloatArray

    @property
    def exceeded(self) -> BoolArray:
        """Sessions that lost more than VaR, shape (T,)."""
        return np.asarray(-self.returns > self.var)


@dataclass(frozen=True)
class Verdict:
    """How a method did.

    Attributes
    ----------
    sessions, missing
        Sessions judged, and those without a forecast, which are not.
    exceedances, expected
        Losses beyond VaR, and how many the confidence promises.
    coverage, independence, conditional_coverage
        Kupiec's and Christoffersen's tests.
    zone
        Traffic light over the newest 250 sessions, or all if they are fewer.
    shortfall, shortfall_p_value
        Z2 of Acerbi and Szekely, negative where losses were larger than ES, and its one-sided p-value.
    mean_var, mean_es
        Over the sessions judged.
    """

    method: Method
    confidence: float
    sessions: int
    missing: int
    exceedances: int
    expected: float
    coverage: LikelihoodRatio
    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    zone: Zone
    shortfall: float
    shortfall_p_value: float
    mean_var: float
    mean_es: float


def backtest(
    returns: FloatArray,
    method: Method,
    window: int,
    confidences: Sequence[float],
    tail_share: float,
    workers: int,
) -> list[Backtest]:
    """Forecast every session after the first ``window`` from the ``window`` sessions before it.

    Parameters
    ----------
    returns
        Of the portfolio with fixed positions or weights (:func:`portfolio_returns`), shape (sessions,). The
        parametric methods then need no covariance matrix: the portfolio's own variance is what the sample
        covariance gives.
    confidences
        One result for each, in their order.
    tail_share
        Of the extreme-value methods.

    Raises
    ------
    RiskError
        A return that is not a number, no session beyond the window, a window that is too short for the method.
    """
    if not np.isfinite(returns).all():
        place = int(np.flatnonzero(~np.isfinite(returns))[0])
        raise RiskError(f"VaR backtest: return number {place} is not a finite number; complete the history first")
    if len(returns) <= window:
        raise RiskError(f"VaR backtest: {len(returns)} sessions leave none after a window of {window}; load more")
    windows = np.lib.stride_tricks.sliding_window_view(returns[:-1], window)
    estimates = _estimates(windows, method, confidences, tail_share, workers)
    return [
        Backtest(method, confidence, window, returns[window:], var, es)
        for confidence, (var, es) in zip(confidences, estimates, strict=True)
    ]


def portfolio_returns(returns: FloatArray, weights: FloatArray) -> FloatArray:
    """Returns of fixed weights over a history in which not every symbol existed from the start, shape (sessions,).

    In a session without all of them, those that have a return stand for the others: their weights are raised to the
    whole gross weight.

    Parameters
    ----------
    returns
        Simple returns, shape (sessions, symbols); NaN is a missing one.
    weights
        Signed, shape (symbols,).

    Raises
    ------
    RiskError
        A session with returns for less than half of the gross weight.
    """
    known = np.isfinite(returns)
    gross = float(np.abs(weights).sum())
    covered = known @ np.abs(weights)
    if not np.all(covered >= SMALLEST_COVERAGE * gross) or not gross > 0.0:
        place = int(np.argmin(covered))
        raise RiskError(
            f"VaR backtest: session number {place} has returns for {covered[place]:.4g} of a gross weight of "
            f"{gross:.4g}, less than {SMALLEST_COVERAGE:.0%}; start later or leave young symbols out"
        )
    return np.asarray(np.where(known, returns, 0.0) @ weights * (gross / covered))


def judge(result: Backtest, settings: RiskMeasureSettings) -> Verdict:
    """Every test on a backtest; ``settings`` has the simulation's paths, seed and degrees of freedom.

    Raises
    ------
    RiskError
        Fewer than two forecasts.
    """
    known = np.isfinite(result.var)
    sessions = int(known.sum())
    if sessions < 2:
        raise RiskError(f"VaR backtest of {result.method}: {sessions} forecasts cannot be judged; load more history")
    probability = 1.0 - result.confidence
    exceeded = result.exceeded[known]
    hits = int(exceeded.sum())
    newest = exceeded[-BASEL_SESSIONS:]
    coverage, clustering = kupiec(sessions, hits, probability), independence(exceeded)
    shortfall = shortfall_statistic(result.returns[known], exceeded, result.es[known], probability)
    return Verdict(
        method=result.method,
        confidence=result.confidence,
        sessions=sessions,
        missing=len(known) - sessions,
        exceedances=hits,
        expected=sessions * probability,
        coverage=coverage,
        independence=clustering,
        conditional_coverage=conditional_coverage(coverage, clustering),
        zone=traffic_light(len(newest), int(newest.sum()), probability),
        shortfall=shortfall,
        shortfall_p_value=shortfall_p_value(
            shortfall, sessions, probability, settings.degrees_of_freedom, settings.paths, settings.seed
        ),
        mean_var=float(result.var[known].mean()),
        mean_es=float(result.es[known].mean()),
    )


def _estimates(
    windows: FloatArray, method: Method, confidences: Sequence[float], tail_share: float, workers: int
) -> FloatArray:
    """VaR and ES after each row of ``windows``, shape (confidences, 2, windows)."""
    found = np.full((len(confidences), 2, len(windows)), np.nan)
    if method in (Method.PARAMETRIC, Method.STUDENT_T):
        std = windows.std(axis=1)
        freedom = [] if method is Method.PARAMETRIC else [student_freedom(window) for window in windows]
        for i, confidence in enumerate(confidences):
            found[i] = (
                np.outer(normal_multipliers(confidence), std)
                if method is Method.PARAMETRIC
                else np.array([student_multipliers(confidence, nu) for nu in freedom]).T * std
            )
        return found
    scenarios = windows
    if method in (Method.FILTERED_HISTORICAL, Method.CONDITIONAL_EXTREME_VALUE):
        volatility = conditional_volatility(np.ascontiguousarray(windows.T), 1, workers)
        scenarios = windows * (volatility.ahead / volatility.past).T
    fitted = np.isfinite(scenarios).all(axis=1)
    scenarios = scenarios[fitted]
    if method in (Method.EXTREME_VALUE, Method.CONDITIONAL_EXTREME_VALUE):
        tail = fit_tail(scenarios, tail_share)
        for i, confidence in enumerate(confidences):
            es = tail.expected_shortfall(confidence)
            # a tail without a mean is no forecast: ``measure`` refuses it
            found[i][:, fitted] = np.where(np.isfinite(es), [tail.value_at_risk(confidence), es], np.nan)
    else:
        for i, confidence in enumerate(confidences):
            found[i, 0, fitted] = [value_at_risk(pnl, confidence) for pnl in scenarios]
            found[i, 1, fitted] = [expected_shortfall(pnl, confidence) for pnl in scenarios]
    return found

"""VaR and ES of a portfolio by every method, with what each position contributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.forecasting.variance.search import FITTED, REASONS
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.correlations import Correlations, dynamic_correlation, shrunk_correlation
from quant_dagster.risk.measures.empirical import Contributions, scenario_contributions, value_at_risk
from quant_dagster.risk.measures.extreme_value import fit_tail
from quant_dagster.risk.measures.filtered import conditional_volatility
from quant_dagster.risk.measures.holdings import Holdings, holdings, overlapping_sums
from quant_dagster.risk.measures.parametric import (
    deviation,
    normal_multipliers,
    scaled_contributions,
    student_freedom,
    student_multipliers,
)
from quant_dagster.risk.measures.threshold import fit_p_value, threshold_row, threshold_table, threshold_warnings
from quant_dagster.settings import RiskMeasureSettings

FloatArray = NDArray[np.float64]


class Method(StrEnum):
    """How the distribution of the next P&L is estimated."""

    HISTORICAL = "historical"
    """The past, each session equally likely; overlapping sums beyond one session."""
    PARAMETRIC = "parametric"
    """Normal, with the covariance of ``correlations``; square root of time."""
    STUDENT_T = "student_t"
    """The same covariance with fatter tails, their degrees of freedom by maximum likelihood."""
    FILTERED_HISTORICAL = "filtered_historical"
    """The past at tomorrow's GARCH volatility; overlapping sums at the volatility of the whole horizon."""
    EXTREME_VALUE = "extreme_value"
    """Generalised Pareto tail of the past; square root of time."""
    CONDITIONAL_EXTREME_VALUE = "conditional_extreme_value"
    """Generalised Pareto tail of the filtered past; square root of time from GARCH's volatility of the horizon."""


@dataclass(frozen=True)
class Measure:
    """VaR and ES of a portfolio by one method at one confidence.

    Attributes
    ----------
    confidence
        Such as 0.99; VaR is the loss that is exceeded with the rest of the probability.
    horizon
        Sessions ahead.
    var, es, volatility
        In account currency; VaR and ES are losses, positive.
    symbols, contributions
        The positions and their parts.
    diagnostics
        What the method says about itself, fit for JSON: ``observations``, ``coverage`` of symbols with completed
        histories, ``warnings``, and more by method.
    """

    method: Method
    confidence: float
    horizon: int
    var: float
    es: float
    volatility: float
    symbols: tuple[str, ...]
    contributions: Contributions
    diagnostics: dict[str, Any]


def measure(
    returns: FloatArray,
    values: FloatArray,
    symbols: Sequence[str],
    confidences: Sequence[float],
    horizon: int,
    settings: RiskMeasureSettings,
) -> list[Measure]:
    """Measure the positions' risk by every method, at every confidence.

    Parameters
    ----------
    returns
        Simple returns, shape (sessions, symbols), oldest first; NaN is a missing one, completed as
        :func:`quant_dagster.risk.measures.holdings.holdings` says. The newest ``settings.window`` are used.
    values
        Signed market values, shape (symbols,), in account currency.
    confidences
        Above 0.5 and below 1.

    Returns
    -------
    list
        By method in the order of :class:`Method`, then by confidence as given.

    Raises
    ------
    RiskError
        When any of them cannot be had: a portfolio whose risk is half known is not known.
    """
    wrong = [confidence for confidence in confidences if not 0.5 < confidence < 1.0]
    if wrong:
        raise RiskError(f"risk measures: confidence {wrong[0]} is not between 0.5 and 1; correct risk.measures")
    held = holdings(returns[-settings.window :], values, symbols)
    portfolio = _Portfolio(held, tuple(confidences), horizon, settings)
    volatility = conditional_volatility(held.pnl[:, None], horizon, workers=1)
    status = int(volatility.fits.status[0])
    if status != FITTED:
        raise RiskError(
            f"filtered historical VaR: GARCH(1,1) could not be fitted to {len(held.returns)} sessions of the "
            f"portfolio's P&L ({REASONS[status]}); check the history or change risk.measures.window"
        )
    ahead = float(volatility.ahead[0])
    filtered = held.returns * (ahead / horizon**0.5 / volatility.past)
    garch = {name: float(getattr(volatility.fits, name)[0]) for name in ("mu", "omega", "alpha", "beta")}
    past_volatility = float(held.pnl.std()) * horizon**0.5
    return [
        *portfolio.simulated(Method.HISTORICAL, held.returns, past_volatility, {}),
        *portfolio.parametric(),
        *portfolio.simulated(Method.FILTERED_HISTORICAL, filtered, ahead, {"garch": garch}),
        *portfolio.extreme(Method.EXTREME_VALUE, held.returns, past_volatility, {}),
        *portfolio.extreme(Method.CONDITIONAL_EXTREME_VALUE, filtered, ahead, {"garch": garch}),
    ]


@dataclass(frozen=True)
class _Portfolio:
    held: Holdings
    confidences: tuple[float, ...]
    horizon: int
    settings: RiskMeasureSettings

    def simulated(
        self, method: Method, returns: FloatArray, volatility: float, diagnostics: dict[str, Any]
    ) -> list[Measure]:
        """By the scenarios themselves."""
        scenarios = overlapping_sums(returns, self.horizon)
        pnl = scenarios @ self.held.values
        measures = []
        for confidence in self.confidences:
            var, es = value_at_risk(pnl, confidence), expected_shortfall(pnl, confidence)
            parts = scenario_contributions(scenarios, self.held.values, confidence, var, es)
            about = {"scenarios": len(pnl), "warnings": []} | diagnostics
            measures.append(self._measure(method, confidence, var, es, volatility, parts, about))
        return measures

    def extreme(
        self, method: Method, returns: FloatArray, volatility: float, diagnostics: dict[str, Any]
    ) -> list[Measure]:
        """By a generalised Pareto tail fitted to one-session scenarios."""
        pnl = returns @ self.held.values
        tail = fit_tail(pnl[None, :], self.settings.tail_share)
        chosen, table = threshold_row(tail, self.settings.tail_share), threshold_table(pnl)
        if chosen.shape >= 1.0:
            raise RiskError(
                f"{method} ES: the tail's shape is {chosen.shape:.2f}, and from 1 on it has no mean; look for wrong "
                "prices in the history or change risk.measures.tail_share"
            )
        p_value = fit_p_value(tail, self.settings.seed)
        about = {
            "tail": asdict(chosen),
            "fit_p_value": p_value,
            "thresholds": [asdict(row) for row in table],
            "warnings": threshold_warnings(chosen, table, p_value),
        } | diagnostics
        root, measures = self.horizon**0.5, []
        for confidence in self.confidences:
            var = root * float(tail.value_at_risk(confidence)[0])
            es = root * float(tail.expected_shortfall(confidence)[0])
            parts = scenario_contributions(returns, self.held.values, confidence, var, es)
            measures.append(self._measure(method, confidence, var, es, volatility, parts, about))
        return measures

    def parametric(self) -> list[Measure]:
        """By the covariance matrix, normal and Student-t."""
        correlations = self._correlations()
        std, gradient = deviation(correlations.covariance, self.held.values, self.horizon)
        about: dict[str, Any] = {
            "correlation": self.settings.correlation,
            "shrinkage": correlations.shrinkage,
            "warnings": [],
        }
        freedom = student_freedom(self.held.pnl)
        normal = [(Method.PARAMETRIC, c, normal_multipliers(c), about) for c in self.confidences]
        about = about | {"degrees_of_freedom": freedom}
        student = [(Method.STUDENT_T, c, student_multipliers(c, freedom), about) for c in self.confidences]
        return [
            self._measure(
                method,
                confidence,
                var * std,
                es * std,
                std,
                scaled_contributions(gradient, self.held.values, var, es),
                about,
            )
            for method, confidence, (var, es), about in normal + student
        ]

    def _correlations(self) -> Correlations:
        if self.settings.correlation == "dcc":
            return dynamic_correlation(self.held.returns, self.held.symbols, workers=1)
        return shrunk_correlation(self.held.returns, self.held.symbols)

    def _measure(
        self,
        method: Method,
        confidence: float,
        var: float,
        es: float,
        volatility: float,
        contributions: Contributions,
        about: dict[str, Any],
    ) -> Measure:
        about = about | {"observations": len(self.held.returns), "coverage": self.held.coverage}
        return Measure(method, confidence, self.horizon, var, es, volatility, self.held.symbols, contributions, about)

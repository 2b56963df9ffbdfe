"""The weights that are best by a method and obey the limits, found with skfolio."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.construction.limits import Limits, position_rules, why_infeasible

FloatArray = NDArray[np.float64]

_SCALE = 1e3
"""Of the objective: the variance of a session is so small that a solver stops early."""


class Method(StrEnum):
    """How weights are chosen."""

    MEAN_VARIANCE = "mean_variance"
    """Largest ``mu' w - (risk aversion / 2) w' Sigma w`` with the views as mu."""
    BLACK_LITTERMAN = "black_litterman"
    """The same, with mu and Sigma from the market's equilibrium and the views."""
    RISK_PARITY = "risk_parity"
    """Every position contributes the same to the volatility, as far as the limits let it."""
    CVAR = "cvar"
    """Smallest CVaR of the past; with views, largest ``mu' w - risk aversion x CVaR``."""


@dataclass(frozen=True)
class Outlook:
    """What is expected of one session.

    Attributes
    ----------
    mean
        Shape (m,); None where the method does without.
    covariance
        Shape (m, m).
    returns
        Past returns, shape (n, m): the scenarios of CVaR.
    """

    mean: FloatArray | None
    covariance: FloatArray
    returns: FloatArray


def best_weights(
    method: Method,
    outlook: Outlook,
    current: FloatArray,
    limits: Limits,
    risk_aversion: float,
    confidence: float,
) -> FloatArray:
    """Weights of shape (m,).

    Raises
    ------
    RiskError
        There are none that obey the limits, the method needs a limit that is not set, or the solver failed.
    """
    if method is Method.RISK_PARITY:
        model, scale = _parity(outlook, current, limits)
    else:
        model, scale = _mean_risk(method, outlook, current, limits, risk_aversion, confidence), 1.0
    weights, status = _fitted(model, outlook.returns)
    if weights is None:
        reason = why_infeasible(current, limits)
        if reason is None:
            raise RiskError(f"portfolio construction ({method}): the solver failed ({status}); no portfolio is made")
        raise RiskError(
            f"portfolio construction ({method}) is infeasible: {reason}; change the limits or the positions"
        )
    return np.asarray(weights * scale)


def _mean_risk(
    method: Method, outlook: Outlook, current: FloatArray, limits: Limits, risk_aversion: float, confidence: float
) -> Any:
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    if outlook.mean is None and limits.budget is None:
        raise RiskError(f"portfolio construction ({method}): without views and budget the least risk is no position")
    tail = method is Method.CVAR
    utility = outlook.mean is not None
    return MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_UTILITY if utility else ObjectiveFunction.MINIMIZE_RISK,
        risk_measure=RiskMeasure.CVAR if tail else RiskMeasure.VARIANCE,
        risk_aversion=risk_aversion if tail else 0.5 * risk_aversion,
        prior_estimator=_given(outlook),
        min_weights=None,
        max_weights=None,
        budget=limits.budget,
        cvar_beta=confidence,
        add_constraints=lambda weights: _rules(weights, 1.0, current, limits),
        scale_objective=_SCALE,
        save_problem=True,
    )


def _parity(outlook: Outlook, current: FloatArray, limits: Limits) -> tuple[Any, float]:
    from cvxpy.atoms.affine.sum import sum as total
    from skfolio import RiskMeasure
    from skfolio.optimization import RiskBudgeting

    if limits.budget is None or not limits.long_only or not limits.budget > 0.0:
        raise RiskError("portfolio construction (risk_parity) takes long positions and a budget above 0; set both")
    budget = limits.budget
    model = RiskBudgeting(
        risk_measure=RiskMeasure.VARIANCE,
        prior_estimator=_given(outlook),
        min_weights=None,
        max_weights=None,
        # Its weights are found up to a factor: with their sum as the unit the limits hold whatever the factor is.
        add_constraints=lambda weights: _rules(weights, total(weights) / budget, current, limits),
        scale_objective=_SCALE,
        save_problem=True,
    )
    return model, budget


def _rules(weights: Any, unit: Any, current: FloatArray, limits: Limits) -> list[Any]:
    from cvxpy.atoms.norm1 import norm1

    return [*position_rules(weights, unit, limits), norm1(weights - current * unit) <= limits.turnover * unit]


def _given(outlook: Outlook) -> Any:
    """A prior that is not estimated: it is the outlook."""
    from skfolio.prior import BasePrior, ReturnDistribution

    mean = np.zeros(len(outlook.covariance)) if outlook.mean is None else outlook.mean

    class Given(BasePrior):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def fit(self, X: FloatArray, y: None = None) -> Given:
            self.return_distribution_ = ReturnDistribution(mu=mean, covariance=outlook.covariance, returns=X)
            return self

    return Given()


def _fitted(model: Any, returns: FloatArray) -> tuple[FloatArray | None, str]:
    """The weights, None where the solver does not call them optimal, and what it says."""
    from skfolio.exceptions import OptimizationError

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")  # its status says so
        try:
            model.fit(returns)
        except OptimizationError as error:
            return None, str(error)
    status = str(model.problem_.status)
    return (model.weights_ if status == "optimal" else None), status

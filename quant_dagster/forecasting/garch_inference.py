"""How well GARCH(1,1) and GJR-GARCH(1,1) parameters are known: standard errors of one series' estimates.

Plain NumPy, one series at a time, with a likelihood of its own: also what the compiled kernels are checked against.
"""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.parameters import Backcast

_STEP = 1e-5  # of a parameter, and at least of a thousandth of its unit


def standard_errors(
    returns: FloatArray,
    parameters: FloatArray,
    *,
    backcast: Backcast = Backcast.SAMPLE_VARIANCE,
    robust: bool = False,
) -> FloatArray:
    """Standard errors of estimates, in their order.

    Parameters
    ----------
    returns
        Shape (n,), no gaps.
    parameters
        ``mu, omega, alpha, beta``, or ``mu, omega, alpha, gamma, beta`` for GJR, in the units of the returns. None
        may lie on a bound: the likelihood has no maximum inside there, and these errors no meaning.
    robust
        False is from the Hessian (Fiorentini, Calzolari & Panattoni 1996); True is the sandwich that stays valid when
        the errors are not normal (Bollerslev & Wooldridge 1992).
    """
    unit = float(np.std(returns))
    units = np.ones(len(parameters))
    units[0], units[1] = unit, unit**2
    y, point = returns / unit, parameters / units
    # the backcast of the arch package is of the deviations from the sample mean: it does not move with mu
    fixed = _weighted(y - y.mean()) if backcast is Backcast.ARCH else None
    hessian = np.empty((len(point), len(point)))
    for i in range(len(point)):
        step = np.zeros(len(point))
        step[i] = _STEP * max(abs(point[i]), 1e-3)
        ahead, behind = (scores(y, point + sign * step, fixed).sum(axis=0) for sign in (1.0, -1.0))
        hessian[i] = -(ahead - behind) / (2.0 * step[i])
    covariance = np.linalg.inv(0.5 * (hessian + hessian.T))
    if robust:
        each = scores(y, point, fixed)
        covariance = covariance @ (each.T @ each) @ covariance
    return np.asarray(np.sqrt(np.diag(covariance)) * units)


def scores(y: FloatArray, parameters: FloatArray, presample: float | None = None) -> FloatArray:
    """Derivatives of each observation's log-likelihood by the parameters, shape (n, parameters).

    ``presample`` stands for the squared residual and the variance before the first observation; None is the mean
    squared residual. Parameters as in :func:`standard_errors`.
    """
    from scipy.signal import lfilter

    asymmetric = len(parameters) == 5
    mu, omega, alpha = parameters[:3]
    gamma, beta = (parameters[3] if asymmetric else 0.0), parameters[-1]
    e = y - mu
    before = float(np.mean(e**2)) if presample is None else presample
    of_before = -2.0 * float(np.mean(e)) if presample is None else 0.0
    squares = np.concatenate(([before], e[:-1] ** 2))
    falls = np.concatenate(([0.5], (e[:-1] < 0.0).astype(np.float64)))
    response = alpha + gamma * falls
    inputs = omega + response * squares
    inputs[0] += beta * before

    def recursion(values: FloatArray) -> FloatArray:
        """What a derivative of h becomes with ``values`` added to it at each observation."""
        return np.asarray(lfilter([1.0], [1.0, -beta], values))

    h = recursion(inputs)
    by_mu = -2.0 * response * np.concatenate(([0.0], e[:-1]))
    by_mu[0] = (response[0] + beta) * of_before
    by_alpha, by_beta = squares.copy(), np.concatenate(([before], h[:-1]))
    additions = [by_mu, np.ones(len(y)), by_alpha, falls * squares, by_beta]
    if not asymmetric:
        del additions[3]
    weight = -0.5 / h * (1.0 - e**2 / h)
    result = np.column_stack([weight * recursion(values) for values in additions])
    result[:, 0] += e / h
    return result


def _weighted(deviations: FloatArray) -> float:
    weights = 0.94 ** np.arange(min(75, len(deviations)))
    return float(weights @ deviations[: len(weights)] ** 2 / weights.sum())

"""Conditional variances: EGARCH(1,1) with a constant mean and Student-t errors by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, standardise
from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.egarch_likelihood import MEAN_ABSOLUTE_NORMAL
from quant_dagster.forecasting.variance.search import EGARCH, FITTED, fit_model

RAREST_SHOCK = 1e-4  # chance, on either side, of a shock beyond which the forecast lets volatility react no more
_NODES = 64  # Gauss-Legendre, on either side of zero


@dataclass(frozen=True)
class EgarchFits:
    """EGARCH(1,1) fits of m symbols: ``y_t = mu + sqrt(h_t) u_t``, u Student-t of unit variance, and

    ``log h_t = omega + alpha (|u_(t-1)| - sqrt(2 / pi)) + gamma u_(t-1) + beta log h_(t-1)``.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``search.REASONS`` (the rest is then NaN or 0).
    mu, omega, alpha, gamma, beta, nu
        float64, shape (m,), in the units of the returns; nu is the degrees of freedom, 2.05 to 500.
    log_likelihood
        Shape (m,): constants included.
    iterations
        int64, shape (m,): of the start that won; 0 where nothing was estimated.
    at_bound
        bool, shape (m,): ``beta`` is 0 or at its largest, nu at its smallest or largest.
    residuals
        Shape (m, n), C order: standardised, u_t; NaN beyond a symbol's count.
    step_variance
        Shape (m, steps): variance of the return 1, 2, … sessions ahead; see :func:`fit_egarch`.
    """

    status: NDArray[np.int8]
    mu: FloatArray
    omega: FloatArray
    alpha: FloatArray
    gamma: FloatArray
    beta: FloatArray
    nu: FloatArray
    log_likelihood: FloatArray
    iterations: IntArray
    at_bound: BoolArray
    residuals: FloatArray
    step_variance: FloatArray


def fit_egarch(
    returns: FloatArray,
    counts: IntArray,
    *,
    steps: int,
    starts: int = 2,
    backcast: Backcast = Backcast.SAMPLE_VARIANCE,
    tried: BoolArray | None = None,
    known: FloatArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> EgarchFits:
    """Fit EGARCH(1,1) (Nelson 1991) to every column and forecast the variance of the next ``steps`` returns.

    The next variance is known exactly. Beyond it, ``E h_(T+k)`` is infinite with Student-t errors whenever volatility
    reacts to the size of a shock, since ``E exp(c |u|)`` is: an average over simulated paths grows with their number.
    What is forecast is the expectation when volatility reacts to no shock rarer than ``RAREST_SHOCK`` as to more than
    that. As shocks are independent and the log-variance is linear in what they do to it, it is a product,
    ``E h_(T+k) = exp(...) prod_(j < k - 1) E exp(beta ** j g(u))``, each factor an integral over the quantiles of u
    (Gauss-Legendre): no random numbers are drawn.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    starts
        1 to 4 starting points; the highest likelihood is kept.
    backcast
        What stands for the variance before the first return.
    tried
        Columns to fit; None is all.
    known
        Shape (m, 6): mu, omega, alpha, gamma, beta and nu of columns whose variances are to be computed with these,
        and nothing estimated; rows of NaN are estimated.
    """
    found = fit_model(
        EGARCH,
        returns,
        counts,
        starts=starts,
        backcast=backcast,
        tried=tried,
        known=None if known is None else _standard_units(known, returns, counts),
        workers=workers,
        progress=progress,
    )
    scale, status = found.scale, found.status
    mu, omega, alpha, gamma, beta, inverse_nu = found.estimates.T
    omega = omega + (1.0 - beta) * 2.0 * np.log(scale)
    nu = 1.0 / inverse_nu
    fits = EgarchFits(
        status=status,
        mu=found.centre + scale * mu,
        omega=omega,
        alpha=alpha,
        gamma=gamma,
        beta=beta,
        nu=nu,
        log_likelihood=-found.lowest - counts * np.log(scale),
        iterations=found.iterations,
        at_bound=found.at_bound,
        residuals=found.residuals,
        step_variance=np.full((len(scale), steps), np.nan),
    )
    fitted = np.flatnonzero(status == FITTED)
    if len(fitted):
        fits.step_variance[fitted] = expected_variances(
            (found.next_variance * scale**2)[fitted],
            *(array[fitted] for array in (omega, alpha, gamma, beta, nu)),
            steps=steps,
        )
    return fits


def expected_variances(
    first: FloatArray,
    omega: FloatArray,
    alpha: FloatArray,
    gamma: FloatArray,
    beta: FloatArray,
    nu: FloatArray,
    *,
    steps: int,
) -> FloatArray:
    """Variances 1 to ``steps`` sessions ahead from the known ``first``, shape (m, steps); see :func:`fit_egarch`."""
    variances = np.empty((len(first), steps))
    logs = np.log(first)
    variances[:, 0] = first
    if steps == 1:
        return variances
    shocks, weights = _shocks(nu)
    reaction = alpha[:, None] * (np.abs(shocks) - MEAN_ABSOLUTE_NORMAL) + gamma[:, None] * shocks
    power, shock_part = np.ones(len(first)), np.zeros(len(first))
    for k in range(1, steps):
        logs = omega + beta * logs
        shock_part = shock_part + np.log(np.exp(power[:, None] * reaction) @ weights)
        power = power * beta
        variances[:, k] = np.exp(logs + shock_part)
    return variances


def student_t_quantiles(levels: FloatArray, nu: FloatArray) -> FloatArray:
    """Quantiles of Student-t variables of unit variance, shape (m, levels)."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(nu[:, None], levels[None, :]) * np.sqrt((nu - 2.0) / nu)[:, None], dtype=np.float64)


def _shocks(nu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the shocks at the nodes of the integral over their chances, and the nodes' weights.

    Chances are taken as ``v ** 4 / 2`` with v even, up to the median, and the shocks above it as the mirror of those
    below: the tail, where the quantiles run away, gets the nodes. Shocks rarer than ``RAREST_SHOCK`` count as that.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    lowest = (2.0 * RAREST_SHOCK) ** 0.25
    place = lowest + (1.0 - lowest) * 0.5 * (nodes + 1.0)
    weight = (1.0 - lowest) * 0.5 * weights * 2.0 * place**3
    chances = np.concatenate(([RAREST_SHOCK], 0.5 * place**4))
    below = student_t_quantiles(chances, nu)
    one_side = np.concatenate(([RAREST_SHOCK], weight))
    one_side *= 0.5 / math.fsum(one_side)
    return np.concatenate((below, -below), axis=1), np.concatenate((one_side, one_side))


def _standard_units(known: FloatArray, returns: FloatArray, counts: IntArray) -> FloatArray:
    """Parameters in the units the kernel works in: of returns less their mean over their standard deviation.

    Rows of which a parameter is missing are NaN.
    """
    given = np.asarray(np.isfinite(known).all(axis=1))
    converted = np.where(given[:, None], known, np.nan)
    scratch = np.empty(len(returns))
    for j in np.flatnonzero(given).tolist():
        centre, scale = standardise(np.ascontiguousarray(returns[: counts[j], j]), scratch)
        if scale > 0.0:
            converted[j, 0] = (known[j, 0] - centre) / scale
            converted[j, 1] = known[j, 1] - (1.0 - known[j, 4]) * 2.0 * math.log(scale)
            converted[j, 5] = 1.0 / known[j, 5]
    return converted

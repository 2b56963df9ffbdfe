"""Conditional variances: GARCH(1,1) with a constant mean by Gaussian quasi maximum likelihood, all symbols at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns, standardise
from quant_dagster.forecasting.garch_likelihood import maximise_likelihood, variance_path
from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.residuals import LJUNG_BOX_LAGS, chi_squared_p_value, ljung_box

FITTED, NOT_TRIED, CONSTANT, NOT_CONVERGED = 0, 1, 2, 3
REASONS = {
    NOT_TRIED: "not fitted",
    CONSTANT: "the returns do not vary",
    NOT_CONVERGED: "the likelihood could not be maximised",
}


@dataclass(frozen=True)
class GarchFits:
    """GARCH(1,1) fits of m symbols: ``y_t = mu + e_t``, ``h_t = omega + alpha e_(t-1) ** 2 + beta h_(t-1)``.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS`` (the other entries are then NaN or 0).
    mu, omega, alpha, beta
        float64, shape (m,), in the units of the returns.
    log_likelihood
        Shape (m,): Gaussian, constants included.
    iterations
        int64, shape (m,): of the start that won.
    at_bound
        bool, shape (m,): a parameter lies on a bound (``alpha = 0``, ``beta = 0``, ``alpha + beta`` at its largest).
    ljung_box_squares, ljung_box_squares_p
        Shape (m,): at lag 10, of the squared standardised residuals; 10 degrees of freedom.
    step_variance
        Shape (m, steps): expected variance of the return 1, 2, … sessions ahead.
    """

    status: NDArray[np.int8]
    mu: FloatArray
    omega: FloatArray
    alpha: FloatArray
    beta: FloatArray
    log_likelihood: FloatArray
    iterations: IntArray
    at_bound: BoolArray
    ljung_box_squares: FloatArray
    ljung_box_squares_p: FloatArray
    step_variance: FloatArray


def fit_garch(
    returns: FloatArray,
    counts: IntArray,
    *,
    steps: int,
    starts: int = 2,
    backcast: Backcast = Backcast.SAMPLE_VARIANCE,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> GarchFits:
    """Fit GARCH(1,1) to every column and forecast the variance of the next ``steps`` returns.

    ``E h_(T+k+1) = omega + (alpha + beta) E h_(T+k)`` (Bollerslev 1986), started from ``h_(T+1)``, which is known.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    starts
        1 to 4 starting points; the highest likelihood is kept.
    backcast
        What stands for the squared residual and the variance before the first return.
    tried
        Columns to fit; None is all.
    """
    columns = returns.shape[1]
    wanted = np.ones(columns, np.bool_) if tried is None else tried
    status = np.full(columns, NOT_TRIED, np.int8)
    iterations, at_bound = np.zeros(columns, np.int64), np.zeros(columns, np.bool_)
    # centre, scale, then in standard units: mu, omega, persistence, share, next variance, negative log-likelihood
    estimates = np.full((columns, 8), np.nan)
    series = np.ascontiguousarray(returns.T)
    squares = np.full(series.shape, np.nan)
    weighted = backcast is Backcast.ARCH

    def kernel(first: int, stop: int) -> None:
        _fit_columns(
            first, stop, series, counts, wanted, starts, weighted, status, iterations, at_bound, estimates, squares
        )

    over_columns(kernel, columns, workers, progress)
    centre, scale, mu, omega, persistence, share, variance, lowest = estimates.T
    step_variance = np.empty((columns, steps))
    for k in range(steps):
        step_variance[:, k] = variance * scale**2
        variance = omega + persistence * variance
    box = ljung_box(squares, np.where(status == FITTED, counts, 0), workers=workers)
    return GarchFits(
        status=status,
        mu=centre + scale * mu,
        omega=omega * scale**2,
        alpha=persistence * share,
        beta=persistence * (1.0 - share),
        log_likelihood=-lowest - counts * (np.log(scale) + 0.5 * np.log(2.0 * np.pi)),
        iterations=iterations,
        at_bound=at_bound,
        ljung_box_squares=box,
        ljung_box_squares_p=chi_squared_p_value(box, float(LJUNG_BOX_LAGS)),
        step_variance=step_variance,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_columns(
    first: int,
    stop: int,
    series: FloatArray,
    counts: IntArray,
    wanted: BoolArray,
    starts: int,
    weighted_backcast: bool,
    status: NDArray[np.int8],
    iterations: IntArray,
    at_bound: BoolArray,
    estimates: FloatArray,
    squares: FloatArray,
) -> None:
    point, z_full = np.empty(4), np.empty(series.shape[1])
    for j in range(first, stop):
        n = counts[j]
        if not wanted[j] or n < 20:
            continue
        z = z_full[:n]
        centre, scale = standardise(series[j, :n], z)
        if not scale > 0.0:
            status[j] = CONSTANT
            continue
        presample = 1.0
        if weighted_backcast:
            presample, weights, weight = 0.0, 0.0, 1.0
            for t in range(min(75, n)):
                presample += weight * z[t] * z[t]
                weights += weight
                weight *= 0.94
            presample /= weights
        lowest = np.inf
        status[j] = NOT_CONVERGED
        for start in range(starts):
            value, taken, converged, touches = maximise_likelihood(z, presample, weighted_backcast, start, point)
            if converged and value < lowest:
                lowest = value
                status[j], iterations[j], at_bound[j] = FITTED, taken, touches
                for i in range(4):
                    estimates[j, 2 + i] = point[i]
        if status[j] == FITTED:
            estimates[j, 0], estimates[j, 1], estimates[j, 7] = centre, scale, lowest
            estimates[j, 6] = variance_path(z, estimates[j, 2:6], presample, weighted_backcast, squares[j])

"""Where a conditional-variance likelihood is largest: one bounded search for all models, run over the symbols.

Belongs here: the search, the bounds and starting points of each model, and the loop over columns. Does not: the
likelihoods (``garch_likelihood``, ``gjr_likelihood``, ``egarch_likelihood``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns, standardise
from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.egarch_likelihood import egarch_path, evaluate_egarch
from quant_dagster.forecasting.variance.garch_likelihood import evaluate_garch, garch_path
from quant_dagster.forecasting.variance.gjr_likelihood import evaluate_gjr, gjr_path
from quant_dagster.forecasting.variance.quasi_newton import descent_direction, update_metric

GARCH, GJR, EGARCH = 0, 1, 2
FITTED, NOT_TRIED, CONSTANT, NOT_CONVERGED = 0, 1, 2, 3
REASONS = {
    NOT_TRIED: "not fitted",
    CONSTANT: "the returns do not vary",
    NOT_CONVERGED: "the likelihood could not be maximised",
}
LARGEST_PERSISTENCE = 1.0 - 1e-7
SMALLEST_OMEGA = 1e-8  # as a share of the sample variance
FEWEST_FREEDOM, MOST_FREEDOM = 2.05, 500.0  # degrees of freedom, as in arch
PARAMETERS = (4, 5, 6)
_LOWER = np.array(
    [
        [-3.0, SMALLEST_OMEGA, 0.0, 0.0, 0.0, 0.0],
        [-3.0, SMALLEST_OMEGA, 0.0, 0.0, 0.0, 0.0],
        [-3.0, -10.0, 0.0, -3.0, 0.0, 1.0 / MOST_FREEDOM],
    ]
)
_UPPER = np.array(
    [
        [3.0, 10.0, LARGEST_PERSISTENCE, 1.0, 1.0, 1.0],
        [3.0, 10.0, LARGEST_PERSISTENCE, 1.0, 1.0, 1.0],
        [3.0, 10.0, 3.0, 3.0, LARGEST_PERSISTENCE, 1.0 / FEWEST_FREEDOM],
    ]
)
_STARTS = np.array(
    [
        [  # mu, omega = 1 - p, p, a
            [0.0, 0.40, 0.600, 0.20, 0.5, 0.0],
            [0.0, 0.001, 0.999, 0.01, 0.5, 0.0],
            [0.0, 0.02, 0.980, 0.01, 0.5, 0.0],
            [0.0, 0.40, 0.600, 0.70, 0.5, 0.0],
        ],
        [  # mu, omega = 1 - p, p, a, s
            [0.0, 0.05, 0.950, 0.08, 0.7, 0.0],
            [0.0, 0.001, 0.999, 0.01, 0.6, 0.0],
            [0.0, 0.20, 0.800, 0.20, 0.6, 0.0],
            [0.0, 0.30, 0.700, 0.40, 0.5, 0.0],
        ],
        [  # mu, omega, alpha, gamma, beta, 1 / nu
            [0.0, 0.0, 0.40, 0.05, 0.80, 0.2],
            [0.0, 0.0, 0.05, -0.02, 0.99, 0.2],
            [0.0, 0.0, 0.20, -0.05, 0.95, 0.2],
            [0.0, 0.0, 0.20, -0.05, 0.60, 0.2],
        ],
    ]
)
_ITERATIONS = 200
_SAME = 1e-3  # log-likelihood within which a search is taken to be on its way to a maximum that is known already
_SMALL_GAIN = 1e-9  # log-likelihood a further step promises, below which the search is over


@dataclass(frozen=True)
class Maxima:
    """Where the likelihood of each of m columns is largest.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS``.
    iterations, at_bound
        Shape (m,): of the start that won; whether a parameter other than the mean lies on a bound.
    centre, scale
        Shape (m,): mean and standard deviation; what follows is of the column less the one over the other.
    lowest, next_variance
        Shape (m,): negative log-likelihood, and the variance of the observation after the last.
    estimates
        Shape (m, p).
    residuals
        Shape (m, n), C order: standardised; NaN beyond a column's count.
    """

    status: NDArray[np.int8]
    iterations: IntArray
    at_bound: BoolArray
    centre: FloatArray
    scale: FloatArray
    lowest: FloatArray
    next_variance: FloatArray
    estimates: FloatArray
    residuals: FloatArray


def fit_model(
    model: int,
    returns: FloatArray,
    counts: IntArray,
    *,
    starts: int,
    backcast: Backcast,
    tried: BoolArray | None,
    workers: int,
    progress: Callable[[int, int], None] | None,
    known: FloatArray | None = None,
) -> Maxima:
    """Fit ``model`` to the columns of ``returns``.

    Rows of ``known``, shape (m, p), that are not NaN are taken for the estimates, in their units, and not searched for.
    """
    columns = returns.shape[1]
    wanted = np.ones(columns, np.bool_) if tried is None else tried
    status = np.full(columns, NOT_TRIED, np.int8)
    iterations, at_bound = np.zeros(columns, np.int64), np.zeros(columns, np.bool_)
    scales = np.full((columns, 4), np.nan)
    estimates = np.full((columns, PARAMETERS[model]), np.nan) if known is None else known.copy()
    series = np.ascontiguousarray(returns.T)
    residuals = np.full(series.shape, np.nan)
    weighted = backcast is Backcast.ARCH

    def kernel(first: int, stop: int) -> None:
        _fit_rows(
            model, first, stop, series, counts, wanted, starts, weighted,
            status, iterations, at_bound, scales, estimates, residuals,
        )  # fmt: skip

    over_columns(kernel, columns, workers, progress)
    centre, scale, lowest, next_variance = scales.T
    return Maxima(status, iterations, at_bound, centre, scale, lowest, next_variance, estimates, residuals)


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_rows(
    model: int,
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
    scales: FloatArray,
    estimates: FloatArray,
    residuals: FloatArray,
) -> None:
    """Fit ``model`` to the rows ``first`` to ``stop`` of ``series``, all results in the arrays after ``counts``.

    ``scales`` gets each row's centre, scale, negative log-likelihood and next variance, the last two, like
    ``estimates``, of the row less its centre over its scale. Estimates that are there already (in the same units)
    are taken as they are, and only the path is computed.
    """
    z_full, point = np.empty(series.shape[1]), np.empty(PARAMETERS[model])
    for j in range(first, stop):
        n = counts[j]
        if not wanted[j] or n < 20:
            continue
        z = z_full[:n]
        centre, scale = standardise(series[j, :n], z)
        if not scale > 0.0:
            status[j] = CONSTANT
            continue
        presample = _backcast(z) if weighted_backcast else 1.0
        lowest = np.inf
        status[j] = NOT_CONVERGED
        given = not np.isnan(estimates[j, 0])
        for start in range(0 if given else starts):
            value, taken, converged, touches = maximise_likelihood(
                model, z, presample, weighted_backcast, start, lowest, point
            )
            if converged and value < lowest:
                lowest = value
                status[j], iterations[j], at_bound[j] = FITTED, taken, touches
                for i in range(len(point)):
                    estimates[j, i] = point[i]
        if given:
            for i in range(len(point)):
                point[i] = estimates[j, i]
            lowest, _, finite, _ = maximise_likelihood(model, z, presample, weighted_backcast, -1, np.inf, point)
            if finite:
                status[j] = FITTED
        if status[j] == FITTED:
            scales[j, 0], scales[j, 1], scales[j, 2] = centre, scale, lowest
            scales[j, 3] = _path(model, z, estimates[j], presample, weighted_backcast, residuals[j])


@njit(cache=True, nogil=True, error_model="numpy")
def maximise_likelihood(
    model: int, z: FloatArray, presample: float, fixed_presample: bool, start: int, known: float, point: FloatArray
) -> tuple[float, int, bool, bool]:
    """Least negative log-likelihood from starting point number ``start`` (0 to 3); its place goes into ``point``.

    A quasi-Newton search (BFGS with Powell's damping) whose first metric is the information: expected (Fiorentini,
    Calzolari & Panattoni 1996), for EGARCH the outer product of the scores. A parameter on its bound is held there
    while the gradient pushes outwards; a step ends at the first bound it meets. An EGARCH search that can get no
    further has its mean on a kink of the likelihood: the mean is then held, and the others go on. A search that
    closes in on ``known``, the value an earlier one ended at, is given up: it counts as not converged.
    With ``start`` -1 the value at ``point`` is given and nothing is searched for.

    Returns
    -------
    tuple
        The value, iterations, whether it converged, whether a parameter other than the mean ends on a bound.
    """
    size = len(point)
    lower, upper = _LOWER[model], _UPPER[model]
    gradient, trial, trial_gradient = np.empty(size), np.empty(size), np.empty(size)
    metric, reduced, factor = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    held, slope, solution = np.empty(size, np.bool_), np.empty(size), np.empty(size)
    direction, change, image, nothing = np.empty(size), np.empty(size), np.empty(size), np.empty((0, 0))
    if start >= 0:
        for i in range(size):
            point[i] = _STARTS[model, start, i]
    value = _evaluate(model, z, point, presample, fixed_presample, gradient, metric)
    fresh, converged, on_kink, there, iteration = True, False, False, value, 0
    if start < 0:
        return value, 0, bool(np.isfinite(value)), False
    while iteration < _ITERATIONS and np.isfinite(value):
        iteration += 1
        for i in range(size):
            held[i] = (point[i] <= lower[i] and gradient[i] > 0.0) or (point[i] >= upper[i] and gradient[i] < 0.0)
        held[0] = held[0] or on_kink
        solved, gain = descent_direction(
            point, gradient, metric, lower, upper, held, reduced, factor, slope, solution, direction
        )
        longest, first_met = 1.0, -1
        for i in range(size):
            room = upper[i] - point[i] if direction[i] > 0.0 else point[i] - lower[i]
            if abs(direction[i]) * longest > room:
                longest, first_met = room / abs(direction[i]), i
        if solved and 0.5 * gain < _SMALL_GAIN:
            converged = True
            if fresh:
                break
        if solved and gain < _SAME and 0.0 <= value - known < _SAME:
            converged = False
            break
        moved = False
        if solved and not converged:
            length = longest
            for _ in range(8 if model == EGARCH else 25):
                for i in range(size):
                    trial[i] = min(max(point[i] + length * direction[i], lower[i]), upper[i])
                if first_met >= 0 and length == longest:  # on the bound, not beside it by rounding
                    trial[first_met] = upper[first_met] if direction[first_met] > 0.0 else lower[first_met]
                there = _evaluate(model, z, trial, presample, fixed_presample, trial_gradient, nothing)
                if there <= value - 1e-4 * length * gain:
                    moved = True
                    break
                length *= 0.3
        if not moved:
            if fresh:
                if model != EGARCH or on_kink or not solved:
                    break
                on_kink = True
                continue
            # the metric may have gone astray: measure it anew here, and believe the end only if it says so too
            value = _evaluate(model, z, point, presample, fixed_presample, gradient, metric)
            fresh, converged = True, False
            continue
        for i in range(size):
            change[i] = trial[i] - point[i]
            slope[i] = trial_gradient[i] - gradient[i]
            point[i], gradient[i] = trial[i], trial_gradient[i]
        value = there
        update_metric(metric, change, slope, image)
        fresh = False
    touches = False
    for i in range(1, size):
        touches = touches or point[i] <= lower[i] or point[i] >= upper[i]
    return value, iteration, converged, touches


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    model: int,
    z: FloatArray,
    point: FloatArray,
    presample: float,
    fixed_presample: bool,
    gradient: FloatArray,
    information: FloatArray,
) -> float:
    # by number, since a function handed over as an argument would be compiled anew in every process
    if model == GARCH:
        return float(evaluate_garch(z, point, presample, fixed_presample, gradient, information))
    if model == GJR:
        return float(evaluate_gjr(z, point, presample, fixed_presample, gradient, information))
    return float(evaluate_egarch(z, point, presample, fixed_presample, gradient, information))


@njit(cache=True, nogil=True, error_model="numpy")
def _path(
    model: int, z: FloatArray, point: FloatArray, presample: float, fixed_presample: bool, residuals: FloatArray
) -> float:
    if model == GARCH:
        return float(garch_path(z, point, presample, fixed_presample, residuals))
    if model == GJR:
        return float(gjr_path(z, point, presample, fixed_presample, residuals))
    return float(egarch_path(z, point, presample, fixed_presample, residuals))


@njit(cache=True, nogil=True, error_model="numpy")
def _backcast(z: FloatArray) -> float:
    """Exponentially weighted mean of the first 75 squares, as ``arch`` starts its recursions."""
    total, weights, weight = 0.0, 0.0, 1.0
    for t in range(min(75, len(z))):
        total += weight * z[t] * z[t]
        weights += weight
        weight *= 0.94
    return total / weights

"""The GARCH(1,1) likelihood of one standardised series, its analytic gradient, and its maximum.

The parameters are ``(mu, omega, p, a)`` with persistence ``p = alpha + beta`` and share ``a = alpha / p``: every
constraint of the model (``omega > 0``, ``alpha, beta >= 0``, ``alpha + beta < 1``) is then a bound on one of them.
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import BoolArray, FloatArray
from quant_dagster.forecasting.linear_algebra import solve_positive_definite

LARGEST_PERSISTENCE = 1.0 - 1e-7
SMALLEST_OMEGA = 1e-8  # as a share of the sample variance
_LOWER = np.array([-3.0, SMALLEST_OMEGA, 0.0, 0.0])
_UPPER = np.array([3.0, 10.0, LARGEST_PERSISTENCE, 1.0])
_STARTS = np.array([[0.60, 0.20], [0.999, 0.01], [0.98, 0.01], [0.60, 0.70]])  # (p, a); omega = 1 - p
_ITERATIONS = 200
_SMALL_GAIN = 1e-9  # log-likelihood a further step promises, below which the search is over


@njit(cache=True, nogil=True, error_model="numpy")
def maximise_likelihood(
    z: FloatArray, presample: float, fixed_presample: bool, start: int, point: FloatArray
) -> tuple[float, int, bool, bool]:
    """Least negative log-likelihood from starting point number ``start`` (0 to 3); its place goes into ``point``.

    A quasi-Newton search (BFGS with Powell's damping) whose first metric is the expected information
    (Fiorentini, Calzolari & Panattoni 1996). A parameter on its bound is held there while the gradient pushes
    outwards; a step ends at the first bound it meets.

    Returns
    -------
    tuple
        The value (up to ``n / 2 log 2 pi``), iterations, whether it converged, whether a parameter ends on a bound.
    """
    gradient, trial, trial_gradient = np.empty(4), np.empty(4), np.empty(4)
    metric, reduced, factor, nothing = np.empty((4, 4)), np.empty((4, 4)), np.empty((4, 4)), np.empty((0, 0))
    held, slope, solution = np.empty(4, np.bool_), np.empty(4), np.empty(4)
    direction, change, image = np.empty(4), np.empty(4), np.empty(4)
    point[0], point[1] = 0.0, 1.0 - _STARTS[start, 0]
    point[2], point[3] = _STARTS[start, 0], _STARTS[start, 1]
    value = _evaluate(z, point, presample, fixed_presample, gradient, metric)
    fresh, converged, iteration = True, False, 0
    while iteration < _ITERATIONS:
        iteration += 1
        for i in range(4):
            held[i] = (point[i] <= _LOWER[i] and gradient[i] > 0.0) or (point[i] >= _UPPER[i] and gradient[i] < 0.0)
        solved, gain = _descent_direction(point, gradient, metric, held, reduced, factor, slope, solution, direction)
        longest, first_met = 1.0, -1
        for i in range(4):
            room = _UPPER[i] - point[i] if direction[i] > 0.0 else point[i] - _LOWER[i]
            if abs(direction[i]) * longest > room:
                longest, first_met = room / abs(direction[i]), i
        if solved and 0.5 * gain < _SMALL_GAIN:
            converged = True
            if fresh:
                break
        moved = False
        if solved and not converged:
            length = longest
            for _ in range(25):
                for i in range(4):
                    trial[i] = min(max(point[i] + length * direction[i], _LOWER[i]), _UPPER[i])
                if first_met >= 0 and length == longest:  # on the bound, not beside it by rounding
                    trial[first_met] = _UPPER[first_met] if direction[first_met] > 0.0 else _LOWER[first_met]
                there = _evaluate(z, trial, presample, fixed_presample, trial_gradient, nothing)
                if there <= value - 1e-4 * length * gain:
                    moved = True
                    break
                length *= 0.3
        if not moved:
            if fresh:
                break
            # the metric may have gone astray: measure it anew here, and believe the end only if it says so too
            value = _evaluate(z, point, presample, fixed_presample, gradient, metric)
            fresh, converged = True, False
            continue
        for i in range(4):
            change[i] = trial[i] - point[i]
            slope[i] = trial_gradient[i] - gradient[i]
            point[i], gradient[i] = trial[i], trial_gradient[i]
        value = there
        _update_metric(metric, change, slope, image)
        fresh = False
    on_bound = point[2] <= 0.0 or point[2] >= LARGEST_PERSISTENCE or point[3] <= 0.0 or point[3] >= 1.0
    return value, iteration, converged, on_bound or point[1] <= SMALLEST_OMEGA


@njit(cache=True, nogil=True, error_model="numpy")
def variance_path(
    z: FloatArray, point: FloatArray, presample: float, fixed_presample: bool, squares: FloatArray
) -> float:
    """Squared standardised residuals into ``squares``; the variance of the observation after the last is returned."""
    mu, omega, alpha, beta = point[0], point[1], point[2] * point[3], point[2] * (1.0 - point[3])
    before = presample if fixed_presample else 1.0 + mu * mu
    variance = omega + (alpha + beta) * before
    for t in range(len(z)):
        square = (z[t] - mu) * (z[t] - mu)
        squares[t] = square / variance
        variance = omega + alpha * square + beta * variance
    return float(variance)


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(
    z: FloatArray,
    point: FloatArray,
    presample: float,
    fixed_presample: bool,
    gradient: FloatArray,
    information: FloatArray,
) -> float:
    """Negative log-likelihood without its constant; its gradient in place, and the expected information unless empty.

    ``z`` has mean 0 and variance 1, so that the mean squared residual before the sample is ``1 + mu ** 2``.
    """
    mu, omega, persistence, share = point[0], point[1], point[2], point[3]
    alpha, beta = persistence * share, persistence * (1.0 - share)
    before = presample if fixed_presample else 1.0 + mu * mu
    h = omega + persistence * before
    of_mu = 0.0 if fixed_presample else persistence * 2.0 * mu  # derivatives of h
    of_omega, of_alpha, of_beta = 1.0, before, before
    to_mu, to_omega, to_alpha, to_beta = 0.0, 0.0, 0.0, 0.0
    logs, product, ratios = 0.0, 1.0, 0.0
    with_information = len(information) > 0
    if with_information:
        for i in range(4):
            for k in range(4):
                information[i, k] = 0.0
    for t in range(len(z)):
        e = z[t] - mu
        square = e * e
        inverse = 1.0 / h
        ratio = square * inverse
        weight = 0.5 * inverse * (1.0 - ratio)
        ratios += ratio
        product *= h  # one logarithm for many factors
        if product > 1e100 or product < 1e-100:
            logs += math.log(product)
            product = 1.0
        to_mu += weight * of_mu - e * inverse
        to_omega += weight * of_omega
        to_alpha += weight * of_alpha
        to_beta += weight * of_beta
        if with_information:
            by_p, by_a = share * of_alpha + (1.0 - share) * of_beta, persistence * (of_alpha - of_beta)
            half = 0.5 * inverse * inverse
            information[0, 0] += inverse + half * of_mu * of_mu
            information[1, 1] += half * of_omega * of_omega
            information[2, 1] += half * by_p * of_omega
            information[2, 2] += half * by_p * by_p
            information[3, 1] += half * by_a * of_omega
            information[3, 2] += half * by_a * by_p
            information[3, 3] += half * by_a * by_a
        of_mu = beta * of_mu - 2.0 * alpha * e
        of_omega = 1.0 + beta * of_omega
        of_alpha = square + beta * of_alpha
        of_beta = h + beta * of_beta
        h = omega + alpha * square + beta * h
    gradient[0], gradient[1] = to_mu, to_omega
    gradient[2] = share * to_alpha + (1.0 - share) * to_beta
    gradient[3] = persistence * (to_alpha - to_beta)
    if with_information:
        for i in range(4):
            for k in range(i):
                information[k, i] = information[i, k]
    return float(0.5 * (logs + math.log(product) + ratios))


@njit(cache=True, nogil=True, error_model="numpy")
def _descent_direction(
    point: FloatArray,
    gradient: FloatArray,
    metric: FloatArray,
    held: BoolArray,
    reduced: FloatArray,
    factor: FloatArray,
    slope: FloatArray,
    solution: FloatArray,
    direction: FloatArray,
) -> tuple[bool, float]:
    """Newton direction in the parameters that are not held; one that would leave its bound is held as well.

    Returns whether the metric could be solved, and the decrease per unit of step at its start.
    """
    free = np.empty(4, np.int64)
    for _ in range(4):
        size = 0
        for i in range(4):
            direction[i] = 0.0
            if not held[i]:
                free[size] = i
                size += 1
        for i in range(size):
            slope[i] = -gradient[free[i]]
            for k in range(size):
                reduced[i, k] = metric[free[i], free[k]]
            reduced[i, i] += 1e-9 * abs(reduced[i, i]) + 1e-12
        if not solve_positive_definite(reduced, slope[:size], factor, solution):
            return False, 0.0
        gain, leaves = 0.0, False
        for i in range(size):
            at = free[i]
            direction[at] = solution[i]
            gain += slope[i] * solution[i]
            if (point[at] <= _LOWER[at] and solution[i] < 0.0) or (point[at] >= _UPPER[at] and solution[i] > 0.0):
                held[at], leaves = True, True
        if not leaves:
            return True, gain
    return False, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _update_metric(metric: FloatArray, change: FloatArray, slope: FloatArray, image: FloatArray) -> None:
    """BFGS update of the Hessian's approximation, damped to stay positive definite (Powell 1978)."""
    curvature, along = 0.0, 0.0
    for i in range(4):
        image[i] = 0.0
        for k in range(4):
            image[i] += metric[i, k] * change[k]
    for i in range(4):
        curvature += change[i] * image[i]
        along += change[i] * slope[i]
    if not curvature > 0.0:
        return
    blend = 1.0 if along >= 0.2 * curvature else 0.8 * curvature / (curvature - along)
    along = blend * along + (1.0 - blend) * curvature
    for i in range(4):
        slope[i] = blend * slope[i] + (1.0 - blend) * image[i]
    for i in range(4):
        for k in range(4):
            metric[i, k] += slope[i] * slope[k] / along - image[i] * image[k] / curvature

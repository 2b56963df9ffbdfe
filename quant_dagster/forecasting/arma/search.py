"""The search for the most likely ARMA process of one series, and where to begin it.

Belongs here: compiled functions of one series. Does not: the likelihood (``likelihood``), the loops over symbols
and orders (``candidates``).
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.arma.likelihood import concentrated_likelihood
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.linear_algebra import solve_positive_definite

_ITERATIONS = 60
_TRIES = 20  # dampings of one step
_SMALL_GAIN = 1e-7  # log-likelihood a further step promises, below which the search is over
_STEP = 3e-4  # of the finite differences; their error costs less than the small gain
_SIDE = (0.25, 0.5, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 0.995)
_GRID = np.array([-phi for phi in _SIDE[::-1]] + list(_SIDE))
_WORTH_A_SEARCH = 1.5  # log-likelihood a starting point may promise less than the best one
_LONGEST_MOVE = 0.5  # of one search parameter in one iteration


@njit(cache=True, nogil=True, error_model="numpy")
def maximise_likelihood(
    data: FloatArray, order: IntArray, point: FloatArray, phi: FloatArray, theta: FloatArray, beta: FloatArray
) -> tuple[float, int, bool]:
    """Least negative concentrated log-likelihood from ``point``, which is moved there.

    Newton's method on a finite-difference Hessian, damped (Levenberg & Marquardt) until a step improves: the
    likelihood of an ARMA has flat ridges where its two sides nearly cancel, on which quasi-Newton searches stop
    early. There are at most a handful of parameters, and an evaluation takes microseconds.

    Parameters
    ----------
    data
        Shape (1 + k, n): the series, then k regressors (a constant among them).
    order
        ``(p, q, P, Q, s)``.
    point
        Search parameters in the order AR, MA, seasonal AR, seasonal MA.
    phi, theta, beta
        As in :func:`concentrated_likelihood`, left at the optimum.

    Returns
    -------
    tuple
        The value, iterations, whether the search ended because nothing is left to gain.
    """
    size = len(point)
    whitened, state = np.empty(data.shape), np.empty((data.shape[0] + 3, len(phi)))
    products = np.empty((3 * data.shape[0], data.shape[0]))
    stencil = 1 + 2 * size + size * (size - 1) // 2
    points, values = np.empty((stencil, size)), np.empty(stencil)
    gradient, step = np.empty(size), np.empty(size)
    hessian, damped, factor = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    value, damping, promised, iteration, tries, converged = np.inf, 0.0, 0.0, 0, 0, size == 0
    measuring = True  # the likelihood around the point; else one trial step
    while True:  # one place that evaluates: the likelihood is large, and compiled anew wherever it is called
        finished = converged or tries > _TRIES or iteration >= _ITERATIONS
        if finished or measuring:
            for i in range(stencil):
                points[i] = point
        if measuring and not finished:
            _spread_out(points)
        for i in range(stencil if measuring and not finished else 1):
            values[i] = concentrated_likelihood(data, order, points[i], phi, theta, whitened, state, products, beta)
        if finished:
            return values[0], iteration, converged
        if measuring:
            value = values[0]
            _differences(values, gradient, hessian)
            measuring, tries, iteration = False, 0, iteration + 1
        elif values[0] < value - 1e-4 * promised:
            point[:] = points[0]
            damping = 0.0 if damping < 2e-3 else 0.1 * damping
            measuring = True
            continue
        else:
            damping = max(8.0 * damping, 1e-3)
            tries += 1
        gain = _damped_step(gradient, hessian, damping, damped, factor, step)
        while gain < 0.0 and tries <= _TRIES:
            damping = max(8.0 * damping, 1e-3)
            tries += 1
            gain = _damped_step(gradient, hessian, damping, damped, factor, step)
        converged = 0.0 <= 0.5 * gain < _SMALL_GAIN
        shrink = min(1.0, _LONGEST_MOVE / max(np.max(np.abs(step)), 1e-300))
        promised = shrink * gain
        points[0] = point + shrink * step


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_out(points: FloatArray) -> None:
    """The points of finite differences around the first: each parameter up and down, then each pair up."""
    size = points.shape[1]
    at = 1 + 2 * size
    for i in range(size):
        points[1 + i, i] += _STEP
        points[1 + size + i, i] -= _STEP
        for k in range(i):
            points[at, i] += _STEP
            points[at, k] += _STEP
            at += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _differences(values: FloatArray, gradient: FloatArray, hessian: FloatArray) -> None:
    """Gradient and lower triangle of the Hessian from the values at the points of :func:`_spread_out`."""
    size = len(gradient)
    at = 1 + 2 * size
    for i in range(size):
        up, down = values[1 + i], values[1 + size + i]
        gradient[i] = (up - down) / (2.0 * _STEP)
        hessian[i, i] = (up - 2.0 * values[0] + down) / _STEP**2
        for k in range(i):
            hessian[i, k] = (values[at] - up - values[1 + k] + values[0]) / _STEP**2
            at += 1


@njit(cache=True, nogil=True, error_model="numpy")
def near_cancellation(z: FloatArray, found: FloatArray) -> int:
    """Where an ARMA(1, 1) of ``z`` is likeliest beside the line ``theta = -phi`` on which its two sides cancel.

    For each ``phi`` of a grid ``z_t`` is regressed on ``z_(t-1) + phi z_(t-2) + phi ** 2 z_(t-3) + …``, the direction
    in which the likelihood leaves the line (the score of Andrews & Ploberger 1996). The likelihood has its local
    maxima near those of the gain along the grid.

    Returns
    -------
    int
        How many rows of ``found`` were written, best first, as search parameters (AR, MA).
    """
    size, n = len(_GRID), len(z)
    past, cross, squares, gain = np.zeros(size), np.zeros(size), np.zeros(size), np.empty(size + 2)
    for t in range(1, n):
        for g in range(size):
            past[g] = _GRID[g] * past[g] + z[t - 1]
            cross[g] += past[g] * z[t]
            squares[g] += past[g] * past[g]
    gain[0], gain[size + 1] = -np.inf, -np.inf
    for g in range(size):
        gain[g + 1] = cross[g] * cross[g] / squares[g]
    count, highest = 0, 0.0
    while count < len(found):
        best = -1
        for g in range(size):
            peak = gain[g + 1] >= gain[g] and gain[g + 1] >= gain[g + 2] and cross[g] != 0.0
            if peak and (best < 0 or gain[g + 1] > gain[best + 1]):
                best = g
        if best < 0 or gain[best + 1] < highest - 2.0 * _WORTH_A_SEARCH:
            break
        highest = max(highest, gain[best + 1])
        shift = min(max(cross[best] / squares[best], -0.9), 0.9)
        found[count, 0] = math.asin(_GRID[best])
        found[count, 1] = math.asin(min(max(_GRID[best] - shift, -0.9995), 0.9995))
        cross[best] = 0.0  # taken
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_step(
    gradient: FloatArray, hessian: FloatArray, damping: float, damped: FloatArray, factor: FloatArray, step: FloatArray
) -> float:
    """Newton's step with a raised diagonal; its promised decrease per unit, negative when it cannot be solved."""
    size = len(gradient)
    for i in range(size):
        for k in range(i):
            damped[i, k] = hessian[i, k]
        damped[i, i] = hessian[i, i] + damping * max(abs(hessian[i, i]), 1.0)
    if not solve_positive_definite(damped, gradient, factor, step):
        return -1.0
    gain = 0.0
    for i in range(size):
        step[i] = -step[i]
        gain -= gradient[i] * step[i]
    return gain

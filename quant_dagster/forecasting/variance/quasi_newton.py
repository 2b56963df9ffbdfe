"""The steps of a quasi-Newton search between bounds, in compiled kernels: where to go next, and what was learned."""

from __future__ import annotations

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import BoolArray, FloatArray
from quant_dagster.forecasting.linear_algebra import solve_positive_definite


@njit(cache=True, nogil=True, error_model="numpy")
def descent_direction(
    point: FloatArray,
    gradient: FloatArray,
    metric: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
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
    free = np.empty(len(point), np.int64)
    for _ in range(len(point)):
        size = 0
        for i in range(len(point)):
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
            if (point[at] <= lower[at] and solution[i] < 0.0) or (point[at] >= upper[at] and solution[i] > 0.0):
                held[at], leaves = True, True
        if not leaves:
            return True, gain
    return False, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def update_metric(metric: FloatArray, change: FloatArray, slope: FloatArray, image: FloatArray) -> None:
    """BFGS update of the Hessian's approximation, damped to stay positive definite (Powell 1978)."""
    size = len(change)
    curvature, along = 0.0, 0.0
    for i in range(size):
        image[i] = 0.0
        for k in range(size):
            image[i] += metric[i, k] * change[k]
    for i in range(size):
        curvature += change[i] * image[i]
        along += change[i] * slope[i]
    if not curvature > 0.0:
        return
    blend = 1.0 if along >= 0.2 * curvature else 0.8 * curvature / (curvature - along)
    along = blend * along + (1.0 - blend) * curvature
    for i in range(size):
        slope[i] = blend * slope[i] + (1.0 - blend) * image[i]
    for i in range(size):
        for k in range(size):
            metric[i, k] += slope[i] * slope[k] / along - image[i] * image[k] / curvature

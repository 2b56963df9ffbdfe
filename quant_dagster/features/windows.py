"""The arithmetic of one statistic over windows of w values, for many windows at once.

Each function answers for ``out.size`` windows that lie side by side in one flat array. The newest members of all
windows are ``x[at : at + out.size]``, the members i sessions older ``step * i`` places before. With ``step=1`` the
windows are those of successive sessions of one symbol (``rolling``); with the number of symbols as ``step``, in an
array of sessions by symbols, they are those of all symbols at one session (``incremental``). Both give the same bits,
because a window is always summed on its own from its newest to its oldest member: nothing is carried from one window
to the next (no drift). The loop over the offsets is the outer one, so that the compiler vectorises over windows.

Belongs here: what is shared by both. Does not: which windows are asked for, and what happens at the edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit

FloatArray = NDArray[np.float64]


@njit(nogil=True, cache=True, error_model="numpy")
def mean_of(x: FloatArray, at: int, step: int, window: int, mean: FloatArray) -> None:
    """Arithmetic means."""
    size = mean.size
    if size == 1:  # a single window has nothing to vectorise over: the same sum without slices
        total = 0.0
        for i in range(window):
            total += x[at - i * step]
        mean[0] = total / window
        return
    mean[:] = 0.0
    for i in range(window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            mean[k] += member[k]
    for k in range(size):
        mean[k] /= window


@njit(nogil=True, cache=True, error_model="numpy")
def moments_of(x: FloatArray, at: int, step: int, window: int, mean: FloatArray, std: FloatArray) -> None:
    """Means and sample standard deviations (divisor w - 1) in two passes."""
    size = mean.size
    mean_of(x, at, step, window, mean)
    if size == 1:
        total = 0.0
        for i in range(window):
            deviation = x[at - i * step] - mean[0]
            total += deviation * deviation
        std[0] = np.sqrt(total / (window - 1))
        return
    std[:] = 0.0
    for i in range(window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            deviation = member[k] - mean[k]
            std[k] += deviation * deviation
    for k in range(size):
        std[k] = np.sqrt(std[k] / (window - 1))


@njit(nogil=True, cache=True, error_model="numpy")
def shape_of(
    x: FloatArray,
    at: int,
    step: int,
    window: int,
    mean: FloatArray,
    std: FloatArray,
    skew: FloatArray,
    kurtosis: FloatArray,
) -> None:
    """Bias-adjusted skewness G1 and excess kurtosis G2; NaN where ``std`` is 0."""
    size = mean.size
    w = float(window)
    skew[:] = 0.0
    kurtosis[:] = 0.0
    for i in range(window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            deviation = member[k] - mean[k]
            square = deviation * deviation
            skew[k] += square * deviation
            kurtosis[k] += square * square
    for k in range(size):
        variance = std[k] * std[k] * (w - 1.0) / w
        if variance > 0.0:
            skew[k] = np.sqrt(w * (w - 1.0)) / (w - 2.0) * (skew[k] / w) / (variance * np.sqrt(variance))
            excess = (w + 1.0) * (kurtosis[k] / w) / (variance * variance) - 3.0 * (w - 1.0)
            kurtosis[k] = (w - 1.0) / ((w - 2.0) * (w - 3.0)) * excess
        else:
            skew[k] = np.nan
            kurtosis[k] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def extremes_of(x: FloatArray, at: int, step: int, window: int, lowest: FloatArray, highest: FloatArray) -> None:
    """Smallest and largest values. NaN is not carried: the caller blanks windows that hold one."""
    size = lowest.size
    if size == 1:
        low, high = np.inf, -np.inf
        for i in range(window):
            value = x[at - i * step]
            low = value if value < low else low
            high = value if value > high else high
        lowest[0] = low
        highest[0] = high
        return
    lowest[:] = np.inf
    highest[:] = -np.inf
    for i in range(window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            lowest[k] = member[k] if member[k] < lowest[k] else lowest[k]
            highest[k] = member[k] if member[k] > highest[k] else highest[k]


@njit(nogil=True, cache=True, error_model="numpy")
def position_of(x: FloatArray, at: int, step: int, window: int, position: FloatArray) -> None:
    """Where the newest value stands: 0 the smallest, 1 the largest, ties half. NaN is not carried."""
    size = position.size
    if size == 1:
        total = 0.0
        for i in range(1, window):
            value = x[at - i * step]
            total += 0.5 * (value < x[at]) + 0.5 * (value <= x[at])
        position[0] = total / (window - 1)
        return
    newest = x[at : at + size]
    position[:] = 0.0
    for i in range(1, window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            position[k] += 0.5 * (member[k] < newest[k]) + 0.5 * (member[k] <= newest[k])
    for k in range(size):
        position[k] /= window - 1


@njit(nogil=True, cache=True, error_model="numpy")
def spread_of(x: FloatArray, at: int, step: int, window: int, mean: FloatArray, spread: FloatArray) -> None:
    """Mean absolute distances from ``mean``."""
    size = mean.size
    spread[:] = 0.0
    for i in range(window):
        first = at - i * step
        member = x[first : first + size]
        for k in range(size):
            spread[k] += abs(member[k] - mean[k])
    for k in range(size):
        spread[k] /= window


@njit(nogil=True, cache=True, error_model="numpy")
def weighted_of(x: FloatArray, at: int, step: int, weights: FloatArray, result: FloatArray) -> None:
    """Weighted sums, ``weights[0]`` on the newest member."""
    size = result.size
    if size == 1:
        total = 0.0
        for i in range(weights.size):
            total += weights[i] * x[at - i * step]
        result[0] = total
        return
    result[:] = 0.0
    for i in range(weights.size):
        first = at - i * step
        member = x[first : first + size]
        weight = weights[i]
        for k in range(size):
            result[k] += weight * member[k]


@njit(nogil=True, cache=True, error_model="numpy")
def regression_of(
    y: FloatArray,
    y_at: int,
    x: FloatArray,
    x_at: int,
    step: int,
    window: int,
    slope: FloatArray,
    residual_std: FloatArray,
    correlation: FloatArray,
    scratch: FloatArray,
) -> None:
    """Least squares of ``y`` on ``x`` with an intercept; ``residual_std`` has the divisor w - 2.

    NaN where the sum of squares of ``x`` (``correlation``: or of ``y``) is not above 0. ``scratch`` has four rows.
    """
    size = slope.size
    x_mean, y_mean, sxx, syy = scratch[0], scratch[1], scratch[2], scratch[3]
    mean_of(x, x_at, step, window, x_mean)
    mean_of(y, y_at, step, window, y_mean)
    sxy = slope
    if size == 1:
        xx, xy, yy = 0.0, 0.0, 0.0
        for i in range(window):
            dx = x[x_at - i * step] - x_mean[0]
            dy = y[y_at - i * step] - y_mean[0]
            xx += dx * dx
            xy += dx * dy
            yy += dy * dy
        sxx[0], sxy[0], syy[0] = xx, xy, yy
    else:
        sxx[:] = 0.0
        sxy[:] = 0.0
        syy[:] = 0.0
        for i in range(window):
            right = x[x_at - i * step : x_at - i * step + size]
            left = y[y_at - i * step : y_at - i * step + size]
            for k in range(size):
                dx = right[k] - x_mean[k]
                dy = left[k] - y_mean[k]
                sxx[k] += dx * dx
                sxy[k] += dx * dy
                syy[k] += dy * dy
    for k in range(size):
        residual_std[k] = correlation[k] = np.nan
        covariance = sxy[k]
        slope[k] = np.nan
        if sxx[k] > 0.0:
            slope[k] = covariance / sxx[k]
            residual_std[k] = np.sqrt(max(syy[k] - covariance * covariance / sxx[k], 0.0) / (window - 2))
            if syy[k] > 0.0:
                correlation[k] = covariance / np.sqrt(sxx[k] * syy[k])

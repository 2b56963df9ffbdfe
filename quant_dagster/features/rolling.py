"""Window kernels: one statistic over the last w sessions, for many symbols at once.

Every kernel takes and fills symbol-major arrays, shape (b, n): b symbols, n sessions, C order. The loop over the
offsets inside the window is the outer one and the loop over sessions the inner one, over plain slices, so that the
compiler vectorises over sessions; a value is summed from the newest to the oldest member of its own window. Nothing
is carried from one window to the next: a value depends on the bits of its window and on nothing else (no drift, and
the same bits whatever came before or after).

A value is NaN until its window is full, and NaN when a member of its window is. Recursions are in ``recursive``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit

FloatArray = NDArray[np.float64]


@njit(nogil=True, cache=True)
def rolling_mean(x: FloatArray, window: int, mean: FloatArray) -> None:
    """Arithmetic mean of the last ``window`` values of ``x`` into ``mean``; both (b, n)."""
    n = x.shape[1]
    mean[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        out = mean[j, window - 1 :]
        out[:] = 0.0
        for i in range(window):
            member = x[j, window - 1 - i : n - i]
            for k in range(out.size):
                out[k] += member[k]
        for k in range(out.size):
            out[k] /= window


@njit(nogil=True, cache=True)
def rolling_moments(x: FloatArray, window: int, mean: FloatArray, std: FloatArray) -> None:
    """Mean and sample standard deviation (divisor w - 1) in two passes; arrays (b, n).

    A window of equal values has the standard deviation 0 exactly, not the rounding error of its mean.
    """
    n = x.shape[1]
    rolling_mean(x, window, mean)
    std[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        centre, out = mean[j, window - 1 :], std[j, window - 1 :]
        out[:] = 0.0
        for i in range(window):
            member = x[j, window - 1 - i : n - i]
            for k in range(out.size):
                deviation = member[k] - centre[k]
                out[k] += deviation * deviation
        for k in range(out.size):
            out[k] = np.sqrt(out[k] / (window - 1))
        equal = 1
        for t in range(1, n):
            equal = equal + 1 if x[j, t] == x[j, t - 1] else 1
            if equal >= window:
                std[j, t] = 0.0


@njit(nogil=True, cache=True)
def rolling_shape(
    x: FloatArray, window: int, mean: FloatArray, std: FloatArray, skew: FloatArray, kurtosis: FloatArray
) -> None:
    """Bias-adjusted skewness G1 and excess kurtosis G2 (Joanes and Gill 1998); arrays (b, n).

    ``mean`` and ``std`` are those of ``rolling_moments`` for the same window. Both are NaN where ``std`` is 0.
    """
    n = x.shape[1]
    w = float(window)
    skew[:, : window - 1] = np.nan
    kurtosis[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        centre, deviations = mean[j, window - 1 :], std[j, window - 1 :]
        third, fourth = skew[j, window - 1 :], kurtosis[j, window - 1 :]
        third[:] = 0.0
        fourth[:] = 0.0
        for i in range(window):
            member = x[j, window - 1 - i : n - i]
            for k in range(third.size):
                deviation = member[k] - centre[k]
                square = deviation * deviation
                third[k] += square * deviation
                fourth[k] += square * square
        for k in range(third.size):
            variance = deviations[k] * deviations[k] * (w - 1.0) / w
            if variance > 0.0:
                third[k] = np.sqrt(w * (w - 1.0)) / (w - 2.0) * (third[k] / w) / (variance * np.sqrt(variance))
                excess = (w + 1.0) * (fourth[k] / w) / (variance * variance) - 3.0 * (w - 1.0)
                fourth[k] = (w - 1.0) / ((w - 2.0) * (w - 3.0)) * excess
            else:
                third[k] = np.nan
                fourth[k] = np.nan


@njit(nogil=True, cache=True)
def rolling_extremes(x: FloatArray, window: int, lowest: FloatArray, highest: FloatArray) -> None:
    """Smallest and largest of the last ``window`` values; arrays (b, n)."""
    n = x.shape[1]
    lowest[:, : window - 1] = np.nan
    highest[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        low, high = lowest[j, window - 1 :], highest[j, window - 1 :]
        low[:] = np.inf
        high[:] = -np.inf
        for i in range(window):
            member = x[j, window - 1 - i : n - i]
            for k in range(low.size):
                low[k] = member[k] if member[k] < low[k] else low[k]
                high[k] = member[k] if member[k] > high[k] else high[k]
        _blank_incomplete(x[j], window, lowest[j])
        _blank_incomplete(x[j], window, highest[j])


@njit(nogil=True, cache=True)
def rolling_position(x: FloatArray, window: int, position: FloatArray) -> None:
    """Where the newest value stands among the last ``window``: 0 the smallest, 1 the largest, ties half; (b, n)."""
    n = x.shape[1]
    position[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        newest, out = x[j, window - 1 :], position[j, window - 1 :]
        out[:] = 0.0
        for i in range(1, window):
            member = x[j, window - 1 - i : n - i]
            for k in range(out.size):
                out[k] += 0.5 * (member[k] < newest[k]) + 0.5 * (member[k] <= newest[k])
        for k in range(out.size):
            out[k] /= window - 1
        _blank_incomplete(x[j], window, position[j])


@njit(nogil=True, cache=True)
def rolling_regression(
    y: FloatArray, x: FloatArray, window: int, slope: FloatArray, residual_std: FloatArray, correlation: FloatArray
) -> None:
    """Least squares of ``y`` on ``x`` with an intercept over the last ``window`` pairs; arrays (b, n).

    ``residual_std`` has the divisor w - 2. All three are NaN where ``x`` is constant, ``correlation`` also where
    ``y`` is.
    """
    n = x.shape[1]
    slope[:] = np.nan
    residual_std[:] = np.nan
    correlation[:] = np.nan
    if n < window:
        return
    x_mean, y_mean = np.empty(x.shape), np.empty(x.shape)
    rolling_mean(x, window, x_mean)
    rolling_mean(y, window, y_mean)
    size = n - window + 1
    sxx, sxy, syy = np.empty(size), np.empty(size), np.empty(size)
    for j in range(x.shape[0]):
        x_centre, y_centre = x_mean[j, window - 1 :], y_mean[j, window - 1 :]
        sxx[:] = 0.0
        sxy[:] = 0.0
        syy[:] = 0.0
        for i in range(window):
            right, left = x[j, window - 1 - i : n - i], y[j, window - 1 - i : n - i]
            for k in range(size):
                dx = right[k] - x_centre[k]
                dy = left[k] - y_centre[k]
                sxx[k] += dx * dx
                sxy[k] += dx * dy
                syy[k] += dy * dy
        x_equal, y_equal = 1, 1
        for t in range(1, n):
            x_equal = x_equal + 1 if x[j, t] == x[j, t - 1] else 1
            y_equal = y_equal + 1 if y[j, t] == y[j, t - 1] else 1
            k = t - window + 1
            if k >= 0 and x_equal < window and sxx[k] > 0.0:
                slope[j, t] = sxy[k] / sxx[k]
                residual_std[j, t] = np.sqrt(max(syy[k] - sxy[k] * sxy[k] / sxx[k], 0.0) / (window - 2))
                if y_equal < window and syy[k] > 0.0:
                    correlation[j, t] = sxy[k] / np.sqrt(sxx[k] * syy[k])


@njit(nogil=True, cache=True)
def _blank_incomplete(row: FloatArray, window: int, out: FloatArray) -> None:
    """NaN where fewer than ``window`` values in a row are present: comparisons do not carry NaN by themselves."""
    present = 0
    for t in range(row.size):
        present = 0 if np.isnan(row[t]) else present + 1
        if present < window:
            out[t] = np.nan

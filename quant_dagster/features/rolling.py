"""Window kernels over a panel: one statistic over the last w sessions, at every session, for many symbols.

Every kernel takes and fills symbol-major arrays, shape (b, n): b symbols, n sessions, C order. A value is NaN until
its window is full, and NaN when a member of its window is. The sums themselves, which the update by one session
shares, are in ``windows``; recursions are in ``recursive``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.features.windows import (
    mean_of,
    moments_of,
    position_of,
    regression_of,
    shape_of,
    spread_of,
    weighted_of,
)

FloatArray = NDArray[np.float64]


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_mean(x: FloatArray, window: int, mean: FloatArray) -> None:
    """Arithmetic mean of the last ``window`` values of ``x`` into ``mean``; both (b, n)."""
    mean[:, : window - 1] = np.nan
    if x.shape[1] >= window:
        for j in range(x.shape[0]):
            mean_of(x[j], window - 1, 1, window, mean[j, window - 1 :])


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_moments(x: FloatArray, window: int, mean: FloatArray, std: FloatArray) -> None:
    """Mean and sample standard deviation (divisor w - 1) in two passes; arrays (b, n).

    A window of equal values has the standard deviation 0 exactly, not the rounding error of its mean.
    """
    n = x.shape[1]
    mean[:, : window - 1] = np.nan
    std[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        moments_of(x[j], window - 1, 1, window, mean[j, window - 1 :], std[j, window - 1 :])
        equal = 1
        for t in range(1, n):
            equal = equal + 1 if x[j, t] == x[j, t - 1] else 1
            if equal >= window:
                std[j, t] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_shape(
    x: FloatArray, window: int, mean: FloatArray, std: FloatArray, skew: FloatArray, kurtosis: FloatArray
) -> None:
    """Bias-adjusted skewness G1 and excess kurtosis G2 (Joanes and Gill 1998); arrays (b, n).

    ``mean`` and ``std`` are those of ``rolling_moments`` for the same window. Both are NaN where ``std`` is 0.
    """
    skew[:, : window - 1] = np.nan
    kurtosis[:, : window - 1] = np.nan
    if x.shape[1] >= window:
        first = window - 1
        for j in range(x.shape[0]):
            shape_of(x[j], first, 1, window, mean[j, first:], std[j, first:], skew[j, first:], kurtosis[j, first:])


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_extremes(x: FloatArray, window: int, lowest: FloatArray, highest: FloatArray) -> None:
    """Smallest and largest of the last ``window`` values; arrays (b, n).

    By doubling: the extremes of 2k values are those of two runs of k. A comparison rounds nothing, so the way there
    does not show in the bits.
    """
    n = x.shape[1]
    lowest[:, : window - 1] = np.nan
    highest[:, : window - 1] = np.nan
    if n < window:
        return
    low, high = np.empty(n), np.empty(n)
    for j in range(x.shape[0]):
        low[:] = x[j]
        high[:] = x[j]
        width = 1
        while width < window:
            shift = min(width, window - width)
            size = n - width - shift + 1  # runs of width + shift values
            bottom, top = lowest[j, :size], highest[j, :size]
            earlier, later = low[:size], low[shift : shift + size]
            for k in range(size):
                bottom[k] = earlier[k] if earlier[k] < later[k] else later[k]
            earlier, later = high[:size], high[shift : shift + size]
            for k in range(size):
                top[k] = earlier[k] if earlier[k] > later[k] else later[k]
            low[:size] = bottom
            high[:size] = top
            width += shift
        lowest[j, window - 1 :] = low[: n - window + 1]
        highest[j, window - 1 :] = high[: n - window + 1]
        lowest[j, : window - 1] = np.nan
        highest[j, : window - 1] = np.nan
        _blank_incomplete(x[j], window, lowest[j])
        _blank_incomplete(x[j], window, highest[j])


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_position(x: FloatArray, window: int, position: FloatArray) -> None:
    """Where the newest value stands among the last ``window``: 0 the smallest, 1 the largest, ties half; (b, n)."""
    position[:, : window - 1] = np.nan
    if x.shape[1] >= window:
        for j in range(x.shape[0]):
            position_of(x[j], window - 1, 1, window, position[j, window - 1 :])
            _blank_incomplete(x[j], window, position[j])


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_spread(x: FloatArray, window: int, mean: FloatArray, spread: FloatArray) -> None:
    """Mean absolute distance of the last ``window`` values from their ``mean``; arrays (b, n).

    0 exactly for a window of equal values.
    """
    n = x.shape[1]
    spread[:, : window - 1] = np.nan
    if n < window:
        return
    for j in range(x.shape[0]):
        spread_of(x[j], window - 1, 1, window, mean[j, window - 1 :], spread[j, window - 1 :])
        equal = 1
        for t in range(1, n):
            equal = equal + 1 if x[j, t] == x[j, t - 1] else 1
            if equal >= window:
                spread[j, t] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_weighted(x: FloatArray, weights: FloatArray, result: FloatArray) -> None:
    """Weighted sum of the last values, ``weights[0]`` on the newest: a causal filter; arrays (b, n)."""
    window = weights.size
    result[:, : window - 1] = np.nan
    if x.shape[1] >= window:
        for j in range(x.shape[0]):
            weighted_of(x[j], window - 1, 1, weights, result[j, window - 1 :])


@njit(nogil=True, cache=True, error_model="numpy")
def rolling_regression(
    y: FloatArray, x: FloatArray, window: int, slope: FloatArray, residual_std: FloatArray, correlation: FloatArray
) -> None:
    """Least squares of ``y`` on ``x`` with an intercept over the last ``window`` pairs; arrays (b, n).

    ``residual_std`` has the divisor w - 2. All three are NaN where ``x`` is constant, ``correlation`` also where
    ``y`` is.
    """
    n = x.shape[1]
    slope[:, : window - 1] = np.nan
    residual_std[:, : window - 1] = np.nan
    correlation[:, : window - 1] = np.nan
    if n < window:
        return
    first = window - 1
    scratch = np.empty((4, n - first))
    for j in range(x.shape[0]):
        regression_of(
            y[j], first, x[j], first, 1, window, slope[j, first:], residual_std[j, first:], correlation[j, first:],
            scratch,
        )  # fmt: skip
        x_equal, y_equal = 1, 1
        for t in range(1, n):
            x_equal = x_equal + 1 if x[j, t] == x[j, t - 1] else 1
            y_equal = y_equal + 1 if y[j, t] == y[j, t - 1] else 1
            if x_equal >= window:
                slope[j, t] = residual_std[j, t] = np.nan
            if x_equal >= window or y_equal >= window:
                correlation[j, t] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _blank_incomplete(row: FloatArray, window: int, out: FloatArray) -> None:
    """NaN where fewer than ``window`` values in a row are present: comparisons do not carry NaN by themselves."""
    present = 0
    for t in range(row.size):
        present = 0 if np.isnan(row[t]) else present + 1
        if present < window:
            out[t] = np.nan

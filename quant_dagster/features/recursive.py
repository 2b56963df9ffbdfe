"""Recursive kernels: averages with memory, started at a symbol's first bar.

Arrays are symbol-major, shape (b, n), C order. A session without a value is skipped: its result is NaN and the
state is carried over it, so the results are those of the series with its gaps taken out. ``minimum`` is the number
of values a symbol must have shown before a result is given. Windows are in ``rolling``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit

FloatArray = NDArray[np.float64]


@njit(nogil=True, cache=True)
def weighted_moments(x: FloatArray, span: float, minimum: int, mean: FloatArray, std: FloatArray) -> None:
    """Exponentially weighted mean and unbiased standard deviation with the weights (1 - 2/(span+1))^age; (b, n).

    The weights are normalised from the first value on, so there is no start-up bias: pandas'
    ``ewm(span=span, adjust=True, ignore_na=True)``. The standard deviation needs two values.
    """
    decay = 1.0 - 2.0 / (span + 1.0)
    for j in range(x.shape[0]):
        seen = 0
        average, variance, weight, squared_weight = 0.0, 0.0, 0.0, 0.0
        for t in range(x.shape[1]):
            value = x[j, t]
            mean[j, t] = std[j, t] = np.nan
            if np.isnan(value):
                continue
            seen += 1
            older = weight * decay
            squared_weight = squared_weight * decay * decay + 1.0
            weight = older + 1.0
            previous = average
            average = (older * previous + value) / weight
            variance = (older * (variance + (previous - average) ** 2) + (value - average) ** 2) / weight
            if seen >= minimum:
                mean[j, t] = average
                if seen > 1:
                    std[j, t] = np.sqrt(variance * weight * weight / (weight * weight - squared_weight))


@njit(nogil=True, cache=True)
def smoothed(x: FloatArray, alpha: float, seed: int, minimum: int, average: FloatArray) -> None:
    """s = s + alpha (x - s), begun with the mean of the first ``seed`` values; (b, n).

    ``seed=1`` is pandas' ``ewm(alpha=alpha, adjust=False, ignore_na=True)``; ``alpha=1/14, seed=14`` is Wilder's
    smoothing (New Concepts in Technical Trading Systems, 1978).
    """
    for j in range(x.shape[0]):
        seen = 0
        state = 0.0
        for t in range(x.shape[1]):
            value = x[j, t]
            average[j, t] = np.nan
            if np.isnan(value):
                continue
            seen += 1
            state = state + (value - state) / seen if seen <= seed else state + alpha * (value - state)
            if seen >= minimum:
                average[j, t] = state


@njit(nogil=True, cache=True)
def bar_changes(close: FloatArray, change: FloatArray) -> None:
    """Close minus the close of the symbol's previous bar, however many sessions ago that was; (b, n)."""
    for j in range(close.shape[0]):
        previous = np.nan
        for t in range(close.shape[1]):
            value = close[j, t]
            change[j, t] = value - previous
            if not np.isnan(value):
                previous = value


@njit(nogil=True, cache=True)
def true_range(high: FloatArray, low: FloatArray, close: FloatArray, result: FloatArray) -> None:
    """Wilder's true range: the largest of high - low and both distances to the previous bar's close; (b, n).

    The first bar has no previous close: high - low. NaN where high, low or close is absent.
    """
    for j in range(close.shape[0]):
        previous = np.nan
        for t in range(close.shape[1]):
            top, bottom, last = high[j, t], low[j, t], close[j, t]
            result[j, t] = np.nan
            if not (np.isnan(top) or np.isnan(bottom) or np.isnan(last)):
                widest = top - bottom
                if not np.isnan(previous):
                    widest = max(widest, abs(top - previous), abs(bottom - previous))
                result[j, t] = widest
            if not np.isnan(last):
                previous = last


@njit(nogil=True, cache=True)
def relative_strength(change: FloatArray, period: int, index: FloatArray) -> None:
    """Wilder's relative strength index of bar-to-bar changes, 0 to 100; (b, n).

    The first averages are the plain means of the first ``period`` gains and losses, later ones are smoothed by
    1/period (Wilder 1978). 100 when there were only gains, 50 when the price did not move at all.
    """
    for j in range(change.shape[0]):
        seen = 0
        gains, losses = 0.0, 0.0
        for t in range(change.shape[1]):
            move = change[j, t]
            index[j, t] = np.nan
            if np.isnan(move):
                continue
            seen += 1
            weight = 1.0 / min(seen, period)
            gains += (max(move, 0.0) - gains) * weight
            losses += (max(-move, 0.0) - losses) * weight
            if seen >= period:
                total = gains + losses
                index[j, t] = 100.0 * gains / total if total > 0.0 else 50.0

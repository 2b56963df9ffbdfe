"""Tests of what a model left unexplained: Ljung-Box for leftover autocorrelation, Jarque-Bera for normality."""

from __future__ import annotations

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import SMALLEST_VARIATION, FloatArray, IntArray, over_columns, standardise

LJUNG_BOX_LAGS = 10


def ljung_box(values: FloatArray, counts: IntArray, lags: int = LJUNG_BOX_LAGS, workers: int = 1) -> FloatArray:
    """Ljung & Box (1978): ``n (n + 2) sum_k rho_k ** 2 / (n - k)`` over the first ``lags`` autocorrelations.

    Parameters
    ----------
    values
        Shape (m, n), C order; row j holds the values of symbol j in its first ``counts[j]`` places.

    Returns
    -------
    FloatArray
        Shape (m,); NaN for a symbol with no more values than lags, or whose values do not vary.
    """
    statistics = np.full(len(counts), np.nan)

    def kernel(first: int, stop: int) -> None:
        _ljung_box_rows(first, stop, values, counts, lags, statistics)

    over_columns(kernel, len(counts), workers)
    return statistics


@njit(cache=True, nogil=True, error_model="numpy")
def _ljung_box_rows(
    first: int, stop: int, values: FloatArray, counts: IntArray, lags: int, statistics: FloatArray
) -> None:
    x, sums = np.empty(values.shape[1]), np.empty(lags + 1)
    for j in range(first, stop):
        n = counts[j]
        if n <= lags or not standardise(values[j, :n], x)[1] > 0.0:
            continue
        for k in range(lags + 1):
            sums[k] = 0.0
        for t in range(n):
            for k in range(min(lags, t) + 1):  # a sum for each lag, so that none waits for another
                sums[k] += x[t] * x[t - k]
        total = 0.0
        for k in range(1, lags + 1):
            correlation = sums[k] / sums[0]
            total += correlation * correlation / (n - k)
        statistics[j] = total * n * (n + 2.0)


def jarque_bera(values: FloatArray, counts: IntArray) -> FloatArray:
    """Jarque & Bera (1980): ``n / 6 (skewness ** 2 + (kurtosis - 3) ** 2 / 4)`` with population moments.

    Shapes as in :func:`ljung_box`; NaN for a symbol whose values do not vary.
    """
    centred = _centred(values, counts)
    size = np.where(counts > 0, counts, np.nan)
    squares = centred * centred
    second = np.sum(squares, axis=1) / size
    second = np.where(second > 0.0, second, np.nan)
    skewness = np.sum(squares * centred, axis=1) / size / second**1.5
    kurtosis = np.sum(squares * squares, axis=1) / size / second**2
    return np.asarray(size / 6.0 * (skewness**2 + (kurtosis - 3.0) ** 2 / 4.0), dtype=np.float64)


def chi_squared_p_value(statistic: FloatArray, degrees: FloatArray | float) -> FloatArray:
    """Chance of a chi-squared value above ``statistic``; NaN stays NaN."""
    from scipy.special import chdtrc

    return np.asarray(chdtrc(degrees, statistic), dtype=np.float64)


def _centred(values: FloatArray, counts: IntArray) -> FloatArray:
    """Values less their row's mean; zero beyond the row's count, and where only rounding would be left."""
    inside = np.arange(values.shape[1]) < counts[:, None]
    mean = np.sum(np.where(inside, values, 0.0), axis=1, keepdims=True) / np.maximum(counts, 1)[:, None]
    deviations = np.where(inside, values - mean, 0.0)
    varies = np.max(np.abs(deviations), axis=1, keepdims=True) > SMALLEST_VARIATION * np.abs(mean)
    return np.asarray(np.where(varies, deviations, 0.0), dtype=np.float64)

"""The compiled pass behind ``incremental``: every feature of every symbol at one new session.

A *ring* holds the newest ``DEPTH`` sessions of every ``Series``, sessions by symbols, each session written twice,
``DEPTH`` rows apart, so that the newest window always lies in one piece. Windows over it are summed by the functions of
``windows``, recursions are advanced by those of ``recursive`` and ``decomposition``, and what remains is written down
here operation by operation as in ``prices``: that is what makes the bits those of ``compute``. No logarithm is taken
here: NumPy's and the compiler's differ in their last bit.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.features import decomposition, recursive
from quant_dagster.features.decomposition import take_return
from quant_dagster.features.definitions import (
    ENERGY_LEVELS,
    ENERGY_WINDOW,
    FEATURES,
    FOURIER_CYCLES,
    FOURIER_WINDOW,
    FRACTIONAL_ORDER,
    FRACTIONAL_WINDOW,
    TRADING_DAYS,
    TREND_WINDOW,
    WAVELET_LEVEL,
)
from quant_dagster.features.filters import (
    Wavelet,
    fourier_slope_weights,
    fractional_weights,
    trend_distance_weights,
    trend_slope_weights,
    wavelet_detail_weights,
    wavelet_weights,
)
from quant_dagster.features.prices import YANG_ZHANG_SHARE
from quant_dagster.features.recursive import advance
from quant_dagster.features.windows import (
    extremes_of,
    mean_of,
    moments_of,
    position_of,
    regression_of,
    shape_of,
    spread_of,
    weighted_of,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DEPTH = 256
"""Sessions kept; the longest look back is 253 sessions (momentum_12_1)."""
_SERIES = (
    "close", "returns", "high", "low", "volume", "market", "typical", "overnight", "body",
    "log_close", "dollars", "impact", "signed", "squared_range", "garman_klass", "rogers_satchell",
    "stochastic", "noise", "energy",
)  # fmt: skip
SERIES = len(_SERIES)
EQUALS = 10
"""Runs of equal values are counted of the first nine series, and of the returns as they were a session ago."""
PRESENTS = 4
"""Runs of present values are counted of the first four series."""
_Series = namedtuple("_Series", _SERIES)  # type: ignore[misc]
_Row = namedtuple("_Row", tuple(FEATURES))  # type: ignore[misc]
_S: Any = _Series(*range(SERIES))
_ROW: Any = _Row(*range(len(FEATURES)))
_EARLIER_RETURNS = 9

_EXTRA = (
    "mean_20", "std_20", "mean_50", "mean_200", "lowest_252", "highest_252", "typical", "typical_spread", "smooth",
    "noise", "energy", "rogers_satchell", "overnight", "body", "volume", "volume_std", "signed", "market", "unused",
    "x_mean", "y_mean", "sxx", "syy",
)  # fmt: skip
WORK_ROWS = len(FEATURES) + len(_EXTRA)
"""Rows of the array that ``take_session`` fills: the features, then what it needs on the way."""
_Extra = namedtuple("_Extra", _EXTRA)  # type: ignore[misc]
_X: Any = _Extra(*range(len(FEATURES), WORK_ROWS))

# What is asked of the windows, as tables: each statistic is compiled once and not once for each use.
_MEANS = np.array(
    [
        (_S.close, 50, _X.mean_50),
        (_S.close, 200, _X.mean_200),
        (_S.typical, 20, _X.typical),
        (_S.stochastic, 3, _ROW.stochastic_d_14),
        (_S.noise, ENERGY_WINDOW, _X.noise),
        (_S.energy, ENERGY_WINDOW, _X.energy),
        (_S.squared_range, 20, _ROW.parkinson_20),
        (_S.garman_klass, 20, _ROW.garman_klass_20),
        (_S.rogers_satchell, 20, _X.rogers_satchell),
        (_S.signed, 20, _X.signed),
        (_S.dollars, 20, _ROW.dollar_volume_20),
        (_S.impact, 20, _ROW.amihud_20),
        (_S.market, 20, _X.market),
    ]
)
_MOMENTS = np.array(
    [
        (_S.returns, 5, _ROW.return_mean_5, _ROW.volatility_5),
        (_S.returns, 10, _ROW.return_mean_10, _ROW.volatility_10),
        (_S.returns, 20, _ROW.return_mean_20, _ROW.volatility_20),
        (_S.returns, 60, _ROW.return_mean_60, _ROW.volatility_60),
        (_S.close, 20, _X.mean_20, _X.std_20),
        (_S.volume, 20, _X.volume, _X.volume_std),
        (_S.overnight, 20, _X.unused, _X.overnight),
        (_S.body, 20, _X.unused, _X.body),
    ]
)
_EXTREMES = np.array(
    [
        (_S.returns, 20, _ROW.return_min_20, _ROW.return_max_20),
        (_S.returns, 60, _ROW.return_min_60, _ROW.return_max_60),
        (_S.close, 252, _X.lowest_252, _X.highest_252),
    ]
)
_SHAPES = np.array(
    [
        (20, _ROW.return_mean_20, _ROW.volatility_20, _ROW.return_skew_20),
        (60, _ROW.return_mean_60, _ROW.volatility_60, _ROW.return_skew_60),
    ]
)
"""Window, mean, deviation, and the first of six rows: skewness, kurtosis, least, most, z, position of the close."""
_LOG_FILTERS = np.array(
    [_ROW.trend_slope_60, _ROW.trend_distance_60, _ROW.fractional_difference, _ROW.fourier_slope, _X.smooth]
)
_RECURSIVE = np.array([list(FEATURES).index(name) for name in recursive.RESULTS])
_SEASONAL = np.array([list(FEATURES).index(name) for name in decomposition.RESULTS])
_RANKS = np.array([i for i, name in enumerate(FEATURES) if name.startswith("rank_")])
_ANNUAL = float(np.sqrt(TRADING_DAYS))
_PARKINSON = float(4.0 * np.log(2.0))
_BODY = float(2.0 * np.log(2.0) - 1.0)
_POPULATION = float(np.sqrt(19.0 / 20.0))


def _table(filters: tuple[FloatArray, ...]) -> tuple[FloatArray, IntArray]:
    """Filters as the rows of one array, and their lengths."""
    sizes = np.array([len(weights) for weights in filters])
    table = np.zeros((len(filters), int(sizes.max())))
    for row, weights in zip(table, filters, strict=True):
        row[: len(weights)] = weights
    return table, sizes


_LOG_WEIGHTS, _LOG_SIZES = _table(
    (
        trend_slope_weights(TREND_WINDOW),
        trend_distance_weights(TREND_WINDOW),
        fractional_weights(FRACTIONAL_ORDER, FRACTIONAL_WINDOW),
        fourier_slope_weights(FOURIER_WINDOW, FOURIER_CYCLES),
        wavelet_weights(Wavelet.D4, WAVELET_LEVEL),
    )
)
_DETAIL_WEIGHTS, _DETAIL_SIZES = _table(
    tuple(wavelet_detail_weights(Wavelet.HAAR, level) for level in range(1, ENERGY_LEVELS + 1))
)


@njit(nogil=True, cache=True, error_model="numpy")
def take_session(
    ring: FloatArray,
    newest: int,
    bars: FloatArray,
    logs: FloatArray,
    day: IntArray,
    market: float,
    equal: IntArray,
    present: IntArray,
    recursions: FloatArray,
    seasons: FloatArray,
    values: FloatArray,
    history: bool,
) -> None:
    """Take one session of m symbols into the state and fill ``values``.

    Parameters
    ----------
    ring
        (SERIES, 2 * DEPTH * m), changed in place.
    newest
        Row of the session, 0 to DEPTH - 1: one further than the session before.
    bars, logs
        Open, high, low, close, volume, (5, m), NaN absent; logarithms of the first four, read where the price is
        above 0.
    day
        The session's row of ``calendar.day_kinds``.
    market
        The panel's mean log return, or infinity: that of these symbols.
    equal, present
        (EQUALS, m), (PRESENTS, m): lengths of runs up to the session before.
    recursions, seasons
        (m, ...): states of ``recursive.advance`` and ``decomposition.take_return``.
    values
        (WORK_ROWS, m), the features first; logarithms of the ewma_trend rows, ranks (here absent) and calendar
        features are the caller's.
    history
        Only fill the ring and the runs: recursions are not advanced and the features not filled.
    """
    m = bars.shape[1]
    at = (newest + DEPTH) * m
    last = at - m
    _write_series(ring, at, last, bars, logs, market)
    for k in range(m):
        equal[_EARLIER_RETURNS, k] = equal[_S.returns, k]
        for s in range(_EARLIER_RETURNS):
            equal[s, k] = equal[s, k] + 1 if ring[s, at + k] == ring[s, last + k] else 1
        for s in range(PRESENTS):
            present[s, k] = 0 if np.isnan(ring[s, at + k]) else present[s, k] + 1
    _write_derived(ring, at, present, values)
    for s in range(SERIES):
        ring[s, at - DEPTH * m : at - DEPTH * m + m] = ring[s, at : at + m]
    if history:
        return
    result = np.empty(_RECURSIVE.size)
    for k in range(m):
        high, low, close = ring[_S.high, at + k], ring[_S.low, at + k], ring[_S.close, at + k]
        advance(recursions[k], high, low, close, ring[_S.log_close, at + k], result)
        for r in range(_RECURSIVE.size):
            values[_RECURSIVE[r], k] = result[r]
        take_return(seasons[k], ring[_S.returns, at + k], day, result[: _SEASONAL.size])
        for r in range(_SEASONAL.size):
            values[_SEASONAL[r], k] = result[r]
    _fill_windows(ring, at, m, equal, present, values)
    _combine(ring, at, m, equal, present, values)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_series(ring: FloatArray, at: int, last: int, bars: FloatArray, logs: FloatArray, market: float) -> None:
    """The series that follow from the session's bar and the close before."""
    m = bars.shape[1]
    total, count = 0.0, 0.0
    for k in range(m):
        log_open = logs[0, k] if bars[0, k] > 0.0 else np.nan
        log_high = logs[1, k] if bars[1, k] > 0.0 else np.nan
        log_low = logs[2, k] if bars[2, k] > 0.0 else np.nan
        log_close = logs[3, k] if bars[3, k] > 0.0 else np.nan
        high = bars[1, k] if bars[1, k] > 0.0 else np.nan
        low = bars[2, k] if bars[2, k] > 0.0 else np.nan
        close = bars[3, k] if bars[3, k] > 0.0 else np.nan
        volume = bars[4, k]
        value = log_close - ring[_S.log_close, last + k]
        if not np.isnan(value):
            total += value
            count += 1.0
        dollars = close * volume
        squared_range = (log_high - log_low) * (log_high - log_low)
        body = log_close - log_open
        up, down = log_high - log_close, log_low - log_close
        sign = 1.0 if value > 0.0 else (-1.0 if value < 0.0 else (0.0 if value == 0.0 else np.nan))
        ring[_S.close, at + k] = close
        ring[_S.log_close, at + k] = log_close
        ring[_S.returns, at + k] = value
        ring[_S.high, at + k] = high
        ring[_S.low, at + k] = low
        ring[_S.volume, at + k] = volume
        ring[_S.dollars, at + k] = dollars
        ring[_S.impact, at + k] = abs(value) * 1e6 / dollars if dollars != 0.0 else np.nan
        ring[_S.signed, at + k] = sign * volume
        ring[_S.squared_range, at + k] = squared_range
        ring[_S.body, at + k] = body
        ring[_S.garman_klass, at + k] = 0.5 * squared_range - _BODY * (body * body)
        ring[_S.rogers_satchell, at + k] = up * (up + body) + down * (down + body)
        ring[_S.overnight, at + k] = log_open - ring[_S.log_close, last + k]
        ring[_S.typical, at + k] = (high + low + close) / 3.0
    if np.isinf(market):
        market = total / count if count > 0.0 else np.nan
    ring[_S.market, at : at + m] = market


@njit(nogil=True, cache=True, error_model="numpy")
def _write_derived(ring: FloatArray, at: int, present: IntArray, values: FloatArray) -> None:
    """The series that are themselves windows over others."""
    m = present.shape[1]
    lowest, highest, unused = values[_X.x_mean], values[_X.y_mean], values[_X.unused]
    for series in (_S.high, _S.low):
        extremes_of(ring[series], at, m, 14, lowest, highest if series == _S.high else unused)
    for k in range(m):
        reach = highest[k] - lowest[k] if present[2, k] >= 14 and present[3, k] >= 14 else np.nan
        ring[_S.stochastic, at + k] = 100.0 * (ring[_S.close, at + k] - lowest[k]) / reach if reach != 0.0 else np.nan
        ring[_S.energy, at + k] = 0.0
    detail = values[_X.unused]
    for i in range(_DETAIL_SIZES.size):
        weighted_of(ring[_S.returns], at, m, _DETAIL_WEIGHTS[i, : _DETAIL_SIZES[i]], detail)
        for k in range(m):
            square = detail[k] * detail[k]
            ring[_S.energy, at + k] += square
            if i == 0:
                ring[_S.noise, at + k] = square
    for k in range(m):
        if np.isnan(ring[_S.energy, at + k]):
            ring[_S.noise, at + k] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_windows(ring: FloatArray, at: int, m: int, equal: IntArray, present: IntArray, values: FloatArray) -> None:
    """Every statistic over a window, into its row of ``values``; absent where its window is not full."""
    for i in range(len(_MEANS)):
        mean_of(ring[_MEANS[i, 0]], at, m, _MEANS[i, 1], values[_MEANS[i, 2]])
    for i in range(len(_MOMENTS)):
        series, window, std = _MOMENTS[i, 0], _MOMENTS[i, 1], values[_MOMENTS[i, 3]]
        moments_of(ring[series], at, m, window, values[_MOMENTS[i, 2]], std)
        for k in range(m):
            std[k] = 0.0 if equal[series, k] >= window else std[k]
    for i in range(len(_EXTREMES)):
        series, window = _EXTREMES[i, 0], _EXTREMES[i, 1]
        lowest, highest = values[_EXTREMES[i, 2]], values[_EXTREMES[i, 3]]
        extremes_of(ring[series], at, m, window, lowest, highest)
        for k in range(m):
            if present[series, k] < window:
                lowest[k] = highest[k] = np.nan
    for i in range(len(_SHAPES)):
        window, mean, std, first = _SHAPES[i, 0], values[_SHAPES[i, 1]], values[_SHAPES[i, 2]], _SHAPES[i, 3]
        shape_of(ring[_S.returns], at, m, window, mean, std, values[first], values[first + 1])
        z, position = values[first + 4], values[first + 5]
        position_of(ring[_S.close], at, m, window, position)
        for k in range(m):
            z[k] = (ring[_S.returns, at + k] - mean[k]) / std[k] if std[k] != 0.0 else np.nan
            if present[_S.close, k] < window:
                position[k] = np.nan
    for i in range(_LOG_SIZES.size):
        weighted_of(ring[_S.log_close], at, m, _LOG_WEIGHTS[i, : _LOG_SIZES[i]], values[_LOG_FILTERS[i]])
    spread = values[_X.typical_spread]
    spread_of(ring[_S.typical], at, m, 20, values[_X.typical], spread)
    for i in range(2):
        on_market = i == 0
        window = 60 if on_market else 20
        x = ring[_S.market] if on_market else ring[_S.returns]
        x_at = at if on_market else at - m
        slope = values[_ROW.beta_60 if on_market else _X.unused]
        residual = values[_ROW.residual_volatility_60 if on_market else _X.lowest_252]
        correlation = values[_X.lowest_252 if on_market else _ROW.autocorrelation_20]
        regression_of(
            ring[_S.returns], at, x, x_at, m, window, slope, residual, correlation, values[_X.x_mean : _X.syy + 1]
        )
    for k in range(m):
        if equal[_S.typical, k] >= 20:
            spread[k] = 0.0
        if equal[_S.market, k] >= 60:
            values[_ROW.beta_60, k] = values[_ROW.residual_volatility_60, k] = np.nan
        if equal[_S.returns, k] >= 20 or equal[_EARLIER_RETURNS, k] >= 20:
            values[_ROW.autocorrelation_20, k] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _combine(ring: FloatArray, at: int, m: int, equal: IntArray, present: IntArray, values: FloatArray) -> None:
    """The features that follow from the windows."""
    logs, returns = ring[_S.log_close], ring[_S.returns]
    for k in range(m):
        i = at + k
        values[_ROW.return_1, k] = logs[i] - logs[i - m]
        values[_ROW.return_5, k] = logs[i] - logs[i - 5 * m]
        values[_ROW.return_10, k] = logs[i] - logs[i - 10 * m]
        values[_ROW.return_20, k] = logs[i] - logs[i - 20 * m]
        values[_ROW.return_1_lag_1, k] = returns[i - m]
        values[_ROW.return_1_lag_5, k] = returns[i - 5 * m]
        values[_ROW.return_1_lag_10, k] = returns[i - 10 * m]
        values[_ROW.return_1_lag_20, k] = returns[i - 20 * m]
        values[_ROW.momentum_3_1, k] = logs[i - 21 * m] - logs[i - 63 * m]
        values[_ROW.momentum_6_1, k] = logs[i - 21 * m] - logs[i - 126 * m]
        values[_ROW.momentum_12_1, k] = logs[i - 21 * m] - logs[i - 252 * m]
        values[_ROW.return_difference, k] = returns[i] - returns[i - m]
        values[_ROW.volatility_5, k] *= _ANNUAL
        values[_ROW.volatility_10, k] *= _ANNUAL
        values[_ROW.volatility_20, k] *= _ANNUAL
        values[_ROW.volatility_60, k] *= _ANNUAL

        now, mean = ring[_S.close, i], values[_X.mean_20, k]
        values[_ROW.distance_mean_20, k] = now / mean - 1.0
        values[_ROW.distance_mean_50, k] = now / values[_X.mean_50, k] - 1.0
        values[_ROW.distance_mean_200, k] = now / values[_X.mean_200, k] - 1.0
        deviation = values[_X.std_20, k] * _POPULATION
        band = 4.0 * deviation
        values[_ROW.bollinger_position, k] = (now - (mean - 2.0 * deviation)) / band if band != 0.0 else np.nan
        values[_ROW.bollinger_width, k] = band / mean
        values[_ROW.drawdown_252, k] = now / values[_X.highest_252, k] - 1.0
        values[_ROW.stochastic_k_14, k] = ring[_S.stochastic, i]
        unit = 0.015 * values[_X.typical_spread, k]
        values[_ROW.cci_20, k] = (ring[_S.typical, i] - values[_X.typical, k]) / unit if unit != 0.0 else np.nan

        energy = values[_X.energy, k]
        values[_ROW.wavelet_distance, k] = logs[i] - values[_X.smooth, k]
        values[_ROW.wavelet_noise_share, k] = values[_X.noise, k] / energy if energy != 0.0 else np.nan
        seasonal, month = values[_ROW.seasonal_weekday, k], values[_ROW.seasonal_month, k]
        values[_ROW.seasonal_residual, k] = returns[i] - values[_ROW.trend_slope_60, k] - seasonal - month

        rogers_satchell, night, day = values[_X.rogers_satchell, k], values[_X.overnight, k], values[_X.body, k]
        values[_ROW.parkinson_20, k] = np.sqrt(values[_ROW.parkinson_20, k] / _PARKINSON) * _ANNUAL
        values[_ROW.garman_klass_20, k] = np.sqrt(values[_ROW.garman_klass_20, k]) * _ANNUAL
        values[_ROW.rogers_satchell_20, k] = np.sqrt(rogers_satchell) * _ANNUAL
        rest = (1.0 - YANG_ZHANG_SHARE) * rogers_satchell
        variance = night * night + YANG_ZHANG_SHARE * (day * day) + rest
        values[_ROW.yang_zhang_20, k] = np.sqrt(variance) * _ANNUAL

        volume, std = values[_X.volume, k], values[_X.volume_std, k]
        values[_ROW.volume_z_20, k] = (ring[_S.volume, i] - volume) / std if std != 0.0 else np.nan
        values[_ROW.signed_volume_20, k] = values[_X.signed, k] / volume if volume != 0.0 else np.nan
        values[_ROW.relative_return_20, k] = values[_ROW.return_20, k] - values[_X.market, k] * 20.0
        values[_ROW.residual_volatility_60, k] *= _ANNUAL
        for r in range(_RANKS.size):
            values[_RANKS[r], k] = np.nan

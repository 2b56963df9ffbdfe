"""The compiled pass behind ``incremental``: every feature of every symbol at one new session.

A *ring* holds the newest ``DEPTH`` sessions of every ``Series``, sessions by symbols, each session written twice,
``DEPTH`` rows apart, so that the newest window always lies in one piece. Windows over it are summed by the functions of
``windows``, recursions are advanced by those of ``recursive`` and ``decomposition``, and what remains is written down
here operation by operation as in ``prices``: that is what makes the bits those of ``compute``. No logarithm is taken
here: NumPy's and the compiler's differ in their last bit. Positions are in ``session_layout``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.features.decomposition import take_return
from quant_dagster.features.definitions import TRADING_DAYS
from quant_dagster.features.prices import YANG_ZHANG_SHARE
from quant_dagster.features.recursive import advance
from quant_dagster.features.session_layout import (
    DEPTH,
    DETAIL_SIZES,
    DETAIL_WEIGHTS,
    EARLIER_RETURNS,
    EXTREMES,
    LOG_FILTERS,
    LOG_SIZES,
    LOG_WEIGHTS,
    MEANS,
    MOMENTS,
    PRESENTS,
    RANKS,
    RECURSIVE,
    ROW,
    SEASONAL,
    SERIES,
    SHAPES,
    S,
    X,
)
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

_ANNUAL = float(np.sqrt(TRADING_DAYS))
_PARKINSON = float(4.0 * np.log(2.0))
_BODY = float(2.0 * np.log(2.0) - 1.0)
_POPULATION = float(np.sqrt(19.0 / 20.0))


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
        equal[EARLIER_RETURNS, k] = equal[S.returns, k]
        for s in range(EARLIER_RETURNS):
            equal[s, k] = equal[s, k] + 1 if ring[s, at + k] == ring[s, last + k] else 1
        for s in range(PRESENTS):
            present[s, k] = 0 if np.isnan(ring[s, at + k]) else present[s, k] + 1
    _write_derived(ring, at, present, values)
    for s in range(SERIES):
        ring[s, at - DEPTH * m : at - DEPTH * m + m] = ring[s, at : at + m]
    if history:
        return
    result = np.empty(RECURSIVE.size)
    for k in range(m):
        high, low, close = ring[S.high, at + k], ring[S.low, at + k], ring[S.close, at + k]
        advance(recursions[k], high, low, close, ring[S.log_close, at + k], result)
        for r in range(RECURSIVE.size):
            values[RECURSIVE[r], k] = result[r]
        take_return(seasons[k], ring[S.returns, at + k], day, result[: SEASONAL.size])
        for r in range(SEASONAL.size):
            values[SEASONAL[r], k] = result[r]
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
        value = log_close - ring[S.log_close, last + k]
        if not np.isnan(value):
            total += value
            count += 1.0
        dollars = close * volume
        squared_range = (log_high - log_low) * (log_high - log_low)
        body = log_close - log_open
        up, down = log_high - log_close, log_low - log_close
        sign = 1.0 if value > 0.0 else (-1.0 if value < 0.0 else (0.0 if value == 0.0 else np.nan))
        ring[S.close, at + k] = close
        ring[S.log_close, at + k] = log_close
        ring[S.returns, at + k] = value
        ring[S.high, at + k] = high
        ring[S.low, at + k] = low
        ring[S.volume, at + k] = volume
        ring[S.dollars, at + k] = dollars
        ring[S.impact, at + k] = abs(value) * 1e6 / dollars if dollars != 0.0 else np.nan
        ring[S.signed, at + k] = sign * volume
        ring[S.squared_range, at + k] = squared_range
        ring[S.body, at + k] = body
        ring[S.garman_klass, at + k] = 0.5 * squared_range - _BODY * (body * body)
        ring[S.rogers_satchell, at + k] = up * (up + body) + down * (down + body)
        ring[S.overnight, at + k] = log_open - ring[S.log_close, last + k]
        ring[S.typical, at + k] = (high + low + close) / 3.0
    if np.isinf(market):
        market = total / count if count > 0.0 else np.nan
    ring[S.market, at : at + m] = market


@njit(nogil=True, cache=True, error_model="numpy")
def _write_derived(ring: FloatArray, at: int, present: IntArray, values: FloatArray) -> None:
    """The series that are themselves windows over others."""
    m = present.shape[1]
    lowest, highest, unused = values[X.x_mean], values[X.y_mean], values[X.unused]
    for series in (S.high, S.low):
        extremes_of(ring[series], at, m, 14, lowest, highest if series == S.high else unused)
    for k in range(m):
        reach = highest[k] - lowest[k] if present[2, k] >= 14 and present[3, k] >= 14 else np.nan
        ring[S.stochastic, at + k] = 100.0 * (ring[S.close, at + k] - lowest[k]) / reach if reach != 0.0 else np.nan
        ring[S.energy, at + k] = 0.0
    detail = values[X.unused]
    for i in range(DETAIL_SIZES.size):
        weighted_of(ring[S.returns], at, m, DETAIL_WEIGHTS[i, : DETAIL_SIZES[i]], detail)
        for k in range(m):
            square = detail[k] * detail[k]
            ring[S.energy, at + k] += square
            if i == 0:
                ring[S.noise, at + k] = square
    for k in range(m):
        if np.isnan(ring[S.energy, at + k]):
            ring[S.noise, at + k] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_windows(ring: FloatArray, at: int, m: int, equal: IntArray, present: IntArray, values: FloatArray) -> None:
    """Every statistic over a window, into its row of ``values``; absent where its window is not full."""
    for i in range(len(MEANS)):
        mean_of(ring[MEANS[i, 0]], at, m, MEANS[i, 1], values[MEANS[i, 2]])
    for i in range(len(MOMENTS)):
        series, window, std = MOMENTS[i, 0], MOMENTS[i, 1], values[MOMENTS[i, 3]]
        moments_of(ring[series], at, m, window, values[MOMENTS[i, 2]], std)
        for k in range(m):
            std[k] = 0.0 if equal[series, k] >= window else std[k]
    for i in range(len(EXTREMES)):
        series, window = EXTREMES[i, 0], EXTREMES[i, 1]
        lowest, highest = values[EXTREMES[i, 2]], values[EXTREMES[i, 3]]
        extremes_of(ring[series], at, m, window, lowest, highest)
        for k in range(m):
            if present[series, k] < window:
                lowest[k] = highest[k] = np.nan
    for i in range(len(SHAPES)):
        window, mean, std, first = SHAPES[i, 0], values[SHAPES[i, 1]], values[SHAPES[i, 2]], SHAPES[i, 3]
        shape_of(ring[S.returns], at, m, window, mean, std, values[first], values[first + 1])
        z, position = values[first + 4], values[first + 5]
        position_of(ring[S.close], at, m, window, position)
        for k in range(m):
            z[k] = (ring[S.returns, at + k] - mean[k]) / std[k] if std[k] != 0.0 else np.nan
            if present[S.close, k] < window:
                position[k] = np.nan
    for i in range(LOG_SIZES.size):
        weighted_of(ring[S.log_close], at, m, LOG_WEIGHTS[i, : LOG_SIZES[i]], values[LOG_FILTERS[i]])
    spread = values[X.typical_spread]
    spread_of(ring[S.typical], at, m, 20, values[X.typical], spread)
    for i in range(2):
        on_market = i == 0
        window = 60 if on_market else 20
        x = ring[S.market] if on_market else ring[S.returns]
        x_at = at if on_market else at - m
        slope = values[ROW.beta_60 if on_market else X.unused]
        residual = values[ROW.residual_volatility_60 if on_market else X.lowest_252]
        correlation = values[X.lowest_252 if on_market else ROW.autocorrelation_20]
        regression_of(
            ring[S.returns], at, x, x_at, m, window, slope, residual, correlation, values[X.x_mean : X.syy + 1]
        )
    for k in range(m):
        if equal[S.typical, k] >= 20:
            spread[k] = 0.0
        if equal[S.market, k] >= 60:
            values[ROW.beta_60, k] = values[ROW.residual_volatility_60, k] = np.nan
        if equal[S.returns, k] >= 20 or equal[EARLIER_RETURNS, k] >= 20:
            values[ROW.autocorrelation_20, k] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _combine(ring: FloatArray, at: int, m: int, equal: IntArray, present: IntArray, values: FloatArray) -> None:
    """The features that follow from the windows."""
    logs, returns = ring[S.log_close], ring[S.returns]
    for k in range(m):
        i = at + k
        values[ROW.return_1, k] = logs[i] - logs[i - m]
        values[ROW.return_5, k] = logs[i] - logs[i - 5 * m]
        values[ROW.return_10, k] = logs[i] - logs[i - 10 * m]
        values[ROW.return_20, k] = logs[i] - logs[i - 20 * m]
        values[ROW.return_1_lag_1, k] = returns[i - m]
        values[ROW.return_1_lag_5, k] = returns[i - 5 * m]
        values[ROW.return_1_lag_10, k] = returns[i - 10 * m]
        values[ROW.return_1_lag_20, k] = returns[i - 20 * m]
        values[ROW.momentum_3_1, k] = logs[i - 21 * m] - logs[i - 63 * m]
        values[ROW.momentum_6_1, k] = logs[i - 21 * m] - logs[i - 126 * m]
        values[ROW.momentum_12_1, k] = logs[i - 21 * m] - logs[i - 252 * m]
        values[ROW.return_difference, k] = returns[i] - returns[i - m]
        values[ROW.volatility_5, k] *= _ANNUAL
        values[ROW.volatility_10, k] *= _ANNUAL
        values[ROW.volatility_20, k] *= _ANNUAL
        values[ROW.volatility_60, k] *= _ANNUAL

        now, mean = ring[S.close, i], values[X.mean_20, k]
        values[ROW.distance_mean_20, k] = now / mean - 1.0
        values[ROW.distance_mean_50, k] = now / values[X.mean_50, k] - 1.0
        values[ROW.distance_mean_200, k] = now / values[X.mean_200, k] - 1.0
        deviation = values[X.std_20, k] * _POPULATION
        band = 4.0 * deviation
        values[ROW.bollinger_position, k] = (now - (mean - 2.0 * deviation)) / band if band != 0.0 else np.nan
        values[ROW.bollinger_width, k] = band / mean
        values[ROW.drawdown_252, k] = now / values[X.highest_252, k] - 1.0
        values[ROW.stochastic_k_14, k] = ring[S.stochastic, i]
        unit = 0.015 * values[X.typical_spread, k]
        values[ROW.cci_20, k] = (ring[S.typical, i] - values[X.typical, k]) / unit if unit != 0.0 else np.nan

        energy = values[X.energy, k]
        values[ROW.wavelet_distance, k] = logs[i] - values[X.smooth, k]
        values[ROW.wavelet_noise_share, k] = values[X.noise, k] / energy if energy != 0.0 else np.nan
        seasonal, month = values[ROW.seasonal_weekday, k], values[ROW.seasonal_month, k]
        values[ROW.seasonal_residual, k] = returns[i] - values[ROW.trend_slope_60, k] - seasonal - month

        rogers_satchell, night, day = values[X.rogers_satchell, k], values[X.overnight, k], values[X.body, k]
        values[ROW.parkinson_20, k] = np.sqrt(values[ROW.parkinson_20, k] / _PARKINSON) * _ANNUAL
        values[ROW.garman_klass_20, k] = np.sqrt(values[ROW.garman_klass_20, k]) * _ANNUAL
        values[ROW.rogers_satchell_20, k] = np.sqrt(rogers_satchell) * _ANNUAL
        rest = (1.0 - YANG_ZHANG_SHARE) * rogers_satchell
        variance = night * night + YANG_ZHANG_SHARE * (day * day) + rest
        values[ROW.yang_zhang_20, k] = np.sqrt(variance) * _ANNUAL

        volume, std = values[X.volume, k], values[X.volume_std, k]
        values[ROW.volume_z_20, k] = (ring[S.volume, i] - volume) / std if std != 0.0 else np.nan
        values[ROW.signed_volume_20, k] = values[X.signed, k] / volume if volume != 0.0 else np.nan
        values[ROW.relative_return_20, k] = values[ROW.return_20, k] - values[X.market, k] * 20.0
        values[ROW.residual_volatility_60, k] *= _ANNUAL
        for r in range(RANKS.size):
            values[RANKS[r], k] = np.nan

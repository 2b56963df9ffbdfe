"""Features of one symbol's own history, a block of symbols at a time.

A ``Block`` holds some columns of the panel turned symbol-major (b, n). Each function fills the rows of ``out`` that
carry its features' names. Windows count sessions, recursions count bars: see ``rolling`` and ``recursive``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features import decomposition, recursive
from quant_dagster.features.definitions import (
    AVERAGE_WINDOWS,
    ENERGY_WINDOW,
    MOMENT_WINDOWS,
    MOMENTUM,
    RETURN_HORIZONS,
    RETURN_LAGS,
    SHAPE_WINDOWS,
    TRADING_DAYS,
    TREND_SPANS,
    TREND_WINDOW,
)
from quant_dagster.features.filters import OF_LOG_CLOSE, OF_RETURNS, WAVELET_SMOOTH
from quant_dagster.features.rolling import (
    rolling_extremes,
    rolling_mean,
    rolling_moments,
    rolling_position,
    rolling_regression,
    rolling_shape,
    rolling_spread,
    rolling_weighted,
)

FloatArray = NDArray[np.float64]
Out = dict[str, FloatArray]
_ANNUAL = np.sqrt(TRADING_DAYS)


YANG_ZHANG_SHARE = 0.34 / (1.34 + 21.0 / 19.0)
"""Weight of the open-to-close variance for windows of 20 (Yang and Zhang 2000, equation 10)."""


@dataclass(frozen=True)
class Block:
    """Some symbols' bars, each array (b, n) in C order, a price that is not above 0 as NaN.

    ``market`` is the panel's mean log return, (n,); ``days`` is ``calendar.day_kinds``, (n, 5).
    """

    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    log_open: FloatArray
    log_high: FloatArray
    log_low: FloatArray
    log_close: FloatArray
    returns: FloatArray
    market: FloatArray
    days: NDArray[np.int64]

    def empty(self) -> FloatArray:
        """Scratch of the block's shape."""
        return np.empty_like(self.close)


def lagged(x: FloatArray, lag: int) -> FloatArray:
    """``x`` as it was ``lag`` sessions ago, (b, n); NaN before."""
    result = np.full_like(x, np.nan)
    if lag < x.shape[1]:
        result[:, lag:] = x[:, : x.shape[1] - lag]
    return result


def fill_returns(block: Block, out: Out) -> None:
    """Returns over several horizons, their lags, moments, extremes and momentum; ``volatility_w`` with them."""
    for horizon in RETURN_HORIZONS:
        np.subtract(block.log_close, lagged(block.log_close, horizon), out=out[f"return_{horizon}"])
    for lag in RETURN_LAGS:
        out[f"return_1_lag_{lag}"][:] = lagged(block.returns, lag)
    for name, (far, near) in MOMENTUM.items():
        np.subtract(lagged(block.log_close, near), lagged(block.log_close, far), out=out[name])
    for window in MOMENT_WINDOWS:
        mean, std = out[f"return_mean_{window}"], out[f"volatility_{window}"]
        rolling_moments(block.returns, window, mean, std)
        if window in SHAPE_WINDOWS:
            skew, kurtosis = out[f"return_skew_{window}"], out[f"return_kurtosis_{window}"]
            rolling_shape(block.returns, window, mean, std, skew, kurtosis)
            rolling_extremes(block.returns, window, out[f"return_min_{window}"], out[f"return_max_{window}"])
            rolling_position(block.close, window, out[f"close_position_{window}"])
            _ratio(block.returns - mean, std, out[f"return_z_{window}"])
        std *= _ANNUAL


def fill_recursions(block: Block, out: Out) -> None:
    """Everything that has memory: see ``recursive`` and ``decomposition``."""
    b, n = block.close.shape
    results = np.empty((len(recursive.RESULTS), b, n))
    state = np.zeros((b, recursive.STATE_SIZE))
    recursive.advance_all(state, block.high, block.low, block.close, block.log_close, results, 1)
    for name, row in zip(recursive.RESULTS, results, strict=True):
        out[name][:] = row
    for span in TREND_SPANS:
        np.log(out[f"ewma_trend_{span}"], out=out[f"ewma_trend_{span}"])
    state, results = np.zeros((b, decomposition.STATE_SIZE)), results[: len(decomposition.RESULTS)]
    decomposition.take_returns(state, block.returns, block.days, results, 1)
    for name, row in zip(decomposition.RESULTS, results, strict=True):
        out[name][:] = row


def fill_trend(block: Block, out: Out) -> None:
    """Averages, oscillators and drawdown of the close."""
    close, mean, std = block.close, block.empty(), block.empty()
    for window in AVERAGE_WINDOWS:
        rolling_mean(close, window, mean)
        np.subtract(close / mean, 1.0, out=out[f"distance_mean_{window}"])
    rolling_moments(close, 20, mean, std)
    std *= np.sqrt(19.0 / 20.0)
    _ratio(close - (mean - 2.0 * std), 4.0 * std, out["bollinger_position"])
    np.divide(4.0 * std, mean, out=out["bollinger_width"])
    rolling_extremes(close, 252, mean, std)
    np.subtract(close / std, 1.0, out=out["drawdown_252"])
    _fill_oscillators(block, out)


def fill_filters(block: Block, out: Out) -> None:
    """Weighted sums of the newest values: trend line, wavelet, Fourier and fractional filters; the residual."""
    logs, smooth = block.log_close, block.empty()
    for name, weights in OF_LOG_CLOSE.items():
        rolling_weighted(logs, weights, smooth if name == WAVELET_SMOOTH else out[name])
    np.subtract(logs, smooth, out=out["wavelet_distance"])

    detail, noise, energy = block.empty(), block.empty(), np.zeros_like(block.close)
    for level, weights in enumerate(OF_RETURNS):
        rolling_weighted(block.returns, weights, detail)
        detail *= detail
        energy += detail
        if level == 0:
            noise[:] = detail
    rolling_mean(np.where(np.isnan(energy), np.nan, noise), ENERGY_WINDOW, detail)
    rolling_mean(energy, ENERGY_WINDOW, noise)
    _ratio(detail, noise, out["wavelet_noise_share"])

    np.subtract(block.returns, lagged(block.returns, 1), out=out["return_difference"])
    residual = block.returns - out[f"trend_slope_{TREND_WINDOW}"] - out["seasonal_weekday"] - out["seasonal_month"]
    out["seasonal_residual"][:] = residual


def fill_volatility(block: Block, out: Out) -> None:
    """Volatility by other means than the close-to-close deviation, and autocorrelation."""
    first, second, third = block.empty(), block.empty(), block.empty()
    squared_range = (block.log_high - block.log_low) ** 2
    rolling_mean(squared_range, 20, first)
    np.multiply(np.sqrt(first / (4.0 * np.log(2.0))), _ANNUAL, out=out["parkinson_20"])
    body = block.log_close - block.log_open
    rolling_mean(0.5 * squared_range - (2.0 * np.log(2.0) - 1.0) * body**2, 20, first)
    np.multiply(np.sqrt(first), _ANNUAL, out=out["garman_klass_20"])

    high, low = block.log_high - block.log_close, block.log_low - block.log_close
    rolling_mean(high * (high + body) + low * (low + body), 20, first)
    np.multiply(np.sqrt(first), _ANNUAL, out=out["rogers_satchell_20"])
    overnight = block.log_open - lagged(block.log_close, 1)
    rolling_moments(overnight, 20, third, second)
    rest = (1.0 - YANG_ZHANG_SHARE) * first
    rolling_moments(body, 20, third, first)
    np.multiply(np.sqrt(second * second + YANG_ZHANG_SHARE * (first * first) + rest), _ANNUAL, out=out["yang_zhang_20"])

    rolling_regression(block.returns, lagged(block.returns, 1), 20, first, second, third)
    out["autocorrelation_20"][:] = third


def fill_liquidity(block: Block, out: Out) -> None:
    """Volume, dollars traded and price impact."""
    mean, std = block.empty(), block.empty()
    rolling_moments(block.volume, 20, mean, std)
    _ratio(block.volume - mean, std, out["volume_z_20"])
    dollars = block.close * block.volume
    rolling_mean(dollars, 20, out["dollar_volume_20"])
    impact = block.empty()
    _ratio(np.abs(block.returns) * 1e6, dollars, impact)
    rolling_mean(impact, 20, out["amihud_20"])
    signed = np.sign(block.returns) * block.volume
    rolling_mean(signed, 20, std)
    _ratio(std, mean, out["signed_volume_20"])


def fill_market(block: Block, out: Out) -> None:
    """Regression on the market's return, and the return relative to it."""
    market = np.ascontiguousarray(np.broadcast_to(block.market, block.returns.shape))
    correlation = block.empty()
    residual = out["residual_volatility_60"]
    rolling_regression(block.returns, market, 60, out["beta_60"], residual, correlation)
    residual *= _ANNUAL
    mean = np.empty((1, market.shape[1]))
    rolling_mean(np.ascontiguousarray(block.market[None, :]), 20, mean)
    np.subtract(out["return_20"], mean * 20.0, out=out["relative_return_20"])


def _fill_oscillators(block: Block, out: Out) -> None:
    """Lane's stochastic oscillator and Lambert's commodity channel index."""
    lowest, highest, unused = block.empty(), block.empty(), block.empty()
    rolling_extremes(block.low, 14, lowest, unused)
    rolling_extremes(block.high, 14, unused, highest)
    stochastic = out["stochastic_k_14"]
    _ratio(100.0 * (block.close - lowest), highest - lowest, stochastic)
    rolling_mean(stochastic, 3, out["stochastic_d_14"])
    typical = (block.high + block.low + block.close) / 3.0
    mean, spread = lowest, highest
    rolling_mean(typical, 20, mean)
    rolling_spread(typical, 20, mean, spread)
    _ratio(typical - mean, 0.015 * spread, out["cci_20"])


def _ratio(numerator: FloatArray, denominator: FloatArray, out: FloatArray) -> None:
    """``numerator / denominator``, NaN where the denominator is 0."""
    out[:] = np.nan
    np.divide(numerator, denominator, out=out, where=denominator != 0.0)

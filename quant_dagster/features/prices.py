"""Features of one symbol's own history, a block of symbols at a time.

A ``Block`` holds some columns of the panel turned symbol-major (b, n). Each function fills the rows of ``out`` that
carry its features' names. Windows count sessions, recursions count bars: see ``rolling`` and ``recursive``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features.definitions import (
    AVERAGE_WINDOWS,
    EWMAC_SCALARS,
    MOMENT_WINDOWS,
    MOMENTUM,
    RETURN_HORIZONS,
    RETURN_LAGS,
    SHAPE_WINDOWS,
    TRADING_DAYS,
    TREND_SPANS,
)
from quant_dagster.features.recursive import bar_changes, relative_strength, smoothed, true_range, weighted_moments
from quant_dagster.features.rolling import (
    rolling_extremes,
    rolling_mean,
    rolling_moments,
    rolling_position,
    rolling_regression,
    rolling_shape,
)

FloatArray = NDArray[np.float64]
Out = dict[str, FloatArray]
_ANNUAL = np.sqrt(TRADING_DAYS)


@dataclass(frozen=True)
class Block:
    """Some symbols' bars, each array (b, n) in C order; ``market`` is the panel's mean log return, (n,)."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    log_close: FloatArray
    returns: FloatArray
    market: FloatArray

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


def fill_trend(block: Block, out: Out) -> None:
    """Averages, oscillators and drawdown of the close."""
    close, mean, std = block.close, block.empty(), block.empty()
    for span in TREND_SPANS:
        weighted_moments(close, float(span), span, mean, std)
        np.log(close / mean, out=out[f"ewma_trend_{span}"])
    _fill_ewmac(block, out)
    for window in AVERAGE_WINDOWS:
        rolling_mean(close, window, mean)
        np.subtract(close / mean, 1.0, out=out[f"distance_mean_{window}"])
    change = block.empty()
    bar_changes(close, change)
    relative_strength(change, 14, out["rsi_14"])

    slow = block.empty()
    smoothed(close, 2.0 / 13.0, 1, 26, mean)
    smoothed(close, 2.0 / 27.0, 1, 26, slow)
    np.subtract(mean, slow, out=out["macd"])
    smoothed(out["macd"], 2.0 / 10.0, 1, 9, out["macd_signal"])
    np.subtract(out["macd"], out["macd_signal"], out=out["macd_histogram"])

    rolling_moments(close, 20, mean, std)
    std *= np.sqrt(19.0 / 20.0)
    _ratio(close - (mean - 2.0 * std), 4.0 * std, out["bollinger_position"])
    np.divide(4.0 * std, mean, out=out["bollinger_width"])
    rolling_extremes(close, 252, mean, std)
    np.subtract(close / std, 1.0, out=out["drawdown_252"])


def fill_volatility(block: Block, out: Out) -> None:
    """Volatility by other means than the close-to-close deviation, and autocorrelation."""
    first, second, third = block.empty(), block.empty(), block.empty()
    bar_changes(block.log_close, first)
    smoothed(first * first, 0.06, 20, 20, second)
    np.multiply(np.sqrt(second), _ANNUAL, out=out["volatility_ewma"])

    true_range(block.high, block.low, block.close, first)
    smoothed(first, 1.0 / 14.0, 14, 14, second)
    np.divide(second, block.close, out=out["atr_14"])

    squared_range = np.log(block.high / block.low) ** 2
    rolling_mean(squared_range, 20, first)
    np.multiply(np.sqrt(first / (4.0 * np.log(2.0))), _ANNUAL, out=out["parkinson_20"])
    body = (2.0 * np.log(2.0) - 1.0) * np.log(block.close / block.open) ** 2
    rolling_mean(0.5 * squared_range - body, 20, first)
    np.multiply(np.sqrt(first), _ANNUAL, out=out["garman_klass_20"])

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


def _fill_ewmac(block: Block, out: Out) -> None:
    change, fast_mean, slow_mean, unused = block.empty(), block.empty(), block.empty(), block.empty()
    bar_changes(block.close, change)
    price_std = block.empty()
    weighted_moments(change, 35.0, 10, unused, price_std)
    for (fast, slow), scalar in EWMAC_SCALARS.items():
        weighted_moments(block.close, float(fast), slow, fast_mean, unused)
        weighted_moments(block.close, float(slow), slow, slow_mean, unused)
        forecast = out[f"ewmac_{fast}_{slow}"]
        _ratio((fast_mean - slow_mean) * scalar, price_std, forecast)
        np.clip(forecast, -20.0, 20.0, out=forecast)


def _ratio(numerator: FloatArray, denominator: FloatArray, out: FloatArray) -> None:
    """``numerator / denominator``, NaN where the denominator is 0."""
    out[:] = np.nan
    np.divide(numerator, denominator, out=out, where=denominator != 0.0)

"""Alphas: from features and forecasts of one session to a view on every symbol, all symbols at once.

Every alpha answers with the same arrays: direction, strength, confidence and risk. A symbol whose inputs are absent
gets direction 0 and the reason code of what was missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from quant_dagster.settings import SignalSettings

FloatArray = NDArray[np.float64]
_FORECAST_CAP = 20.0
"""Cap of a scaled trend forecast whose mean absolute value is 10 (Carver, Systematic Trading, 2015, ch. 7)."""
_TREND_FEATURES = ("ewmac_16_64", "ewmac_32_128", "ewmac_64_256")


@dataclass(frozen=True)
class MarketState:
    """What alphas may look at, for one session.

    Attributes
    ----------
    symbols
        m names.
    features
        Name to array of shape (m,); NaN is absent.
    mean, volatility
        Combined forecast of the log return of one session: mean and standard deviation, shape (m,).
    high_volatility
        Filtered probability of the most volatile regime, shape (m,).
    """

    symbols: tuple[str, ...]
    features: Mapping[str, FloatArray]
    mean: FloatArray
    volatility: FloatArray
    high_volatility: FloatArray


@dataclass(frozen=True)
class AlphaView:
    """One alpha's view on every symbol; arrays of shape (m,), strength, confidence and risk between 0 and 1."""

    alpha: str
    direction: NDArray[np.int8]
    strength: FloatArray
    confidence: FloatArray
    risk: FloatArray
    reasons: tuple[str, ...]


def trend(state: MarketState, settings: SignalSettings) -> AlphaView:
    """Follow the mean of three EWMAC forecasts.

    Confidence is half the size of the forecast, half the probability that the forecast distribution gives to its
    direction; risk is `market_risk`.
    """
    forecasts = np.stack([state.features[name] for name in _TREND_FEATURES])
    known = np.asarray(np.isfinite(forecasts).all(axis=0))
    combined = np.clip(np.where(known, forecasts, 0.0).mean(axis=0), -_FORECAST_CAP, _FORECAST_CAP)
    strength = np.abs(combined) / _FORECAST_CAP
    direction = np.where(strength >= settings.entry_threshold, np.sign(combined), 0).astype(np.int8)
    confidence = 0.5 * strength + 0.5 * _probability(state, np.sign(combined))
    return _view("trend", state, known, direction, strength, confidence, market_risk(state), "trend_weak")


def mean_reversion(state: MarketState, settings: SignalSettings) -> AlphaView:
    """Lean against a close far from its 20-session mean (in population standard deviations, from Bollinger's %b).

    Confidence is half the distance, half how negatively autocorrelated the last 20 returns were; a long trend the
    other way adds to the risk (a falling knife).
    """
    position = state.features["bollinger_position"]
    autocorrelation = state.features["autocorrelation_20"]
    trend_forecast = state.features["ewmac_64_256"]
    known = np.isfinite(position) & np.isfinite(autocorrelation) & np.isfinite(trend_forecast)
    z = np.where(known, (position - 0.5) * 4.0, 0.0)
    entry = settings.reversion_entry_z
    far = np.abs(z) >= entry
    direction = np.where(far, -np.sign(z), 0).astype(np.int8)
    strength = np.clip(np.abs(z) / (2 * entry), 0.0, 1.0) * far
    confidence = 0.5 * np.clip(np.abs(z) / 3.0, 0.0, 1.0) + 0.25 * (1.0 - np.where(known, autocorrelation, 1.0))
    against = np.clip(-direction * np.where(known, trend_forecast, 0.0) / _FORECAST_CAP, 0.0, 1.0)
    risk = np.clip(0.5 * market_risk(state) + 0.5 * against, 0.0, 1.0)
    return _view("mean_reversion", state, known, direction, strength, confidence, risk, "near_mean")


ALPHAS: dict[str, Callable[[MarketState, SignalSettings], AlphaView]] = {
    "trend": trend,
    "mean_reversion": mean_reversion,
}
"""Every signal source; each has a feature flag in ``signals.flags``."""


def market_risk(state: MarketState) -> FloatArray:
    """Half the probability of the volatile regime, half the symbol's rank of volatility; unknown is 1."""
    rank = state.features["rank_volatility_20"]
    known = np.isfinite(rank) & np.isfinite(state.high_volatility)
    return np.where(known, 0.5 * np.nan_to_num(state.high_volatility) + 0.5 * np.nan_to_num(rank), 1.0)


def _probability(state: MarketState, direction: FloatArray) -> FloatArray:
    """Probability that a normal forecast lands on the side of ``direction``; 0 where there is no forecast."""
    known = np.isfinite(state.mean) & np.isfinite(state.volatility) & (state.volatility > 0)
    z = np.where(known, direction * state.mean / np.where(known, state.volatility, 1.0), 0.0)
    normal = 0.5 * (1.0 + np.array([erf(value / sqrt(2.0)) for value in z]))
    return np.where(known, normal, 0.0)


def _view(
    name: str,
    state: MarketState,
    known: NDArray[np.bool_],
    direction: NDArray[np.int8],
    strength: FloatArray,
    confidence: FloatArray,
    risk: FloatArray,
    quiet: str,
) -> AlphaView:
    forecast = np.isfinite(state.mean) & np.isfinite(state.volatility)
    usable = known & forecast
    codes = np.select(
        [~known, ~forecast, direction == 0, direction > 0],
        ["no_features", "no_forecast", quiet, f"{name}_long"],
        default=f"{name}_short",
    )
    return AlphaView(
        alpha=name,
        direction=np.where(usable, direction, 0).astype(np.int8),
        strength=np.where(usable, strength, 0.0),
        confidence=np.where(usable, np.clip(confidence, 0.0, 1.0), 0.0),
        risk=np.where(usable, np.clip(risk, 0.0, 1.0), 1.0),
        reasons=tuple(codes.tolist()),
    )

"""Trend: follow the mean of three EWMAC forecasts."""

from __future__ import annotations

import numpy as np

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.state import AlphaView, MarketState
from quant_dagster.strategies.alphas.view import market_risk, probability, view_of

FORECAST_CAP = 20.0
"""Cap of a scaled trend forecast whose mean absolute value is 10 (Carver, Systematic Trading, 2015, ch. 7)."""
_TREND_FEATURES = ("ewmac_16_64", "ewmac_32_128", "ewmac_64_256")


def trend(state: MarketState, settings: SignalSettings) -> AlphaView:
    """Follow the mean of three EWMAC forecasts.

    Confidence is half the size of the forecast, half the probability that the forecast distribution gives to its
    direction; risk is `market_risk`.
    """
    forecasts = np.stack([state.features[name] for name in _TREND_FEATURES])
    known = np.asarray(np.isfinite(forecasts).all(axis=0))
    combined = np.clip(np.where(known, forecasts, 0.0).mean(axis=0), -FORECAST_CAP, FORECAST_CAP)
    strength = np.abs(combined) / FORECAST_CAP
    direction = np.where(strength >= settings.entry_threshold, np.sign(combined), 0).astype(np.int8)
    confidence = 0.5 * strength + 0.5 * probability(state.mean, state.volatility, np.sign(combined))
    return view_of("trend", state, known, direction, strength, confidence, market_risk(state), "trend_weak")

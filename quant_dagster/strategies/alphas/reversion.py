"""Mean reversion: lean against a price far from the level its Ornstein-Uhlenbeck fit returns to."""

from __future__ import annotations

import numpy as np

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.state import AlphaView, MarketState
from quant_dagster.strategies.alphas.trend import FORECAST_CAP
from quant_dagster.strategies.alphas.view import market_risk, view_of

MODEL = "ornstein_uhlenbeck"
_FAR = 3.0


def mean_reversion(state: MarketState, settings: SignalSettings) -> AlphaView:
    """Lean against a close far from its level, in deviations of the process at rest.

    Only where the process reverts: a half-life of at most ``signals.longest_half_life``. Confidence is half the
    distance (three deviations and more are full), a quarter how fast the process reverts, a quarter whether the upper
    end of the half-life's interval is within the limit too; a long trend the other way adds to the risk (a falling
    knife).
    """
    trend_forecast = state.features["ewmac_64_256"]
    known = np.isfinite(trend_forecast)
    nothing = np.full(len(state.symbols), np.nan)
    model = state.models.get(MODEL)
    z = model.diagnostic("z") if model else nothing
    half_life = model.parameter("half_life") if model else nothing
    slowest = model.parameter("half_life_high") if model else nothing
    limit, entry = settings.longest_half_life, settings.reversion_entry_z
    with np.errstate(invalid="ignore"):
        reverts = np.isfinite(z) & (half_life > 0.0) & (half_life <= limit)
        certain = reverts & (slowest <= limit)
    z = np.where(reverts, z, 0.0)
    far = np.abs(z) >= entry
    direction = np.where(far, -np.sign(z), 0).astype(np.int8)
    strength = np.where(far, np.clip(np.abs(z) / (2 * entry), 0.0, 1.0), 0.0)
    quickness = 1.0 - np.where(reverts, half_life, limit) / limit
    confidence = 0.5 * np.clip(np.abs(z) / _FAR, 0.0, 1.0) + 0.25 * quickness + np.where(certain, 0.25, 0.0)
    against = np.clip(-direction * np.where(known, trend_forecast, 0.0) / FORECAST_CAP, 0.0, 1.0)
    risk = np.clip(0.5 * market_risk(state) + 0.5 * against, 0.0, 1.0)
    quiet = np.where(reverts, "near_mean", "no_reversion")
    return view_of("mean_reversion", state, known, direction, strength, confidence, risk, quiet)

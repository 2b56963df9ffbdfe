"""Learned: the boosted trees' own forecast, as far as they have shown to know something out of sample."""

from __future__ import annotations

import numpy as np

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.state import AlphaView, MarketState
from quant_dagster.strategies.alphas.view import market_risk, probability, view_of

MODEL = "boosting"
_GOOD = 0.10
"""Rank correlation with the outcome that counts as full: rare in daily equity (Grinold & Kahn 2000, ch. 6)."""
_STRONG = 0.5
"""Forecast mean over its standard deviation that counts as full strength."""


def learned(state: MarketState, settings: SignalSettings) -> AlphaView:
    """Follow the model's mean where its out-of-sample information coefficient is above zero.

    Confidence is half that coefficient (0.10 and more is full), half the probability that the model's distribution
    gives to its direction.
    """
    nothing = np.full(len(state.symbols), np.nan)
    model = state.models.get(MODEL)
    mean, std = (model.mean, model.std) if model else (nothing, nothing)
    information = model.diagnostic("information_coefficient") if model else nothing
    answered = np.isfinite(mean) & np.isfinite(std) & (np.nan_to_num(std) > 0.0)
    informed = answered & (np.nan_to_num(information) > 0.0)
    ratio = np.where(informed, np.nan_to_num(mean) / np.where(answered, std, 1.0), 0.0)
    strength = np.clip(np.abs(ratio) / _STRONG, 0.0, 1.0)
    direction = np.where(strength >= settings.entry_threshold, np.sign(ratio), 0).astype(np.int8)
    worth = np.clip(np.nan_to_num(information) / _GOOD, 0.0, 1.0)
    confidence = informed * (0.5 * worth + 0.5 * probability(mean, std, np.sign(ratio)))
    quiet = np.select([~answered, ~informed], ["no_model", "no_information"], default="learned_weak")
    known = np.ones(len(state.symbols), dtype=np.bool_)
    return view_of("learned", state, known, direction, strength, confidence, market_risk(state), quiet)

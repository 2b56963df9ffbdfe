"""What every alpha's view shares: the market's risk, the forecast's odds, and how what is absent is said."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from quant_dagster.strategies.alphas.state import AlphaView, FloatArray, MarketState


def market_risk(state: MarketState) -> FloatArray:
    """Half the probability of the volatile regime, half the symbol's rank of volatility; unknown is 1."""
    rank = state.features["rank_volatility_20"]
    known = np.isfinite(rank) & np.isfinite(state.high_volatility)
    return np.where(known, 0.5 * np.nan_to_num(state.high_volatility) + 0.5 * np.nan_to_num(rank), 1.0)


def probability(mean: FloatArray, std: FloatArray, direction: FloatArray) -> FloatArray:
    """Probability that a normal forecast lands on the side of ``direction``; 0 where there is no forecast."""
    known = np.isfinite(mean) & np.isfinite(std) & (std > 0)
    z = np.where(known, direction * mean / np.where(known, std, 1.0), 0.0)
    normal = 0.5 * (1.0 + np.array([erf(value / sqrt(2.0)) for value in z]))
    return np.where(known, normal, 0.0)


def view_of(
    name: str,
    state: MarketState,
    known: NDArray[np.bool_],
    direction: NDArray[np.int8],
    strength: FloatArray,
    confidence: FloatArray,
    risk: FloatArray,
    quiet: str | NDArray[np.str_],
) -> AlphaView:
    """A view with what is unknown silenced: ``known`` says where the features are, ``quiet`` why a symbol is flat."""
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
        strength=np.where(usable, np.clip(strength, 0.0, 1.0), 0.0),
        confidence=np.where(usable, np.clip(confidence, 0.0, 1.0), 0.0),
        risk=np.where(usable, np.clip(risk, 0.0, 1.0), 1.0),
        reasons=tuple(codes.tolist()),
    )

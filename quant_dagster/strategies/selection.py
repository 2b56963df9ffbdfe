"""How much each source is heard: the regime's tilt and the measured allocation, as factors on its priority."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.state import MarketState

FloatArray = NDArray[np.float64]

TREND_FOLLOWING = frozenset({"trend"})
REVERTING = frozenset({"mean_reversion", "pairs"})


def priority(confidence: float, risk: float, settings: SignalSettings) -> float:
    """``0.6 confidence + 0.4 (1 - risk)`` with the default weights."""
    return settings.confidence_weight * confidence + settings.risk_weight * (1.0 - risk)


def priority_factor(alpha: str, state: MarketState, settings: SignalSettings) -> FloatArray:
    """What a source's priority is multiplied by, 0 to 1 per symbol: its regime tilt times its allocation."""
    return regime_factor(alpha, state.high_volatility, settings) * state.allocation.get(alpha, 1.0)


def regime_factor(alpha: str, high_volatility: FloatArray, settings: SignalSettings) -> FloatArray:
    """Hold back the side the regime is against: reversion while markets are calm, trends while they are wild.

    With p the probability of the wildest regime and k ``signals.regime_tilt``, trend sources get
    ``1 - k max(0, 2p - 1)`` and reverting ones ``1 - k max(0, 1 - 2p)``; others, and symbols whose p is unknown, 1.
    Trends crash in panics (Daniel & Moskowitz 2016, "Momentum crashes"), reversals pay most in them (Nagel 2012,
    "Evaporating liquidity").
    """
    lean = 2.0 * high_volatility - 1.0
    if alpha in TREND_FOLLOWING:
        against = np.maximum(0.0, lean)
    elif alpha in REVERTING:
        against = np.maximum(0.0, -lean)
    else:
        return np.ones(len(high_volatility))
    return np.where(np.isfinite(lean), 1.0 - settings.regime_tilt * np.nan_to_num(against), 1.0)

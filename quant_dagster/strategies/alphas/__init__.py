"""Alphas: from features and forecasts of one session to a view on every symbol, all symbols at once. One a module.

Every alpha answers with the same arrays: direction, strength, confidence and risk. A symbol whose inputs are absent
gets direction 0 and the reason code of what was missing. Belongs here: what a source says. Does not: which source is
heard (``strategies.router``) or what it was worth (``strategies.performance``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.composite import composite
from quant_dagster.strategies.alphas.learned import learned
from quant_dagster.strategies.alphas.pairs import pairs
from quant_dagster.strategies.alphas.reversion import mean_reversion
from quant_dagster.strategies.alphas.state import AlphaView, MarketState, ModelView
from quant_dagster.strategies.alphas.trend import trend
from quant_dagster.strategies.alphas.view import market_risk

__all__ = ["ALPHAS", "AlphaView", "MarketState", "ModelView", "composite", "learned", "market_risk", "mean_reversion",
           "pairs", "trend"]  # fmt: skip

ALPHAS: Mapping[str, Callable[[MarketState, SignalSettings], AlphaView]] = {
    "trend": trend,
    "mean_reversion": mean_reversion,
    "pairs": pairs,
    "learned": learned,
    "composite": composite,
}
"""Every signal source; each has a feature flag in ``signals.flags``."""

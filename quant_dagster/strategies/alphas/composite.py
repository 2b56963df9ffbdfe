"""Composite: the other sources' vote."""

from __future__ import annotations

import numpy as np

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.learned import learned
from quant_dagster.strategies.alphas.pairs import pairs
from quant_dagster.strategies.alphas.reversion import mean_reversion
from quant_dagster.strategies.alphas.state import AlphaView, MarketState
from quant_dagster.strategies.alphas.trend import trend
from quant_dagster.strategies.alphas.view import view_of

_VOTERS = {"trend": trend, "mean_reversion": mean_reversion, "pairs": pairs, "learned": learned}
_FEWEST_VOICES = 2


def composite(state: MarketState, settings: SignalSettings) -> AlphaView:
    """The vote of the enabled sources, each with its strength, weighted by its allocation.

    At least two sources must agree: the vote of one is that source's signal over again. Strength is the size of the
    vote over the weight of all that may vote, so that silence counts against it. Confidence is the greatest of the
    winning side, less the share that voted against it; risk is that of the winning side.
    """
    m = len(state.symbols)
    enabled = {str(source) for source, on in settings.flags.items() if on}
    voters = [(name, alpha) for name, alpha in _VOTERS.items() if name in enabled]
    weights = {name: state.allocation.get(name, 1.0) for name, _ in voters}
    views = {name: alpha(state, settings) for name, alpha in voters if weights[name] > 0.0}
    total = sum(weights[name] for name in views)
    votes = {name: weights[name] * view.direction * view.strength for name, view in views.items()}
    vote = sum(votes.values(), np.zeros(m))
    strength = np.abs(vote) / total if total else np.zeros(m)
    side = np.sign(vote)
    voices, won, cast, confidence, risk = (np.zeros(m) for _ in range(5))
    for name, view in views.items():
        size = np.abs(votes[name])
        agrees = (size > 0.0) & (np.sign(votes[name]) == side)
        voices, won, cast = voices + agrees, won + size * agrees, cast + size
        confidence = np.where(agrees, np.maximum(confidence, view.confidence), confidence)
        risk = risk + size * agrees * view.risk
    direction = np.where((strength >= settings.entry_threshold) & (voices >= _FEWEST_VOICES), side, 0).astype(np.int8)
    some = won > 0.0
    share = won / np.where(cast > 0.0, cast, 1.0)
    known = np.ones(m, dtype=np.bool_)
    return view_of(
        "composite",
        state,
        known,
        direction,
        strength,
        confidence * share,
        np.where(some, risk / np.where(some, won, 1.0), 1.0),
        np.where(cast > 0.0, "no_agreement", "no_votes"),
    )

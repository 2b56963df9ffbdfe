"""Pairs: what the open cointegrated pairs come to for each symbol, net."""

from __future__ import annotations

import numpy as np

from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas.state import AlphaView, MarketState
from quant_dagster.strategies.alphas.view import market_risk, view_of

_SMALLEST = 1e-9


def pairs(state: MarketState, settings: SignalSettings) -> AlphaView:
    """The net of a symbol's legs over all open pairs.

    A pair that is long holds 1 of the first symbol and ``-hedge_ratio`` of the second, scaled so that the larger leg
    is 1 and weighted by the pair's confidence: half how far the spread still is from its mean, in shares of
    ``stop_z``, half how far its p-value is below the level. Strength is the net over all the symbol's pairs, flat ones
    included; confidence the mean of its open pairs', less what cancels.
    """
    column = {symbol: k for k, symbol in enumerate(state.symbols)}
    m = len(state.symbols)
    net, gross, convinced, followed, opened, broken = (np.zeros(m) for _ in range(6))
    limits = settings.pairs
    for row in state.pairs.iter_rows(named=True):
        side = {"long": 1.0, "short": -1.0}.get(row["state"], 0.0)
        certainty = float(np.clip(1.0 - row["engle_granger_p"] / limits.significance, 0.0, 1.0))
        confidence = 0.5 * min(1.0, abs(row["z"]) / limits.stop_z) + 0.5 * certainty
        ratio = abs(row["hedge_ratio"])
        larger = max(1.0, ratio)
        for symbol, share in ((row["first"], 1.0 / larger), (row["second"], -ratio / larger)):
            if symbol not in column:
                continue
            at = column[symbol]
            broken[at] += row["state"] == "broken"
            followed[at] += row["state"] != "broken"
            net[at] += side * share * confidence
            gross[at] += abs(side * share) * confidence
            convinced[at] += abs(side) * confidence
            opened[at] += abs(side)
    known = np.ones(m, dtype=np.bool_)
    direction = np.where(np.abs(net) > _SMALLEST, np.sign(net), 0).astype(np.int8)
    strength = np.abs(net) / np.maximum(followed, 1.0)
    agreement = np.abs(net) / np.maximum(gross, _SMALLEST)
    confidence_of = agreement * convinced / np.maximum(opened, 1.0)
    quiet = np.select(
        [opened > 0, followed > 0, broken > 0], ["pairs_cancel", "pairs_near_mean", "pair_broken"], default="no_pair"
    )
    return view_of("pairs", state, known, direction, strength, confidence_of, market_risk(state), quiet)

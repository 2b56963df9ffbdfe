"""What a model counts for in the combined forecast, given how it was judged."""

from __future__ import annotations

import math
from collections import defaultdict

import polars as pl

from quant_dagster.forecasting.families.registry import Target
from quant_dagster.forecasting.validation.verdicts import Verdict


def with_weights(scores: pl.DataFrame, shrinkage: float) -> pl.DataFrame:
    """Rows of ``validation_scores`` with their ``weight`` decided anew, per scheme, target and horizon.

    Losers and what was not judged count for nothing. The others share by inverse loss relative to the naive forecast's
    (Bates & Granger 1969), drawn towards equal shares by ``shrinkage`` (0 not, 1 wholly). A QLIKE is a logarithm of a
    variance, so its exponential is taken. A winner keeps its share; one whose gain is not significant keeps 1 - p of
    it, p of its Diebold-Mariano test; the naive forecast takes what is left. The weights sum to 1.

    Regimes weigh nothing (null), nor does any row where the naive forecast itself was not judged.
    """
    groups: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    rows = scores.to_dicts()
    for at, row in enumerate(rows):
        groups[row["scheme"], row["target"], row["horizon"]].append(at)
    weights: list[float | None] = [None] * len(rows)
    for (_, target, _), places in groups.items():
        if target == Target.REGIME.value:
            continue
        naive = [at for at in places if rows[at]["verdict"] == Verdict.NAIVE.value]
        if not naive or rows[naive[0]]["loss"] is None:
            continue
        earned = {at: _inverse(rows[at], target) for at in places if rows[at]["verdict"] in _EARNING}
        total = sum(earned.values())
        left = 1.0
        for at in places:
            weight = 0.0
            if at in earned:
                share = (1.0 - shrinkage) * earned[at] / total + shrinkage / len(earned)
                sure = 1.0 if rows[at]["verdict"] == Verdict.WINNER.value else 1.0 - rows[at]["diebold_mariano_p"]
                weight = share * sure
            weights[at] = weight
            left -= weight
        weights[naive[0]] = max(left, 0.0)
    return scores.with_columns(pl.Series("weight", weights, dtype=pl.Float64))


_EARNING = (Verdict.WINNER.value, Verdict.NO_BETTER.value)


def _inverse(row: dict[str, float], target: str) -> float:
    """Naive loss over the model's, above 1 for what is better."""
    if target == Target.VARIANCE.value:
        return math.exp(row["naive_loss"] - row["loss"])
    return row["naive_loss"] / row["loss"]

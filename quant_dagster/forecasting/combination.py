"""The combined forecast: a weighted mean and a weighted variance of the models, the weights decided by validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_dagster.forecasting.families.protocol import Answer, Outcome
from quant_dagster.forecasting.families.registry import NAIVE, Target, chosen
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import ForecastModel

Weights = Mapping[str, float]


@dataclass(frozen=True)
class ModelWeights:
    """What each model counts for, per target and horizon.

    Attributes
    ----------
    source
        Where the weights come from: ``prior``, or the validation's last session.
    means, variances
        Horizon to model to weight; the weights of a horizon sum to 1. A horizon that is absent takes the nearest.
    """

    source: str
    means: Mapping[int, Weights]
    variances: Mapping[int, Weights]

    @classmethod
    def prior(cls, settings: ForecastParameters) -> ModelWeights:
        """One mean model and one variance model, while nothing has been judged."""
        return cls("prior", {1: {settings.prior_mean: 1.0}}, {1: {settings.prior_variance: 1.0}})

    @classmethod
    def judged(cls, scores: pl.DataFrame, settings: ForecastParameters) -> ModelWeights:
        """Weights of the newest walk-forward validation in rows of ``validation_scores``, or the prior.

        A validation of some of a target's models says nothing about the others: only one that judged every model the
        desk asks decides.
        """
        walked = scores.filter(pl.col("scheme") == "walk_forward")
        found: dict[Target, tuple[str, dict[int, dict[str, float]]]] = {}
        for target in (Target.MEAN, Target.VARIANCE):
            asked = {s.model.value for s in chosen(settings) if s.target is target and not s.naive}
            rows = walked.filter(pl.col("target") == target.value)
            for session in rows["session"].unique().sort(descending=True):
                one = rows.filter(pl.col("session") == session)
                weights: dict[int, dict[str, float]] = {}
                for horizon, model, weight in one.select("horizon", "model", "weight").iter_rows():
                    if weight is not None and weight > 0.0:
                        weights.setdefault(horizon, {})[model] = weight
                if weights and asked <= set(one["model"]):
                    found[target] = (f"validation of {session}", weights)
                    break
        prior = cls.prior(settings)
        mean_source, means = found.get(Target.MEAN, (prior.source, prior.means))
        variance_source, variances = found.get(Target.VARIANCE, (prior.source, prior.variances))
        source = mean_source if mean_source == variance_source else f"mean: {mean_source}; variance: {variance_source}"
        return cls(source, means, variances)

    def of(self, model: str) -> dict[str, float]:
        """A model's own weights by horizon, of the target it is judged by; empty where it counts for nothing."""
        return {
            str(horizon): weights[model]
            for by_horizon in (self.means, self.variances)
            for horizon, weights in sorted(by_horizon.items())
            if weights.get(model, 0.0) > 0.0
        }

    @staticmethod
    def at(weights: Mapping[int, Weights], horizon: int) -> Weights:
        """The weights of the nearest horizon."""
        return weights[min(weights, key=lambda known: (abs(known - horizon), known))]


def combine(
    outcomes: Mapping[ForecastModel, Sequence[Outcome]],
    weights: ModelWeights,
    horizons: tuple[int, ...],
) -> list[Outcome]:
    """One combined outcome per symbol.

    The mean is ``sum w_i mean_i``, the variance ``sum w_i std_i ** 2`` over the models that answered themselves, the
    weights scaled to sum to 1 (Bates & Granger 1969). Where none of them did, the naive forecast counts alone, and the
    row says why. The distribution is taken as normal.
    """
    own = ForecastModel.COMBINED
    combined = []
    for j in range(len(next(iter(outcomes.values()), ()))):
        means, mean_part, mean_why = _weighted(outcomes, weights.means, NAIVE[Target.MEAN], horizons, j, square=False)
        variances, std_part, std_why = _weighted(
            outcomes, weights.variances, NAIVE[Target.VARIANCE], horizons, j, square=True
        )
        why = "; ".join(dict.fromkeys(reason for reason in (mean_why, std_why) if reason)) or None
        if means is None or variances is None:
            combined.append(Outcome(own, None, None, why or "no model and no naive forecast answered"))
            continue
        parameters = {
            "distribution": "normal", "mean_weights": mean_part, "std_weights": std_part,
            "weights_from": weights.source,
        }  # fmt: skip
        combined.append(Outcome(own, own, Answer(means, np.sqrt(variances), parameters, {}), why))
    return combined


def _weighted(
    outcomes: Mapping[ForecastModel, Sequence[Outcome]],
    weights: Mapping[int, Weights],
    naive: ForecastModel,
    horizons: tuple[int, ...],
    j: int,
    *,
    square: bool,
) -> tuple[np.ndarray | None, dict[str, dict[str, float]], str | None]:
    """The weighted values per horizon, the weights that counted, and why the weighted models did not answer."""
    values = np.empty(len(horizons))
    used: dict[str, dict[str, float]] = {}
    absent: list[str] = []
    for i, horizon in enumerate(horizons):
        parts: dict[str, tuple[float, float]] = {}
        for name, weight in ModelWeights.at(weights, horizon).items():
            outcome = outcomes.get(ForecastModel(name), ())
            found = outcome[j] if outcome else None
            if found is not None and found.answer is not None and found.answered_by is found.model:
                value = float(found.answer.std[i]) ** 2 if square else float(found.answer.mean[i])
                parts[name] = (weight, value)
            else:
                absent.append(found.reason if found is not None and found.reason else f"{name}: not asked")
        if not parts:
            stand_in = outcomes[naive][j]
            if stand_in.answer is None or stand_in.answered_by is None:
                return None, {}, "; ".join(dict.fromkeys((*absent, str(stand_in.reason))))
            value = float(stand_in.answer.std[i]) ** 2 if square else float(stand_in.answer.mean[i])
            parts[stand_in.answered_by.value] = (1.0, value)
        total = sum(weight for weight, _ in parts.values())
        values[i] = sum(weight * value for weight, value in parts.values()) / total
        used[str(horizon)] = {name: weight / total for name, (weight, _) in parts.items()}
    return values, used, "; ".join(dict.fromkeys(absent)) or None

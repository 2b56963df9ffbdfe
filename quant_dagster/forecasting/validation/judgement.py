"""The judgement of an evaluation: every model's scores, tests against the naive forecast, verdict and weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.families.registry import NAIVE, Target
from quant_dagster.forecasting.validation.comparison import confidence_set, diebold_mariano, paired_t
from quant_dagster.forecasting.validation.evaluation import Evaluation
from quant_dagster.forecasting.validation.scores import Losses, losses_of, mean_per_origin, scores_of
from quant_dagster.forecasting.validation.sharpe import SharpeMoments, deflated_sharpe, standard_error
from quant_dagster.forecasting.validation.trading import SESSIONS_PER_YEAR, traded_returns
from quant_dagster.forecasting.validation.verdicts import LEAST_ORIGINS, Verdict, verdict
from quant_dagster.forecasting.validation.weights import with_weights
from quant_dagster.storage.tables import TABLES

AccountFigures = Callable[[FloatArray], dict[str, float | None]]
"""Of returns per session: ``profit_factor``, ``max_drawdown``, ``annual_return``, ``annual_volatility``,
``volatility_adjusted_return`` and ``sharpe``, as the accounting package defines them."""


@dataclass(frozen=True)
class Judgement:
    """Rows of ``validation_scores`` and of ``validation_losses``."""

    scores: pl.DataFrame
    losses: pl.DataFrame


@dataclass(frozen=True)
class Rules:
    """What a judgement is made by; see ``forecasting.validation`` in the settings."""

    significance: float = 0.05
    shrinkage: float = 0.5
    cost_bps: float = 2.0


@dataclass(frozen=True)
class Provenance:
    """Newest session the validation looked at, version of the bars, hash of the code."""

    session: date
    data_version: int
    code_version: str


def judge(evaluation: Evaluation, figures: AccountFigures, provenance: Provenance, rules: Rules) -> Judgement:
    """Judge every model of an evaluation over every horizon.

    A model is compared with the naive forecast of its target on the very forecasts it has an outcome for; what a
    stand-in forecast counts as its own, for that is what the desk would have used. Losses are averaged over the symbols
    of an origin first: origins are what the tests take for observations.
    """
    losses = losses_of(evaluation)
    traded = traded_returns(evaluation, rules.cost_bps)
    rows: list[dict[str, Any]] = []
    for h, horizon in enumerate(evaluation.horizons):
        moments = [SharpeMoments.of(_with_outcome(evaluation, h, series)) for series in traded[:, h]]
        trials = [one.ratio for one in moments if one is not None]
        comparisons = _compared(evaluation, losses, h, rules.significance)
        for i, spec in enumerate(evaluation.models):
            one = moments[i]
            rows.append(
                asdict(provenance)
                | {
                    "scheme": evaluation.scheme.value,
                    "model": spec.model.value,
                    "target": spec.target.value,
                    "horizon": horizon,
                    "naive": NAIVE[spec.target].value,
                    "sharpe_standard_error": None if one is None else standard_error(one) * SESSIONS_PER_YEAR**0.5,
                    "deflated_sharpe": None if one is None else deflated_sharpe(one, trials),
                }
                | asdict(scores_of(evaluation, losses, i, h))
                | figures(_with_outcome(evaluation, h, traded[i, h]))
                | comparisons[i]
                | {"weight": None}
            )
    table = TABLES["validation_scores"]
    scores = pl.DataFrame(rows, schema_overrides=table.schema, infer_schema_length=None)
    scores = scores.select(list(table.schema)).cast(table.schema)
    return Judgement(with_weights(scores, rules.shrinkage), _per_origin(evaluation, losses, traded, provenance.session))


def _with_outcome(evaluation: Evaluation, horizon: int, series: FloatArray) -> FloatArray:
    """The values of origins that have an outcome over the horizon, so that all horizons are told by what is known."""
    known: FloatArray = series[np.isfinite(evaluation.outcome[horizon]).any(axis=-1)]
    return known


def _compared(evaluation: Evaluation, losses: Losses, h: int, significance: float) -> list[dict[str, Any]]:
    """Losses, tests and verdict of every model over one horizon."""
    overlap = -(-evaluation.horizons[h] // evaluation.step)
    included = _confidence_sets(evaluation, losses, h, significance, overlap)
    compared = []
    for i, spec in enumerate(evaluation.models):
        reference = evaluation.place(NAIVE[spec.target])
        loss, other = losses.of(spec.target)[i, h], losses.of(spec.target)[reference, h]
        counted = np.isfinite(loss) & np.isfinite(other)
        own_origins = int((counted & evaluation.own[i]).any(axis=-1).sum())
        at = counted.any(axis=-1)
        row: dict[str, Any] = {
            "origins": int(at.sum()), "loss": None, "naive_loss": None, "diebold_mariano": None,
            "diebold_mariano_p": None, "paired_t_p": None, "in_confidence_set": None,
            "verdict": Verdict.NOT_JUDGED.value,
        }  # fmt: skip
        if at.any():
            mine, naive = mean_per_origin(loss, counted)[at], mean_per_origin(other, counted)[at]
            row |= {"loss": float(mine.mean()), "naive_loss": float(naive.mean())}
            if own_origins >= LEAST_ORIGINS and i == reference:
                row |= {"verdict": Verdict.NAIVE.value, "in_confidence_set": included.get(i)}
            elif own_origins >= LEAST_ORIGINS:
                test = diebold_mariano(mine, naive, overlap)
                row |= {
                    "diebold_mariano": test.statistic,
                    "diebold_mariano_p": test.p_value,
                    "paired_t_p": paired_t(mine, naive).p_value,
                    "in_confidence_set": included.get(i),
                    "verdict": verdict(row["loss"], row["naive_loss"], test, significance).value,
                }
        compared.append(row)
    return compared


def _confidence_sets(
    evaluation: Evaluation, losses: Losses, h: int, significance: float, overlap: int
) -> dict[int, bool]:
    """Whether each model is in the confidence set of its target, on origins and symbols that all of them have."""
    found: dict[int, bool] = {}
    for target in Target:
        of_target = losses.of(target)[:, h]
        places = [
            i
            for i, spec in enumerate(evaluation.models)
            if spec.target is target and np.isfinite(of_target[i]).any(axis=-1).sum() >= LEAST_ORIGINS
        ]
        if not places:
            continue
        counted = np.asarray(np.isfinite(of_target[places]).all(axis=0), np.bool_)
        at = counted.any(axis=-1)
        if at.sum() < LEAST_ORIGINS:
            continue
        means = np.stack([mean_per_origin(of_target[i], counted)[at] for i in places], axis=1)
        found |= dict(zip(places, confidence_set(means, significance, overlap), strict=True))
    return found


def _per_origin(evaluation: Evaluation, losses: Losses, traded: FloatArray, session: date) -> pl.DataFrame:
    """Rows of ``validation_losses``: means over the symbols of an origin with a forecast and an outcome."""
    counted = np.isfinite(losses.squared_error)
    number = counted.sum(axis=-1)
    i, h, t = (places.ravel() for places in np.indices(number.shape))
    models = np.array([spec.model.value for spec in evaluation.models])
    columns = {
        "origin": evaluation.origins.astype("datetime64[D]")[t],
        "model": models[i],
        "horizon": np.array(evaluation.horizons)[h],
        "forecasts": number.ravel(),
        "squared_error": mean_per_origin(losses.squared_error, counted).ravel(),
        "qlike": mean_per_origin(losses.qlike, counted).ravel(),
        "pinball": mean_per_origin(losses.pinball, counted).ravel(),
        "traded_return": traded.ravel(),
    }
    table = TABLES["validation_losses"]
    frame = pl.DataFrame(columns).filter(pl.col("forecasts") > 0).with_columns(pl.lit(session).alias("session"))
    return frame.select(list(table.schema)).cast(table.schema)

"""Losses of forecasts whose outcome is known, and what they say of a model over all its forecasts.

The losses are those the desk scores its live forecasts by, so that a validation is a reference for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_dagster.forecasting.columns import BoolArray, FloatArray
from quant_dagster.forecasting.families.registry import LOSS, Target
from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.validation.evaluation import Evaluation


@dataclass(frozen=True)
class Losses:
    """Losses of every forecast, each of shape (M, H, T, m); NaN where there is no forecast or no outcome.

    Attributes
    ----------
    squared_error
        ``(r - mean) ** 2``.
    qlike
        ``log s2 + (r - mean) ** 2 / s2`` (Patton 2011): the realised variance is the squared error.
    pinball
        Mean over the five levels of the quantile loss ``max(a (r - q), (a - 1) (r - q))``.
    """

    squared_error: FloatArray
    qlike: FloatArray
    pinball: FloatArray

    def of(self, target: Target) -> FloatArray:
        """The loss by which models of a target are judged."""
        loss: FloatArray = getattr(self, LOSS[target])
        return loss


@dataclass(frozen=True)
class Scores:
    """One model over one horizon. None where there is no forecast with an outcome, or nothing to divide by.

    Attributes
    ----------
    bias
        Mean of outcome less forecast.
    mase
        Mean absolute error over that of the random walk, whose forecast is zero, on the same outcomes (Hyndman &
        Koehler 2006, out of sample).
    coverage_50, coverage_90
        Shares of outcomes between the 25 and 75 %, the 5 and 95 % quantiles.
    hit_rate
        Share of outcomes with the forecast's sign, among forecasts that have one.
    """

    forecasts: int
    fallbacks: int
    bias: float | None
    rmse: float | None
    mase: float | None
    qlike: float | None
    pinball: float | None
    coverage_50: float | None
    coverage_90: float | None
    hit_rate: float | None


def losses_of(evaluation: Evaluation) -> Losses:
    """All losses of an evaluation."""
    error = evaluation.outcome - evaluation.mean
    variance = evaluation.std**2
    squared = error**2
    pinball = np.zeros_like(squared)
    for i, level in enumerate(LEVELS):
        gap = evaluation.outcome - evaluation.quantiles[..., i]
        pinball += np.maximum(level * gap, (level - 1.0) * gap)
    return Losses(squared, np.log(variance) + squared / variance, pinball / len(LEVELS))


def scores_of(evaluation: Evaluation, losses: Losses, model: int, horizon: int) -> Scores:
    """Scores of the model and horizon at these places."""
    known = np.isfinite(losses.squared_error[model, horizon])
    count = int(known.sum())
    fallbacks = int((known & ~evaluation.own[model]).sum())
    if count == 0:
        return Scores(0, 0, None, None, None, None, None, None, None, None)
    outcome = evaluation.outcome[horizon][known]
    mean = evaluation.mean[model, horizon][known]
    quantiles = evaluation.quantiles[model, horizon][known]
    naive = float(np.abs(outcome).mean())
    signed = mean != 0.0
    return Scores(
        forecasts=count,
        fallbacks=fallbacks,
        bias=float((outcome - mean).mean()),
        rmse=float(np.sqrt(losses.squared_error[model, horizon][known].mean())),
        mase=float(np.abs(outcome - mean).mean()) / naive if naive > 0.0 else None,
        qlike=float(losses.qlike[model, horizon][known].mean()),
        pinball=float(losses.pinball[model, horizon][known].mean()),
        coverage_50=_between(outcome, quantiles[:, 1], quantiles[:, 3]),
        coverage_90=_between(outcome, quantiles[:, 0], quantiles[:, 4]),
        hit_rate=float((np.sign(outcome) == np.sign(mean))[signed].mean()) if signed.any() else None,
    )


def mean_per_origin(losses: FloatArray, counted: BoolArray) -> FloatArray:
    """Mean over the symbols that count, shapes (..., T, m) to (..., T); NaN at an origin where none does."""
    number = counted.sum(axis=-1)
    total = np.where(counted, losses, 0.0).sum(axis=-1)
    means: FloatArray = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return means


def _between(outcome: FloatArray, low: FloatArray, high: FloatArray) -> float:
    return float(((outcome >= low) & (outcome <= high)).mean())

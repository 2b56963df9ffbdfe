"""Moments of the past as families: the naive forecasts every model is judged against, and falls back to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quant_dagster.forecasting.fallbacks import RISKMETRICS_DECAY, ewma_variance
from quant_dagster.forecasting.families.protocol import (
    NOT_ASKED,
    SMALLEST_VARIANCE_SHARE,
    VANISHED,
    Answer,
    Request,
)


def historical_mean_family(request: Request) -> list[Answer | str]:
    """The sample mean and variance of the returns."""
    return _moments(request, {})


def random_walk_family(request: Request) -> list[Answer | str]:
    """The random walk of log prices without drift: mean zero, the mean square of the returns as variance."""
    history = request.history
    answers: list[Answer | str] = []
    for j, wanted in enumerate(request.tried.tolist()):
        if not wanted:
            answers.append(NOT_ASKED)
            continue
        square = float(history.variance[j] + history.mean[j] ** 2)
        sessions = np.array(request.horizons, np.float64)
        parameters = {"distribution": "normal", "mean": 0.0, "variance": square}
        answers.append(
            Answer(0.0 * sessions, np.sqrt(square * sessions), parameters, {"observations": int(history.counts[j])})
        )
    return answers


def single_regime_family(request: Request) -> list[Answer | str]:
    """One normal regime: the sample mean and variance, with certainty about the state."""
    return _moments(request, {"filtered_probabilities": [1.0], "next_probabilities": [1.0]})


def sample_variance_family(request: Request) -> list[Answer | str]:
    """The sample variance around the sample mean."""
    return _moments(request, {})


def ewma_family(request: Request) -> list[Answer | str]:
    """RiskMetrics' exponentially weighted variance around the sample mean."""
    history = request.history
    variance = ewma_variance(history.returns, history.counts)
    answers: list[Answer | str] = []
    for j, wanted in enumerate(request.tried.tolist()):
        if not wanted:
            answers.append(NOT_ASKED)
        elif not variance[j] > SMALLEST_VARIANCE_SHARE * history.variance[j]:
            answers.append(VANISHED)
        else:
            answers.append(_scaled(request, j, float(variance[j]), {"decay": RISKMETRICS_DECAY}, {}))
    return answers


def _moments(request: Request, diagnostics: Mapping[str, object]) -> list[Answer | str]:
    variance = request.history.variance
    return [
        _scaled(request, j, float(variance[j]), {}, diagnostics) if wanted else NOT_ASKED
        for j, wanted in enumerate(request.tried.tolist())
    ]


def _scaled(
    request: Request, j: int, variance: float, parameters: Mapping[str, object], diagnostics: Mapping[str, object]
) -> Answer:
    """Independent returns: mean and variance grow with the horizon."""
    sessions = np.array(request.horizons, np.float64)
    mean = float(request.history.mean[j])
    return Answer(
        mean * sessions,
        np.sqrt(variance * sessions),
        {"distribution": "normal", "mean": mean, "variance": variance, **parameters},
        {"observations": int(request.history.counts[j]), **diagnostics},
    )

"""A local language model's opinion, as a family: off unless it is named in ``forecasting.families``."""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, Refusal, Reply, Request
from quant_dagster.forecasting.language_model import Question, View, ask_in_batches

_RECENT = 20


def language_model_family(request: Request) -> list[Reply]:
    """The model's expected return over the longest horizon, spread evenly; the spread is the sample's.

    Prompt and answer are in the row's diagnostics, whether the answer could be used or not.
    """
    history, longest = request.history, max(request.horizons)
    columns = np.flatnonzero(request.tried).tolist()
    questions = [
        Question(request.panel.symbols[j], _facts(request, j), float(np.sqrt(history.variance[j] * longest)))
        for j in columns
    ]
    views = ask_in_batches(questions, longest, request.settings.language_model)
    replies: list[Reply] = [NOT_ASKED] * len(request.tried)
    for j, view in zip(columns, views, strict=True):
        replies[j] = _reply(request, j, view, longest)
    return replies


def _reply(request: Request, j: int, view: View, longest: int) -> Reply:
    said: dict[str, object] = {
        "model": request.settings.language_model.model,
        "prompt": view.prompt,
        "answer": view.answer,
    }
    if view.mean is None:
        return Refusal(str(view.problem), said)
    sessions = np.array(request.horizons, np.float64)
    return Answer(
        view.mean * sessions / longest,
        np.sqrt(request.history.variance[j] * sessions),
        {"distribution": "normal", "mean": view.mean / longest, "variance": float(request.history.variance[j])},
        {**said, "confidence": view.confidence, "rationale": view.rationale},
    )


def _facts(request: Request, j: int) -> str:
    """What the model is told of a symbol: figures of the past, no name of a company and nothing from outside."""
    count = int(request.history.counts[j])
    returns = request.history.returns[max(0, count - 250) : count, j] * 1e4
    recent = returns[-_RECENT:]
    return (
        f"daily volatility {returns.std():.0f} bps; return of the last session {returns[-1]:+.0f}, of 5 sessions "
        f"{returns[-5:].sum():+.0f}, of {_RECENT} {recent.sum():+.0f}, of {len(returns)} {returns.sum():+.0f} bps; "
        f"last ten returns {', '.join(f'{value:+.0f}' for value in returns[-10:])} bps"
    )

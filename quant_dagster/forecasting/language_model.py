"""Asking a local language model: Ollama's or an OpenAI-compatible server's chat interface, answers held to a schema.

What a language model says is data from outside: it is parsed as JSON, checked field by field, bounded, and refused
otherwise. Nothing it says is ever executed, and nothing but a number and a sentence about a symbol that was asked for
gets further. Every prompt and every answer is kept, the refused ones too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.parameters import LanguageModelParameters

LARGEST_MOVE = 3.0
"""Most an expected return may be, in standard deviations of the horizon: beyond it the answer is not believed."""
_LONGEST_RATIONALE = 500
_ATTEMPTS = 2

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "views": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "symbol": {"type": "string"},
                    "expected_return_bps": {"type": "number"},
                    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                    "rationale": {"type": "string"},
                },
                "required": ["symbol", "expected_return_bps", "confidence", "rationale"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["views"],
    "additionalProperties": False,
}
"""What the server is asked to answer in, and what the answer is checked against."""


@dataclass(frozen=True)
class Question:
    """What is asked about one symbol: facts of the past, and ``volatility`` of the horizon (log return)."""

    symbol: str
    facts: str
    volatility: float


@dataclass(frozen=True)
class View:
    """What the model said of one symbol. ``problem`` None: it is valid, ``mean`` is a log return over the horizon."""

    symbol: str
    prompt: str
    answer: str | None
    mean: float | None = None
    confidence: float | None = None
    rationale: str | None = None
    problem: str | None = None


def ask_in_batches(questions: Sequence[Question], horizon: int, settings: LanguageModelParameters) -> list[View]:
    """One view per question, in order; several symbols go into one request, several requests are under way at once.

    A request that fails costs its own symbols only: each says what failed.
    """
    batches = [questions[at : at + settings.batch] for at in range(0, len(questions), settings.batch)]
    with ThreadPoolExecutor(max_workers=settings.concurrency) as pool:
        answered = list(pool.map(lambda batch: _ask(batch, horizon, settings), batches))
    return [view for views in answered for view in views]


def prompt_for(questions: Sequence[Question], horizon: int) -> str:
    """The text the model is asked with."""
    lines = [f"{question.symbol}: {question.facts}" for question in questions]
    return (
        f"For each stock below, give the return you expect over the next {horizon} trading sessions in basis points, "
        "your confidence from 0 to 1, and a reason in one sentence. Most returns are near zero. Use only the figures "
        'given. Answer with JSON alone: {"views": [{"symbol": ..., "expected_return_bps": ..., "confidence": ..., '
        '"rationale": ...}]}.\n\n' + "\n".join(lines)
    )


def _ask(questions: Sequence[Question], horizon: int, settings: LanguageModelParameters) -> list[View]:
    prompt = prompt_for(questions, horizon)
    try:
        answer = _complete(prompt, settings)
    except ForecastError as error:
        return [View(question.symbol, prompt, None, problem=str(error)) for question in questions]
    return read_answer(questions, prompt, answer)


def read_answer(questions: Sequence[Question], prompt: str, answer: str) -> list[View]:
    """The views an answer holds on the symbols that were asked for, each checked; everything else in it is ignored."""
    try:
        content = json.loads(answer)
        views = content["views"]
        if not isinstance(views, list):
            raise TypeError("'views' is not a list")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        problem = f"the answer is not the JSON that was asked for: {type(error).__name__}: {error}"
        return [View(question.symbol, prompt, answer, problem=problem) for question in questions]
    said: dict[str, list[dict[str, Any]]] = {}
    for view in views:
        if isinstance(view, dict) and isinstance(view.get("symbol"), str):
            said.setdefault(view["symbol"], []).append(view)
    return [_checked(question, prompt, answer, said.get(question.symbol, [])) for question in questions]


def _checked(question: Question, prompt: str, answer: str, said: list[dict[str, Any]]) -> View:
    def refused(problem: str) -> View:
        return View(question.symbol, prompt, answer, problem=problem)

    if len(said) != 1:
        return refused(f"the answer has {len(said)} views on {question.symbol}, one was asked for")
    view = said[0]
    if set(view) != {"symbol", "expected_return_bps", "confidence", "rationale"}:
        return refused(f"the view on {question.symbol} has the fields {sorted(view)}")
    expected, confidence, rationale = view["expected_return_bps"], view["confidence"], view["rationale"]
    if not _is_number(expected) or not _is_number(confidence) or not isinstance(rationale, str):
        return refused(f"the view on {question.symbol} has a field of the wrong type")
    if not 0.0 <= confidence <= 1.0:
        return refused(f"confidence {confidence} is not between 0 and 1")
    mean = float(expected) / 1e4
    if not abs(mean) <= LARGEST_MOVE * question.volatility:
        return refused(
            f"{expected:g} basis points is more than {LARGEST_MOVE:g} standard deviations "
            f"({question.volatility * 1e4:.0f} each) and is not believed"
        )
    return View(question.symbol, prompt, answer, mean, float(confidence), rationale[:_LONGEST_RATIONALE])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - not NaN


def _complete(prompt: str, settings: LanguageModelParameters) -> str:
    """The text the server answers with.

    Raises
    ------
    ForecastError
        The server cannot be reached, refuses, or does not answer in its own interface's form.
    """
    import httpx

    messages = [{"role": "user", "content": prompt}]
    base = settings.base_url.rstrip("/")
    if settings.api == "ollama":
        url, body = f"{base}/api/chat", {
            "model": settings.model, "messages": messages, "stream": False, "format": ANSWER_SCHEMA,
            "options": {"temperature": settings.temperature, "seed": 0},
        }  # fmt: skip
    else:
        url, body = f"{base}/v1/chat/completions", {
            "model": settings.model, "messages": messages, "temperature": settings.temperature, "seed": 0,
            "response_format": {
                "type": "json_schema", "json_schema": {"name": "views", "strict": True, "schema": ANSWER_SCHEMA}
            },
        }  # fmt: skip
    headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    failure = ""
    for _ in range(_ATTEMPTS):
        try:
            response = httpx.post(url, json=body, headers=headers, timeout=settings.timeout_seconds)
        except httpx.HTTPError as error:
            failure = f"{type(error).__name__}: {error}"
            continue
        if response.status_code >= 500:
            failure = f"HTTP {response.status_code}"
            continue
        if response.status_code != 200:
            raise ForecastError(f"language model at {url}: HTTP {response.status_code}: {response.text[:200]}")
        return _content(response.text, settings, url)
    raise ForecastError(f"language model at {url}: no answer after {_ATTEMPTS} attempts: {failure}")


def _content(text: str, settings: LanguageModelParameters, url: str) -> str:
    try:
        body = json.loads(text)
        message = body["message"] if settings.api == "ollama" else body["choices"][0]["message"]
        content = message["content"]
        if not isinstance(content, str):
            raise TypeError("the content is not text")
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise ForecastError(
            f"language model at {url} did not answer as a {settings.api} server does: {type(error).__name__}: {error}; "
            "forecasting.language_model.api says which interface is expected"
        ) from error
    return content

"""Trying again, where trying again can help: exponential backoff with full jitter."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from quant_dagster.errors import MalformedAnswerError, RateLimitedError, UnreachableError
from quant_dagster.settings import ResilienceSettings

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Sleep = Callable[[float], None]
Random = Callable[[], float]
"""Uniform on [0, 1)."""

# A truncated or garbled answer is retried: it is as often a cut connection as a changed format.
RETRIED = (RateLimitedError, UnreachableError, MalformedAnswerError)
_MOST_DOUBLINGS = 60


def call_with_retries(
    work: Callable[[], T], settings: ResilienceSettings, *, sleep: Sleep = time.sleep, random: Random = _random.random
) -> T:
    """Run ``work`` until it returns, at most ``settings.attempts`` times.

    Tried again after: `RateLimitedError`, `UnreachableError`, `MalformedAnswerError`. Every other error goes out at
    once, unchanged; so does the last of those after the last try.

    Before try n + 1 it waits ``random() * min(longest_wait_seconds, first_wait_seconds * 2**(n - 1))`` seconds ("full
    jitter": Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015), or exactly as long as the
    service says in `RateLimitedError.retry_after`. A service that asks for more than ``longest_wait_seconds`` is not
    waited for: the error goes out at once.

    Parameters
    ----------
    sleep, random
        What waits, and what draws the jitter; tests pass their own.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    def wait(state: RetryCallState) -> float:
        asked_for = _asked_wait(state.outcome.exception() if state.outcome else None)
        if asked_for is not None:
            return max(0.0, asked_for)
        doublings = min(state.attempt_number - 1, _MOST_DOUBLINGS)
        return random() * min(settings.longest_wait_seconds, settings.first_wait_seconds * 2.0**doublings)

    def worth_retrying(error: BaseException) -> bool:
        if not isinstance(error, RETRIED):
            return False
        asked_for = _asked_wait(error)
        return asked_for is None or asked_for <= settings.longest_wait_seconds

    retrying = Retrying(
        sleep=sleep,
        stop=stop_after_attempt(settings.attempts),
        wait=wait,
        retry=retry_if_exception(worth_retrying),
        reraise=True,
    )
    return retrying(work)


def _asked_wait(error: BaseException | None) -> float | None:
    return error.retry_after if isinstance(error, RateLimitedError) else None

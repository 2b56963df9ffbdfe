from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import (
    BudgetExhaustedError,
    BulkheadFullError,
    CircuitOpenError,
    ConfigurationError,
    DataUnavailableError,
    MalformedAnswerError,
    QuantError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
    UnreachableError,
)
from quant_dagster.resilience.retry import call_with_retries
from quant_dagster.settings import ResilienceSettings

UNREACHABLE = UnreachableError("v", "connection refused")


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """Work that raises each error in turn and then returns; and how often it was run."""
    tries: list[int] = []

    def work() -> str:
        tries.append(len(tries))
        if len(tries) <= len(errors):
            raise errors[len(tries) - 1]
        return "answer"

    return work, tries


@pytest.mark.parametrize(
    "error",
    [
        RateLimitedError("v", "429"),
        RateLimitedError("v", "429", 2.0),
        UNREACHABLE,
        MalformedAnswerError("v", "cut off"),
    ],
)
def test_an_error_that_may_pass_is_tried_again(settings: ResilienceSettings, error: QuantError) -> None:
    work, tries = failing(error, error)
    assert call_with_retries(work, settings, sleep=lambda _: None) == "answer"
    assert len(tries) == 3


@pytest.mark.parametrize(
    "error",
    [
        UnauthorisedError("v", "no such key"),
        UnknownSymbolError("ZZZ", "v", None, None),
        DataUnavailableError("AAPL", "v", None, None),
        CircuitOpenError("v", "open"),
        BudgetExhaustedError("v", "used up", 3.0),
        BulkheadFullError("v", "full"),
        ConfigurationError("no key set"),
        KeyError("a fault of our own"),
    ],
)
def test_an_error_that_will_not_pass_goes_out_at_once(settings: ResilienceSettings, error: Exception) -> None:
    work, tries = failing(error)
    slept: list[float] = []
    with pytest.raises(type(error)) as raised:
        call_with_retries(work, settings, sleep=slept.append)
    assert raised.value is error
    assert (len(tries), slept) == (1, [])


def test_the_last_error_goes_out_after_the_last_try(settings: ResilienceSettings) -> None:
    last = UnreachableError("v", "time-out")
    work, tries = failing(UNREACHABLE, UNREACHABLE, last)
    slept: list[float] = []
    with pytest.raises(UnreachableError) as raised:
        call_with_retries(work, settings, sleep=slept.append)
    assert raised.value is last
    assert (len(tries), len(slept)) == (3, 2), "nobody waits after the last try"


def test_waits_double_up_to_the_longest_and_jitter_takes_its_share(settings: ResilienceSettings) -> None:
    settings = settings.model_copy(update={"attempts": 7})
    work, _ = failing(*[UNREACHABLE] * 6)
    slept: list[float] = []
    call_with_retries(work, settings, sleep=slept.append, random=lambda: 0.5)
    assert slept == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@given(seed=st.integers(), tries=st.integers(2, 80))
def test_full_jitter_stays_within_its_ceiling_and_repeats_with_its_seed(seed: int, tries: int) -> None:
    settings = ResilienceSettings(attempts=tries, first_wait_seconds=1.0, longest_wait_seconds=8.0)
    runs = []
    for _ in range(2):
        slept: list[float] = []
        work, _count = failing(*[UNREACHABLE] * (tries - 1))
        call_with_retries(work, settings, sleep=slept.append, random=random.Random(seed).random)
        runs.append(slept)
    assert runs[0] == runs[1]
    assert all(0 <= wait <= min(8.0, 2.0**turn) for turn, wait in enumerate(runs[0]))


@pytest.mark.parametrize("asked", [0.0, 0.25, 7.5, 8.0])
def test_retry_after_is_obeyed_exactly(settings: ResilienceSettings, asked: float) -> None:
    work, _ = failing(RateLimitedError("v", "429", asked))
    slept: list[float] = []
    call_with_retries(work, settings, sleep=slept.append, random=lambda: 0.999)
    assert slept == [asked]


@pytest.mark.parametrize("asked", [8.001, 3600.0, float("inf"), float("nan")])
def test_a_vendor_that_asks_for_too_long_is_given_up_on_at_once(settings: ResilienceSettings, asked: float) -> None:
    work, tries = failing(RateLimitedError("v", "429", asked))
    slept: list[float] = []
    with pytest.raises(RateLimitedError):
        call_with_retries(work, settings, sleep=slept.append)
    assert (len(tries), slept) == (1, [])


def test_one_attempt_means_no_retry(settings: ResilienceSettings) -> None:
    work, tries = failing(UNREACHABLE)
    with pytest.raises(UnreachableError):
        call_with_retries(work, settings.model_copy(update={"attempts": 1}), sleep=lambda _: None)
    assert len(tries) == 1

"""A clock that stands still until told, and settings with round numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quant_dagster.settings import ResilienceSettings


class StillClock:
    """Calling it gives the time; `forward` moves it, and serves as a sleep that takes no time."""

    def __init__(self) -> None:
        self.now = datetime(2024, 3, 14, 15, 9, 26, tzinfo=UTC)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.forward(seconds)


@pytest.fixture
def still() -> StillClock:
    return StillClock()


@pytest.fixture
def settings() -> ResilienceSettings:
    """Three tries, 1 s to 8 s apart; three failures open for 60 s, two probes close."""
    return ResilienceSettings(
        attempts=3,
        first_wait_seconds=1.0,
        longest_wait_seconds=8.0,
        failures_to_open=3,
        open_seconds=60.0,
        successes_to_close=2,
        bulkhead_wait_seconds=0.0,
    )

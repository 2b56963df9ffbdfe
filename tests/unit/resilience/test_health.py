from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from quant_dagster.errors import DataUnavailableError, LedgerError, MalformedAnswerError, RateLimitedError, VendorError
from quant_dagster.resilience.health import KEPT, health, record
from quant_dagster.resilience.outcomes import Outcome, detail_of, outcome_of
from quant_dagster.settings import FailoverSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import service_observations
from tests.unit.resilience.conftest import StillClock

SETTINGS = FailoverSettings(observations=4, slow_seconds=5.0)


def observe(ledger: Ledger, still: StillClock, *outcomes: Outcome, seconds: float = 0.0, name: str = "v") -> datetime:
    """Record outcomes a second apart; returns the last one's time."""
    for outcome in outcomes:
        still.forward(1.0)
        record(
            ledger, name, "daily_bars", outcome, seconds, "" if outcome is Outcome.OK else f"was {outcome}", still.now
        )
    return still.now


def test_a_service_that_was_never_asked_is_well(ledger: Ledger) -> None:
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert (found.score, found.observations, found.last_success, found.median_seconds) == (1.0, 0, None, None)


def test_score_is_one_less_the_share_of_failures(ledger: Ledger, still: StillClock) -> None:
    good = observe(ledger, still, Outcome.OK, Outcome.OK, Outcome.OK)
    bad = observe(ledger, still, Outcome.RATE_LIMITED)
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert (found.score, found.error_rate, found.observations) == (0.75, 0.25, 4)
    assert (found.last_success, found.last_failure) == (good, bad)
    assert found.detail == (
        "1 of 4 requests failed, 0 found no data, median 0.00 s; last failure: rate_limited: was rate_limited"
    )


@pytest.mark.parametrize("outcome", [Outcome.EMPTY, Outcome.UNKNOWN_SYMBOL])
def test_an_answer_without_data_counts_half_an_error(ledger: Ledger, still: StillClock, outcome: Outcome) -> None:
    observe(ledger, still, outcome, Outcome.OK)
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert (found.score, found.error_rate, found.last_failure) == (0.75, 0.25, None)


def test_a_median_of_slow_seconds_halves_the_score(ledger: Ledger, still: StillClock) -> None:
    observe(ledger, still, Outcome.OK, seconds=1.0)
    observe(ledger, still, Outcome.OK, Outcome.OK, seconds=5.0)
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert (found.score, found.median_seconds) == (0.5, 5.0)


def test_a_fast_refusal_is_not_a_fast_service(ledger: Ledger, still: StillClock) -> None:
    observe(ledger, still, Outcome.UNREACHABLE, Outcome.UNREACHABLE, seconds=0.001)
    observe(ledger, still, Outcome.OK, Outcome.OK, seconds=15.0)
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert found.median_seconds == 15.0
    assert found.score == pytest.approx(0.5 * 0.25)


def test_quality_multiplies_the_score_of_its_own_service(ledger: Ledger, still: StillClock) -> None:
    observe(ledger, still, Outcome.OK, name="a")
    found = health(ledger, ["a", "b", "c"], SETTINGS, {"a": 0.25, "b": 0.5})
    assert {name: one.score for name, one in found.items()} == {"a": 0.25, "b": 0.5, "c": 1.0}


@pytest.mark.parametrize("quality", [-0.1, 1.1, float("nan")])
def test_a_quality_outside_its_range_is_refused(ledger: Ledger, quality: float) -> None:
    with pytest.raises(ValueError, match="'v'"):
        health(ledger, ["v"], SETTINGS, {"v": quality})


def test_only_the_newest_observations_count(ledger: Ledger, still: StillClock) -> None:
    bad = observe(ledger, still, *[Outcome.UNREACHABLE] * 10)
    observe(ledger, still, *[Outcome.OK] * 4)
    found = health(ledger, ["v"], SETTINGS)["v"]
    assert (found.score, found.observations) == (1.0, 4)
    assert found.last_failure == bad, "when it last failed is known for longer than the score looks back"


def test_the_oldest_observations_are_dropped(ledger: Ledger, still: StillClock) -> None:
    rows = [
        {"name": "v", "sequence": n, "operation": "o", "outcome": "ok", "seconds": 0.0, "detail": "",
         "recorded_at": still.now + timedelta(seconds=n)}
        for n in range(1, KEPT + 1)
    ]  # fmt: skip
    with ledger.write() as connection:
        connection.execute(service_observations.insert(), rows)
    observe(ledger, still, Outcome.OK)
    observe(ledger, still, Outcome.OK, name="other")
    column = service_observations.c
    with ledger.read() as connection:
        counted = select(func.count(), func.min(column.sequence)).where(column.name == "v")
        assert tuple(connection.execute(counted).one()) == (KEPT, 2)


def test_an_outcome_that_is_not_known_counts_as_a_failure(ledger: Ledger, still: StillClock) -> None:
    observe(ledger, still, Outcome.OK)
    with ledger.write() as connection:
        connection.execute(service_observations.update().values(outcome="fine?"))
    assert health(ledger, ["v"], SETTINGS)["v"].score == 0.0


def test_observations_that_cannot_be_read_are_an_error(ledger: Ledger, still: StillClock) -> None:
    if not ledger.is_sqlite:
        pytest.skip("PostgreSQL stores no text in a time column")
    observe(ledger, still, Outcome.OK)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE service_observations SET recorded_at = 'yesterday'")
    with pytest.raises(LedgerError, match="'v' cannot be read"):
        health(ledger, ["v"], SETTINGS)


def test_every_error_has_its_outcome() -> None:
    assert outcome_of(None) is Outcome.OK
    assert outcome_of(DataUnavailableError("A", "v", None, None)) is Outcome.EMPTY
    assert outcome_of(RateLimitedError("v", "429")) is Outcome.RATE_LIMITED
    assert outcome_of(MalformedAnswerError("v", "cut")) is Outcome.MALFORMED
    assert outcome_of(VendorError("v", "?")) is Outcome.FAILED
    assert outcome_of(ZeroDivisionError()) is Outcome.ERROR


def test_a_detail_holds_no_secret_and_any_database_takes_it(ledger: Ledger, still: StillClock) -> None:
    error = MalformedAnswerError("v", "GET /q?key=s3cret answered \0 \udcff" + "x" * 1000)
    detail = detail_of(error, ["s3cret"])
    assert "key=***" in detail and "s3cret" not in detail and len(detail) == 500
    assert detail_of(ZeroDivisionError()) == "ZeroDivisionError"
    record(ledger, "v", "o" * 100, Outcome.MALFORMED, 0.1, detail, still.now)
    assert health(ledger, ["v"], SETTINGS)["v"].detail.endswith(detail)

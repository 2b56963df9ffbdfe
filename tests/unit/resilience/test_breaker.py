from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select

from quant_dagster.errors import (
    CircuitOpenError,
    ConfigurationError,
    LedgerError,
    RateLimitedError,
    UnauthorisedError,
    UnreachableError,
)
from quant_dagster.observability import audit
from quant_dagster.resilience.breaker import LONGEST_OPEN_FACTOR, CircuitBreaker, Permit
from quant_dagster.resilience.breaker_state import BreakerStatus, breaker_states, force
from quant_dagster.settings import ResilienceSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, circuit_breakers
from tests.unit.resilience.conftest import StillClock

DOWN = UnreachableError("v", "connection refused")


@pytest.fixture
def breaker(ledger: Ledger, settings: ResilienceSettings, still: StillClock) -> CircuitBreaker:
    return CircuitBreaker(ledger, "vendor:v", settings, probe_seconds=30.0, clock=still)


def fail(breaker: CircuitBreaker, times: int = 1, error: Exception = DOWN) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit(), error)


def probe(breaker: CircuitBreaker) -> Permit:
    permit = breaker.admit()
    assert permit.is_probe
    return permit


def refused(breaker: CircuitBreaker) -> str:
    with pytest.raises(CircuitOpenError) as error:
        breaker.admit()
    return str(error.value)


def open_for(breaker: CircuitBreaker) -> float:
    state = breaker.state()
    assert state.status is BreakerStatus.OPEN and state.opened_at and state.retry_at
    return (state.retry_at - state.opened_at).total_seconds()


def audited(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        rows = connection.execute(select(audit_log).order_by(audit_log.c.sequence)).all()
    return [(row.action, row.actor) for row in rows]


def test_failures_in_a_row_open_it_and_it_says_until_when_and_why(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.admit()
    fail(breaker)
    assert open_for(breaker) == 60.0
    assert refused(breaker) == (
        "vendor 'v': not asked: its circuit breaker is open until 2024-03-14 15:10:26 UTC: "
        "failed calls in a row: 3, the last: vendor 'v': connection refused"
    )


def test_a_success_between_failures_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded(breaker.admit())
    fail(breaker, 2)
    assert breaker.state().status is BreakerStatus.CLOSED
    fail(breaker)
    assert breaker.state().status is BreakerStatus.OPEN


def test_an_unauthorised_answer_opens_it_at_once(breaker: CircuitBreaker) -> None:
    fail(breaker, error=UnauthorisedError("v", "no such key"))
    assert open_for(breaker) == 60.0


def test_it_stays_open_as_long_as_the_service_asks_where_that_is_longer(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    fail(breaker, error=RateLimitedError("v", "429", 90.0))
    assert open_for(breaker) == 90.0


def test_a_short_retry_after_does_not_shorten_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 3, RateLimitedError("v", "429", 5.0))
    assert open_for(breaker) == 60.0


def test_a_service_that_asks_for_longer_than_is_waited_is_left_alone_at_once(breaker: CircuitBreaker) -> None:
    fail(breaker, error=RateLimitedError("v", "429", 8.0))
    assert breaker.state().status is BreakerStatus.CLOSED, "the retry waits that long"
    fail(breaker, error=RateLimitedError("v", "429", 3600.0))
    assert open_for(breaker) == 3600.0


@pytest.mark.parametrize("asked", [float("inf"), 1e300])
def test_a_retry_after_beyond_the_calendar_is_open_to_its_end(breaker: CircuitBreaker, asked: float) -> None:
    fail(breaker, error=RateLimitedError("v", "429", asked))
    assert "open until 9998-12-31" in refused(breaker)


def test_when_it_is_time_exactly_one_call_gets_the_probe(breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    still.forward(59.9)
    refused(breaker)
    still.forward(0.1)
    probe(breaker)
    assert "one probe is under way, until 2024-03-14 15:10:56 UTC" in refused(breaker)


def test_good_probes_in_a_row_close_it(breaker: CircuitBreaker, still: StillClock, ledger: Ledger) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    breaker.succeeded(probe(breaker))
    assert breaker.state().status is BreakerStatus.HALF_OPEN
    breaker.succeeded(probe(breaker))
    assert (breaker.state().status, breaker.state().failures) == (BreakerStatus.CLOSED, 0)
    assert audited(ledger) == [("breaker_open", "circuit breaker"), ("breaker_closed", "circuit breaker")]


def test_each_failed_probe_doubles_the_time_up_to_the_cap(breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    times = [open_for(breaker)]
    for _ in range(7):
        still.forward(times[-1])
        breaker.failed(probe(breaker), DOWN)
        times.append(open_for(breaker))
    assert times == [60, 120, 240, 480, 960, 1920, 1920, 1920]
    assert times[-1] == LONGEST_OPEN_FACTOR * 60


def test_a_failed_second_probe_opens_it_again(breaker: CircuitBreaker, still: StillClock, ledger: Ledger) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    breaker.succeeded(probe(breaker))
    breaker.failed(probe(breaker), DOWN)
    assert (open_for(breaker), breaker.state().successes) == (120.0, 0)
    assert [action for action, _ in audited(ledger)] == ["breaker_open", "breaker_open"]


def test_a_probe_that_learnt_nothing_is_given_back(breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    breaker.abandoned(probe(breaker))
    breaker.succeeded(probe(breaker))
    assert breaker.state().successes == 1


def test_a_probe_whose_holder_is_gone_is_given_to_another(breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    dead = probe(breaker)
    still.forward(29.9)
    refused(breaker)
    still.forward(0.1)
    successor = probe(breaker)
    for report in (breaker.succeeded, breaker.abandoned):
        report(dead)
    breaker.failed(dead, DOWN)
    assert breaker.state().probe_holder == successor.holder, "what the dead holder says counts for nothing"
    breaker.succeeded(successor)
    assert breaker.state().successes == 1


def test_a_late_probe_that_nobody_replaced_still_counts(breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    late = probe(breaker)
    still.forward(500.0)
    breaker.succeeded(late)
    assert breaker.state().successes == 1


def test_calls_that_began_before_it_opened_change_nothing(breaker: CircuitBreaker, still: StillClock) -> None:
    early = [breaker.admit() for _ in range(3)]
    fail(breaker, 3)
    before = breaker.state()
    still.forward(60.0)
    breaker.succeeded(early[0])
    breaker.failed(early[1], DOWN)
    breaker.abandoned(early[2])
    assert breaker.state() == before


def test_a_call_that_goes_well_writes_nothing(ledger: Ledger, breaker: CircuitBreaker) -> None:
    fail(breaker)
    breaker.succeeded(breaker.admit())
    statements: list[str] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    breaker.succeeded(breaker.admit())
    breaker.abandoned(breaker.admit())
    assert any(statement.startswith("SELECT") for statement in statements)
    reading = ("SELECT circuit_breakers", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    assert all(statement == "BEGIN" or statement.startswith(reading) for statement in statements), statements


# -- what cannot be read counts as open -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "ajar"},
        {"state": ""},
        {"retry_at": None},
        {"opened_at": None},
        {"failures": -1},
        {"successes": -1},
        {"state": "half_open", "probe_holder": "someone"},
        {"state": "half_open", "retry_at": None},
    ],
)
def test_a_row_that_makes_no_sense_counts_as_open(
    ledger: Ledger, breaker: CircuitBreaker, still: StillClock, damage: dict[str, object]
) -> None:
    fail(breaker, 3)
    with ledger.write() as connection:
        connection.execute(circuit_breakers.update().values(**damage))
    still.forward(86_400.0)
    assert "counts as open, because its state cannot be read" in refused(breaker)
    (state,) = breaker_states(ledger)
    assert (state.name, state.status, state.readable) == ("vendor:v", BreakerStatus.OPEN, False)
    force(ledger, "vendor:v", BreakerStatus.CLOSED, "ann", "row repaired", still())
    breaker.admit()


@pytest.mark.parametrize(
    "damage", ["retry_at = 'tomorrow'", "retry_at = 17", "opened_at = ''", "failures = 'x'", "successes = 1.5"]
)
def test_values_of_the_wrong_type_count_as_open(
    ledger: Ledger, breaker: CircuitBreaker, still: StillClock, damage: str
) -> None:
    if not ledger.is_sqlite:
        pytest.skip("PostgreSQL stores no such value")
    fail(breaker, 3)
    with ledger.write() as connection:
        connection.exec_driver_sql(f"UPDATE circuit_breakers SET {damage}")
    still.forward(86_400.0)
    assert "cannot be read" in refused(breaker)
    assert not breaker_states(ledger)[0].readable


def test_what_happens_to_calls_under_way_repairs_no_unreadable_row(ledger: Ledger, breaker: CircuitBreaker) -> None:
    permits = [breaker.admit() for _ in range(3)]
    fail(breaker)
    with ledger.write() as connection:
        connection.execute(circuit_breakers.update().values(state="ajar"))
    breaker.succeeded(permits[0])
    breaker.failed(permits[1], DOWN)
    breaker.abandoned(permits[2])
    assert not breaker.state().readable


def test_without_its_table_it_is_open(ledger: Ledger, breaker: CircuitBreaker) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE circuit_breakers")
    assert "cannot be read" in refused(breaker)
    with pytest.raises(LedgerError):
        breaker_states(ledger)


def test_with_a_ledger_that_cannot_be_read_it_is_open(tmp_path: Path, settings: ResilienceSettings) -> None:
    (tmp_path / "not_a_ledger.db").write_bytes(b"These are not the pages of a database. " * 100)
    (tmp_path / "file").touch()
    for path in ("not_a_ledger.db", "file/ledger.db"):
        breaker = CircuitBreaker(Ledger(f"sqlite:///{tmp_path / path}"), "v", settings)
        assert "cannot be read" in refused(breaker)


# -- cascade ----------------------------------------------------------------------------------------------------------


def test_an_open_breaker_refuses_what_depends_on_it_down_a_chain_of_three(
    ledger: Ledger, settings: ResilienceSettings, still: StillClock
) -> None:
    network = CircuitBreaker(ledger, "network", settings, clock=still)
    exchange = CircuitBreaker(ledger, "vendor:exchange", settings, depends_on=[network], clock=still)
    funding = CircuitBreaker(ledger, "vendor:funding", settings, depends_on=[exchange], clock=still)
    assert funding.depends_on == ("vendor:exchange", "network")
    fail(network, 3)
    for breaker, vendor in ((exchange, "exchange"), (funding, "funding")):
        message = refused(breaker)
        assert message.startswith(
            f"vendor '{vendor}': not asked: it depends on 'network', whose circuit breaker is open"
        )
    assert [state.name for state in breaker_states(ledger)] == ["network"], "the dependents' own state is untouched"

    still.forward(60.0)
    fail(exchange, 3)
    network.succeeded(probe(network))
    assert "it depends on 'vendor:exchange'" in refused(funding)
    network.admit()
    still.forward(60.0)
    probe(exchange)
    assert not funding.admit().is_probe, "a dependency that is due or half-open refuses nobody"


def test_an_unreadable_dependency_refuses(ledger: Ledger, settings: ResilienceSettings, still: StillClock) -> None:
    fail(CircuitBreaker(ledger, "network", settings, clock=still))
    with ledger.write() as connection:
        connection.execute(circuit_breakers.update().values(state="ajar"))
    breaker = CircuitBreaker(ledger, "v", settings, depends_on=["disk", "network"], clock=still)
    assert "it depends on 'network', whose circuit breaker counts as open" in refused(breaker)


def test_it_cannot_depend_on_itself(ledger: Ledger, settings: ResilienceSettings) -> None:
    through = CircuitBreaker(ledger, "b", settings, depends_on=["a"])
    for dependencies in (["a"], [through]):
        with pytest.raises(ConfigurationError, match="depends on itself"):
            CircuitBreaker(ledger, "a", settings, depends_on=dependencies)


def test_a_name_the_ledger_cannot_store_is_refused(ledger: Ledger, settings: ResilienceSettings) -> None:
    for name in ("", "x" * 65):
        with pytest.raises(ConfigurationError, match="1 to 64"):
            CircuitBreaker(ledger, name, settings)


# -- a person ---------------------------------------------------------------------------------------------------------


def test_a_person_opens_it_until_a_person_ends_it(ledger: Ledger, breaker: CircuitBreaker, still: StillClock) -> None:
    force(ledger, "vendor:v", BreakerStatus.OPEN, "ann", "contract ended", still())
    still.forward(10 * 365 * 86_400.0)
    assert refused(breaker).endswith("is open until a person closes it: set by ann: contract ended")
    force(ledger, "vendor:v", BreakerStatus.HALF_OPEN, "ann", "new contract", still())
    breaker.failed(probe(breaker), DOWN)
    assert open_for(breaker) == 60.0, "the time a person kept it open is not doubled"
    force(ledger, "vendor:v", BreakerStatus.CLOSED, "ben", "works now", still() + timedelta(seconds=1))
    breaker.admit()
    assert audited(ledger) == [
        ("breaker_open", "ann"),
        ("breaker_half_open", "ann"),
        ("breaker_open", "circuit breaker"),
        ("breaker_closed", "ben"),
    ]
    assert audit.verify(ledger).intact


def test_a_person_ends_a_probe_that_is_under_way(ledger: Ledger, breaker: CircuitBreaker, still: StillClock) -> None:
    fail(breaker, 3)
    still.forward(60.0)
    permit = probe(breaker)
    force(ledger, "vendor:v", BreakerStatus.OPEN, "ann", "hands off", still())
    breaker.succeeded(permit)
    refused(breaker)


def test_two_orders_of_one_moment_are_both_audited(ledger: Ledger, still: StillClock) -> None:
    for state in (BreakerStatus.OPEN, BreakerStatus.CLOSED, BreakerStatus.OPEN):
        force(ledger, "v", state, "ann", "trying", still())
    force(ledger, "v", BreakerStatus.OPEN, "ann", "another reason", still())
    assert [action for action, _ in audited(ledger)] == ["breaker_open", "breaker_closed", "breaker_open"]

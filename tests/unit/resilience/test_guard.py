from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from quant_dagster.errors import (
    BudgetExhaustedError,
    BulkheadFullError,
    CircuitOpenError,
    DataUnavailableError,
    LedgerError,
    MalformedAnswerError,
    MalformedDataError,
    RateLimitedError,
    UnknownSymbolError,
    UnreachableError,
)
from quant_dagster.resilience.breaker_state import BreakerStatus
from quant_dagster.resilience.guard import ServiceGuard
from quant_dagster.resilience.health import health
from quant_dagster.settings import FailoverSettings, LiveVendorSettings, ResilienceSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, circuit_breakers, request_budgets, service_observations
from tests.unit.resilience.conftest import StillClock

Make = Callable[..., ServiceGuard]


@pytest.fixture
def make(ledger: Ledger, settings: ResilienceSettings, still: StillClock) -> Make:
    def guard(live: LiveVendorSettings | None = None, *, name: str = "vendor:v", **changes: object) -> ServiceGuard:
        depends_on = changes.pop("depends_on", ())
        changed = settings.model_copy(update=changes)
        return ServiceGuard(
            ledger, name, changed, live, depends_on=depends_on, clock=still, sleep=still.sleep, random=lambda: 1.0
        )

    return guard


def raising(*errors: Exception) -> Callable[[], str]:
    """Work that raises each error in turn, then returns."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return work


def observed(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        order = service_observations.c.sequence
        return list(connection.execute(select(service_observations.c.outcome).order_by(order)).scalars())


DOWN = UnreachableError("v", "connection refused")


def test_an_answer_is_returned_and_observed(ledger: Ledger, make: Make, still: StillClock) -> None:
    assert make().call("daily_bars", lambda: {"rows": 3}) == {"rows": 3}
    with ledger.read() as connection:
        (row,) = connection.execute(select(service_observations)).all()
        assert connection.execute(select(circuit_breakers)).all() == []
    assert (row.name, row.sequence, row.operation, row.outcome) == ("vendor:v", 1, "daily_bars", "ok")
    assert row.seconds >= 0 and row.detail == "" and row.recorded_at == still()


def test_every_try_is_observed_and_takes_budget(ledger: Ledger, make: Make, still: StillClock) -> None:
    guard = make(LiveVendorSettings(requests_per_day=10))
    errors = [MalformedAnswerError("v", "cut off"), RateLimitedError("v", "429", 7.0)]
    assert guard.call("daily_bars", raising(*errors)) == "answer"
    assert observed(ledger) == ["malformed", "rate_limited", "ok"]
    assert still.slept == [1.0, 7.0]
    with ledger.read() as connection:
        assert connection.execute(select(request_budgets.c.used)).scalars().all() == [3]
    assert guard.breaker.state().failures == 0, "a call that came good after its retries did not fail"


def test_the_breaker_counts_a_call_after_its_tries_as_one_failure(ledger: Ledger, make: Make) -> None:
    guard = make()
    for failures in (1, 2):
        with pytest.raises(UnreachableError):
            guard.call("daily_bars", raising(*[DOWN] * 3))
        assert guard.breaker.state().failures == failures
    assert observed(ledger) == ["unreachable"] * 6


def test_an_open_breaker_asks_nothing_and_observes_nothing(ledger: Ledger, make: Make) -> None:
    guard = make(LiveVendorSettings(requests_per_day=10), failures_to_open=1, attempts=1)
    asked: list[int] = []

    def work() -> None:
        asked.append(1)
        raise DOWN

    with pytest.raises(UnreachableError):
        guard.call("daily_bars", work)
    with pytest.raises(CircuitOpenError):
        guard.call("daily_bars", work)
    assert (len(asked), observed(ledger)) == (1, ["unreachable"])
    with ledger.read() as connection:
        assert connection.execute(select(request_budgets.c.used)).scalars().all() == [1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DataUnavailableError("AAPL", "v", None, None), "empty"),
        (UnknownSymbolError("ZZZ", "v", None, None), "unknown_symbol"),
    ],
)
def test_an_answer_without_data_is_a_success_to_the_breaker(
    ledger: Ledger, make: Make, error: DataUnavailableError, outcome: str
) -> None:
    guard = make()
    with pytest.raises(UnreachableError):
        guard.call("daily_bars", raising(*[DOWN] * 3))
    with pytest.raises(DataUnavailableError) as raised:
        guard.call("daily_bars", raising(error))
    assert raised.value is error
    assert guard.breaker.state().failures == 0
    assert observed(ledger)[-1] == outcome


def test_data_that_cannot_be_read_fails_the_call(ledger: Ledger, make: Make) -> None:
    guard = make()
    with pytest.raises(MalformedDataError):
        guard.call("daily_bars", raising(MalformedDataError("column 'close' is missing")))
    assert guard.breaker.state().failures == 1


def test_a_fault_of_our_own_is_observed_and_says_nothing_about_the_service(ledger: Ledger, make: Make) -> None:
    guard = make(failures_to_open=1)
    with pytest.raises(ZeroDivisionError):
        guard.call("daily_bars", raising(ZeroDivisionError("ours")))
    assert guard.breaker.state().status is BreakerStatus.CLOSED
    assert observed(ledger) == ["error"]


@pytest.mark.parametrize("end", [ZeroDivisionError, KeyboardInterrupt, BudgetExhaustedError])
def test_a_probe_that_learns_nothing_frees_its_place(
    make: Make, still: StillClock, end: type[BaseException], ledger: Ledger
) -> None:
    guard = make(failures_to_open=1, attempts=1)
    with pytest.raises(UnreachableError):
        guard.call("daily_bars", raising(DOWN))
    still.forward(60.0)
    error = BudgetExhaustedError("inner", "used", 1.0) if end is BudgetExhaustedError else end()

    def work() -> None:
        raise error

    with pytest.raises(end):
        guard.call("daily_bars", work)
    state = guard.breaker.state()
    assert (state.status, state.probe_holder) == (BreakerStatus.HALF_OPEN, None)
    for _ in range(2):
        guard.call("daily_bars", lambda: "answer")
    assert guard.breaker.state().status is BreakerStatus.CLOSED


def test_a_budget_that_ends_between_tries_ends_them_and_the_failure_still_counts(ledger: Ledger, make: Make) -> None:
    guard = make(LiveVendorSettings(requests_per_day=1), failures_to_open=1)
    with pytest.raises(BudgetExhaustedError):
        guard.call("daily_bars", raising(DOWN))
    assert observed(ledger) == ["unreachable"]
    state = guard.breaker.state()
    assert state.status is BreakerStatus.OPEN and "connection refused" in state.reason


def test_a_spent_budget_is_no_failure_of_the_service(make: Make, ledger: Ledger) -> None:
    guard = make(LiveVendorSettings(requests_per_day=1), failures_to_open=1)
    guard.call("daily_bars", lambda: None)
    for _ in range(3):
        with pytest.raises(BudgetExhaustedError):
            guard.call("daily_bars", lambda: None)
    assert guard.breaker.state().status is BreakerStatus.CLOSED
    assert observed(ledger) == ["ok"]


def test_a_full_bulkhead_is_no_failure_of_the_service(make: Make) -> None:
    guard = make(LiveVendorSettings(concurrency=1), failures_to_open=1, name="vendor:one_place")
    with pytest.raises(BulkheadFullError):
        guard.call("outer", lambda: guard.call("inner", lambda: None))
    assert guard.breaker.state().status is BreakerStatus.CLOSED
    assert guard.call("after", lambda: "answer") == "answer"


def test_a_key_that_a_vendor_quotes_is_written_nowhere(ledger: Ledger, make: Make) -> None:
    guard = make(LiveVendorSettings(api_key=SecretStr("s3cret")), failures_to_open=1)
    with pytest.raises(UnreachableError):
        guard.call("daily_bars", raising(*[UnreachableError("v", "GET /query?apikey=s3cret: time-out")] * 3))
    with ledger.read() as connection:
        written = [
            str(row)
            for table in (circuit_breakers, service_observations, audit_log)
            for row in connection.execute(select(table))
        ]
    assert len(written) == 5 and not [row for row in written if "s3cret" in row]
    assert all("apikey=***" in row for row in written)


def test_a_service_down_takes_its_dependents_out_without_asking_them(ledger: Ledger, make: Make) -> None:
    network = make(name="network", failures_to_open=1)
    exchange = make(name="vendor:exchange", depends_on=[network.breaker])
    funding = make(name="vendor:funding", depends_on=[exchange.breaker])
    with pytest.raises(UnreachableError):
        network.call("reach", raising(*[DOWN] * 3))
    asked: list[int] = []
    for guard in (exchange, funding):
        with pytest.raises(CircuitOpenError, match="depends on 'network'"):
            guard.call("daily_bars", lambda: asked.append(1))
    assert not asked


def test_what_cannot_be_recorded_is_not_passed_over(ledger: Ledger, make: Make) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("DROP TABLE service_observations")
    with pytest.raises(LedgerError):
        make().call("daily_bars", lambda: "answer")


def test_threads_share_one_guard(ledger: Ledger, make: Make) -> None:
    live = LiveVendorSettings(concurrency=3, requests_per_day=30)
    guard = make(live, bulkhead_wait_seconds=60.0, name="vendor:threads")
    lock, under_way, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with lock:
            under_way -= 1

    def one(_: int) -> str:
        try:
            guard.call("daily_bars", work)
        except BudgetExhaustedError:
            return "refused"
        return "made"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(40)))
    assert (results.count("made"), results.count("refused")) == (30, 10)
    assert most <= 3
    found = health(ledger, ["vendor:threads"], FailoverSettings(observations=40))["vendor:threads"]
    assert (found.observations, found.error_rate) == (30, 0.0)

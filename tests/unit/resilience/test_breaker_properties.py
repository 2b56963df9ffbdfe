"""Any sequence of calls, outcomes, waits and deaths: the breaker does what a model of a few lines does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from quant_dagster.errors import CircuitOpenError, RateLimitedError, UnauthorisedError, UnreachableError
from quant_dagster.resilience.breaker import CircuitBreaker, Permit
from quant_dagster.resilience.breaker_state import BreakerStatus, force
from quant_dagster.settings import ResilienceSettings
from quant_dagster.storage.ledger import Ledger
from tests.unit.resilience.conftest import StillClock

SETTINGS = ResilienceSettings(failures_to_open=2, open_seconds=10.0, successes_to_close=2, longest_wait_seconds=5.0)
PROBE_SECONDS = 7.0
ERRORS = {
    "down": UnreachableError("v", "down"),
    "rate_limited": RateLimitedError("v", "429", 4.0),
    "go_away": RateLimitedError("v", "429", 25.0),
    "unauthorised": UnauthorisedError("v", "key"),
}
_names = itertools.count()


@dataclass
class Model:
    """The rules, told once more, in seconds and without a database."""

    now: float = 0.0
    status: str = "closed"
    failures: int = 0
    successes: int = 0
    open_for: float = 0.0
    retry_at: float = 0.0
    probe: object = None
    probe_ends: float = 0.0

    def admit(self) -> str:
        """``call``, ``probe`` or ``refused``."""
        if self.status == "closed":
            return "call"
        if self.status == "open":
            return "probe" if self.now >= self.retry_at else "refused"
        return "probe" if self.probe is None or self.now >= self.probe_ends else "refused"

    def take(self, permit: object) -> None:
        self.status, self.probe, self.probe_ends = "half_open", permit, self.now + PROBE_SECONDS

    def concerned(self, permit: Permit) -> bool:
        if permit.is_probe:
            return self.status == "half_open" and self.probe == permit.holder
        return self.status == "closed"

    def succeeded(self, permit: Permit) -> None:
        if not self.concerned(permit):
            return
        self.failures = 0 if not permit.is_probe else self.failures
        if permit.is_probe:
            self.probe = None
            self.successes += 1
            if self.successes == 2:
                self.status, self.failures, self.successes = "closed", 0, 0

    def failed(self, permit: Permit, kind: str) -> None:
        if not self.concerned(permit):
            return
        self.failures += 1
        asked = {"rate_limited": 4.0, "go_away": 25.0}.get(kind, 0.0)
        if permit.is_probe:
            seconds = min(max(10.0, 2 * self.open_for), 320.0)
        elif self.failures >= 2 or kind in ("go_away", "unauthorised"):
            seconds = 10.0
        else:
            return
        self.open_for = max(seconds, asked)
        self.status, self.retry_at, self.probe, self.successes = "open", self.now + self.open_for, None, 0

    def abandoned(self, permit: Permit) -> None:
        if permit.is_probe and self.concerned(permit):
            self.probe = None


class BreakerMachine(RuleBasedStateMachine):
    """Two desks on one ledger, calls that overlap, and outcomes that come late or never."""

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        self.name = f"machine {next(_names)}"
        self.clock, self.model = StillClock(), Model()
        self.breakers = [
            CircuitBreaker(self.ledger, self.name, SETTINGS, probe_seconds=PROBE_SECONDS, clock=self.clock)
            for _ in "ab"
        ]
        self.under_way: list[Permit] = []
        self.probes: dict[str, float] = {}

    @rule(desk=st.integers(0, 1))
    def begin(self, desk: int) -> None:
        expected = self.model.admit()
        try:
            permit = self.breakers[desk].admit()
        except CircuitOpenError:
            assert expected == "refused"
            return
        assert expected == ("probe" if permit.is_probe else "call")
        if self.model.status == "open":
            assert self.model.now >= self.model.retry_at, "let through while open"
        if permit.holder is not None:
            live = [holder for holder, ends in self.probes.items() if ends > self.model.now]
            assert not live, "two probes at once"
            self.probes[permit.holder] = self.model.now + PROBE_SECONDS
            self.model.take(permit.holder)
        self.under_way.append(permit)

    @precondition(lambda self: self.under_way)
    @rule(desk=st.integers(0, 1), which=st.integers(0, 100), outcome=st.sampled_from(["ok", "gone", *ERRORS]))
    def end(self, desk: int, which: int, outcome: str) -> None:
        permit = self.under_way.pop(which % len(self.under_way))
        if permit.holder is not None:
            self.probes.pop(permit.holder, None)
        if outcome == "ok":
            self.breakers[desk].succeeded(permit)
            self.model.succeeded(permit)
        elif outcome == "gone":
            self.breakers[desk].abandoned(permit)
            self.model.abandoned(permit)
        else:
            self.breakers[desk].failed(permit, ERRORS[outcome])
            self.model.failed(permit, outcome)

    @rule(seconds=st.sampled_from([1.0, 6.0, 7.0, 9.0, 10.0, 40.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.model.now += seconds

    @rule()
    def wait_until_due(self) -> None:
        if self.model.status == "open" and self.model.now < self.model.retry_at < float("inf"):
            self.wait(self.model.retry_at - self.model.now)

    @rule(status=st.sampled_from(list(BreakerStatus)))
    def order(self, status: BreakerStatus) -> None:
        force(self.ledger, self.name, status, "ann", "order", self.clock())
        self.probes.clear()  # a person's word ends the probe that is under way
        model = self.model
        model.status, model.failures, model.successes, model.probe = status.value, 0, 0, None
        model.open_for = 0.0 if status is BreakerStatus.HALF_OPEN else 1e9
        model.retry_at = float("inf") if status is BreakerStatus.OPEN else model.now

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        state = self.breakers[0].state()
        assert state.readable
        assert (state.status.value, state.successes) == (self.model.status, self.model.successes)
        assert state.probe_holder == self.model.probe
        if state.status is BreakerStatus.CLOSED:
            assert state.failures == self.model.failures


def test_any_sequence_of_calls_and_waits_agrees_with_the_model(ledger: Ledger) -> None:
    machine = type("Machine", (BreakerMachine,), {"ledger": ledger})
    run_state_machine_as_test(
        machine, settings=hypothesis_settings(max_examples=30, stateful_step_count=30, deadline=None)
    )

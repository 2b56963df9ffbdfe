"""The circuit breaker: a service that keeps failing is left alone, then tried with one request at a time.

    closed ──failures_to_open failures in a row──▶ open ──retry_at, one probe──▶ half-open
      ▲                                             ▲                              │   │
      │                                             └──────the probe fails─────────┘   │
      └────────────────────successes_to_close good probes in a row─────────────────────┘

The state is a row of the ledger, so all processes see one breaker. A state that cannot be read counts as open.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from quant_dagster.errors import (
    CircuitOpenError,
    ConfigurationError,
    LedgerError,
    RateLimitedError,
    UnauthorisedError,
)
from quant_dagster.resilience.breaker_state import (
    UNTIL_RELEASED,
    BreakerState,
    BreakerStatus,
    append_audit,
    read_state,
    write_state,
)
from quant_dagster.resilience.outcomes import detail_of, service_label
from quant_dagster.settings import ResilienceSettings
from quant_dagster.storage.ledger import Clock, Ledger

LONGEST_OPEN_FACTOR = 32
"""Each failed probe doubles the time a breaker stays open, up to this many times ``open_seconds``."""

_ACTOR = "circuit breaker"
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Permit:
    """Leave to make one call; ``holder`` names the probe, None for a call through a closed breaker."""

    holder: str | None = None

    @property
    def is_probe(self) -> bool:
        return self.holder is not None


class CircuitBreaker:
    """The breaker of one service, shared by every process on the ledger.

    A call asks `admit` for a permit and hands it back to exactly one of `succeeded`, `failed` and `abandoned`.

    - ``failures_to_open`` failed calls in a row open it for ``open_seconds``, or for as long as a `RateLimitedError`
      asks if that is longer. An `UnauthorisedError` opens it at once, and so does a service that asks to be left
      alone for longer than ``longest_wait_seconds``: the next request would come too early as well.
    - From ``retry_at`` on exactly one call at a time is let through, the probe. It is taken in a write transaction; a
      holder that dies loses it after ``probe_seconds``. A holder that is late but was not replaced still counts.
    - ``successes_to_close`` good probes in a row close it. A failed probe opens it for twice the time it was open
      before, at most ``LONGEST_OPEN_FACTOR * open_seconds`` (a longer ``retry_after`` is still obeyed).
    - What a call that began before the breaker opened brings home afterwards changes nothing.
    - On the fast path, closed and without failures, nothing is written.

    Cascade: while a breaker it depends on is open and not yet due for a probe, or cannot be read, a call is refused
    and its own state stays as it is. Dependencies reach through: where A depends on the breaker B, and B on C, an
    open C refuses calls of B and of A. A dependency that is due or half-open refuses nobody, since often a call of
    the dependent is what brings it the probe it needs.

    Parameters
    ----------
    depends_on
        Names of services without dependencies of their own, or breakers, which bring theirs.
    probe_seconds
        After which a probe whose outcome was never reported is given to another caller.
    clock
        Wall clock; the ledger's own by default.

    Raises
    ------
    ConfigurationError
        The name is longer than 64 characters, or it depends on itself.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        settings: ResilienceSettings,
        *,
        depends_on: Sequence[str | CircuitBreaker] = (),
        probe_seconds: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        self.ledger, self.name, self.settings = ledger, name, settings
        self.probe_seconds = probe_seconds
        self.clock = clock or ledger.now
        self.depends_on = tuple(dict.fromkeys(_flattened(depends_on)))
        if not name or len(name) > _LONGEST_NAME:
            raise ConfigurationError(f"name of service '{name}': write 1 to {_LONGEST_NAME} characters")
        if name in self.depends_on:
            raise ConfigurationError(f"service '{name}' depends on itself: take it out of its depends_on")

    def state(self) -> BreakerState:
        """The state as the ledger has it; `LedgerError` where there is no reading it."""
        with self.ledger.read() as connection:
            return read_state(connection, self.name)

    def admit(self) -> Permit:
        """Leave to make one call.

        Raises
        ------
        CircuitOpenError
            It, or a breaker it depends on, is open or cannot be read; or another caller has the probe.
        """
        with self._unreadable_is_open(), self.ledger.read() as connection:
            now = self.clock()
            for other in self.depends_on:
                state = read_state(connection, other)
                if state.status is BreakerStatus.OPEN and not state.probe_is_free(now):
                    raise self._refusal(f"it depends on '{other}', whose circuit breaker {state.explanation()}")
            state = read_state(connection, self.name)
        if state.status is BreakerStatus.CLOSED:
            return Permit()
        if not state.probe_is_free(now):
            raise self._refusal(f"its circuit breaker {state.explanation()}")
        return self._take_probe()

    def succeeded(self, permit: Permit) -> None:
        """The service answered, be it that it has no data."""
        if not permit.is_probe:
            state = self.state()
            if state.status is not BreakerStatus.CLOSED or state.failures == 0:
                return
        with self.ledger.write() as connection:
            state, now = read_state(connection, self.name), self.clock()
            if not self._concerns(permit, state):
                return
            successes = state.successes + 1
            if permit.is_probe and successes < self.settings.successes_to_close:
                freed = replace(state, probe_holder=None, probe_expires_at=None)
                write_state(connection, replace(freed, successes=successes, recorded_at=now))
                return
            reason = f"{successes} good probes in a row" if permit.is_probe else ""
            closed = BreakerState(self.name, BreakerStatus.CLOSED, reason=reason, recorded_at=now)
            write_state(connection, closed)
            if permit.is_probe:
                append_audit(connection, closed, actor=_ACTOR, at=now)

    def failed(self, permit: Permit, error: Exception, detail: str | None = None) -> None:
        """The call failed, its retries included, with ``error``; ``detail`` is kept instead of the error's text."""
        detail = detail_of(error) if detail is None else detail
        with self.ledger.write() as connection:
            state, now = read_state(connection, self.name), self.clock()
            if not self._concerns(permit, state):
                return
            failures = state.failures + 1
            if permit.is_probe:
                seconds, reason = self._doubled(state), f"the probe failed: {detail}"
            elif failures >= self.settings.failures_to_open or self._opens_at_once(error):
                seconds, reason = self.settings.open_seconds, f"failed calls in a row: {failures}, the last: {detail}"
            else:
                write_state(connection, replace(state, failures=failures, reason=detail, recorded_at=now))
                return
            opened = BreakerState(
                self.name,
                BreakerStatus.OPEN,
                failures=failures,
                opened_at=now,
                retry_at=_later(now, max(seconds, _asked_wait(error))),
                reason=reason,
                recorded_at=now,
            )
            write_state(connection, opened)
            append_audit(connection, opened, actor=_ACTOR, at=now)

    def abandoned(self, permit: Permit) -> None:
        """The call ended without the service having been asked, or in a way that says nothing about the service."""
        if not permit.is_probe:
            return
        with self.ledger.write() as connection:
            state = read_state(connection, self.name)
            if self._concerns(permit, state):
                freed = replace(state, probe_holder=None, probe_expires_at=None, recorded_at=self.clock())
                write_state(connection, freed)

    def _take_probe(self) -> Permit:
        holder = f"{socket.gethostname()[:80]}:{os.getpid()}:{uuid.uuid4().hex[:16]}"
        with self._unreadable_is_open(), self.ledger.write() as connection:
            state, now = read_state(connection, self.name), self.clock()
            if state.status is BreakerStatus.CLOSED:
                return Permit()
            if not state.probe_is_free(now):
                raise self._refusal(f"its circuit breaker {state.explanation()}")
            taken = replace(
                state,
                status=BreakerStatus.HALF_OPEN,
                probe_holder=holder,
                probe_expires_at=_later(now, self.probe_seconds),
                recorded_at=now,
            )
            write_state(connection, taken)
        return Permit(holder)

    def _concerns(self, permit: Permit, state: BreakerState) -> bool:
        """Whether what came of ``permit`` still says something about ``state``."""
        if permit.is_probe:
            return state.status is BreakerStatus.HALF_OPEN and state.probe_holder == permit.holder
        return state.status is BreakerStatus.CLOSED

    def _opens_at_once(self, error: Exception) -> bool:
        return isinstance(error, UnauthorisedError) or _asked_wait(error) > self.settings.longest_wait_seconds

    def _doubled(self, state: BreakerState) -> float:
        """Seconds to stay open after a failed probe."""
        before = 0.0
        if state.opened_at is not None and state.retry_at is not None:
            before = (state.retry_at - state.opened_at).total_seconds()
        least = self.settings.open_seconds
        return min(max(least, 2.0 * before), LONGEST_OPEN_FACTOR * least)

    @contextmanager
    def _unreadable_is_open(self) -> Iterator[None]:
        try:
            yield
        except (LedgerError, OSError) as error:
            raise self._refusal(
                f"its circuit breaker counts as open, because its state cannot be read: {error}"
            ) from error

    def _refusal(self, why: str) -> CircuitOpenError:
        return CircuitOpenError(service_label(self.name), f"not asked: {why}")


def _flattened(dependencies: Sequence[str | CircuitBreaker]) -> Iterator[str]:
    for dependency in dependencies:
        if isinstance(dependency, CircuitBreaker):
            yield dependency.name
            yield from dependency.depends_on
        else:
            yield dependency


def _asked_wait(error: Exception) -> float:
    """Seconds a service asks to be left alone for; 0 where it does not."""
    asked_for = error.retry_after if isinstance(error, RateLimitedError) else None
    return asked_for if asked_for is not None and asked_for > 0.0 else 0.0


def _later(now: datetime, seconds: float) -> datetime:
    """``seconds`` after ``now``, short of the end of the calendar."""
    longest = (UNTIL_RELEASED - now).total_seconds() - 1.0
    return now + timedelta(seconds=min(seconds, longest))

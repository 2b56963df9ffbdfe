"""The state of circuit breakers as the ledger has it: reading it safely, listing it, and a person's override."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger, insert_new
from quant_dagster.storage.ledger_tables import circuit_breakers
from quant_dagster.storage.types import canonical_json

UNTIL_RELEASED = datetime(9999, 1, 1, tzinfo=UTC)
"""``retry_at`` of a breaker that a person opened: no probe is let through until a person closes it."""

# What a value that does not hold what its column says makes of the database driver's conversion.
_UNREADABLE = (ValueError, TypeError, OverflowError)


class BreakerStatus(StrEnum):
    """Closed: requests pass. Open: none does. Half-open: one probe at a time does."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class BreakerState:
    """One row of ``circuit_breakers``.

    Attributes
    ----------
    failures
        Failed calls in a row while closed.
    successes
        Good probes in a row while half-open.
    opened_at, retry_at
        When it opened, and when the first probe may pass; None while closed.
    probe_holder, probe_expires_at
        Who has the probe and until when, where one is under way.
    readable
        False for a row that makes no sense: it counts as open, until a person sets it with `force`.
    """

    name: str
    status: BreakerStatus
    failures: int = 0
    successes: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    probe_holder: str | None = None
    probe_expires_at: datetime | None = None
    reason: str = ""
    recorded_at: datetime | None = None
    readable: bool = True

    def probe_is_free(self, now: datetime) -> bool:
        """Whether a probe may be let through: it is time for one, and nobody has it or its holder's time is over."""
        if not self.readable or self.status is BreakerStatus.CLOSED:
            return False
        if self.status is BreakerStatus.OPEN:
            return self.retry_at is not None and now >= self.retry_at
        return self.probe_expires_at is None or now >= self.probe_expires_at

    def explanation(self) -> str:
        """Why requests do not pass, and what ends that."""
        if not self.readable:
            return f"counts as open, because its state cannot be read: {self.reason}; a person has to set it"
        if self.status is BreakerStatus.HALF_OPEN:
            return f"is half-open and its one probe is under way, until {_moment(self.probe_expires_at)} at the latest"
        until = "a person closes it" if self.retry_at == UNTIL_RELEASED else _moment(self.retry_at)
        return f"is open until {until}: {self.reason}"


def breaker_states(ledger: Ledger) -> list[BreakerState]:
    """Every breaker that ever saw a failure or a person, by name; unreadable ones are open and not ``readable``.

    Raises
    ------
    LedgerError
        The table itself cannot be read. A `CircuitBreaker` lets nothing through then.
    """
    with ledger.read() as connection:
        names = connection.execute(select(circuit_breakers.c.name).order_by(circuit_breakers.c.name)).scalars().all()
        return [read_state(connection, name) for name in names]


def force(ledger: Ledger, name: str, state: BreakerStatus, actor: str, reason: str, at: datetime) -> BreakerState:
    """Set a breaker by hand, whatever its row says now; audited.

    ``OPEN`` stays until a person ends it, ``HALF_OPEN`` lets a probe through at once, ``CLOSED`` lets everything
    through. A probe that is under way then counts for nothing.
    """
    opened, at = state is not BreakerStatus.CLOSED, at.astimezone(UTC)
    forced = BreakerState(
        name,
        state,
        opened_at=at if opened else None,
        retry_at=UNTIL_RELEASED if state is BreakerStatus.OPEN else at if opened else None,
        reason=f"set by {actor}: {reason}",
        recorded_at=at,
    )
    with ledger.write() as connection:
        write_state(connection, forced)
        append_audit(connection, forced, actor=actor, at=at)
    return forced


def read_state(connection: Connection, name: str) -> BreakerState:
    """A breaker's state; closed where there is no row, open and not ``readable`` where the row makes no sense."""
    try:
        row = connection.execute(select(circuit_breakers).where(circuit_breakers.c.name == name)).mappings().first()
    except _UNREADABLE as error:
        return BreakerState(name, BreakerStatus.OPEN, reason=f"its row holds no valid value: {error}", readable=False)
    if row is None:
        return BreakerState(name, BreakerStatus.CLOSED)
    if contradiction := _contradiction(row):
        return BreakerState(name, BreakerStatus.OPEN, reason=contradiction, readable=False)
    values = {column: value for column, value in row.items() if column != "state"}
    return BreakerState(status=BreakerStatus(row["state"]), **values)


def write_state(connection: Connection, state: BreakerState) -> None:
    """Store a state, inside `Ledger.write`."""
    row = {
        "name": state.name,
        "state": state.status.value,
        "failures": state.failures,
        "successes": state.successes,
        "opened_at": state.opened_at,
        "retry_at": state.retry_at,
        "probe_holder": state.probe_holder,
        "probe_expires_at": state.probe_expires_at,
        "reason": state.reason,
        "recorded_at": state.recorded_at,
    }
    if not insert_new(connection, circuit_breakers, row):
        connection.execute(circuit_breakers.update().where(circuit_breakers.c.name == state.name).values(row))


def append_audit(connection: Connection, state: BreakerState, *, actor: str, at: datetime) -> None:
    """Audit that a breaker came into ``state``, inside `Ledger.write`."""
    payload: dict[str, Any] = {
        "name": state.name,
        "state": state.status.value,
        "retry_at": state.retry_at,
        "reason": state.reason,
    }
    content = hashlib.sha256(canonical_json(payload).encode()).hexdigest()[:12]
    key = f"breaker:{state.name}:{at.isoformat()}:{content}"
    audit.append(connection, key, f"breaker_{state.status.value}", actor=actor, at=at, payload=payload)


def _contradiction(row: RowMapping) -> str | None:
    """What is wrong with a row, where something is."""
    if row["state"] not in list(BreakerStatus):
        return f"unknown state {row['state']!r}"
    for counter in ("failures", "successes"):
        if not isinstance(row[counter], int) or row[counter] < 0:
            return f"{counter} is {row[counter]!r}"
    if row["state"] == BreakerStatus.CLOSED:
        return None
    for moment in ("opened_at", "retry_at"):
        if row[moment] is None:
            return f"state is {row['state']!r} without {moment}"
    if (row["probe_holder"] is None) != (row["probe_expires_at"] is None):
        return "a probe has a holder without expiry, or an expiry without holder"
    return None


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"

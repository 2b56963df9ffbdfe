"""The connection's changes of state in the ledger, so that every process can see how the way to a broker is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select

from quant_dagster.execution.connection import ConnectionState, Transition
from quant_dagster.storage.ledger_tables import connection_events as table

_WORKS = (ConnectionState.CONNECTED.value, ConnectionState.DISCONNECTED.value)
_NEWEST = 50
"""Changes of a connection that `outages` looks at."""


@dataclass(frozen=True)
class Recorded:
    """A change of state as it was recorded."""

    broker: str
    state: ConnectionState
    previous: str | None
    reason: str
    attempt: int
    at: datetime


def record_transition(connection: Connection, broker: str, transition: Transition, *, at: datetime) -> None:
    """Append a change of state."""
    newest = connection.execute(select(func.max(table.c.sequence)).where(table.c.broker == broker)).scalar()
    connection.execute(
        table.insert().values(
            broker=broker,
            sequence=(newest or 0) + 1,
            state=transition.state.value,
            previous=transition.previous.value,
            reason=transition.reason,
            attempt=transition.attempt,
            recorded_at=at,
        )
    )


def newest(connection: Connection, broker: str, count: int = 1) -> list[Recorded]:
    """The newest changes of a broker's connection, newest first."""
    query = select(table).where(table.c.broker == broker).order_by(table.c.sequence.desc()).limit(count)
    return [
        Recorded(row.broker, ConnectionState(row.state), row.previous, row.reason, row.attempt, row.recorded_at)
        for row in connection.execute(query)
    ]


@dataclass(frozen=True)
class Outage:
    """A time without a connection to a broker; ``ended`` is None while it lasts."""

    broker: str
    began: datetime
    ended: datetime | None
    reason: str

    def lasted(self, now: datetime) -> timedelta:
        """How long it was, or has been so far."""
        return (self.ended or now) - self.began


def outages(connection: Connection) -> list[Outage]:
    """The newest times without a connection, oldest first; one that lasts still has no end."""
    # The tries of one outage change between other states: a night of them must not hide where it began.
    query = select(table).where(or_(table.c.state.in_(_WORKS), table.c.previous.in_(_WORKS)))
    rows = connection.execute(query.order_by(table.c.recorded_at.desc(), table.c.sequence.desc()).limit(_NEWEST)).all()
    found: list[Outage] = []
    began: dict[str, Any] = {}
    for row in reversed(rows):
        since = began.pop(row.broker, None)
        if since is not None:
            found.append(Outage(row.broker, since.recorded_at, row.recorded_at, since.reason))
        if row.state not in _WORKS:
            began[row.broker] = row
    found += [Outage(broker, row.recorded_at, None, row.reason) for broker, row in began.items()]
    return found

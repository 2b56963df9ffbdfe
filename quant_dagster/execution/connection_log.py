"""The connection's changes of state in the ledger, so that every process can see how the way to a broker is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from quant_dagster.execution.connection import ConnectionState, Transition
from quant_dagster.storage.ledger_tables import connection_events as table


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

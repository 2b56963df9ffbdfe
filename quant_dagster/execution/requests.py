"""What people ask of the trading daemon: written down by one process, done by the one that holds the broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import desk_requests as table


@dataclass(frozen=True)
class DeskRequest:
    """A cancellation or a change of an order that waits to be done."""

    number: int
    order_id: str
    wanted: Mapping[str, Any]
    actor: str


def ask(connection: Connection, order_id: str, wanted: Mapping[str, Any], *, actor: str, at: datetime) -> int:
    """Write a request down; returns its number."""
    number = (connection.execute(select(func.max(table.c.number))).scalar() or 0) + 1
    row = {"number": number, "order_id": order_id, "wanted": dict(wanted), "actor": actor, "requested_at": at}
    connection.execute(table.insert().values(**row))
    payload = {"order_id": order_id, "wanted": dict(wanted)}
    audit.append(connection, f"request:{number}", "desk_request", actor=actor, at=at, payload=payload)
    return number


def waiting(connection: Connection) -> list[DeskRequest]:
    """What is still to be done, oldest first."""
    query = select(table).where(table.c.done_at.is_(None)).order_by(table.c.number)
    return [DeskRequest(row.number, row.order_id, row.wanted, row.actor) for row in connection.execute(query)]


def conclude(connection: Connection, request: DeskRequest, outcome: str, *, at: datetime) -> None:
    """Say what came of a request."""
    done = table.update().where(table.c.number == request.number).values(done_at=at, outcome=outcome)
    connection.execute(done)

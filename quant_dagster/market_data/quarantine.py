"""Quarantine: symbols whose data must not be traded on until a person releases them."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Connection, select

from quant_dagster.errors import ConfigurationError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import quarantine as table


def active(connection: Connection, session: date) -> dict[str, str]:
    """Symbols under quarantine on ``session``, each with the reason."""
    query = select(table).where(
        table.c.since <= session, table.c.released_on.is_(None) | (table.c.released_on > session)
    )
    return {row.symbol: row.reason for row in connection.execute(query.order_by(table.c.symbol, table.c.since))}


def place(connection: Connection, symbol: str, since: date, reason: str, *, actor: str, at: datetime) -> bool:
    """Put a symbol under quarantine from ``since`` on; False when it is there already."""
    if symbol in active(connection, since):
        return False
    known = connection.execute(select(table.c.symbol).where(table.c.symbol == symbol, table.c.since == since)).first()
    if known is not None:  # released by a person for that very session: their word stands
        return False
    connection.execute(table.insert().values(symbol=symbol, since=since, reason=reason, actor=actor, recorded_at=at))
    payload = {"symbol": symbol, "since": since.isoformat(), "reason": reason}
    key = f"quarantine:{symbol}:{since}"
    audit.append(connection, key, "quarantined", actor=actor, at=at, session=since, payload=payload)
    return True


def release(connection: Connection, symbol: str, on: date, *, actor: str, reason: str, at: datetime) -> None:
    """Let a symbol be traded again from ``on`` on: a person's decision, and audited as one."""
    query = select(table.c.since).where(table.c.symbol == symbol, table.c.released_on.is_(None))
    open_since = list(connection.execute(query).scalars())
    if not open_since:
        raise ConfigurationError(f"{symbol} is not under quarantine; 'quant data quarantine' lists what is")
    for since in open_since:
        connection.execute(
            table.update()
            .where(table.c.symbol == symbol, table.c.since == since)
            .values(released_on=max(on, since), released_by=actor)
        )
        payload = {"symbol": symbol, "since": since.isoformat(), "on": max(on, since).isoformat(), "reason": reason}
        key = f"quarantine:{symbol}:{since}:released"
        audit.append(
            connection, key, "quarantine_released", actor=actor, at=at, session=max(on, since), payload=payload
        )


def listed(connection: Connection) -> list[dict[str, object]]:
    """Every quarantine there was, newest first."""
    query = select(table).order_by(table.c.since.desc(), table.c.symbol)
    return [dict(row) for row in connection.execute(query).mappings()]

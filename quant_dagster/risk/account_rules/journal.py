"""The events of the account in the ledger, once each, and the states that a projection of them can start from.

A trading day has the state it began with, and at most one checkpoint further on, so that a busy day is not read from
its beginning at every event. A checkpoint is a projection: without it the same state comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from quant_dagster.errors import RiskError
from quant_dagster.risk.account_rules.events import Event, Place, from_payload, in_order, kind_of, to_payload
from quant_dagster.risk.account_rules.state import NEVER, AccountState
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import account_events

START: Place = (NEVER, "")
_STATE = "state"


@dataclass(frozen=True)
class Checkpoint:
    """The account after every event of its trading day up to and including the one at ``place``."""

    state: AccountState
    place: Place


_ADAPTER: TypeAdapter[Checkpoint] = TypeAdapter(Checkpoint)


def record(connection: Connection, event: Event, day: date, now: datetime) -> bool:
    """Write an event as one of a trading day, unless its key is there; says whether it was written.

    Raises
    ------
    RiskError
        The key is there with other contents: one of the two is wrong, and nothing of the batch may count.
    """
    kind = kind_of(event)
    symbol = getattr(event, "symbol", None)
    if _insert(connection, event.key, day, kind, symbol, event.at, to_payload(event), now):
        return True
    row = connection.execute(select(account_events).where(account_events.c.event_key == event.key)).one()
    if from_payload(row.kind, row.payload) != event:
        raise RiskError(f"account event '{event.key}' was seen before with other contents; nothing was recorded")
    return False


def events_after(connection: Connection, day: date, place: Place) -> list[Event]:
    """Events that count in a trading day and come after a place, in order."""
    chosen = (
        account_events.c.trading_day == day,
        account_events.c.happened_at >= place[0],
        account_events.c.kind != _STATE,
    )
    rows = connection.execute(select(account_events.c.kind, account_events.c.payload).where(*chosen))
    events = (from_payload(row.kind, row.payload) for row in rows)
    return sorted((event for event in events if in_order(event) > place), key=in_order)


def open_day(connection: Connection, state: AccountState, begins: datetime, now: datetime) -> None:
    """Write the state that a trading day begins with."""
    _write(connection, f"opening:{state.trading_day}", Checkpoint(state, START), begins, now)


def opening(connection: Connection, day: date) -> Checkpoint:
    """What a trading day began with.

    Raises
    ------
    RiskError
        It is not there or cannot be read: what is held is unknown, and so unsafe.
    """
    found = _read(connection, f"opening:{day}")
    if found is None:
        raise RiskError(f"the account's state at the beginning of {day} is not in the ledger: restore it from a backup")
    return found


def newest(connection: Connection, day: date) -> Checkpoint:
    """The day's checkpoint, or what it began with."""
    return _read(connection, _checkpoint_key(day)) or opening(connection, day)


def checkpoint(connection: Connection, state: AccountState, place: Place, now: datetime) -> None:
    """Replace the day's checkpoint."""
    forget_checkpoint(connection, state.trading_day)
    _write(connection, _checkpoint_key(state.trading_day), Checkpoint(state, place), place[0], now)


def forget_checkpoint(connection: Connection, day: date) -> None:
    """Remove the day's checkpoint: an event came that happened before it."""
    connection.execute(account_events.delete().where(account_events.c.event_key == _checkpoint_key(day)))


def _checkpoint_key(day: date) -> str:
    return f"checkpoint:{day}"


def _read(connection: Connection, key: str) -> Checkpoint | None:
    payload = connection.execute(select(account_events.c.payload).where(account_events.c.event_key == key)).scalar()
    if payload is None:
        return None
    try:
        return _ADAPTER.validate_python(payload)
    except ValidationError as error:
        raise RiskError(f"the account's state '{key}' in the ledger cannot be read: {error}") from error


def _write(connection: Connection, key: str, point: Checkpoint, at: datetime, now: datetime) -> None:
    payload = _ADAPTER.dump_python(point, mode="json")
    _insert(connection, key, point.state.trading_day, _STATE, None, at, payload, now)


def _insert(
    connection: Connection,
    key: str,
    day: date,
    kind: str,
    symbol: str | None,
    at: datetime,
    payload: dict[str, Any],
    now: datetime,
) -> bool:
    row = {
        "event_key": key,
        "trading_day": day,
        "kind": kind,
        "symbol": symbol,
        "happened_at": at,
        "payload": payload,
        "recorded_at": now,
    }
    return insert_new(connection, account_events, row)

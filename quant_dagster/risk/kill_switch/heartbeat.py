"""Signs of life. A process that must give one and does not is a reason to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from quant_dagster.settings import KillSwitchSettings, RiskSettings
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import heartbeats

HARDWARE = "hardware_switch"
"""The name under which the hardware switch beats."""
OK = "ok"


@dataclass(frozen=True)
class Silence:
    """A process that does not say it is well, and what is known instead."""

    name: str
    reason: str


def beat(connection: Connection, name: str, *, state: str, detail: str, at: datetime) -> None:
    """Say that ``name`` lives. Any ``state`` but ``ok`` is as bad as silence."""
    row = {"state": state, "detail": detail, "beat_at": at}
    if not insert_new(connection, heartbeats, {"name": name, **row}):
        connection.execute(heartbeats.update().where(heartbeats.c.name == name).values(**row))


def required(settings: KillSwitchSettings) -> Mapping[str, float]:
    """Who must beat, and the longest silence in seconds."""
    return settings.heartbeats | ({HARDWARE: settings.silence_seconds} if settings.hardware else {})


def silent(connection: Connection, settings: RiskSettings, now: datetime) -> list[Silence]:
    """Those who must beat and are silent longer than they may be, never beat, or say that something is wrong.

    A beat that is further in the future than ``clock_tolerance_seconds`` is silence: a clock has jumped, and such a
    beat would look fresh for ever. Silence of exactly the allowed length is allowed.
    """
    found = []
    for name, allowed in sorted(required(settings.kill_switch).items()):
        reason = _silence(connection, name, allowed, settings.clock_tolerance_seconds, now)
        if reason is not None:
            found.append(Silence(name, reason))
    return found


def _silence(connection: Connection, name: str, allowed: float, tolerance: float, now: datetime) -> str | None:
    try:
        row = connection.execute(select(heartbeats).where(heartbeats.c.name == name)).first()
    except ValueError as error:
        return f"{name}: its heartbeat cannot be read ({error})"
    if row is None:
        return f"{name} never gave a sign of life"
    age = (now - row.beat_at).total_seconds()
    if age < -tolerance:
        return f"{name}: its last heartbeat is {-age:g} s in the future"
    if age > allowed:
        return f"{name} is silent for {age:g} s, allowed are {allowed:g} s"
    if row.state != OK:
        return f"{name} says {row.state}: {row.detail}"
    return None

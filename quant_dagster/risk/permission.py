"""What may be traded now: the strictest of the control mode and every kill condition. And making a kill last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, String, cast, func, literal, select
from sqlalchemy.exc import SQLAlchemyError

from quant_dagster.errors import LedgerError, RiskError, StorageError
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, current, escalate
from quant_dagster.risk.kill_switch.conditions import KillCondition, kill_conditions
from quant_dagster.risk.kill_switch.software import engage, kill_file
from quant_dagster.risk.operators import LONGEST_NAME
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, control_state

_LOOKED_AT = 1000
"""Newest audit rows the clock is compared with."""


def _newest_record() -> Select[Any]:
    """When the newest of them was recorded; of those before a person last set the mode, none counts."""
    person = select(func.max(control_state.c.sequence)).where(control_state.c.automatic == 0).scalar_subquery()
    key = literal("control:") + cast(person, String)
    vouched = select(audit_log.c.sequence).where(audit_log.c.event_key == key).scalar_subquery()
    rows = (
        select(audit_log.c.recorded_at)
        .where(audit_log.c.sequence >= func.coalesce(vouched, 0))
        .order_by(audit_log.c.sequence.desc())
        .limit(_LOOKED_AT)
    )
    return select(func.max(rows.subquery().c.recorded_at))


_NEWEST = _newest_record()  # made once: it is asked before every order


@dataclass(frozen=True)
class Permission:
    """The mode to trade under; a code and a sentence for everything that makes it stricter than NORMAL."""

    mode: ControlMode
    codes: tuple[str, ...]
    reasons: tuple[str, ...]


def permission(connection: Connection, settings: Settings, home: Path, now: datetime) -> Permission:
    """What may be traded at ``now``. Ask it anew for every decision, and again before an order is sent.

    Raises
    ------
    RiskError
        It cannot be told: the stored mode is unknown or unreadable, or the clock is behind the newest record by more
        than ``risk.clock_tolerance_seconds``. No new orders.
    """
    try:
        _require_clock(connection, settings.risk.clock_tolerance_seconds, now)
        state = current(connection)
        kills = kill_conditions(connection, settings.risk, home, now)
    except (SQLAlchemyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RiskError(f"the control state cannot be read, so no new orders: {reason}") from error
    found = [(kill.code, kill.reason) for kill in kills]
    mode = state.mode
    if kills:
        mode = max(mode, ControlMode[settings.risk.kill_switch.mode])
    if state.mode is not ControlMode.NORMAL:
        found.insert(0, (f"control_{state.mode.name.lower()}", f"{state.actor}: {state.reason}"))
    return Permission(mode, tuple(code for code, _ in found), tuple(reason for _, reason in found))


def read_permission(ledger: Ledger, settings: Settings, home: Path) -> Permission:
    """`permission` now, from a ledger that may be unreadable.

    Raises
    ------
    RiskError
        As `permission`, or the ledger cannot be read.
    """
    try:
        with ledger.read() as connection:
            return permission(connection, settings, home, ledger.now())
    except LedgerError as error:
        raise RiskError(f"the control state cannot be read, so no new orders: {error}") from error


def enforce_kill(ledger: Ledger, settings: Settings, home: Path) -> tuple[KillCondition, ...]:
    """Bring the stored mode to ``risk.kill_switch.mode`` while a kill condition holds; returns those that do.

    Without it a kill would be over when its file is gone; with it a person has to go back.
    """
    mode = ControlMode[settings.risk.kill_switch.mode]
    with ledger.write() as connection:
        now = ledger.now()
        holding = kill_conditions(connection, settings.risk, home, now)
        for condition in holding:
            escalate(connection, mode, actor=condition.actor, reason=condition.reason, at=now)
    return holding


def kill(ledger: Ledger, settings: Settings, home: Path, *, actor: str, reason: str, automatic: bool) -> bool:
    """Engage the kill: the file, then the stored mode. Says whether the file was not there before.

    The file comes first, and each is tried whatever becomes of the other: either alone stops trading.

    Raises
    ------
    StorageError
        The file cannot be made or the mode cannot be set; says whether the other one holds.
    """
    at, path, actor = ledger.now(), kill_file(settings.risk.kill_switch, home), actor[:LONGEST_NAME]
    mode = ControlMode[settings.risk.kill_switch.mode]
    new, failures = False, []
    try:
        new = engage(path, actor=actor, reason=reason, at=at)
    except OSError as error:
        failures.append(f"kill file {path} cannot be made ({error})")
    try:
        with ledger.write() as connection:
            if escalate(connection, mode, actor=actor, reason=reason, at=at, automatic=automatic) or new:
                payload = {"file": str(path), "new": new, "reason": reason}
                audit.append(connection, f"kill:{at.isoformat()}:{actor}", "kill", actor=actor, at=at, payload=payload)
    except (LedgerError, RiskError) as error:
        failures.append(f"the control mode cannot be set ({error})")
    if failures:
        killed = "NOT killed: stop the desk" if len(failures) == 2 else "killed all the same"
        raise StorageError(f"{' and '.join(failures)}; trading is {killed}")
    return new


def _require_clock(connection: Connection, tolerance: float, now: datetime) -> None:
    """Raise where ``now`` is behind what was recorded since a person last set the mode, who thereby vouches for it.

    A clock that once ran ahead leaves records nothing can come after: without that person it would stop the desk
    until then.
    """
    newest = connection.execute(_NEWEST).scalar()
    if newest is not None and (newest - now).total_seconds() > tolerance:
        behind = (newest - now).total_seconds()
        raise RiskError(
            f"the clock says {now.isoformat()} and is {behind:g} s behind the newest record: no new orders until it is "
            "right, or an operator sets the control mode anew"
        )

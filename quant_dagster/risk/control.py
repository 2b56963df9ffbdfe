"""Control modes: NORMAL, PAUSE, REDUCE, EMERGENCY. Escalation may be automatic, de-escalation takes a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from sqlalchemy import Connection, select

from quant_dagster.errors import ControlError, LedgerError, RiskError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import control_state


class ControlMode(IntEnum):
    """How much the desk may do; a larger number allows less."""

    NORMAL = 0
    PAUSE = 1
    """No new orders."""
    REDUCE = 2
    """Only orders that shrink exposure."""
    EMERGENCY = 3
    """Flatten, then nothing."""


@dataclass(frozen=True)
class ControlState:
    """The mode in force, and who set it when and why."""

    mode: ControlMode
    actor: str
    reason: str
    since: datetime | None


def current(connection: Connection) -> ControlState:
    """The mode in force; NORMAL before anyone has set one.

    Raises
    ------
    RiskError
        The stored mode cannot be understood. Unknown is unsafe: the caller must not trade.
    """
    row = connection.execute(select(control_state).order_by(control_state.c.sequence.desc()).limit(1)).first()
    if row is None:
        return ControlState(ControlMode.NORMAL, "initial", "no mode was ever set", None)
    try:
        mode = ControlMode[row.mode]
    except KeyError:
        raise RiskError(f"control mode '{row.mode}' in the ledger is unknown: no new orders until it is set") from None
    return ControlState(mode, row.actor, row.reason, row.recorded_at)


def escalate(connection: Connection, mode: ControlMode, *, actor: str, reason: str, at: datetime) -> bool:
    """Move to a stricter mode, automatically or by a person; says whether the mode changed (never loosens it)."""
    state = current(connection)
    if mode <= state.mode:
        return False
    _append(connection, mode, state.mode, actor=actor, automatic=True, reason=reason, at=at)
    return True


def set_mode(ledger: Ledger, mode: ControlMode, *, person: str, reason: str) -> ControlState:
    """A person sets the mode, up or down.

    Raises
    ------
    ControlError
        No name or no reason was given: a de-escalation must say who and why.
    """
    if not person.strip() or not reason.strip():
        raise ControlError("setting the control mode needs the name of a person (--actor) and a reason (--reason)")
    with ledger.write() as connection:
        try:
            state = current(connection)
        except RiskError:
            state = None
        if state is None or mode != state.mode:
            previous = state.mode if state else None
            _append(connection, mode, previous, actor=person, automatic=False, reason=reason, at=ledger.now())
        return current(connection)


def read_mode(ledger: Ledger) -> ControlState:
    """The mode in force, from a ledger that may be unreadable.

    Raises
    ------
    RiskError
        The ledger or the mode in it cannot be read: no new orders.
    """
    try:
        with ledger.read() as connection:
            return current(connection)
    except LedgerError as error:
        raise RiskError(f"the control mode cannot be read, so no new orders: {error}") from error


def _append(
    connection: Connection,
    mode: ControlMode,
    previous: ControlMode | None,
    *,
    actor: str,
    automatic: bool,
    reason: str,
    at: datetime,
) -> None:
    last = connection.execute(
        select(control_state.c.sequence).order_by(control_state.c.sequence.desc()).limit(1)
    ).scalar()
    sequence = (last or 0) + 1
    row = {
        "mode": mode.name,
        "previous": previous.name if previous is not None else None,
        "actor": actor,
        "automatic": int(automatic),
        "reason": reason,
    }
    connection.execute(control_state.insert().values(sequence=sequence, recorded_at=at, **row))
    audit.append(connection, f"control:{sequence}", "control_mode", actor=actor, at=at, payload=row)

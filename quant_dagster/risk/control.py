"""Control modes: NORMAL, PAUSE, REDUCE, EMERGENCY. Anybody may make them stricter, only an operator looser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum, auto
from types import MappingProxyType

from sqlalchemy import Connection, func, select

from quant_dagster.errors import ControlError, LedgerError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk import operators
from quant_dagster.risk.kill_switch.conditions import kill_conditions
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import control_state


class ControlMode(IntEnum):
    """How much the desk may do; a larger number is a worse situation."""

    NORMAL = 0
    PAUSE = 1
    """No new orders."""
    REDUCE = 2
    """Only orders that shrink exposure."""
    EMERGENCY = 3
    """Flatten, then nothing."""


class Who(Enum):
    """Who may take a step from one mode to another."""

    ANYBODY = auto()
    """A rule of the desk, or a person who gives a name."""
    OPERATOR = auto()
    """A person who gives their passphrase."""


_NORMAL, _PAUSE, _REDUCE, _EMERGENCY = ControlMode
TRANSITIONS: Mapping[ControlMode | None, Mapping[ControlMode, Who]] = MappingProxyType(
    {
        _NORMAL: {_PAUSE: Who.ANYBODY, _REDUCE: Who.ANYBODY, _EMERGENCY: Who.ANYBODY},
        _PAUSE: {_NORMAL: Who.OPERATOR, _REDUCE: Who.ANYBODY, _EMERGENCY: Who.ANYBODY},
        _REDUCE: {_NORMAL: Who.OPERATOR, _PAUSE: Who.OPERATOR, _EMERGENCY: Who.ANYBODY},
        # Not straight back to NORMAL: between the two, somebody looks at what is left.
        _EMERGENCY: {_PAUSE: Who.OPERATOR, _REDUCE: Who.OPERATOR},
        # The stored mode is unknown, which allows nothing at all; it may have been EMERGENCY.
        None: {_PAUSE: Who.OPERATOR, _REDUCE: Who.OPERATOR, _EMERGENCY: Who.OPERATOR},
    }
)
"""Every legal step, from a mode (None: unknown) to another, and who may take it."""


@dataclass(frozen=True)
class ControlState:
    """The mode in force, and who set it when and why."""

    mode: ControlMode
    actor: str
    reason: str
    since: datetime | None


@dataclass(frozen=True)
class ControlChange:
    """A change of mode as it was recorded; modes are as stored, for they may be unknown."""

    sequence: int
    mode: str
    previous: str | None
    actor: str
    automatic: bool
    reason: str
    at: datetime


def current(connection: Connection) -> ControlState:
    """The mode in force; NORMAL before anyone has set one.

    Raises
    ------
    RiskError
        What is stored cannot be understood. Unknown is unsafe: the caller must not trade.
    """
    try:
        row = connection.execute(select(control_state).order_by(control_state.c.sequence.desc()).limit(1)).first()
    except ValueError as error:
        raise RiskError(f"the control mode in the ledger cannot be read, so no new orders: {error}") from error
    if row is None:
        return ControlState(ControlMode.NORMAL, "initial", "no mode was ever set", None)
    try:
        mode = ControlMode[row.mode]
    except KeyError:
        raise RiskError(f"control mode '{row.mode}' in the ledger is unknown: no new orders until it is set") from None
    return ControlState(mode, row.actor, row.reason, row.recorded_at)


def escalate(
    connection: Connection, mode: ControlMode, *, actor: str, reason: str, at: datetime, automatic: bool = True
) -> bool:
    """Move to a stricter mode, automatically or by a person; says whether the mode changed (never loosens it)."""
    state = current(connection)
    if TRANSITIONS[state.mode].get(mode) is not Who.ANYBODY:
        return False
    _append(connection, mode, state.mode, actor=actor, automatic=automatic, reason=reason, at=at)
    return True


def set_mode(
    ledger: Ledger,
    mode: ControlMode,
    *,
    person: str,
    reason: str,
    passphrase: str | None = None,
    settings: Settings | None = None,
) -> ControlState:
    """A person sets the mode: stricter with a name and a reason, looser as an operator. The mode in force stays.

    Parameters
    ----------
    passphrase
        Looked at only where the step needs it: stopping is never refused for a wrong one.
    settings
        Say where kill conditions are looked for; needed to loosen.

    Raises
    ------
    ControlError
        No name or no reason was given, there is no such step, the person cannot prove to be an operator, or a kill
        condition holds.
    """
    person, reason = person.strip(), reason.strip()
    if not person or not reason:
        raise ControlError("setting the control mode needs the name of a person (--actor) and a reason (--reason)")
    proven = passphrase is not None and needs_operator(ledger, mode)
    if passphrase is not None and proven:
        operators.authenticate(ledger, person, passphrase)
    with ledger.write() as connection:
        previous = _known(connection)
        if mode is not previous:
            # Looked at again: the mode may have become stricter since.
            if _who(previous, mode) is Who.OPERATOR:
                _require_leave(connection, ledger.now(), settings, proven=proven)
            _append(connection, mode, previous, actor=person, automatic=False, reason=reason, at=ledger.now())
        return current(connection)


def needs_operator(ledger: Ledger, mode: ControlMode) -> bool:
    """Whether going to ``mode`` now takes an operator's passphrase.

    Raises
    ------
    ControlError
        There is no such step from the mode in force.
    """
    with ledger.read() as connection:
        previous = _known(connection)
    return mode is not previous and _who(previous, mode) is Who.OPERATOR


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


def history(connection: Connection, limit: int) -> list[ControlChange]:
    """The newest changes, newest first."""
    rows = connection.execute(select(control_state).order_by(control_state.c.sequence.desc()).limit(limit))
    return [
        ControlChange(row.sequence, row.mode, row.previous, row.actor, bool(row.automatic), row.reason, row.recorded_at)
        for row in rows
    ]


def _known(connection: Connection) -> ControlMode | None:
    try:
        return current(connection).mode
    except RiskError:
        return None


def _who(previous: ControlMode | None, mode: ControlMode) -> Who:
    legal = TRANSITIONS[previous]
    if mode not in legal:
        name = previous.name if previous is not None else "an unknown mode"
        raise ControlError(
            f"from {name} the control mode goes to {' or '.join(m.name for m in legal)}, not {mode.name}"
        )
    return legal[mode]


def _require_leave(connection: Connection, now: datetime, settings: Settings | None, *, proven: bool) -> None:
    """Raise unless the mode may be loosened now."""
    if not proven:
        raise ControlError("loosening the control mode takes an operator's passphrase; the mode stays as it is")
    if settings is None:
        raise ControlError("loosening the control mode needs the settings, which say where kill conditions are")
    holding = kill_conditions(connection, settings.risk, settings.home, now)
    if holding:
        reasons = "; ".join(condition.reason for condition in holding)
        raise ControlError(f"the control mode cannot be loosened while a kill condition holds: {reasons}")


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
    last = connection.execute(select(func.coalesce(func.max(control_state.c.sequence), 0))).scalar_one()
    row = {
        "mode": mode.name,
        "previous": previous.name if previous is not None else None,
        "actor": actor[: operators.LONGEST_NAME],
        "automatic": int(automatic),
        "reason": reason,
    }
    connection.execute(control_state.insert().values(sequence=last + 1, recorded_at=at, **row))
    audit.append(connection, f"control:{last + 1}", "control_mode", actor=str(row["actor"]), at=at, payload=row)

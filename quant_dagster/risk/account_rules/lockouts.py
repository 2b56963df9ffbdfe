"""Lockouts and cooldowns in the ledger: what may not be opened, why and until when.

A lockout ends at its time, or when somebody releases it; time alone never shortens it. A row that cannot be read locks
the whole account until a person releases it. Every change has a row in the audit log.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from quant_dagster.errors import ControlError, RiskError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import lockouts
from quant_dagster.storage.types import canonical_json

UNREADABLE = "unreadable_lockout"
KINDS = frozenset({"lockout", "cooldown"})
_RULE = "rule:"


@dataclass(frozen=True)
class ActiveLockout:
    """A lockout in force; ``symbol`` None is the whole account, ``expires_at`` None is until it is released."""

    lockout_id: str
    rule: str
    kind: str
    symbol: str | None
    reason: str
    expires_at: datetime | None


def lockout_id(rule: str, symbol: str | None, trigger: str) -> str:
    """The id under which a lockout is written once: of its rule, its symbol and what triggered it."""
    return hashlib.sha256(canonical_json([rule, symbol, trigger]).encode()).hexdigest()


def add(
    connection: Connection,
    *,
    rule: str,
    kind: str,
    symbol: str | None,
    trigger: str,
    reason: str,
    trading_day: date,
    starts_at: datetime,
    expires_at: datetime | None,
    actor: str,
    now: datetime,
) -> bool:
    """Lock out, once per rule, symbol and ``trigger``; says whether it was added.

    Adding it again changes nothing, also after it was released.

    Raises
    ------
    RiskError
        The kind is unknown, or it would end before it starts.
    """
    if kind not in KINDS or (expires_at is not None and expires_at <= starts_at):
        raise RiskError(
            f"{kind} of rule '{rule}' from {starts_at} to {expires_at}: not a lockout or cooldown with an end"
        )
    row = {
        "lockout_id": lockout_id(rule, symbol, trigger),
        "rule": rule,
        "kind": kind,
        "symbol": symbol,
        "reason": reason,
        "trading_day": trading_day,
        "starts_at": starts_at,
        "expires_at": expires_at,
    }
    if not insert_new(connection, lockouts, {**row, "recorded_at": now}):
        return False
    audit.append(connection, f"lockout:{row['lockout_id']}", "lockout", actor=actor, at=now, payload=row)
    return True


def active(connection: Connection, at: datetime) -> list[ActiveLockout]:
    """Lockouts in force at an instant, oldest first, those that cannot be read last.

    A lockout holds also before it starts: a clock that went back opens nothing.
    """
    try:
        rows = connection.execute(_open_rows()).all()
        unreadable: list[str] = []
    except ValueError:
        rows, unreadable = [], []
        for (identifier,) in connection.execute(_open_rows().with_only_columns(lockouts.c.lockout_id)).all():
            try:
                rows += connection.execute(_open_rows().where(lockouts.c.lockout_id == identifier)).all()
            except ValueError:
                unreadable.append(identifier)
    unreadable += [row.lockout_id for row in rows if not _understood(row)]
    found = [
        ActiveLockout(row.lockout_id, row.rule, row.kind, row.symbol, row.reason, row.expires_at)
        for row in sorted(rows, key=lambda row: (row.starts_at, row.lockout_id))
        if _understood(row) and (row.expires_at is None or at < row.expires_at)
    ]
    reason = "a lockout in the ledger cannot be read: nothing is opened until a person releases it"
    return found + [ActiveLockout(name, UNREADABLE, "lockout", None, reason, None) for name in sorted(unreadable)]


def release(connection: Connection, lockout_id: str, *, person: str, reason: str, at: datetime) -> bool:
    """A person ends a lockout; says whether this call did. Works on rows that cannot be read.

    Raises
    ------
    ControlError
        No name or no reason was given, or the name is that of a rule.
    RiskError
        There is no such lockout.
    """
    if not person.strip() or not reason.strip() or person.startswith(_RULE):
        raise ControlError("releasing a lockout needs the name of a person (--actor) and a reason (--reason)")
    known = select(lockouts.c.released_by).where(lockouts.c.lockout_id == lockout_id)
    row = connection.execute(known).first()
    if row is None:
        raise RiskError(f"there is no lockout '{lockout_id}'; 'active' lists those in force")
    return row.released_by is None and _release(connection, lockout_id, person, reason, at)


def clear(connection: Connection, rule: str, *, until: datetime, reason: str, now: datetime) -> list[str]:
    """The condition of a rule has cleared: end its lockouts without an end that started at or before ``until``."""
    chosen = (lockouts.c.rule == rule, lockouts.c.expires_at.is_(None), lockouts.c.starts_at <= until)
    names = _open_rows().with_only_columns(lockouts.c.lockout_id).where(*chosen).order_by(lockouts.c.lockout_id)
    standing = list(connection.execute(names).scalars())
    for name in standing:
        _release(connection, name, f"{_RULE}{rule}", reason, now)
    return standing


def released_by_person(connection: Connection, lockout_id: str) -> bool:
    """Whether a person has ended this lockout."""
    name = connection.execute(select(lockouts.c.released_by).where(lockouts.c.lockout_id == lockout_id)).scalar()
    return name is not None and not name.startswith(_RULE)


def _release(connection: Connection, lockout_id: str, actor: str, reason: str, at: datetime) -> bool:
    change = lockouts.update().where(lockouts.c.lockout_id == lockout_id)
    connection.execute(change.values(released_at=at, released_by=actor))
    payload = {"lockout_id": lockout_id, "reason": reason}
    key = f"lockout:{lockout_id}:released"
    return audit.append(connection, key, "lockout_released", actor=actor, at=at, payload=payload)


def _open_rows() -> Select[Any]:
    return select(lockouts).where(lockouts.c.released_by.is_(None))


def _understood(row: Any) -> bool:
    """A kind this code knows, and no release without a name."""
    return row.kind in KINDS and row.released_at is None

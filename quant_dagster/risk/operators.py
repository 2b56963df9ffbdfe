"""Persons who may loosen the control mode, and how they prove who they are.

A passphrase is kept as its scrypt verifier (RFC 7914; n = 2^14, r = 8, p = 1, 16 bytes of salt a person). An unknown
name costs the same work and gets the same answer as a wrong passphrase. Five failures of a name in a quarter of an hour
and it is refused, right or wrong, until fewer than five are that young; failures are counted from the audit log, so
neither a restart nor another process forgets them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.errors import ControlError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, operators

LEAST_LENGTH = 12
"""Characters of the shortest passphrase."""
LONGEST_NAME = 64
FAILURES = 5
WINDOW = timedelta(minutes=15)
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_NOBODY = bytes(16)
_REFUSED = "operator_refused"


@dataclass(frozen=True)
class Operator:
    """A person, who let them in, and since when they no longer are one (None: they are)."""

    name: str
    added_by: str
    added_at: datetime
    revoked_at: datetime | None


def add(ledger: Ledger, name: str, passphrase: str, *, by: str | None = None, by_passphrase: str | None = None) -> None:
    """Let a person in: the first one freely, further ones with the passphrase of one who is.

    Raises
    ------
    ControlError
        The name is empty, too long or was used before, the passphrase is too short, or nobody vouches.
    """
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise ControlError(f"an operator needs a name of 1 to {LONGEST_NAME} characters")
    if len(passphrase) < LEAST_LENGTH:
        raise ControlError(f"the passphrase is too short: {LEAST_LENGTH} characters or more")
    if by is not None:
        authenticate(ledger, by, by_passphrase or "")
    salt = secrets.token_bytes(16)
    row = {"name": name, "salt": salt.hex(), "verifier": _verifier(passphrase, salt), "added_by": by or name}
    with ledger.write() as connection:
        known = registered(connection)
        if known and by is None:
            raise ControlError(f"operator '{name}' can only be added by one of: {_names(known)}")
        if any(operator.name == name for operator in known):
            raise ControlError(f"there was an operator '{name}' before: a name is never given again, take another")
        at = ledger.now()
        connection.execute(operators.insert().values(recorded_at=at, revoked_at=None, **row))
        payload = {"name": name}
        audit.append(
            connection, f"operator_added:{name}", "operator_added", actor=row["added_by"], at=at, payload=payload
        )


def authenticate(ledger: Ledger, name: str, passphrase: str) -> None:
    """Return if this is the passphrase of an operator of this name.

    Raises
    ------
    ControlError
        It is not, there is no such operator (any more), or there were too many failures.
    """
    name = name.strip()[:LONGEST_NAME]
    with ledger.read() as connection:
        row = _active(connection, name)
    # The slow part holds no lock; whether the answer counts is decided alone among writers, so that no number of
    # guesses at once gets more tries.
    right = _is_right(row, passphrase)
    with ledger.write() as connection:
        at = ledger.now()
        failures, recent = _failures(connection, name, at)
        allowed = recent < FAILURES
        if allowed and not right:
            key = f"{_REFUSED}:{name}:{failures + 1}"
            audit.append(connection, key, _REFUSED, actor=name, at=at)
    if not allowed:
        minutes = WINDOW // timedelta(minutes=1)
        raise ControlError(
            f"too many failed attempts as '{name}': {FAILURES} within {minutes} minutes; try again later"
        )
    if not right:
        raise ControlError(f"'{name}' is no operator, or the passphrase is wrong")


def revoke(ledger: Ledger, name: str, *, by: str, passphrase: str) -> None:
    """A person is no operator any more. The last one cannot go: nobody could loosen the mode or let others in.

    Raises
    ------
    ControlError
        ``by`` cannot prove who they are, or ``name`` is no operator, or is the last.
    """
    authenticate(ledger, by, passphrase)
    with ledger.write() as connection:
        active = [operator.name for operator in registered(connection) if operator.revoked_at is None]
        if name not in active:
            raise ControlError(f"'{name}' is no operator; they are: {', '.join(active)}")
        if len(active) == 1:
            raise ControlError(f"'{name}' is the last operator: add another one first")
        at = ledger.now()
        connection.execute(operators.update().where(operators.c.name == name).values(revoked_at=at))
        audit.append(
            connection, f"operator_revoked:{name}", "operator_revoked", actor=by, at=at, payload={"name": name}
        )


def registered(connection: Connection) -> list[Operator]:
    """Everybody who is or was an operator, by name."""
    rows = connection.execute(select(operators).order_by(operators.c.name))
    return [Operator(row.name, row.added_by, row.recorded_at, row.revoked_at) for row in rows]


def _names(known: list[Operator]) -> str:
    return ", ".join(operator.name for operator in known if operator.revoked_at is None)


def _active(connection: Connection, name: str) -> Any:
    return connection.execute(
        select(operators).where(operators.c.name == name, operators.c.revoked_at.is_(None))
    ).first()


def _is_right(row: Any, passphrase: str) -> bool:
    salt = _NOBODY if row is None else bytes.fromhex(row.salt)
    expected = "" if row is None else row.verifier
    return hmac.compare_digest(_verifier(passphrase, salt), expected)


def _verifier(passphrase: str, salt: bytes) -> str:
    return hashlib.scrypt(passphrase.encode("utf-8", "surrogatepass"), salt=salt, **_SCRYPT).hex()


def _failures(connection: Connection, name: str, at: datetime) -> tuple[int, int]:
    """Failed attempts as ``name``: ever, and those younger than the window."""
    mine = (audit_log.c.action == _REFUSED) & (audit_log.c.actor == name)
    count = select(func.count()).select_from(audit_log).where(mine)
    recent = count.where(audit_log.c.recorded_at > at - WINDOW)
    return connection.execute(count).scalar_one(), connection.execute(recent).scalar_one()

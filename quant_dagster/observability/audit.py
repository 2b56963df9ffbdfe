"""The audit log: append-only, each row hashed together with the row before it.

A row is written in the transaction of the event it records, under a key that names the event, so an event is
audited exactly once however often it is retried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from quant_dagster.errors import AuditError
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, cycles, decisions, fills, order_events, parent_events
from quant_dagster.storage.types import canonical_json

GENESIS = "0" * 64
COMMISSION = ":commission"
"""Ends the key of the row that vouches for a fill whose commission was told later."""
_MATCHED = ("order:", "parent:", "fill:", "decisions:")
"""Keys of rows that vouch for a row of another table, with all that it says."""
_CHUNK = 500
"""Keys in one ``IN`` list."""


@dataclass(frozen=True)
class AuditReport:
    """What `verify` found: rows read, and one sentence per problem (none: the chain is intact)."""

    rows: int
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems


def append(
    connection: Connection,
    event_key: str,
    action: str,
    *,
    actor: str,
    at: datetime,
    session: date | None = None,
    payload: dict[str, Any] | None = None,
) -> bool:
    """Add one row, unless ``event_key`` is already there; says whether it was added.

    Must be called inside `Ledger.write`: writers are serialised there, which is what keeps the chain a chain.
    """
    entry = Entry(event_key, action, actor, at, session, canonical_json(payload or {}))
    return bool(append_many(connection, [entry]))


@dataclass(frozen=True)
class Entry:
    """A row on its way into the chain; ``payload`` as canonical JSON."""

    event_key: str
    action: str
    actor: str
    at: datetime
    session: date | None
    payload: str


def append_many(connection: Connection, entries: Sequence[Entry]) -> int:
    """Add rows in the order given, each unless its key is there; returns how many were added.

    The chain is the one that `append` would have made of them one by one. Must be called inside `Ledger.write`.
    """
    if not entries:
        return 0
    there: set[str] = set()
    for first in range(0, len(entries), _CHUNK):
        keys = [entry.event_key for entry in entries[first : first + _CHUNK]]
        there |= set(connection.execute(_KNOWN, {"keys": keys}).scalars())
    last = connection.execute(_LAST).first()
    sequence, previous = (last.sequence, last.hash) if last else (0, GENESIS)
    rows = []
    for entry in entries:
        if entry.event_key in there:
            continue
        there.add(entry.event_key)
        sequence += 1
        row = {
            "sequence": sequence,
            "event_key": entry.event_key,
            "session": entry.session,
            "action": entry.action,
            "actor": entry.actor,
            "payload": entry.payload,
            "recorded_at": entry.at,
            "previous_hash": previous,
        }
        previous = row_hash(row)
        rows.append(row | {"hash": previous})
    if rows:
        connection.execute(_INSERT, rows)
    return len(rows)


# Built once: building a statement costs as much as running it.
_KNOWN = select(audit_log.c.event_key).where(audit_log.c.event_key.in_(bindparam("keys", expanding=True)))
_LAST = select(audit_log.c.sequence, audit_log.c.hash).order_by(audit_log.c.sequence.desc()).limit(1)
_INSERT = audit_log.insert()


class Buffer:
    """Rows for the chain that wait to be written together, in the order they were handed in."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[Entry] = []

    def append(
        self, event_key: str, action: str, *, actor: str, at: datetime, session: date | None, payload: dict[str, Any]
    ) -> None:
        """Keep a row for `flush`."""
        self._waiting.append(Entry(event_key, action, actor, at, session, canonical_json(payload)))

    def flush(self) -> None:
        """Write what waits."""
        append_many(self._connection, self._waiting)
        self._waiting = []


def row_hash(row: dict[str, Any]) -> str:
    """SHA-256 over every column of a row but the hash itself."""
    content = canonical_json(
        [
            row["sequence"],
            row["event_key"],
            row["session"],
            row["action"],
            row["actor"],
            row["payload"],
            row["recorded_at"].isoformat(),
            row["previous_hash"],
        ]
    )
    return hashlib.sha256(content.encode()).hexdigest()


def digest(rows: list[dict[str, Any]]) -> str:
    """One hash over a list of rows, for an audit row that vouches for many."""
    return hashlib.sha256(canonical_json(rows).encode()).hexdigest()


def decision_digest(connection: Connection, cycle_id: str) -> str:
    """Hash of a cycle's decisions as they stand in the ledger."""
    result = connection.execute(
        select(decisions).where(decisions.c.cycle_id == cycle_id).order_by(decisions.c.symbol)
    ).mappings()
    return digest([dict(row) for row in result])


def verify(ledger: Ledger) -> AuditReport:
    """Walk the chain, then check that it and the events it vouches for agree.

    Finds any changed byte in an audit row, a removed, added or reordered row, a cut-off tail, and orders, fills or
    decisions that were changed, removed or added behind the chain's back.
    """
    problems: list[str] = []
    previous = GENESIS
    count = 0
    keys: dict[str, str] = {}
    with ledger.read() as connection:
        for row in _rows(connection):
            count += 1
            name = f"audit row {row['sequence']} ({row['event_key']})"
            if row["sequence"] != count:
                problems.append(f"{name}: expected sequence {count}; a row is missing or was added before it")
                count = row["sequence"]
            if row["previous_hash"] != previous:
                problems.append(f"{name}: does not continue the row before it")
            if "payload" not in row or row_hash(dict(row)) != row["hash"]:
                problems.append(f"{name}: content does not match its hash; the row was changed")
            previous = row["hash"]
            keys[row["event_key"]] = row.get("payload", "")
        problems += _events_without_audit(connection, keys)
        rows = connection.execute(select(func.count()).select_from(audit_log)).scalar_one()
    return AuditReport(rows=rows, problems=tuple(problems))


def _rows(connection: Connection) -> Sequence[Mapping[Any, Any]]:
    """The chain; of a row with a value that is no date or time any more, what can still be read."""
    order = audit_log.c.sequence
    try:
        return connection.execute(select(audit_log).order_by(order)).mappings().all()
    except ValueError:
        rows: list[Mapping[Any, Any]] = []
        text_columns = (order, audit_log.c.event_key, audit_log.c.previous_hash, audit_log.c.hash)
        for part in connection.execute(select(*text_columns).order_by(order)).mappings().all():
            try:
                rows.append(connection.execute(select(audit_log).where(order == part["sequence"])).mappings().one())
            except ValueError:
                rows.append(part)
        return rows


def _events_without_audit(connection: Connection, keys: dict[str, str]) -> list[str]:
    problems: list[str] = []
    remaining = {key: payload for key, payload in keys.items() if key.startswith(_MATCHED)}

    def match(key: str, payload: str, what: str) -> None:
        audited = remaining.pop(key, None)
        if audited is None:
            problems.append(f"{what} has no audit row '{key}'; the row was added or the audit log was cut")
        elif audited != payload:
            problems.append(f"{what} differs from what audit row '{key}' recorded")

    for event in connection.execute(select(order_events)).mappings():
        key = f"order:{event['client_order_id']}:{event['sequence']}"
        match(key, canonical_json(order_event_payload(dict(event))), f"order event {key}")
    for event in connection.execute(select(parent_events)).mappings():
        key = f"parent:{event['parent_id']}:{event['sequence']}"
        match(key, canonical_json(parent_event_payload(dict(event))), f"event of a parent order {key}")
    for fill in connection.execute(select(fills)).mappings():
        for correction in range(fill["correction"]):
            for suffix in ("", COMMISSION):
                remaining.pop(f"fill:{fill['execution_id']}:{correction}{suffix}", None)
        key = f"fill:{fill['execution_id']}:{fill['correction']}"
        if key + COMMISSION in remaining:  # what was said of the fill last
            remaining.pop(key, None)
            key += COMMISSION
        match(key, canonical_json(fill_payload(dict(fill))), f"fill {fill['execution_id']}")
    decided = select(cycles.c.cycle_id).where(cycles.c.cycle_id.in_(select(decisions.c.cycle_id)))
    for (cycle_id,) in connection.execute(decided):
        payload = canonical_json({"digest": decision_digest(connection, cycle_id)})
        match(f"decisions:{cycle_id}", payload, f"decisions of cycle {cycle_id}")
    problems += [f"audit row '{key}' vouches for something that is no longer in the ledger" for key in remaining]
    return problems


def order_event_payload(event: dict[str, Any]) -> dict[str, Any]:
    """What the audit log keeps of an order event."""
    return {name: event[name] for name in ("client_order_id", "sequence", "kind", "session", "payload")}


def parent_event_payload(event: dict[str, Any]) -> dict[str, Any]:
    """What the audit log keeps of an event of an order that an algorithm works."""
    return {name: event[name] for name in ("parent_id", "sequence", "kind", "payload")}


def fill_payload(fill: dict[str, Any]) -> dict[str, Any]:
    """What the audit log keeps of a fill."""
    kept = ("execution_id", "correction", "client_order_id", "session", "symbol", "side", "quantity", "price")
    payload = {name: fill[name] for name in (*kept, "commission", "provenance")}
    # Where they say nothing they are left out, as in rows that are older than these columns.
    return payload | {name: fill[name] for name in ("executed_at", "currency") if fill.get(name) is not None}


def require_intact(ledger: Ledger) -> None:
    """Raise `AuditError` naming the first broken row."""
    report = verify(ledger)
    if not report.intact:
        raise AuditError(f"audit chain broken: {report.problems[0]} ({len(report.problems)} problems in all)")

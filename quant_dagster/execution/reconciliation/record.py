"""Writing a comparison down, with what follows from it: instruments locked, trading paused.

A break seen again is the same row. One that is gone is closed as agreed; its lock stays until a person releases it,
as every lock does. A fill, an order or a position that does not agree locks its instrument. Cash that does not agree
pauses the desk: there is money nobody can explain, and it belongs to no instrument. A commission that does not agree
is told of; what it comes to is in the cash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.execution.reconciliation.breaks import Break, BreakKind, BreakState, gap
from quant_dagster.execution.reconciliation.compare import Comparison
from quant_dagster.market_data import quarantine
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import broker_quarantine
from quant_dagster.storage.ledger_tables import quarantine as locks
from quant_dagster.storage.ledger_tables import reconciliation_breaks as table
from quant_dagster.storage.ledger_tables import reconciliation_runs as runs

CYCLE = "cycle"


@dataclass(frozen=True)
class Run:
    """One comparison: with which broker, of which session, and what asked for it (cycle, reconnect, timer, command)."""

    broker: str
    session: date
    trigger: str
    at: datetime

    @property
    def run_id(self) -> str:
        """Of a cycle there is one a session, however often its step is repeated; else one each time."""
        moment = "" if self.trigger == CYCLE else self.at.isoformat()
        content = "|".join((self.broker, self.session.isoformat(), self.trigger, moment))
        return "r" + hashlib.sha256(content.encode()).hexdigest()[:23]


@dataclass(frozen=True)
class Recorded:
    """What recording came to; ``open`` are the rows of every break that is open now, ``closed`` how many agreed."""

    run_id: str
    open: tuple[dict[str, Any], ...]
    opened: int
    closed: int
    known: int
    """Differences a person has accepted before and that are as they were."""
    paused: bool


def actor(broker: str) -> str:
    """Under what name reconciliation locks and pauses."""
    return f"reconciliation:{broker}"


def record(connection: Connection, run: Run, comparison: Comparison) -> Recorded:
    """Write a comparison down, in the transaction of the caller."""
    newest = _newest(connection, run.broker)
    settled = {one.key for one in comparison.breaks if _is_settled(newest.get(one.key), one)}
    breaks = [one for one in comparison.breaks if one.key not in settled]
    made = {
        "run_id": run.run_id,
        "broker": run.broker,
        "session": run.session,
        "trigger": run.trigger,
        "compared": comparison.compared,
        "breaks": len(breaks),
        "recorded_at": run.at,
    }
    if not insert_new(connection, runs, made):
        connection.execute(runs.update().where(runs.c.run_id == run.run_id).values(**made))
    key, payload = f"reconciliation:{run.run_id}", {"compared": comparison.compared, "breaks": len(breaks)}
    _audit(connection, run, key, "reconciled", payload)
    opened = sum(_keep(connection, run, one, newest.get(one.key)) for one in breaks)
    seen = {one.key for one in breaks}
    gone = [row for key, row in newest.items() if row["state"] == BreakState.OPEN and key not in seen]
    for row in gone:
        close(connection, row, BreakState.AGREED, by=actor(run.broker), reason="both sides agree", at=run.at)
    for row in gone:
        if (person := _balanced_by(newest.values(), row)) is not None:
            release_lock(
                connection, row, run.session, by=person, reason="what it followed from was concluded", at=run.at
            )
    paused = False
    for one in breaks:
        if one.locks and one.symbol is not None:
            reason = f"{one.kind} does not agree with broker '{run.broker}': {one.detail}"
            quarantine.place(connection, one.symbol, run.session, reason, actor=actor(run.broker), at=run.at)
        if one.pauses:
            paused |= escalate(connection, ControlMode.PAUSE, actor=actor(run.broker), reason=one.detail, at=run.at)
    return Recorded(run.run_id, tuple(open_breaks(connection, run.broker)), opened, len(gone), len(settled), paused)


def open_breaks(connection: Connection, broker: str | None = None) -> list[dict[str, Any]]:
    """Every break that waits for a person, oldest first."""
    query = select(table).where(table.c.state == BreakState.OPEN.value).order_by(table.c.opened_at, table.c.break_id)
    if broker is not None:
        query = query.where(table.c.broker == broker)
    return [dict(row) for row in connection.execute(query).mappings()]


def close(
    connection: Connection, row: Mapping[str, Any], state: BreakState, *, by: str, reason: str, at: datetime
) -> None:
    """Conclude a break; nothing is posted and no lock released here."""
    values = {"state": state.value, "closed_at": at, "closed_by": by}
    connection.execute(table.update().where(table.c.break_id == row["break_id"]).values(**values))
    payload = {"break_id": row["break_id"], "state": state.value, "reason": reason, "gap": _gap_text(row)}
    key = f"break:{row['break_id']}:{state.value}"
    audit.append(connection, key, f"break_{state.value}", actor=by, at=at, payload=payload)


def release_lock(
    connection: Connection, row: Mapping[str, Any], session: date, *, by: str, reason: str, at: datetime
) -> bool:
    """Release the lock of a break that a person has concluded; False where something else locks the instrument too."""
    symbol = row["symbol"]
    if symbol is None:
        return False
    open_ones = select(table.c.break_id).where(
        table.c.symbol == symbol,
        table.c.state == BreakState.OPEN.value,
        table.c.kind != BreakKind.COMMISSION.value,
    )
    locked = connection.execute(select(locks).where(locks.c.symbol == symbol, locks.c.released_on.is_(None))).all()
    adopted = select(broker_quarantine.c.reference).where(
        broker_quarantine.c.symbol == symbol,
        broker_quarantine.c.kind == "execution",
        broker_quarantine.c.state == "adopted",
    )
    # An execution of nobody locked the instrument when it came; once it is under an order that is over too.
    over = tuple(f"execution {one} at broker" for one in connection.execute(adopted).scalars())
    own = actor(row["broker"])
    foreign = [one for one in locked if one.actor != own and not one.reason.startswith(over)]
    if not locked or foreign or connection.execute(open_ones).first():
        return False
    quarantine.release(connection, symbol, session, actor=by, reason=reason, at=at)
    return True


def _balanced_by(rows: Iterable[Mapping[str, Any]], gone: Mapping[str, Any]) -> str | None:
    """The person who has concluded another break of the same instrument since this one was opened."""
    for row in rows:
        concluded = row["state"] in (BreakState.BALANCED, BreakState.ACCEPTED)
        if concluded and row["symbol"] == gone["symbol"] and row["closed_at"] >= gone["opened_at"]:
            return str(row["closed_by"])
    return None


def _newest(connection: Connection, broker: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest row of everything that ever did not agree with this broker."""
    query = select(table).where(table.c.broker == broker).order_by(table.c.opened_at, table.c.break_id)
    return {(row["kind"], row["reference"]): dict(row) for row in connection.execute(query).mappings()}


def _is_settled(row: dict[str, Any] | None, one: Break) -> bool:
    """A person has accepted this very difference, or balanced it by an entry beside the fill."""
    if row is None:
        return False
    stays = row["state"] == BreakState.ACCEPTED or (
        row["state"] == BreakState.BALANCED and one.kind is BreakKind.COMMISSION
    )
    return stays and gap(row["ours"], row["theirs"]) == gap(one.ours, one.theirs)


def _keep(connection: Connection, run: Run, one: Break, known: dict[str, Any] | None) -> bool:
    said = {"ours": one.ours, "theirs": one.theirs, "detail": one.detail}
    if known is not None and known["state"] == BreakState.OPEN:
        if any(known[name] != value for name, value in said.items()):
            connection.execute(table.update().where(table.c.break_id == known["break_id"]).values(**said))
            key = f"break:{known['break_id']}:{run.run_id}:{run.at.isoformat()}"
            _audit(connection, run, key, "break_changed", {"break_id": known["break_id"], **said, "terms": one.terms})
        return False
    content = "|".join((run.broker, one.kind.value, one.reference, run.run_id, run.at.isoformat()))
    break_id = "b" + hashlib.sha256(content.encode()).hexdigest()[:23]
    row = {
        "break_id": break_id,
        "run_id": run.run_id,
        "broker": run.broker,
        "kind": one.kind.value,
        "reference": one.reference,
        "symbol": one.symbol,
        **said,
        "state": BreakState.OPEN.value,
        "opened_at": run.at,
    }
    connection.execute(table.insert().values(**row))
    payload = {"break_id": break_id, "kind": one.kind.value, "reference": one.reference, "symbol": one.symbol}
    _audit(connection, run, f"break:{break_id}", "break_opened", payload | said | {"terms": one.terms})
    return True


def _audit(connection: Connection, run: Run, key: str, action: str, payload: dict[str, Any]) -> None:
    audit.append(connection, key, action, actor=actor(run.broker), at=run.at, session=run.session, payload=payload)


def _gap_text(row: Mapping[str, Any]) -> str:
    return f"{row['ours']} | {row['theirs']}"

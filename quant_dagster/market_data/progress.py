"""How far loading has come, per vendor and symbol: kept in the ledger, so that a load goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import Connection, select

from quant_dagster.storage.ledger_tables import backfill_progress


class LoadState(StrEnum):
    """Where a symbol of a vendor stands."""

    LANDED = "landed"
    STORED = "stored"
    NO_DATA = "no_data"
    FAILED = "failed"


@dataclass(frozen=True)
class Progress:
    """One symbol of one vendor.

    Attributes
    ----------
    first, last
        First session asked for, and last session there is a row of (of what has no rows: last asked for).
    sessions
        Rows of it in the lake.
    detail
        What the vendor said, where it failed.
    """

    vendor: str
    symbol: str
    first: date
    last: date
    sessions: int
    state: LoadState
    detail: str = ""


def record(connection: Connection, progress: Iterable[Progress], at: datetime) -> None:
    """Write down where symbols stand; the newest word counts. A failure does not hide what had been stored."""
    table = backfill_progress
    told = list(progress)
    stored = select(table).where(table.c.vendor.in_({one.vendor for one in told}))
    known = {(row.vendor, row.symbol): row for row in connection.execute(stored)}
    new, changed = [], []
    for one in told:
        before = known.get((one.vendor, one.symbol))
        row = asdict(one) | {"state": one.state.value, "recorded_at": at}
        if before is None:
            new.append(row)
            continue
        row["first"] = min(one.first, before.first)
        if one.state in (LoadState.FAILED, LoadState.LANDED, LoadState.NO_DATA) and before.sessions:
            row |= {"last": before.last, "sessions": before.sessions}
        if any(row[name] != getattr(before, name) for name in ("first", "last", "sessions", "state", "detail")):
            changed.append(row)
    if new:
        connection.execute(table.insert(), new)
    for row in changed:
        connection.execute(
            table.update().where(table.c.vendor == row["vendor"], table.c.symbol == row["symbol"]).values(**row)
        )


def read(connection: Connection, vendor: str | None = None) -> list[Progress]:
    """Where every symbol stands, by vendor and symbol."""
    table = backfill_progress
    query = select(table).order_by(table.c.vendor, table.c.symbol)
    if vendor is not None:
        query = query.where(table.c.vendor == vendor)
    return [
        Progress(row.vendor, row.symbol, row.first, row.last, row.sessions, LoadState(row.state), row.detail)
        for row in connection.execute(query)
    ]

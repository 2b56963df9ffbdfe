"""One table brought from the lake version the store holds to the newest, in one transaction that records the version.

Killed at any moment, the store holds the old version or the new one and says which. Normally only the rows that the
lake's change feed names are sent; where it cannot answer (first time, files vacuumed, lake made anew) the table is
compared month by month with the lake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection, text

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.market_store import aggregate
from quant_dagster.storage.market_store.bookkeeping import Synced, read_engine, read_synced, write_synced
from quant_dagster.storage.market_store.copying import copy_in
from quant_dagster.storage.market_store.database import Database
from quant_dagster.storage.market_store.partitions import ensure_months
from quant_dagster.storage.market_store.schema import (
    BARS_5M,
    MINUTE_BARS,
    add_column,
    column_list,
    full_name,
    next_month,
    quoted,
)
from quant_dagster.storage.market_store.timescale import StoreEngine
from quant_dagster.storage.tables import LakeTable, lake_table

MonthsDone = Callable[[int, int], None]
"""Called with the months done and the months there are, in a full comparison."""

_HISTORY_MARGIN = 16
_NEW, _GONE = "staged_rows", "staged_deletions"


@dataclass(frozen=True)
class TableSync:
    """What a sync did to a table.

    Attributes
    ----------
    how
        ``absent`` (not in the lake), ``unchanged``, ``incremental`` or ``full``.
    rows_written, rows_deleted
        Rows inserted or changed, and rows that went.
    buckets
        Five-minute bars made again.
    """

    table: str
    how: Literal["absent", "unchanged", "incremental", "full"]
    since: int | None
    version: int | None
    rows_written: int = 0
    rows_deleted: int = 0
    buckets: int = 0


def sync_table(
    database: Database, lake: Lake, table: str, now: datetime, *, full: bool = False, months_done: MonthsDone
) -> TableSync:
    """Bring a table to the lake's newest version; see the module. ``full``: compare all of it in any case."""
    definition = lake_table(table)
    with database.begin(f"syncing '{table}'", lock=table) as connection:
        native = read_engine(connection) is StoreEngine.POSTGRESQL
        held = read_synced(connection, table)
        newest = lake.version(table)
        if newest is None:
            return TableSync(table, "absent", held.lake_version, None)
        committed_at, base = _placed(lake, table, held, newest)
        if base == newest and not full:
            return TableSync(table, "unchanged", base, newest)
        changes = None if full or base is None else _changes(lake, table, base, newest)
        work = _Work(database, connection, definition, held.horizon(now), native)
        if changes is None:
            done = work.compare_all(lake, newest, months_done)
        else:
            done = work.apply(changes)
        now_held = replace(held, lake_version=newest, committed_at=committed_at, synced_at=now)
        write_synced(connection, now_held)
    return replace(done, since=held.lake_version, version=newest)


def _placed(lake: Lake, table: str, held: Synced, newest: int) -> tuple[datetime | None, int | None]:
    """When ``newest`` was committed, and the version held, if it is still the same version of the same lake."""
    since = held.lake_version
    back = 0 if since is None or since > newest else newest - since
    entries = {entry.version: entry for entry in lake.history(table, back + 1 + _HISTORY_MARGIN)}
    committed_at = entries[newest].committed_at if newest in entries else None
    same = since is not None and since in entries and entries[since].committed_at == held.committed_at
    return committed_at, since if same else None


def _changes(lake: Lake, table: str, since: int, until: int) -> pl.DataFrame | None:
    try:
        return lake.changes(table, since, until)
    except StorageError:  # vacuum took the files of the version held: only the whole table can tell
        return None


@dataclass(frozen=True)
class _Work:
    """Writing to one table within its transaction."""

    database: Database
    connection: Connection
    definition: LakeTable
    horizon: date | None
    native: bool

    @property
    def name(self) -> str:
        return full_name(self.definition.name)

    @property
    def aggregated(self) -> bool:
        return self.native and self.definition.name == MINUTE_BARS

    def apply(self, changes: pl.DataFrame) -> TableSync:
        """The rows of the change feed, which holds each key once."""
        kept = self._kept(changes)
        columns = [name for name in kept.columns if name not in ("change", "changed_columns")]
        rows = kept.filter(pl.col("change") != "deleted").select(columns)
        gone = kept.filter(pl.col("change") == "deleted").select(columns)
        self._prepare(rows.schema, rows)
        self._stage(_NEW, rows)
        self._stage(_GONE, gone)
        deleted = self._delete_staged(gone)
        written = self._upsert(rows.columns)
        buckets = aggregate.refresh_touched(self.connection, (_NEW, _GONE)) if self.aggregated else 0
        return TableSync(self.definition.name, "incremental", None, None, written, deleted, buckets)

    def compare_all(self, lake: Lake, version: int, months_done: MonthsDone) -> TableSync:
        """Make the table equal to a version of the lake, whatever it held. Rows that are right stay as they are."""
        total = TableSync(self.definition.name, "full", None, None)
        columns = self._in_lake(lake, version, where=pl.lit(False)).schema
        if not self.definition.partitioned:
            rows = self._in_lake(lake, version)
        else:
            rows = self._in_lake(lake, version, columns=["session"], start=self.horizon)
        self._prepare(columns, rows)
        if not self.definition.partitioned:
            written, deleted = self._compare(rows, "")
            months_done(1, 1)
            return replace(total, rows_written=written, rows_deleted=deleted)
        in_lake = set(rows["session"].dt.month_start().unique().to_list())
        in_store = set(self._months())
        everything = sorted(in_lake | in_store)
        for done_before, month in enumerate(everything):
            total = self._month(lake, version, month, total)
            months_done(done_before + 1, len(everything))
        return total

    def _month(self, lake: Lake, version: int, month: date, total: TableSync) -> TableSync:
        after = next_month(month)
        last = date.fromordinal(after.toordinal() - 1)
        start = month if self.horizon is None else max(month, self.horizon)
        rows = self._in_lake(lake, version, start=start, end=last)
        within = f"session >= DATE '{start.isoformat()}' AND session < DATE '{after.isoformat()}'"
        written, deleted = self._compare(rows, within)
        buckets = aggregate.refresh_month(self.connection, month, after) if self.aggregated else 0
        return replace(
            total,
            rows_written=total.rows_written + written,
            rows_deleted=total.rows_deleted + deleted,
            buckets=total.buckets + buckets,
        )

    def _compare(self, rows: pl.DataFrame, within: str) -> tuple[int, int]:
        """Make the part of the table that ``within`` names equal to ``rows``; rows written and rows deleted."""
        where = f" WHERE {within}" if within else ""
        if not self.connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {self.name}{where})").scalar():
            copy_in(self.connection, self.name, rows)
            return rows.height, 0
        self._stage(_NEW, rows)
        same_key = " AND ".join(f"stored.{quoted(key)} = staged.{quoted(key)}" for key in self.definition.key)
        deleted = self.connection.exec_driver_sql(
            f"DELETE FROM {self.name} AS stored WHERE {within or 'true'} "
            f"AND NOT EXISTS (SELECT FROM {_NEW} AS staged WHERE {same_key})"
        ).rowcount
        return self._upsert(rows.columns), deleted

    def _in_lake(self, lake: Lake, version: int, **options: Any) -> pl.DataFrame:
        try:
            return lake.read(self.definition.name, version=version, ordered=False, **options)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                f"syncing '{self.definition.name}': files of lake version {version} went while it was read (vacuum); "
                f"nothing was written, sync again: {error}"
            ) from error

    def _kept(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self.horizon is None or not self.definition.partitioned:
            return rows
        return rows.filter(pl.col("session") >= self.horizon)

    def _months(self) -> list[date]:
        kept = "" if self.horizon is None else f" WHERE session >= DATE '{self.horizon.isoformat()}'"
        return list(
            self.connection.exec_driver_sql(
                f"SELECT DISTINCT date_trunc('month', session::timestamp)::date FROM {self.name}{kept} ORDER BY 1"
            ).scalars()
        )

    def _prepare(self, schema: pl.Schema, rows: pl.DataFrame) -> None:
        """What rows need before they come: columns the lake's table was given since, and partitions for their months.

        In short transactions of their own, before this one touches the table: they would wait for it for ever.
        """
        table = self.definition.name
        there = stored_columns(self.connection, table)
        if lacking := {name: dtype for name, dtype in schema.items() if name not in there}:
            with self.database.begin(f"adding columns to '{table}'") as connection:
                for name, dtype in lacking.items():
                    connection.exec_driver_sql(add_column(table, name, dtype))
        if self.native and self.definition.partitioned and rows.height:
            months = rows["session"].dt.month_start().unique().to_list()
            for name in (table, BARS_5M.name) if self.aggregated else (table,):
                ensure_months(self.database, name, months)

    def _stage(self, name: str, rows: pl.DataFrame) -> None:
        self.connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.connection.exec_driver_sql(f"CREATE TEMP TABLE {name} (LIKE {self.name}) ON COMMIT DROP")
        copy_in(self.connection, name, rows)
        self.connection.exec_driver_sql(f"ANALYZE {name}")

    def _upsert(self, columns: list[str]) -> int:
        names = column_list(columns)
        values = [name for name in columns if name not in self.definition.key]
        action = "NOTHING"
        if values:
            assigned = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in values)
            action = (
                f"UPDATE SET {assigned} WHERE ({column_list(values, 'stored')}) "
                f"IS DISTINCT FROM ({column_list(values, 'EXCLUDED')})"
            )
        return self.connection.exec_driver_sql(
            f"INSERT INTO {self.name} AS stored ({names}) SELECT {names} FROM {_NEW} "
            f"ON CONFLICT ({column_list(self.definition.key)}) DO {action}"
        ).rowcount

    def _delete_staged(self, gone: pl.DataFrame) -> int:
        if not gone.height:
            return 0
        same_key = " AND ".join(f"stored.{quoted(key)} = gone.{quoted(key)}" for key in self.definition.key)
        if self.definition.partitioned:
            same_key += f" AND stored.session = ANY({aggregate.sessions_literal(gone['session'].unique().to_list())})"
        return self.connection.exec_driver_sql(
            f"DELETE FROM {self.name} AS stored USING {_GONE} AS gone WHERE {same_key}"
        ).rowcount


def stored_columns(connection: Connection, table: str) -> dict[str, str]:
    """Columns of a stored table and their types as the catalogue calls them, in order."""
    rows = connection.execute(
        text(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"table": full_name(table)},
    )
    return {row[0]: row[1] for row in rows}

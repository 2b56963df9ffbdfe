"""The market store: one object for everything done with it. The work is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import polars as pl
from sqlalchemy import Connection, text

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Clock, utc_now
from quant_dagster.storage.market_store import timescale
from quant_dagster.storage.market_store.bookkeeping import read_all, read_engine, read_synced, write_synced
from quant_dagster.storage.market_store.database import Database, take_lock
from quant_dagster.storage.market_store.partitions import drop_months
from quant_dagster.storage.market_store.reading import read_rows
from quant_dagster.storage.market_store.schema import (
    BARS_5M,
    BOOKKEEPING,
    INTRADAY_TABLES,
    MINUTE_BARS,
    SCHEMA,
    add_column,
    create_table,
    first_kept,
    full_name,
    store_table,
    store_tables,
)
from quant_dagster.storage.market_store.syncing import TableSync, stored_columns, sync_table
from quant_dagster.storage.market_store.timescale import Extension, StoreEngine
from quant_dagster.storage.market_store.verification import Difference, compare_buckets, compare_table
from quant_dagster.storage.tables import TABLES, LakeTable, lake_table

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TableStatus:
    """What the store holds of a table; ``versions_behind`` of the lake is None where no lake was given or has it."""

    table: str
    rows: int
    parts: int
    megabytes: float
    lake_version: int | None
    versions_behind: int | None
    synced_at: datetime | None
    kept_from: date | None


class MarketStore:
    """The lake's tables on PostgreSQL, in schema ``market``.

    Parameters
    ----------
    url
        SQLAlchemy URL, ``postgresql+psycopg2://…``.
    clock
        Source of wall-clock times.
    extension
        Asks the server what it knows of TimescaleDB.
    """

    def __init__(
        self, url: str, *, clock: Clock = utc_now, extension: Callable[[Connection], Extension] = timescale.extension_of
    ) -> None:
        self.database = Database(url)
        self._now = clock
        self._extension = extension

    def upgrade(self) -> str:
        """Create what is missing: schema, tables, columns. Safe at any time, from several processes.

        Returns
        -------
        str
            What the store is made of, and why. That is decided when it is first made, and stays.
        """
        with self.database.begin("upgrading", lock="upgrade") as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            for statement in BOOKKEEPING:
                connection.exec_driver_sql(statement)
            engine, why = timescale.choose(self._extension(connection))
            made = connection.execute(text(f"SELECT engine FROM {SCHEMA}.store_engine")).scalar()
            if made is None:
                connection.execute(
                    text(f"INSERT INTO {SCHEMA}.store_engine VALUES (:engine, :since)"),
                    {"engine": engine.value, "since": self._now()},
                )
            elif engine is not StoreEngine(made):
                engine, why = StoreEngine(made), f"it was made so; now, {why}"
            self._create_tables(connection, engine)
        return f"{engine.value}: {why}"

    def sync(
        self,
        lake: Lake,
        tables: Sequence[str] | None = None,
        progress: Progress | None = None,
        *,
        full: bool = False,
    ) -> list[TableSync]:
        """Bring tables to the lake's newest version, each in a transaction of its own.

        Parameters
        ----------
        tables
            Default: all of the lake's.
        progress
            Called with a table's name, months done and months there are.
        full
            Compare everything, not only what the lake says has changed: repairs what `differences` finds.
        """
        report = progress or (lambda _what, _done, _total: None)
        done = []
        for name in tables if tables is not None else TABLES:

            def months_done(count: int, total: int, name: str = name) -> None:
                report(name, count, total)

            done.append(sync_table(self.database, lake, name, self._now(), full=full, months_done=months_done))
        self._refresh({one.table for one in done})
        return done

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> pl.DataFrame:
        """Rows of a table (the lake's, or ``intraday_bars_5m``) by session and key, as `Lake.read` gives them.

        Parameters
        ----------
        start, end
            First and last session, both included.
        """
        definition = store_table(table)
        with self.database.snapshot(f"reading '{table}'") as connection:
            return read_rows(connection, definition, columns=columns, symbols=symbols, start=start, end=end)

    def versions(self) -> dict[str, int]:
        """The lake version each table holds; tables never synced are left out."""
        with self.database.snapshot("reading the versions") as connection:
            held = read_all(connection)
        return {name: synced.lake_version for name, synced in held.items() if synced.lake_version is not None}

    def status(self, lake: Lake | None = None) -> list[TableStatus]:
        """What the store holds of every table: rows counted, parts (partitions or chunks), size on disk."""
        with self.database.snapshot("reading the status") as connection:
            held = read_all(connection)
            found = []
            for definition in store_tables():
                synced = held.get(MINUTE_BARS if definition is BARS_5M else definition.name)
                version = None if synced is None else synced.lake_version
                newest = None if lake is None or definition is BARS_5M else lake.version(definition.name)
                rows = connection.exec_driver_sql(f"SELECT count(*) FROM {full_name(definition.name)}").scalar_one()
                parts, size = connection.execute(_SIZE, {"table": full_name(definition.name)}).one()
                found.append(
                    TableStatus(
                        definition.name,
                        rows,
                        parts,
                        float(size) / 2**20,
                        version,
                        None if newest is None else newest - (-1 if version is None else version),
                        None if synced is None else synced.synced_at,
                        None if synced is None else synced.kept_from,
                    )
                )
        return found

    def retain(
        self,
        months: int,
        tables: Sequence[str] = INTRADAY_TABLES,
        now: datetime | None = None,
        *,
        dry_run: bool = False,
    ) -> list[str]:
        """Drop the months of tables that ended ``months`` months before ``now`` or earlier; never half a month.

        Their sessions are not brought back by a sync, and not missed by `differences`. The lake keeps them.

        Returns
        -------
        list of str
            Partitions (TimescaleDB: chunks) dropped, or that would be.
        """
        if months < 1:
            raise StorageError(f"retention of {months} months: keep at least one")
        before = first_kept(months, (now or self._now()).date())
        dropped: list[str] = []
        for name in tables:
            definition = lake_table(name)
            if not definition.partitioned:
                raise StorageError(f"table '{name}' is not kept by month: nothing of it can be dropped")
            with self.database.begin(f"dropping months of '{name}'", lock=name) as connection:
                engine = read_engine(connection)
                dropped += self._drop(connection, definition, engine, before, months, dry_run=dry_run)
                if not dry_run:
                    held = read_synced(connection, name)
                    first = before if held.kept_from is None else max(before, held.kept_from)
                    policy = months if engine is StoreEngine.TIMESCALEDB else None
                    write_synced(connection, replace(held, kept_from=first, policy_months=policy))
        if not dry_run:
            self._refresh(set(tables))
        return dropped

    def differences(self, lake: Lake, tables: Sequence[str] | None = None) -> list[Difference]:
        """Months in which the store is not what the lake was at the version synced; empty: it is the same.

        Five-minute bars are compared with the stored one-minute bars. Tables never synced are not compared.
        """
        found: list[Difference] = []
        with self.database.snapshot("comparing with the lake") as connection:
            for name, held in read_all(connection).items():
                if held.lake_version is None or (tables is not None and name not in tables):
                    continue
                horizon = held.horizon(self._now())
                found += compare_table(connection, lake, lake_table(name), held.lake_version, horizon)
                if name == MINUTE_BARS:
                    found += compare_buckets(connection, horizon)
        return found

    def close(self) -> None:
        """Return every connection."""
        self.database.close()

    def _create_tables(self, connection: Connection, engine: StoreEngine) -> None:
        native = engine is StoreEngine.POSTGRESQL
        if not native:
            connection.exec_driver_sql(timescale.create_extension())
        for definition in store_tables():
            if definition is BARS_5M and not native:
                continue
            connection.exec_driver_sql(create_table(definition, partition=native))
            there = stored_columns(connection, definition.name)
            for column, dtype in definition.schema.items():
                if column not in there:
                    connection.exec_driver_sql(add_column(definition.name, column, dtype))
            if definition.partitioned and not native:
                connection.exec_driver_sql(timescale.create_hypertable(definition))
        if not native:
            connection.exec_driver_sql(timescale.create_continuous_aggregate())
            connection.exec_driver_sql(timescale.add_refresh_policy())

    def _drop(
        self,
        connection: Connection,
        definition: LakeTable,
        engine: StoreEngine,
        before: date,
        months: int,
        *,
        dry_run: bool,
    ) -> list[str]:
        if engine is StoreEngine.POSTGRESQL:
            take_lock(connection, "partitions")
            dropped = drop_months(connection, definition.name, before, dry_run=dry_run)
            if definition.name == MINUTE_BARS:
                dropped += drop_months(connection, BARS_5M.name, before, dry_run=dry_run)
            return dropped
        statement = timescale.drop_chunks(definition, before, dry_run=dry_run)
        dropped = list(connection.exec_driver_sql(statement).scalars())
        if not dry_run:
            connection.exec_driver_sql(timescale.delete_rest(definition, before))
            for policy in timescale.replace_retention_policy(definition, months):
                connection.exec_driver_sql(policy)
        return dropped

    def _refresh(self, tables: set[str]) -> None:
        """TimescaleDB makes five-minute bars again after the commit: it refuses to within a transaction."""
        if MINUTE_BARS not in tables:
            return
        with self.database.snapshot("reading how it was made") as connection:
            engine = read_engine(connection)
        if engine is StoreEngine.TIMESCALEDB:
            with self.database.autocommit(f"refreshing '{BARS_5M.name}'") as connection:
                connection.exec_driver_sql(timescale.refresh())


_SIZE = text(
    "WITH RECURSIVE part AS (SELECT CAST(CAST(:table AS regclass) AS oid) AS id, 0 AS depth UNION ALL "
    "SELECT inhrelid, depth + 1 FROM pg_inherits JOIN part ON inhparent = part.id) "
    "SELECT count(*) FILTER (WHERE depth > 0), coalesce(sum(pg_total_relation_size(part.id::regclass)), 0) "
    "FROM part JOIN pg_class ON pg_class.oid = part.id WHERE relkind IN ('r', 'p', 'v')"
)

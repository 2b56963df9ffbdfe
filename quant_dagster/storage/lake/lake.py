"""The lake: market-data tables as Delta, safe to write from several processes and readable as of any version."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake.changes import difference, merge_change, remove_change, replace_change
from quant_dagster.storage.lake.delta import TableVersion, file_paths, files_between, table_version, with_text_views
from quant_dagster.storage.lake.snapshots import Snapshots
from quant_dagster.storage.lake.writing import Commit, write
from quant_dagster.storage.tables import PARTITION, SUPERSEDED, TABLES, LakeTable, lake_table

if TYPE_CHECKING:
    import pyarrow.dataset

_PRESENT = "__present"


@dataclass(frozen=True)
class Maintained:
    """What maintenance did to a table, or would do."""

    table: str
    files_compacted: int
    files_deleted: int
    dry_run: bool


class Lake:
    """Delta tables under one root.

    Parameters
    ----------
    root
        Folder, or the URL of an object store (``s3://bucket/lake``).
    storage_options
        Credentials and options of the object store, as ``deltalake`` takes them.
    """

    def __init__(self, root: Path | str, storage_options: dict[str, str] | None = None) -> None:
        self.root = str(root).rstrip("/")
        self._snapshots = Snapshots(self.root, storage_options)

    def merge(self, table: str, rows: pl.DataFrame, *, ignore: Collection[str] = ()) -> Commit:
        """Insert new rows and update rows whose key exists; other rows stay.

        Parameters
        ----------
        rows
            Rows of ``table``. A declared nullable column may be left out: an existing row keeps its value.
            A column the table does not have is added to it. NaN is stored as null.
        ignore
            Columns whose difference alone is no change (the stored row stays as it is).

        Raises
        ------
        StorageError
            Wrong type, missing column, null or repeated key; or the commit kept colliding with other writers.
        """
        definition = lake_table(table)
        return write(self._snapshots, definition, rows, lambda new, old: merge_change(definition, new, old, ignore))

    def replace(self, table: str, rows: pl.DataFrame, sessions: Sequence[date]) -> Commit:
        """Make ``rows`` everything the table holds for ``sessions``: what was there and is not in ``rows`` goes."""
        definition = lake_table(table)
        if not definition.partitioned:
            raise StorageError(f"table '{table}' is not kept by session: merge into it instead")
        wanted = frozenset(sessions)
        outside = sorted(set(rows["session"].unique().to_list()) - wanted) if rows.height else []
        if outside:
            raise StorageError(f"replacing sessions of '{table}': rows hold sessions not to be replaced: {outside[:5]}")
        months = {session.strftime("%Y-%m") for session in wanted}
        return write(
            self._snapshots, definition, rows, lambda new, old: replace_change(definition, new, old, wanted), months
        )

    def remove(self, table: str, keys: pl.DataFrame, *, at: datetime) -> Commit:
        """Take rows away by key; those of a table that keeps what was replaced are known until ``at`` (aware).

        Parameters
        ----------
        keys
            The table's key columns; keys that are not there are passed over.
        """
        definition = lake_table(table)
        wanted = keys.select(list(definition.key)).unique()
        months = set(wanted["session"].dt.strftime("%Y-%m").to_list()) if definition.partitioned else None
        nothing = definition.empty()
        return write(
            self._snapshots, definition, nothing, lambda _, old: remove_change(definition, wanted, old, at), months
        )

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        start: date | None = None,
        end: date | None = None,
        where: pl.Expr | None = None,
        version: int | None = None,
        as_of: datetime | None = None,
        known_on: date | None = None,
        ordered: bool = True,
    ) -> pl.DataFrame:
        """Rows of a table; only the files, columns and rows asked for are read.

        Parameters
        ----------
        start, end
            First and last session, both included.
        where
            Further condition on the columns.
        version, as_of
            Read an earlier state: by version, or as it was committed at an instant (aware datetime).
        known_on
            Read what was known at the end of that day (UTC), by ``known_at``: a value restated later is read as it
            was before, however long ago that was. Of tables without ``known_at``, sessions up to that day.
        ordered
            Sort by session, then the rest of the key. Without, rows come in an order that may change.

        Returns
        -------
        polars.DataFrame
            Empty, with the table's columns, where the table did not exist (yet).
        """
        definition = lake_table(table)
        snapshot = self._snapshots.open(table, version=version, as_of=as_of)
        lazy = definition.empty().lazy() if snapshot is None else self._snapshots.scan(definition, snapshot, start, end)
        if known_on is not None:
            lazy = self._known_on(definition, lazy, known_on, start, end)
        available = lazy.collect_schema().names()
        wanted = list(columns) if columns is not None else [name for name in available if name != PARTITION]
        if unknown := [name for name in wanted if name not in available]:
            raise StorageError(f"table '{table}' has no column {unknown}; columns: {', '.join(available)}")
        for condition in _conditions(symbols, start, end, where):
            lazy = lazy.filter(condition)
        if not ordered:
            return lazy.select(wanted).collect()
        extra = [name for name in definition.order if name not in wanted]
        return lazy.select(wanted + extra).collect().sort(definition.order, maintain_order=True).select(wanted)

    def changes(self, table: str, since: int, until: int | None = None) -> pl.DataFrame:
        """What changed in a table between two versions: the answer to "what is new since I last looked?".

        Only files that one of the versions has and the other has not are read.

        Parameters
        ----------
        since
            The version already seen.
        until
            The version to compare with; default: the newest.

        Returns
        -------
        polars.DataFrame
            ``change`` (inserted, updated, deleted), ``changed_columns``, and the table's columns.

        Raises
        ------
        StorageError
            There is no such version, or its files were deleted by vacuum.
        """
        definition = lake_table(table)
        newest = self._snapshots.require(table)
        until = newest.version() if until is None else until
        if not 0 <= since <= until:
            raise StorageError(f"changes of '{table}' from version {since} to {until}: name an earlier version first")
        snapshots = [self._snapshots.at_version(table, version, newest.version()) for version in (since, until)]
        files = [set(file_paths(snapshot, None)) for snapshot in snapshots]
        try:
            old, new = (
                self._snapshots.scan_files(definition, snapshot, sorted(mine - other)).collect()
                for snapshot, mine, other in zip(snapshots, files, reversed(files), strict=True)
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StorageError(
                f"changes of '{table}' since version {since}: its files are gone (vacuum deletes what is older than "
                f"storage.retention_hours); read the whole table instead: {error}"
            ) from error
        return difference(definition, old, new)

    def version(self, table: str) -> int | None:
        """The table's newest version, or None where it does not exist."""
        snapshot = self._snapshots.open(table)
        return None if snapshot is None else snapshot.version()

    def exists(self, table: str) -> bool:
        """Whether anything was ever written to the table."""
        return self._snapshots.exists(table)

    def tables(self) -> tuple[str, ...]:
        """Names of the tables that exist."""
        return tuple(name for name in TABLES if self.exists(name))

    def uri(self, table: str) -> str:
        """Where the table lies: what Spark, DuckDB or Polars open directly."""
        return self._snapshots.uri(table)

    def history(self, table: str, limit: int | None = None) -> list[TableVersion]:
        """Versions of the table, newest first."""
        snapshot = self._snapshots.open(table)
        return [] if snapshot is None else [table_version(entry) for entry in snapshot.history(limit)]

    def files(
        self, table: str, *, start: date | None = None, end: date | None = None, version: int | None = None
    ) -> list[str]:
        """Parquet files of a version, oldest month first; those of other months than asked for are left out.

        The fast way into DuckDB: ``read_parquet(files, union_by_name=true)`` pushes projections and filters
        down. Files do not hold the partition column ``month``.
        """
        snapshot = self._snapshots.open(table, version=version)
        return [] if snapshot is None else files_between(lake_table(table), snapshot, start, end)

    def dataset(self, table: str, version: int | None = None) -> pyarrow.dataset.Dataset:
        """The table as a pyarrow dataset (includes column ``month``).

        From DuckDB prefer `files`: a query on a dataset that stops early, as with LIMIT, leaves DuckDB 2.0 scanning.

        Text is typed ``string_view``: DuckDB 2.0 hands pyarrow filters with view-typed literals, which pyarrow
        cannot compare with plain strings, unless the data set itself has views; it then filters by itself.
        """
        import pyarrow as pa
        import pyarrow.dataset as arrow_dataset

        snapshot = self._snapshots.open(table, version=version)
        if snapshot is None:
            definition = lake_table(table)
            empty = definition.empty().with_columns(pl.lit(None, pl.String).alias(PARTITION)).to_arrow()
            return arrow_dataset.dataset(empty.cast(with_text_views(empty.schema)))
        return snapshot.to_pyarrow_dataset(schema=with_text_views(pa.schema(snapshot.schema())))

    def compact(self, table: str) -> int:
        """Rewrite small files into larger ones; returns how many files were replaced. Rows do not change."""
        snapshot = self._snapshots.require(table)
        metrics = snapshot.optimize.compact()
        return int(metrics["numFilesRemoved"])

    def vacuum(self, table: str, retention_hours: int, *, dry_run: bool = True) -> list[str]:
        """Files no version younger than ``retention_hours`` needs; deleted unless ``dry_run``.

        Versions older than that can no longer be read afterwards, and sessions that used them not replayed.
        """
        if retention_hours < 0:
            raise StorageError(f"vacuum of '{table}': retention_hours must not be negative, got {retention_hours}")
        snapshot = self._snapshots.require(table)
        return snapshot.vacuum(retention_hours=retention_hours, dry_run=dry_run, enforce_retention_duration=False)

    def maintain(self, retention_hours: int, *, dry_run: bool = False) -> list[Maintained]:
        """Compact and vacuum every table; see `compact` and `vacuum`."""
        done = []
        for name in self.tables():
            compacted = 0 if dry_run else self.compact(name)
            deleted = self.vacuum(name, retention_hours, dry_run=dry_run)
            done.append(Maintained(name, compacted, len(deleted), dry_run))
        return done

    def _known_on(
        self, definition: LakeTable, lazy: pl.LazyFrame, day: date, start: date | None, end: date | None
    ) -> pl.LazyFrame:
        """Of every key the newest value known at the end of ``day``, replaced ones included."""
        if "known_at" not in definition.schema:
            return lazy.filter(pl.col("session") <= day) if "session" in definition.schema else lazy
        midnight = datetime.combine(day, time_of_day(), UTC) + timedelta(days=1)
        known = pl.col("known_at") < midnight
        older = self._snapshots.open(definition.name + SUPERSEDED) if definition.keeps_superseded else None
        if older is None:
            return lazy.filter(known)
        names = lazy.collect_schema().names()
        replaced = self._snapshots.scan(lake_table(definition.name + SUPERSEDED), older, start, end)
        both = pl.concat(
            [
                replaced.filter(known & (pl.col("superseded_at") >= midnight)).with_columns(
                    pl.lit(False).alias(_PRESENT)
                ),
                lazy.filter(known).with_columns(pl.lit(True).alias(_PRESENT)),
            ],
            how="diagonal",
        )
        newest = both.sort("known_at", _PRESENT).unique(list(definition.key), keep="last", maintain_order=True)
        return newest.select(names)


def _conditions(
    symbols: Sequence[str] | None, start: date | None, end: date | None, where: pl.Expr | None
) -> list[pl.Expr]:
    conditions = []
    if start is not None:
        conditions.append(pl.col("session") >= start)
    if end is not None:
        conditions.append(pl.col("session") <= end)
    if symbols is not None:
        conditions.append(pl.col("symbol").is_in(list(symbols)))
    return conditions if where is None else [*conditions, where]

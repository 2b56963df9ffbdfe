"""Opening Delta tables at any of their versions, and scanning their files; what rows mean is not asked here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake.delta import files_between, stored_schema, table_version
from quant_dagster.storage.tables import LakeTable, lake_table


class Snapshots:
    """The tables under one root, as they are now and as they were; parameters as of `Lake`."""

    def __init__(self, root: str, storage_options: dict[str, str] | None) -> None:
        self.root = root
        self.storage_options = storage_options

    def uri(self, table: str) -> str:
        """Where a table lies."""
        return f"{self.root}/{lake_table(table).name}"

    def exists(self, table: str) -> bool:
        """Whether anything was ever written to the table."""
        return DeltaTable.is_deltatable(self.uri(table), self.storage_options)

    def open(self, table: str, *, version: int | None = None, as_of: datetime | None = None) -> DeltaTable | None:
        """The newest state, the one of a version or of an instant; None where the table did not exist."""
        if version is not None and as_of is not None:
            raise StorageError(f"reading '{table}': give a version or an instant, not both")
        if as_of is not None and as_of.tzinfo is None:
            raise StorageError(f"reading '{table}' as of {as_of}: the instant needs a time zone")
        if not self.exists(table):
            return None
        newest = DeltaTable(self.uri(table), storage_options=self.storage_options)
        if version is not None and version != newest.version():
            return self.at_version(table, version, newest.version())
        if as_of is not None:
            if as_of < table_version(newest.history()[-1]).committed_at:
                return None
            newest.load_as_version(as_of.astimezone(UTC))
        return newest

    def require(self, table: str) -> DeltaTable:
        """The newest state; a StorageError where the table does not exist."""
        snapshot = self.open(table)
        if snapshot is None:
            raise StorageError(f"lake table '{table}' does not exist at {self.uri(table)}: load data into it first")
        return snapshot

    def at_version(self, table: str, version: int, newest: int) -> DeltaTable:
        """The state of a version; a StorageError names the newest there is."""
        try:
            return DeltaTable(self.uri(table), version=version, storage_options=self.storage_options)
        except DeltaError as error:
            raise StorageError(f"lake table '{table}' has no version {version} (newest: {newest}): {error}") from error

    def scan(self, definition: LakeTable, snapshot: DeltaTable, start: date | None, end: date | None) -> pl.LazyFrame:
        """Rows of the months from ``start`` to ``end``, and maybe more."""
        if snapshot.protocol().min_reader_version > 1:  # written by another engine with newer features
            return pl.scan_delta(snapshot)
        return self.scan_files(definition, snapshot, files_between(definition, snapshot, start, end))

    def scan_files(self, definition: LakeTable, snapshot: DeltaTable, files: Sequence[str]) -> pl.LazyFrame:
        """Rows of these files, in their order."""
        # A column declared after the table was made is read as absent.
        schema = pl.Schema(stored_schema(snapshot) | dict(definition.schema))
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            list(files),
            schema=schema,
            missing_columns="insert",
            hive_partitioning=False,
            glob=False,
            storage_options=self.storage_options,
        )

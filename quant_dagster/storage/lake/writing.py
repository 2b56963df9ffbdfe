"""Writing to a lake table: optimistic, in one commit, without a trace where nothing changes.

A merge reads the months it touches, works out what really changes, and replaces those months in one Delta
commit. Delta's optimistic concurrency refuses the commit when another process has touched the same months
since; the merge is then worked out again on the newer version. What changes nothing makes no version, so
a write that is repeated after a crash is free.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake.changes import Change, merge_change
from quant_dagster.storage.lake.conform import conform, refuse_changed_types
from quant_dagster.storage.lake.delta import file_paths, stored_schema
from quant_dagster.storage.lake.snapshots import Snapshots
from quant_dagster.storage.tables import PARTITION, SUPERSEDED, LakeTable, lake_table

_ATTEMPTS = 30
_LONGEST_WAIT_SECONDS = 0.5
# A cycle is replayed from the versions it recorded, so the log outlives Delta's default of 30 days.
_CONFIGURATION = {"delta.logRetentionDuration": "interval 3650 days"}


@dataclass(frozen=True)
class Commit:
    """What a write did. ``version`` is the table's version afterwards, new only if rows changed (-1: no table yet)."""

    version: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int = 0

    @property
    def changed(self) -> bool:
        """Whether this write made a version."""
        return bool(self.inserted or self.updated or self.deleted)


def write(
    snapshots: Snapshots,
    definition: LakeTable,
    rows: pl.DataFrame,
    work_out: Callable[[pl.DataFrame, pl.DataFrame], Change],
    months: set[str] | None = None,
) -> Commit:
    """Bring ``rows`` into the table as one commit, worked out again whenever another writer was faster.

    Parameters
    ----------
    work_out
        From the new rows and the stored ones of the months they touch to what changes.
    months
        Months whose stored rows matter; default: those of ``rows``.

    Raises
    ------
    StorageError
        The table cannot hold the rows, or the commit kept colliding with other writers.
    """
    new = conform(definition, rows)
    if definition.partitioned and months is None:
        months = set(new["session"].dt.strftime("%Y-%m").unique().to_list())
    for attempt in range(_ATTEMPTS):
        snapshot = snapshots.open(definition.name)
        try:
            return _attempt(snapshots, definition, snapshot, new, months, work_out)
        except CommitFailedError:
            pass  # another process got there first: work it out again on what it wrote
        except DeltaError as error:
            if snapshot is not None or not snapshots.exists(definition.name):
                raise StorageError(f"writing {new.height} rows to lake table '{definition.name}': {error}") from error
        time.sleep(random.uniform(0.0, min(_LONGEST_WAIT_SECONDS, 0.01 * 2**attempt)))
    raise StorageError(
        f"writing {new.height} rows to lake table '{definition.name}': {_ATTEMPTS} attempts collided with other "
        "writers; nothing was written, try again when they are done"
    )


def _attempt(
    snapshots: Snapshots,
    definition: LakeTable,
    snapshot: DeltaTable | None,
    new: pl.DataFrame,
    months: set[str] | None,
    work_out: Callable[[pl.DataFrame, pl.DataFrame], Change],
) -> Commit:
    if snapshot is None:
        if not new.height:
            return Commit(version=-1, inserted=0, updated=0, unchanged=0)
        # Created empty, in a commit of its own that only one process can make: two first writes of data at once
        # would both go through, as Delta takes the second for an append.
        DeltaTable.create(
            snapshots.uri(definition.name),
            schema=_laid_out(definition, new.head(0)).to_arrow(compat_level=pl.CompatLevel.oldest()).schema,
            mode="error",
            partition_by=[PARTITION] if definition.partitioned else None,
            name=definition.name,
            description=definition.description,
            configuration=_CONFIGURATION,
            storage_options=snapshots.storage_options,
        )
        snapshot = snapshots.open(definition.name)
        if snapshot is None:
            raise StorageError(f"lake table '{definition.name}' was created at {snapshots.root} but cannot be opened")
    refuse_changed_types(definition, new.schema, stored_schema(snapshot))
    predicate = [(PARTITION, "in", sorted(months))] if months else None
    files = file_paths(snapshot, predicate) if months is None or months else []
    change = work_out(new, snapshots.scan_files(definition, snapshot, files).collect())
    if not (change.inserted or change.updated or change.deleted):
        return Commit(snapshot.version(), 0, 0, change.unchanged)
    if change.replaced.height:
        # Before the commit that replaces them: killed in between, they are kept twice and nothing is lost.
        history = lake_table(definition.name + SUPERSEDED)
        write(snapshots, history, change.replaced, lambda new, old: merge_change(history, new, old))
    write_deltalake(
        snapshot,
        _laid_out(definition, change.content),
        mode="overwrite",
        # An overwrite without a predicate is not checked against concurrent appends; 'true' is.
        predicate=_in_months(change.months) if definition.partitioned else "true",
        schema_mode="merge",
    )
    return Commit(snapshot.version(), change.inserted, change.updated, change.unchanged, change.deleted)


def _in_months(months: Collection[str]) -> str:
    return f"{PARTITION} IN ({', '.join(repr(month) for month in sorted(months))})"


def _laid_out(definition: LakeTable, rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort(definition.order)
    if not definition.partitioned:
        return ordered
    return ordered.with_columns(pl.col("session").dt.strftime("%Y-%m").alias(PARTITION))

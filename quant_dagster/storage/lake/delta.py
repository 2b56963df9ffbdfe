"""What a Delta snapshot is made of: its files, its schema and its history, without the reading and writing.

The lake opens and commits; here an opened snapshot is asked questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from quant_dagster.storage.tables import PARTITION, LakeTable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TableVersion:
    """One entry of a table's history."""

    version: int
    committed_at: datetime
    operation: str
    metrics: dict[str, Any]


def files_between(definition: LakeTable, snapshot: DeltaTable, start: date | None, end: date | None) -> list[str]:
    """Files of the months from ``start`` to ``end``, oldest first."""
    months: list[tuple[str, str, Any]] = []
    if definition.partitioned:
        months += [(PARTITION, ">=", start.strftime("%Y-%m"))] if start else []
        months += [(PARTITION, "<=", end.strftime("%Y-%m"))] if end else []
    return file_paths(snapshot, months or None)


def file_paths(snapshot: DeltaTable, months: list[tuple[str, str, Any]] | None) -> list[str]:
    """Files of a version, sorted; on a disk as plain paths (Delta escapes spaces and the like as in a URL)."""
    files = snapshot.file_uris(file_pruning_predicate=months)
    return sorted(file if "://" in file else unquote(file) for file in files)


def stored_schema(snapshot: DeltaTable) -> pl.Schema:
    """Columns and polars types a table has, the partition column left out."""
    stored = pl.Schema(snapshot.schema())
    return pl.Schema({name: dtype for name, dtype in stored.items() if name != PARTITION})


def with_text_views(schema: pa.Schema) -> pa.Schema:
    """``schema`` with text as ``string_view``."""
    import pyarrow as pa

    text = (pa.types.is_string, pa.types.is_large_string)
    return pa.schema(
        [
            field.with_type(pa.string_view()) if any(is_text(field.type) for is_text in text) else field
            for field in schema
        ]
    )


def table_version(entry: dict[str, Any]) -> TableVersion:
    """An entry of ``DeltaTable.history`` as what it says."""
    return TableVersion(
        version=int(entry["version"]),
        committed_at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(entry["timestamp"])),
        operation=str(entry["operation"]),
        metrics=dict(entry.get("operationMetrics", {})),
    )

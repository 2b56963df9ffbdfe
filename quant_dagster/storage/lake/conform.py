"""What rows must look like before the lake stores them: declared types, complete keys, no row twice.

Only the shape is checked here. What values are worth is ``quality``'s business.
"""

from __future__ import annotations

import polars as pl

from quant_dagster.errors import StorageError
from quant_dagster.storage.tables import PARTITION, LakeTable


def conform(definition: LakeTable, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the declared types, NaN as null; a StorageError says what the table cannot hold."""
    where = f"rows for lake table '{definition.name}'"
    if PARTITION in rows.columns:
        raise StorageError(f"{where}: column '{PARTITION}' is the lake's own; drop it")
    untyped = {n: t for n, t in definition.schema.items() if rows.schema.get(n) == pl.Null}
    frame = rows.cast(untyped) if untyped else rows  # type: ignore[arg-type]
    refuse_changed_types(definition, frame.schema, definition.schema)
    if missing := [name for name in definition.required if name not in frame.columns]:
        raise StorageError(f"{where}: missing columns {missing}; found {', '.join(frame.columns)}")
    if any(frame[name].null_count() for name in definition.key):
        raise StorageError(f"{where}: null in key {definition.key}")
    frame = frame.with_columns(pl.selectors.float().fill_nan(None))
    if repeated := int(frame.select(pl.struct(definition.key).is_duplicated().sum()).item()):
        raise StorageError(f"{where}: {repeated} rows share a key {definition.key}; keep one of each")
    extra = [name for name in frame.columns if name not in definition.schema]
    return frame.select([name for name in definition.schema if name in frame.columns] + extra)


def refuse_changed_types(definition: LakeTable, found: pl.Schema, expected: pl.Schema) -> None:
    """A StorageError naming every column of ``found`` whose type is not the one ``expected``."""
    changed = [
        f"{name} is {dtype}, stored as {expected[name]}"
        for name, dtype in found.items()
        if name in expected and dtype != expected[name]
    ]
    if changed:
        raise StorageError(f"rows for lake table '{definition.name}': type of a column changed: {'; '.join(changed)}")

"""What every materialization says of itself: row count, column schema, a small table, a picture."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl

OWNERS = ["team:desk"]
_PREVIEW_ROWS = 8


def table_metadata(frame: pl.DataFrame, preview: int = _PREVIEW_ROWS) -> dict[str, Any]:
    """Row count, column schema and the first rows of a frame."""
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in frame.schema.items()]
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "preview": dg.MetadataValue.md(markdown_table(frame.head(preview))),
    }


def markdown_table(frame: pl.DataFrame) -> str:
    """A frame as a Markdown table; floats with six significant digits."""
    if frame.is_empty():
        return "*no rows*"
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + "---|" * frame.width]
    for row in frame.iter_rows():
        cells = (f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|") for value in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def declared_schema(table: str) -> dict[str, Any]:
    """Definition metadata of an asset that is a lake table: its columns with their descriptions."""
    from quant_dagster.storage.tables import TABLES

    columns = [
        dg.TableColumn(
            column.name,
            str(column.dtype),
            description=column.description,
            constraints=dg.TableColumnConstraints(nullable=column.nullable),
        )
        for column in TABLES[table].columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": f"lake.{table}"}

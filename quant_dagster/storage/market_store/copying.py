"""Frames into and out of PostgreSQL by COPY. A value comes back as the bits it went in as; null is not ''.

The CSV that pyarrow writes quotes text and never quotes a null, which is how PostgreSQL tells them apart, and back.
"""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from typing import Any

import polars as pl
from sqlalchemy import Connection

from quant_dagster.storage.market_store.schema import column_list

_ROWS_AT_ONCE = 250_000
_LONGEST_ROW_BYTES = 1 << 24


def copy_in(connection: Connection, target: str, rows: pl.DataFrame) -> None:
    """Append rows to a table; ``target`` is its name as SQL."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    statement = f"COPY {target} ({column_list(rows.columns)}) FROM STDIN WITH (FORMAT csv)"
    with closing(connection.connection.cursor()) as driver_cursor:
        cursor: Any = driver_cursor
        for part in rows.iter_slices(_ROWS_AT_ONCE):
            sink = pa.BufferOutputStream()
            table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
            arrow_csv.write_csv(table, sink, arrow_csv.WriteOptions(include_header=False))
            cursor.copy_expert(statement, pa.BufferReader(sink.getvalue()))


def copy_out(connection: Connection, query: str, parameters: tuple[object, ...], schema: pl.Schema) -> pl.DataFrame:
    """Rows of a query whose columns are those of ``schema``, in order.

    Parameters
    ----------
    query
        With a ``%s`` for each of ``parameters``.
    """
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    found = BytesIO()
    with closing(connection.connection.cursor()) as driver_cursor:
        cursor: Any = driver_cursor
        select = cursor.mogrify(query, parameters).decode()
        cursor.copy_expert(f"COPY ({select}) TO STDOUT WITH (FORMAT csv)", found)
    empty = pl.DataFrame(schema=schema)
    if not found.tell():
        return empty
    found.seek(0)
    types = empty.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    table = arrow_csv.read_csv(
        found,
        read_options=arrow_csv.ReadOptions(column_names=list(schema), block_size=_LONGEST_ROW_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=arrow_csv.ConvertOptions(
            column_types=pa.schema(types),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.cast(schema)

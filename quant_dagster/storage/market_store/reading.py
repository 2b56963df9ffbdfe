"""Rows of the store as polars frames, with the meaning and the order that reading the lake has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl
from sqlalchemy import Connection

from quant_dagster.errors import StorageError
from quant_dagster.storage.market_store.copying import copy_out
from quant_dagster.storage.market_store.schema import column_list, full_name, polars_type
from quant_dagster.storage.market_store.syncing import stored_columns
from quant_dagster.storage.tables import LakeTable


def read_rows(
    connection: Connection,
    definition: LakeTable,
    *,
    columns: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
) -> pl.DataFrame:
    """See `MarketStore.read`."""
    there = stored_columns(connection, definition.name)
    declared = [name for name in definition.schema if name in there]
    available = [*declared, *(name for name in there if name not in definition.schema)]
    wanted = list(columns) if columns is not None else available
    if unknown := [name for name in wanted if name not in there]:
        raise StorageError(
            f"market store table '{definition.name}' has no column {unknown}; columns: {', '.join(available)}"
        )
    conditions: list[str] = []
    parameters: list[object] = []
    bounds: tuple[tuple[str, object], ...] = (
        ("session >= %s", start),
        ("session <= %s", end),
        ("symbol = ANY(%s::text[])", None if symbols is None else list(symbols)),
    )
    for condition, value in bounds:
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = column_list(definition.order)
    query = f"SELECT {column_list(wanted)} FROM {full_name(definition.name)}{where} ORDER BY {order}"
    schema = pl.Schema({name: polars_type(definition, name, there[name]) for name in wanted})
    return copy_out(connection, query, tuple(parameters), schema)

"""Whether the store holds what the lake held at the version it was synced to: row for row, a month at a time.

A month whose rows number the same and have the same checksum (the wrapping sum of 64-bit row hashes, which does not
depend on their order) is equal; only of others are the rows compared one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl
from sqlalchemy import Connection

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.lake.changes import difference
from quant_dagster.storage.market_store import aggregate
from quant_dagster.storage.market_store.reading import read_rows
from quant_dagster.storage.market_store.schema import BARS_5M, full_name, next_month
from quant_dagster.storage.tables import LakeTable


@dataclass(frozen=True)
class Difference:
    """A month (None: a table without months) in which store and lake are not the same.

    Attributes
    ----------
    missing, extra, changed
        Rows only the lake has, only the store has, and both have with other values.
    """

    table: str
    month: date | None
    lake_rows: int
    store_rows: int
    missing: int
    extra: int
    changed: int


def compare_table(
    connection: Connection, lake: Lake, definition: LakeTable, version: int, horizon: date | None
) -> list[Difference]:
    """Months of a table that differ from a version of the lake, sessions before ``horizon`` left out."""
    name = definition.name
    try:
        if not definition.partitioned:
            stored = read_rows(connection, definition)
            return _compared(definition, None, lake.read(name, version=version, ordered=False), stored)
        sessions = lake.read(name, columns=["session"], version=version, start=horizon, ordered=False)
        months = set(sessions["session"].dt.month_start().unique().to_list())
        found = connection.exec_driver_sql(
            f"SELECT DISTINCT date_trunc('month', session::timestamp)::date FROM {full_name(name)}"
        ).scalars()
        months |= {month for month in found if horizon is None or next_month(month) > horizon}
        differences = []
        for month in sorted(months):
            start = month if horizon is None else max(month, horizon)
            end = date.fromordinal(next_month(month).toordinal() - 1)
            wanted = lake.read(name, version=version, start=start, end=end, ordered=False)
            differences += _compared(definition, month, wanted, read_rows(connection, definition, start=start, end=end))
        return differences
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"comparing '{name}' with lake version {version}: its files are gone (vacuum); "
            f"run 'quant market-store sync' first: {error}"
        ) from error


def checksum(rows: pl.DataFrame) -> int:
    """Sum of the rows' hashes, modulo 2**64: the same whatever their order."""
    return int(rows.hash_rows(seed=0).sum()) if rows.height else 0


def compare_buckets(connection: Connection, horizon: date | None) -> list[Difference]:
    """Months whose five-minute bars are not those that the stored one-minute bars make."""
    kept = "" if horizon is None else f"session >= DATE '{horizon.isoformat()}'"
    columns = ", ".join(BARS_5M.schema)
    stored = f"SELECT {columns} FROM {full_name(BARS_5M.name)}{f' WHERE {kept}' if kept else ''}"
    made = f"SELECT * FROM ({aggregate.recomputed(kept and f'bar.{kept}')}) AS made ({columns})"
    keys = ", ".join(BARS_5M.key)
    rows = connection.exec_driver_sql(
        f"WITH stored AS MATERIALIZED ({stored}), made AS MATERIALIZED ({made}), "
        "wrong AS ((SELECT 1 AS side, made.* FROM made EXCEPT ALL SELECT 1, stored.* FROM stored) UNION ALL "
        "(SELECT -1, stored.* FROM stored EXCEPT ALL SELECT -1, made.* FROM made)), "
        f"named AS (SELECT {keys}, max(side) AS highest, min(side) AS lowest FROM wrong GROUP BY {keys}) "
        "SELECT date_trunc('month', session::timestamp)::date, count(*) FILTER (WHERE lowest = 1), "
        "count(*) FILTER (WHERE highest = -1), count(*) FILTER (WHERE lowest <> highest) "
        "FROM named GROUP BY 1 ORDER BY 1"
    ).all()
    found = []
    for month, missing, extra, changed in rows:
        within = f"session >= DATE '{month.isoformat()}' AND session < DATE '{next_month(month).isoformat()}'"
        held = connection.exec_driver_sql(f"SELECT count(*) FROM {full_name(BARS_5M.name)} WHERE {within}").scalar_one()
        found.append(Difference(BARS_5M.name, month, held + missing - extra, held, missing, extra, changed))
    return found


def _compared(
    definition: LakeTable, month: date | None, wanted: pl.DataFrame, stored: pl.DataFrame
) -> list[Difference]:
    missing_columns = [pl.lit(None, dtype).alias(n) for n, dtype in wanted.schema.items() if n not in stored.columns]
    extra_columns = [pl.lit(None, dtype).alias(n) for n, dtype in stored.schema.items() if n not in wanted.columns]
    wanted = wanted.with_columns(extra_columns)
    stored = stored.with_columns(missing_columns).select(wanted.columns)
    if wanted.height == stored.height and checksum(wanted) == checksum(stored):
        return []
    counts = dict(difference(definition, stored, wanted)["change"].value_counts().iter_rows())
    if not counts:
        return []
    missing, changed, extra = (counts.get(kind, 0) for kind in ("inserted", "updated", "deleted"))
    return [Difference(definition.name, month, wanted.height, stored.height, missing, extra, changed)]

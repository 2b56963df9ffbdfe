"""What the store's tables look like in SQL: made from the lake's definitions, never written twice. Text only.

Only the key is NOT NULL: the lake reads a column declared after a row was written as null, and the store has to hold
whatever the lake holds. Text is ordered by bytes (``COLLATE "C"``), as the lake orders it.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from quant_dagster.errors import StorageError
from quant_dagster.storage.tables import TABLES, TIMESTAMP, LakeTable, lake_table
from quant_dagster.storage.tables import Column as LakeColumn

SCHEMA = "market"
MINUTE_BARS = "intraday_bars"
INTRADAY_TABLES = (MINUTE_BARS, "intraday_quotes", "trades")
"""Tables whose old months `retain` drops unless told otherwise."""

_TYPES: tuple[tuple[pl.DataType, str, str], ...] = (  # polars, SQL, SQL as the catalogue calls it
    (pl.String(), 'text COLLATE "C"', "text"),
    (pl.Float64(), "double precision", "double precision"),
    (pl.Date(), "date", "date"),
    (TIMESTAMP, "timestamptz", "timestamp with time zone"),
    (pl.Int64(), "bigint", "bigint"),
    (pl.Int32(), "integer", "integer"),
    (pl.Int16(), "smallint", "smallint"),
    (pl.Int8(), "smallint", "smallint"),
    (pl.Boolean(), "boolean", "boolean"),
)


def _like_minute_bars(*names: str) -> tuple[LakeColumn, ...]:
    return tuple(column for column in lake_table(MINUTE_BARS).columns if column.name in names)


BARS_5M = LakeTable(
    name="intraday_bars_5m",
    description="Five-minute bars made of the one-minute bars of intraday_bars. What has no minute has no row.",
    columns=(
        *_like_minute_bars("vendor", "symbol", "session"),
        LakeColumn("bucket_start", TIMESTAMP, "first instant of the five minutes, a multiple of 5 minutes UTC"),
        *_like_minute_bars("open", "high", "low", "close", "volume"),
        LakeColumn("minutes_present", pl.Int32(), "one-minute bars the bucket is made of, 1 to 5"),
    ),
    key=("vendor", "symbol", "session", "bucket_start"),
)

BOOKKEEPING = (
    f"CREATE TABLE IF NOT EXISTS {SCHEMA}.store_engine (engine text NOT NULL, since timestamptz NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS {SCHEMA}.synced_tables ("
    'table_name text COLLATE "C" PRIMARY KEY, lake_version bigint, committed_at timestamptz, synced_at timestamptz, '
    "kept_from date, policy_months integer)",
)
"""How the store was built, and for each table the lake version it holds and the first session it keeps."""


def store_table(name: str) -> LakeTable:
    """A table of the store: one of the lake's, or the five-minute bars."""
    return BARS_5M if name == BARS_5M.name else lake_table(name)


def store_tables() -> tuple[LakeTable, ...]:
    """Every table of the store."""
    return (*TABLES.values(), BARS_5M)


def quoted(name: str) -> str:
    """An identifier, safe in SQL."""
    return '"' + name.replace('"', '""') + '"'


def column_list(names: list[str] | tuple[str, ...], alias: str = "") -> str:
    """Identifiers joined by commas."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(prefix + quoted(name) for name in names)


def full_name(name: str) -> str:
    """A table with its schema."""
    return f"{SCHEMA}.{quoted(name)}"


def sql_type(table: str, column: str, dtype: pl.DataType) -> str:
    """The SQL type that holds every value of ``dtype`` and gives it back unchanged."""
    for known, sql, _ in _TYPES:
        if dtype == known:
            return sql
    raise StorageError(
        f"market store table '{table}': column '{column}' is {dtype}, which it has no SQL type for; "
        f"it knows {', '.join(str(known) for known, _, _ in _TYPES)}"
    )


def polars_type(definition: LakeTable, column: str, catalogue_type: str) -> pl.DataType:
    """Type of a stored column: as declared, else by what the database calls it."""
    if column in definition.schema:
        return definition.schema[column]
    for dtype, _, name in _TYPES:
        if name == catalogue_type:
            return dtype
    raise StorageError(
        f"market store table '{definition.name}': column '{column}' is '{catalogue_type}', "
        "which the lake has no type for"
    )


def create_table(definition: LakeTable, *, partition: bool) -> str:
    """The statement that makes a table; ``partition``: as the parent of monthly partitions by ``session``."""
    name = definition.name
    columns = [
        f"{quoted(column)} {sql_type(name, column, dtype)}{' NOT NULL' if column in definition.key else ''}"
        for column, dtype in definition.schema.items()
    ]
    by_month = " PARTITION BY RANGE (session)" if partition and definition.partitioned else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {full_name(name)} ({', '.join(columns)}, "
        f"PRIMARY KEY ({column_list(definition.key)})){by_month}"
    )


def add_column(table: str, column: str, dtype: pl.DataType) -> str:
    """The statement that gives a table a column it lacks."""
    return f"ALTER TABLE {full_name(table)} ADD COLUMN IF NOT EXISTS {quoted(column)} {sql_type(table, column, dtype)}"


def month_of(day: date) -> date:
    """First day of a day's month."""
    return day.replace(day=1)


def next_month(month: date) -> date:
    """First day of the month after."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def first_kept(months: int, now: date) -> date:
    """First session kept when ``months`` months are: the first day of the month that many before ``now``'s."""
    index = now.year * 12 + now.month - 1 - months
    return date(index // 12, index % 12 + 1, 1)

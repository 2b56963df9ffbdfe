"""Monthly partitions of plain PostgreSQL: made when a row needs one, dropped whole.

There is no DEFAULT partition: a row without a partition is an error, not a row nobody finds. A partition is made beside
its parent and then attached, which lets readers and writers of other months go on.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from sqlalchemy import Connection, text

from quant_dagster.storage.market_store.database import Database
from quant_dagster.storage.market_store.schema import full_name, month_of, next_month

_LOCK_WAIT = "60s"


def ensure_months(database: Database, table: str, months: Collection[date]) -> list[str]:
    """Make the partitions of ``months`` (any day of each) that do not exist; returns their names.

    A transaction of its own, alone among those that make partitions: it is over before rows are written.
    """
    wanted = sorted({month_of(month) for month in months})
    if not wanted:
        return []
    made = []
    with database.begin(f"making partitions of '{table}'", lock="partitions") as connection:
        there = set(partitions(connection, table).values())
        for month in wanted:
            if month not in there:
                name = partition_name(table, month)
                for statement in create_partition(table, month):
                    connection.exec_driver_sql(statement)
                made.append(name)
    return made


def partitions(connection: Connection, table: str) -> dict[str, date]:
    """Partitions of a table and the month each holds, oldest first."""
    rows = connection.execute(
        text(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = CAST(:parent AS regclass) ORDER BY child.relname"
        ),
        {"parent": full_name(table)},
    ).scalars()
    found = {}
    for name in rows:
        year, month = name.rsplit("_", 2)[1:]
        found[name] = date(int(year), int(month), 1)
    return found


def drop_months(connection: Connection, table: str, before: date, *, dry_run: bool = False) -> list[str]:
    """Drop the partitions that hold nothing from ``before`` on; returns their names, oldest first."""
    old = [name for name, month in partitions(connection, table).items() if next_month(month) <= before]
    if not dry_run and old:
        # Dropping waits for readers of the table, and everybody else waits for it: not for ever.
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
        for name in old:
            connection.exec_driver_sql(f"DROP TABLE {full_name(name)}")
    return old


def partition_name(table: str, month: date) -> str:
    """Name of a month's partition."""
    return f"{table}_{month:%Y_%m}"


def create_partition(table: str, month: date) -> tuple[str, str]:
    """The statements that make a month's partition."""
    name, parent = full_name(partition_name(table, month)), full_name(table)
    return (
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)",
        f"ALTER TABLE {parent} ATTACH PARTITION {name} "
        f"FOR VALUES FROM ('{month.isoformat()}') TO ('{next_month(month).isoformat()}')",
    )

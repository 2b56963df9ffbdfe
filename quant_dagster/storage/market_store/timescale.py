"""TimescaleDB, where the server has it: hypertables, a continuous aggregate and policies instead of our own statements.

The statements are those of TimescaleDB's reference (tigerdata.com/docs/reference/timescaledb: create_hypertable,
create_materialized_view, refresh_continuous_aggregate, add_continuous_aggregate_policy, add_retention_policy,
drop_chunks). Chunks are 30 days long and do not begin with a month: what no whole chunk covers is deleted by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from sqlalchemy import Connection, text

from quant_dagster.storage.market_store.schema import BARS_5M, MINUTE_BARS, SCHEMA, full_name
from quant_dagster.storage.tables import LakeTable

_INSTANT = "bar_start"
# A session's first bars may be days older than its date (a Monday's session that opens on Sunday, after a holiday).
_SESSION_MARGIN_DAYS = 7


class StoreEngine(StrEnum):
    """What the store's tables are made of."""

    POSTGRESQL = "postgresql"
    TIMESCALEDB = "timescaledb"


@dataclass(frozen=True)
class Extension:
    """What a server says of TimescaleDB.

    Attributes
    ----------
    offered, installed
        Version it could install and version this database has; None: none.
    preloaded
        Whether the server was started with it; None: we may not know.
    licence
        Value of ``timescaledb.license``; None where the library is not loaded.
    """

    offered: str | None
    installed: str | None
    preloaded: bool | None
    licence: str | None


def extension_of(connection: Connection) -> Extension:
    """Ask the server."""
    row = connection.execute(
        text(
            "SELECT (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'), "
            "(SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), "
            "(SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'), "
            "current_setting('timescaledb.license', true)"
        )
    ).one()
    libraries = None if row[2] is None else [name.strip(' "') for name in row[2].split(",")]
    return Extension(row[0], row[1], None if libraries is None else "timescaledb" in libraries, row[3])


def choose(extension: Extension) -> tuple[StoreEngine, str]:
    """What a new store is made of, and why."""
    plain = StoreEngine.POSTGRESQL
    if extension.offered is None and extension.installed is None:
        return plain, "the server does not offer TimescaleDB"
    if extension.licence == "apache":
        return plain, "TimescaleDB runs under its Apache licence, which has no continuous aggregates"
    if extension.installed is not None:
        return StoreEngine.TIMESCALEDB, f"TimescaleDB {extension.installed} is installed"
    if extension.preloaded is None:
        return plain, "TimescaleDB is offered, but this user cannot see whether it is loaded: CREATE EXTENSION it first"
    if not extension.preloaded:
        return plain, "TimescaleDB is offered, but not in the server's shared_preload_libraries"
    return StoreEngine.TIMESCALEDB, f"TimescaleDB {extension.offered} is offered"


def dimension(definition: LakeTable) -> str:
    """Column a hypertable is cut by: it has to be in every unique key; an aggregate over time needs the instant."""
    return _INSTANT if _INSTANT in definition.key else "session"


def create_extension() -> str:
    """Install TimescaleDB into the database."""
    return "CREATE EXTENSION IF NOT EXISTS timescaledb"


def create_hypertable(definition: LakeTable) -> str:
    """Make an empty table a hypertable of month-long chunks."""
    return (
        f"SELECT create_hypertable('{full_name(definition.name)}', by_range('{dimension(definition)}', "
        "INTERVAL '1 month'), create_default_indexes => false, if_not_exists => true)"
    )


def create_continuous_aggregate() -> str:
    """The five-minute bars; buckets younger than the last refresh are worked out when they are read."""
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {full_name(BARS_5M.name)} "
        "WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS "
        "SELECT vendor, symbol, session, time_bucket(INTERVAL '5 minutes', bar_start) AS bucket_start, "
        "first(open, bar_start) AS open, "
        "CASE WHEN count(high) = count(*) THEN max(high) END AS high, "
        "CASE WHEN count(low) = count(*) THEN min(low) END AS low, "
        "last(close, bar_start) AS close, "
        "CASE WHEN count(volume) = count(*) THEN sum(volume ORDER BY bar_start) END AS volume, "
        "count(*)::integer AS minutes_present "
        f"FROM {full_name(MINUTE_BARS)} WHERE seconds = 60 "
        "GROUP BY vendor, symbol, session, bucket_start WITH NO DATA"
    )


def add_refresh_policy() -> str:
    """Refresh the five-minute bars every hour as well: a sync that was killed after its commit is made up for."""
    return (
        f"SELECT add_continuous_aggregate_policy('{SCHEMA}.{BARS_5M.name}', start_offset => NULL, "
        "end_offset => NULL, schedule_interval => INTERVAL '1 hour', if_not_exists => true)"
    )


def refresh() -> str:
    """Bring the five-minute bars up to date: only what changed since the last time is worked out. No transaction."""
    return f"CALL refresh_continuous_aggregate('{SCHEMA}.{BARS_5M.name}', NULL, NULL)"


def drop_chunks(definition: LakeTable, before: date, *, dry_run: bool = False) -> str:
    """Drop (or only list) the chunks that hold nothing of sessions from ``before`` on."""
    call = "show_chunks" if dry_run else "drop_chunks"
    if dimension(definition) == "session":
        bound = f"DATE '{before.isoformat()}'"
    else:
        bound = f"TIMESTAMPTZ '{(before - timedelta(days=_SESSION_MARGIN_DAYS)).isoformat()} 00:00:00+00'"
    return f"SELECT {call}('{full_name(definition.name)}', older_than => {bound})::text"


def delete_rest(definition: LakeTable, before: date) -> str:
    """Delete the old rows in chunks that younger rows share."""
    return f"DELETE FROM {full_name(definition.name)} WHERE session < DATE '{before.isoformat()}'"


def replace_retention_policy(definition: LakeTable, months: int) -> tuple[str, str]:
    """Let the server drop old chunks by itself, never one that holds a row of the months kept."""
    name = full_name(definition.name)
    return (
        f"SELECT remove_retention_policy('{name}', if_exists => true)",
        f"SELECT add_retention_policy('{name}', drop_after => INTERVAL '{months + 1} months "
        f"{_SESSION_MARGIN_DAYS} days')",
    )

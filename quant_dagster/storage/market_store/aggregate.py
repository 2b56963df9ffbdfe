"""Five-minute bars of plain PostgreSQL: only the buckets that a sync touched are made again, in its transaction.

PostgreSQL has no materialised view that is kept up to date by the rows that changed; a set-based statement over the
touched buckets does the same. The numbers are those of `market_data.intraday.resample`, over every one-minute bar,
those outside regular hours included: a high, low or volume that any minute lacks is null.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection

from quant_dagster.storage.market_store.schema import BARS_5M, MINUTE_BARS, full_name

_BUCKET = "date_bin('5 minutes', {0}.bar_start, TIMESTAMPTZ '2000-01-01 00:00:00+00')"
_MINUTES = "SELECT vendor, symbol, session, bar_start FROM {0} WHERE seconds = 60"
# Sums of floats depend on their order: it is fixed, so that a bucket made again has the same bits.
_VALUES = (
    "(array_agg(bar.open ORDER BY bar.bar_start))[1], "
    "CASE WHEN count(bar.high) = count(*) THEN max(bar.high) END, "
    "CASE WHEN count(bar.low) = count(*) THEN min(bar.low) END, "
    "(array_agg(bar.close ORDER BY bar.bar_start DESC))[1], "
    "CASE WHEN count(bar.volume) = count(*) THEN sum(bar.volume ORDER BY bar.bar_start) END, "
    "count(*)::integer"
)
_COLUMNS = ", ".join(BARS_5M.schema)


def recomputed(where: str = "") -> str:
    """The query that makes the buckets from the one-minute bars; ``where`` restricts ``bar``."""
    return (
        f"SELECT bar.vendor, bar.symbol, bar.session, {_BUCKET.format('bar')}, {_VALUES} "
        f"FROM {full_name(MINUTE_BARS)} AS bar WHERE bar.seconds = 60{f' AND {where}' if where else ''} "
        "GROUP BY 1, 2, 3, 4"
    )


def refresh_touched(connection: Connection, changed: tuple[str, ...]) -> int:
    """Make again the buckets of the one-minute bars in the staging tables ``changed``; returns how many there are."""
    minutes = " UNION ALL ".join(_MINUTES.format(table) for table in changed)
    connection.exec_driver_sql(
        "CREATE TEMP TABLE touched ON COMMIT DROP AS SELECT DISTINCT vendor, symbol, session, "
        f"{_BUCKET.format('minute')} AS bucket_start FROM ({minutes}) AS minute"
    )
    connection.exec_driver_sql("ANALYZE touched")
    count = int(connection.exec_driver_sql("SELECT count(*) FROM touched").scalar_one())
    if not count:
        return 0
    sessions = connection.exec_driver_sql("SELECT DISTINCT session FROM touched ORDER BY session").scalars().all()
    named = sessions_literal(list(sessions))
    connection.exec_driver_sql(
        f"DELETE FROM {full_name(BARS_5M.name)} AS bucket USING touched WHERE bucket.session = ANY({named}) "
        "AND bucket.vendor = touched.vendor AND bucket.symbol = touched.symbol AND bucket.session = touched.session "
        "AND bucket.bucket_start = touched.bucket_start"
    )
    connection.exec_driver_sql(
        f"INSERT INTO {full_name(BARS_5M.name)} ({_COLUMNS}) "
        f"SELECT touched.vendor, touched.symbol, touched.session, touched.bucket_start, {_VALUES} "
        f"FROM touched JOIN {full_name(MINUTE_BARS)} AS bar ON bar.vendor = touched.vendor "
        "AND bar.symbol = touched.symbol AND bar.session = touched.session AND bar.bar_start >= touched.bucket_start "
        "AND bar.bar_start < touched.bucket_start + INTERVAL '5 minutes' AND bar.seconds = 60 "
        f"WHERE bar.session = ANY({named}) GROUP BY 1, 2, 3, 4"
    )
    return count


def refresh_month(connection: Connection, first: date, after: date) -> int:
    """Make again every bucket of sessions from ``first`` to before ``after``; returns how many there are."""
    within = "{0}.session >= DATE '" + first.isoformat() + "' AND {0}.session < DATE '" + after.isoformat() + "'"
    connection.exec_driver_sql(f"DELETE FROM {full_name(BARS_5M.name)} AS bucket WHERE {within.format('bucket')}")
    return connection.exec_driver_sql(
        f"INSERT INTO {full_name(BARS_5M.name)} ({_COLUMNS}) {recomputed(within.format('bar'))}"
    ).rowcount


def sessions_literal(sessions: list[date]) -> str:
    """Sessions as a SQL array. Named in the statement, so that PostgreSQL leaves other months' partitions alone."""
    return "'{" + ",".join(session.isoformat() for session in sorted(set(sessions))) + "}'::date[]"

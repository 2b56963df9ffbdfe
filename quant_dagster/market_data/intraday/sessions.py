"""Which exchange session an instant belongs to, and whether it is within its regular hours."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from quant_dagster.market_data.calendars import FIRST_DAY, LAST_DAY, ExchangeCalendar
from quant_dagster.storage.tables import TIMESTAMP

SECONDS = 1_000_000
"""Microseconds in a second: polars keeps durations as a number of microseconds."""


def session_hours(calendar: ExchangeCalendar, first: date, last: date) -> pl.DataFrame:
    """Sessions from ``first`` to ``last``, both included: ``session``, ``opens_at``, ``closes_at`` (UTC).

    Early closes are in it. Days the calendar does not cover have no session here.
    """
    covered = first <= LAST_DAY and last >= FIRST_DAY
    days = calendar.session_dates(max(first, FIRST_DAY), min(last, LAST_DAY)) if covered else []
    return pl.DataFrame(
        {
            "session": days,
            "opens_at": [calendar.open_time(day) for day in days],
            "closes_at": [calendar.close_time(day) for day in days],
        },
        schema={"session": pl.Date(), "opens_at": TIMESTAMP, "closes_at": TIMESTAMP},
    )


def with_sessions(rows: pl.DataFrame, at: str, calendar: ExchangeCalendar) -> pl.DataFrame:
    """Rows with ``session``, ``opens_at`` and ``closes_at`` of the session that column ``at`` falls into.

    Regular hours decide, so a session may begin on the evening before its date (futures, or a calendar of another
    time zone). Outside them it is the day of ``at`` in the exchange's time zone, and null where that day is no
    session. The order of rows stays.
    """
    known = rows[at].drop_nulls()
    if known.is_empty():
        return rows.with_columns(
            session=pl.lit(None, pl.Date()), opens_at=pl.lit(None, TIMESTAMP), closes_at=pl.lit(None, TIMESTAMP)
        )
    instants = rows.select(at).unique().drop_nulls().sort(at)
    first, last = instants[at][0].date() - timedelta(days=2), instants[at][-1].date() + timedelta(days=2)
    hours = session_hours(calendar, first, last)
    inside = instants.join_asof(hours, left_on=at, right_on="opens_at", strategy="backward", coalesce=False)
    during = pl.col(at) < pl.col("closes_at")
    by_day = (
        inside.with_columns(day=pl.col(at).dt.convert_time_zone(calendar.time_zone).dt.date())
        .join(hours, left_on="day", right_on="session", how="left", suffix="_day", coalesce=False)
        .select(
            at,
            session=pl.when(during).then("session").otherwise(pl.col("session_day")),
            opens_at=pl.when(during).then("opens_at").otherwise(pl.col("opens_at_day")),
            closes_at=pl.when(during).then("closes_at").otherwise(pl.col("closes_at_day")),
        )
    )
    return rows.join(by_day, on=at, how="left", maintain_order="left")


def regular(start: str = "bar_start", seconds: str = "seconds") -> pl.Expr:
    """Whether a bar lies whole within its session's regular hours (needs ``opens_at`` and ``closes_at``)."""
    return (pl.col(start) >= pl.col("opens_at")) & (bar_end(start, seconds) <= pl.col("closes_at"))


def bar_end(start: str = "bar_start", seconds: str = "seconds") -> pl.Expr:
    """The first instant after a bar."""
    return pl.col(start) + pl.duration(seconds=pl.col(seconds))

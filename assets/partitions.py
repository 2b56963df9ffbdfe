"""Daily partitions that follow the exchange calendar, and the sessions a run is of."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from quant_dagster.market_data.calendars import LAST_DAY, exchange_calendar

EXCHANGE = "XNYS"
TIME_ZONE = "America/New_York"
_DAYS_AHEAD = 365


def session_partitions(first_session: date) -> dg.TimeWindowPartitionsDefinition:
    """One partition per exchange session, from ``first_session`` to today's, in the exchange's time zone.

    Weekends are left out by the cron schedule, holidays by exclusion. A partition exists from the start of its day,
    because a session is decided on the evening it closes.
    """
    calendar = exchange_calendar(EXCHANGE)
    zone = ZoneInfo(TIME_ZONE)
    horizon = min(datetime.now(zone).date() + timedelta(days=_DAYS_AHEAD), LAST_DAY)
    sessions = set(calendar.session_dates(first_session, horizon))
    days = (first_session + timedelta(days=n) for n in range((horizon - first_session).days + 1))
    holidays = [
        datetime(day.year, day.month, day.day, tzinfo=zone) for day in days if day.weekday() < 5 and day not in sessions
    ]
    return dg.TimeWindowPartitionsDefinition(
        start=first_session.isoformat(),
        fmt="%Y-%m-%d",
        timezone=TIME_ZONE,
        cron_schedule="0 0 * * 1-5",
        end_offset=1,
        exclusions=holidays,
    )


def session_range(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> tuple[date, date]:
    """The first and the last session of a run's partitions."""
    sessions = [date.fromisoformat(key) for key in context.partition_keys]
    return min(sessions), max(sessions)

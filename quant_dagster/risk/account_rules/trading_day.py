"""The trading day: which one an instant belongs to, when it begins, and the reset that happens once for each.

A day is named by the local date on which it ends: with a reset at 17:00, Monday 16:59 is Monday's and Monday 17:00 is
Tuesday's. Weekends and holidays have days like any other. A process that slept through several resets records only
the day it wakes up in (nothing happened in the others); the audit row names the day before it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from quant_dagster.observability import audit
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import daily_resets

_ONE_DAY = timedelta(days=1)


class TradingDays:
    """Trading days that begin at a local time.

    Parameters
    ----------
    reset_time
        Local time ``HH:MM`` at which a day begins. Where the clocks skip it, the day begins an hour later; where they
        repeat it, at its first occurrence.
    time_zone
        IANA name of the zone of ``reset_time``.
    """

    def __init__(self, reset_time: str, time_zone: str) -> None:
        self._reset = time.fromisoformat(reset_time)
        self._zone = ZoneInfo(time_zone)

    def begins(self, day: date) -> datetime:
        """The instant (UTC) at which a trading day begins."""
        local = day if self._reset == time.min else day - _ONE_DAY
        return datetime.combine(local, self._reset, self._zone).astimezone(UTC)

    def day_of(self, at: datetime) -> date:
        """The trading day of an instant; the instant of the reset belongs to the new day."""
        local = at.astimezone(self._zone).date()
        following = local + _ONE_DAY
        return following if at >= self.begins(following) else local


def newest_day(connection: Connection) -> date | None:
    """The trading day that was begun last; None before the first."""
    day: date | None = connection.execute(select(func.max(daily_resets.c.trading_day))).scalar()
    return day


def begin(connection: Connection, day: date, *, due: datetime, now: datetime) -> bool:
    """Begin a trading day; says whether this call did. A day at or before one that was begun is never begun again.

    Call it in a write transaction: of two processes that try at once, one finds the row of the other.
    """
    previous = newest_day(connection)
    if previous is not None and day <= previous:
        return False
    insert_new(connection, daily_resets, {"trading_day": day, "reset_at": due, "recorded_at": now})
    audit.append(
        connection,
        f"daily_reset:{day}",
        "daily_reset",
        actor="account_rules",
        at=now,
        payload={"trading_day": day, "previous": previous, "due": due},
    )
    return True

"""Exchange sessions: which days trade and when they close, early closes included.

Dates and closing times come from ``exchange_calendars``; they are kept here as arrays, so that a question
costs microseconds and nothing else needs that library.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import ConfigurationError

FIRST_DAY = date(1990, 1, 1)
LAST_DAY = date(2035, 12, 31)

Days = NDArray[np.datetime64]


class ExchangeCalendar:
    """Sessions of one exchange.

    Parameters
    ----------
    exchange
        Market identifier code, ``XNYS`` for New York.
    first, last
        Days the calendar covers; asking outside them is a ConfigurationError, never a guess.
    """

    def __init__(self, exchange: str = "XNYS", first: date = FIRST_DAY, last: date = LAST_DAY) -> None:
        import exchange_calendars

        try:
            source = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=last.isoformat())
        except exchange_calendars.errors.InvalidCalendarName as error:
            raise ConfigurationError(
                f"unknown exchange '{exchange}': use a market identifier code (XNYS, XLON, XTKS)"
            ) from error
        self.exchange = exchange
        self.time_zone = str(source.tz)
        self._first, self._last = first, last
        self._days: Days = source.sessions.to_numpy().astype("datetime64[D]")
        self._opens: Days = source.opens.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        self._closes: Days = source.closes.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")

    def sessions(self, start: date, end: date) -> Days:
        """Sessions from ``start`` to ``end``, both included, as ``datetime64[D]``."""
        low = int(np.searchsorted(self._days, self._day(start), side="left"))
        high = int(np.searchsorted(self._days, self._day(end), side="right"))
        return self._days[low:high].copy()

    def session_dates(self, start: date, end: date) -> list[date]:
        """Sessions from ``start`` to ``end``, both included, as dates."""
        return self.sessions(start, end).astype(object).tolist()  # type: ignore[no-any-return]

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on ``day``."""
        position = int(np.searchsorted(self._days, self._day(day)))
        return position < len(self._days) and bool(self._days[position] == self._day(day))

    def previous_session(self, day: date) -> date:
        """The last session before ``day``."""
        return self._at(int(np.searchsorted(self._days, self._day(day), side="left")) - 1, day)

    def next_session(self, day: date) -> date:
        """The first session after ``day``."""
        return self._at(int(np.searchsorted(self._days, self._day(day), side="right")), day)

    def open_time(self, session: date) -> datetime:
        """When trading starts on ``session``, UTC."""
        return _instant(self._opens[self._position(session)])

    def close_time(self, session: date) -> datetime:
        """When trading ends on ``session``, UTC."""
        return _instant(self._closes[self._position(session)])

    def close_times(self, sessions: Days) -> Days:
        """Closing times (``datetime64[us]``, UTC) of many days at once; NaT for a day that is no session."""
        days = np.asarray(sessions, dtype="datetime64[D]")
        positions = np.clip(np.searchsorted(self._days, days), 0, len(self._days) - 1)
        closes = self._closes[positions]
        closes[self._days[positions] != days] = np.datetime64("NaT")
        return closes

    def outside(self, days: Days) -> NDArray[np.bool_]:
        """Which of many days the calendar does not cover."""
        as_days = np.asarray(days, dtype="datetime64[D]")
        return (as_days < np.datetime64(self._first, "D")) | (as_days > np.datetime64(self._last, "D"))

    def session_of(self, instant: datetime) -> date:
        """The session something at ``instant`` (aware) belongs to: of its local day, or the next one if that has none.

        What happens before the open or after the close of a trading day belongs to that day.
        """
        if instant.tzinfo is None:
            raise ValueError(f"session of {instant}: the instant needs a time zone")
        day = instant.astimezone(ZoneInfo(self.time_zone)).date()
        return self._at(int(np.searchsorted(self._days, self._day(day), side="left")), day)

    def latest_completed(self, instant: datetime) -> date:
        """The newest session that has closed at ``instant`` (aware)."""
        if instant.tzinfo is None:
            raise ValueError(f"latest completed session at {instant}: the instant needs a time zone")
        moment = np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")
        return self._at(int(np.searchsorted(self._closes, moment, side="right")) - 1, instant.date())

    def _position(self, session: date) -> int:
        if not self.is_session(session):
            raise ConfigurationError(f"{session} is not a session of {self.exchange}: name a trading day")
        return int(np.searchsorted(self._days, self._day(session)))

    def _day(self, day: date) -> np.datetime64:
        if not self._first <= day <= self._last:
            raise ConfigurationError(f"{day} is outside the {self.exchange} calendar ({self._first} to {self._last})")
        return np.datetime64(day, "D")

    def _at(self, position: int, asked: date) -> date:
        if not 0 <= position < len(self._days):
            raise ConfigurationError(
                f"no session next to {asked} in the {self.exchange} calendar ({self._first} to {self._last})"
            )
        return self._days[position].astype(object)  # type: ignore[no-any-return]


@cache
def exchange_calendar(exchange: str = "XNYS") -> ExchangeCalendar:
    """The calendar of an exchange, built once in a process (a quarter of a second)."""
    return ExchangeCalendar(exchange)


def _instant(moment: np.datetime64) -> datetime:
    return moment.astype("datetime64[us]").astype(object).replace(tzinfo=UTC)  # type: ignore[no-any-return]

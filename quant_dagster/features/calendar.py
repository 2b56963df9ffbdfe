"""Calendar features: what a trader can read off the wall calendar at the close of a session.

Counting ahead uses the *scheduled* holidays only. An unscheduled closure (a hurricane, a day of mourning, 11
September 2001) was not known the day before, so the session before it is not marked and counts are not corrected.
Looking back uses the sessions that were held.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import MalformedDataError

FloatArray = NDArray[np.float64]
Days = NDArray[np.datetime64]
_AHEAD = np.timedelta64(100, "D")


def calendar_features(sessions: Days, exchange: str = "XNYS") -> dict[str, FloatArray]:
    """Values of the calendar view, each of shape (n,).

    Parameters
    ----------
    sessions
        ``datetime64[D]``, shape (n,), increasing. Rows do not influence one another.
    exchange
        Name of the calendar in ``exchange_calendars``.
    """
    days = sessions.astype("datetime64[D]")
    if len(days) == 0:
        return {name: np.empty(0) for name in _NAMES}
    scheduled, held = _schedules(exchange, *_years(days))
    position = np.searchsorted(scheduled, days, side="right")
    months = days.astype("datetime64[M]")
    next_month = (months + 1).astype("datetime64[D]")
    to_quarter_end = (2 - months.astype(np.int64) % 3).astype("timedelta64[M]")
    next_quarter = (months + to_quarter_end + 1).astype("datetime64[D]")
    weekday = (days.astype(np.int64) + 3) % 7
    next_weekday = days + np.where(weekday >= 4, 7 - weekday, 1).astype("timedelta64[D]")
    last_weekday = days - np.where(weekday == 0, 3, np.where(weekday == 6, 2, 1)).astype("timedelta64[D]")
    values = (
        weekday,
        months.astype(np.int64) % 12 + 1,
        np.searchsorted(scheduled, next_month, side="left") - position,
        np.searchsorted(scheduled, next_quarter, side="left") - position,
        ~np.isin(next_weekday, scheduled),
        ~np.isin(last_weekday, held),
    )
    return {name: value.astype(np.float64) for name, value in zip(_NAMES, values, strict=True)}


def day_kinds(sessions: Days, exchange: str = "XNYS") -> NDArray[np.int64]:
    """Weekday (Monday 0), month (January 0) and three flags of each session, shape (n, 5).

    The flags: before a scheduled holiday; the turn of the month (its last session and its first three); the last
    session of a quarter. Known from the date alone, as scheduled.
    """
    days = sessions.astype("datetime64[D]")
    if len(days) == 0:
        return np.empty((0, 5), dtype=np.int64)
    found = calendar_features(days, exchange)
    scheduled, _ = _schedules(exchange, *_years(days))
    first_of_month = days.astype("datetime64[M]").astype("datetime64[D]")
    into_month = np.searchsorted(scheduled, days, side="right") - np.searchsorted(scheduled, first_of_month)
    kinds = (
        found["day_of_week"],
        found["month_of_year"] - 1.0,
        found["is_before_holiday"],
        (found["sessions_to_month_end"] == 0.0) | (into_month <= 3),
        found["sessions_to_quarter_end"] == 0.0,
    )
    return np.stack([np.asarray(kind, dtype=np.int64) for kind in kinds], axis=1)


def session_closes(sessions: Days, exchange: str = "XNYS") -> NDArray[np.datetime64]:
    """UTC times, ``datetime64[us]``, at which the sessions closed (early closes included).

    Raises
    ------
    MalformedDataError
        A date was not a session of the exchange.
    """
    days = sessions.astype("datetime64[D]")
    if len(days) == 0:
        return np.empty(0, dtype="datetime64[us]")
    calendar = _calendar(exchange, *_years(days))
    held = calendar.sessions.to_numpy().astype("datetime64[D]")
    positions = np.minimum(np.searchsorted(held, days), len(held) - 1)
    wrong = days[held[positions] != days]
    if len(wrong):
        raise MalformedDataError(
            f"{len(wrong)} dates were not sessions of {exchange}, the first is {wrong[0]}: "
            "remove these bars or name the exchange they were traded on"
        )
    closes = calendar.closes.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return np.asarray(closes[positions].astype("datetime64[us]"))


_NAMES = (
    "day_of_week",
    "month_of_year",
    "sessions_to_month_end",
    "sessions_to_quarter_end",
    "is_before_holiday",
    "is_after_holiday",
)


def _years(days: Days) -> tuple[int, int]:
    """Whole years that cover the days, so that a longer panel asks for the same calendar."""
    years = days[[0, -1]].astype("datetime64[Y]").astype(np.int64) + 1970
    return int(years[0]), int(years[1])


@lru_cache(maxsize=8)
def _calendar(exchange: str, first_year: int, last_year: int) -> Any:
    import exchange_calendars

    start = np.datetime64(f"{first_year}-01-01") - np.timedelta64(15, "D")
    end = np.datetime64(f"{last_year}-12-31") + _AHEAD
    return exchange_calendars.get_calendar(exchange, start=str(start), end=str(end))


@lru_cache(maxsize=8)
def _schedules(exchange: str, first_year: int, last_year: int) -> tuple[Days, Days]:
    """Sessions as scheduled (without unscheduled closures) and as held, both ``datetime64[D]``."""
    calendar = _calendar(exchange, first_year, last_year)
    held = calendar.sessions.to_numpy().astype("datetime64[D]")
    days = np.arange(held[0], held[-1] + np.timedelta64(1, "D"))
    open_weekdays = np.array([character == "1" for character in calendar.weekmask])
    scheduled = days[open_weekdays[(days.astype(np.int64) + 3) % 7]]
    if calendar.regular_holidays is not None:
        holidays = calendar.regular_holidays.holidays(str(held[0]), str(held[-1])).to_numpy().astype("datetime64[D]")
        scheduled = scheduled[~np.isin(scheduled, holidays)]
    return scheduled, held

"""Sessions and closing times of the New York Stock Exchange, as the exchange published them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.calendars import ExchangeCalendar, exchange_calendar

NYSE = exchange_calendar("XNYS")


def test_holidays_weekends_and_closures_are_no_sessions() -> None:
    hurricane_sandy = date(2012, 10, 29)
    day_of_mourning = date(2018, 12, 5)
    juneteenth = date(2023, 6, 19)
    for day in (hurricane_sandy, day_of_mourning, juneteenth, date(2024, 1, 6)):
        assert not NYSE.is_session(day)
    assert NYSE.is_session(date(2024, 1, 8))
    assert len(NYSE.sessions(date(2023, 1, 1), date(2023, 12, 31))) == 250
    assert NYSE.session_dates(date(2001, 9, 10), date(2001, 9, 17)) == [date(2001, 9, 10), date(2001, 9, 17)]


def test_day_after_thanksgiving_closes_at_one_in_new_york() -> None:
    assert NYSE.close_time(date(2023, 11, 24)) == datetime(2023, 11, 24, 18, tzinfo=UTC)
    assert NYSE.close_time(date(2023, 11, 22)) == datetime(2023, 11, 22, 21, tzinfo=UTC)
    assert NYSE.close_time(date(2023, 7, 5)) == datetime(2023, 7, 5, 20, tzinfo=UTC), "daylight saving time"
    assert NYSE.open_time(date(2023, 7, 5)) == datetime(2023, 7, 5, 13, 30, tzinfo=UTC)


def test_session_is_completed_from_its_close_on() -> None:
    close = NYSE.close_time(date(2023, 11, 24))
    assert NYSE.latest_completed(close) == date(2023, 11, 24)
    assert NYSE.latest_completed(close - timedelta(microseconds=1)) == date(2023, 11, 22)
    assert NYSE.latest_completed(close + timedelta(days=2)) == date(2023, 11, 24)
    with pytest.raises(ValueError, match="time zone"):
        NYSE.latest_completed(datetime(2023, 11, 24))


def test_neighbours_skip_days_without_trading() -> None:
    assert NYSE.next_session(date(2023, 11, 22)) == date(2023, 11, 24)
    assert NYSE.previous_session(date(2023, 11, 24)) == date(2023, 11, 22)
    assert NYSE.next_session(date(2023, 11, 25)) == date(2023, 11, 27)


def test_closing_times_of_many_days_leave_non_sessions_empty() -> None:
    closes = NYSE.close_times(np.array(["2023-11-23", "2023-11-24"], dtype="datetime64[D]"))
    assert np.isnat(closes[0])
    assert closes[1] == np.datetime64("2023-11-24T18:00", "us")


def test_days_beyond_the_calendar_are_an_error_not_a_guess() -> None:
    with pytest.raises(ConfigurationError, match="outside the XNYS calendar"):
        NYSE.is_session(date(1950, 1, 3))
    with pytest.raises(ConfigurationError, match="not a session"):
        NYSE.close_time(date(2024, 1, 6))
    with pytest.raises(ConfigurationError, match="no session next to 1990-01-02"):
        NYSE.previous_session(date(1990, 1, 2))
    with pytest.raises(ConfigurationError, match="unknown exchange 'MOON'"):
        ExchangeCalendar("MOON")

"""Calendar features are known in advance; closures that nobody knew of are not."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import MalformedDataError
from quant_dagster.features.calendar import calendar_features, session_closes


def features_on(*days: str) -> dict[str, np.ndarray]:
    return calendar_features(np.array(days, dtype="datetime64[D]"))


def test_scheduled_holidays_are_seen_before_they_come() -> None:
    found = features_on("2023-07-03", "2023-07-05", "2023-11-22", "2023-11-24", "2024-03-28")
    assert found["is_before_holiday"].tolist() == [1, 0, 1, 0, 1]
    assert found["is_after_holiday"].tolist() == [0, 1, 0, 1, 0]


def test_unscheduled_closures_are_not_known_the_day_before() -> None:
    """11 September 2001, hurricane Sandy, and the mourning for presidents Ford, Bush and Carter."""
    before = features_on("2001-09-10", "2012-10-26", "2018-12-04")
    assert before["is_before_holiday"].tolist() == [0, 0, 0]
    after = features_on("2001-09-17", "2012-10-31", "2018-12-06")
    assert after["is_after_holiday"].tolist() == [1, 1, 1]
    # nor do they shorten a count that was made before them
    assert features_on("2001-09-10")["sessions_to_month_end"].tolist() == [14]


def test_counts_to_month_and_quarter_end_agree_with_the_sessions_held() -> None:
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start="2018-12-10", end="2024-12-31")
    sessions = calendar.sessions.to_numpy().astype("datetime64[D]")
    days = sessions[sessions < np.datetime64("2024-10-01")]  # no unscheduled closure in between
    found = calendar_features(days)
    months, quarters = (x.astype("datetime64[M]").astype(int) // k for x, k in ((sessions, 1), (sessions, 3)))
    for i in range(len(days)):
        left = slice(i + 1, None)
        assert found["sessions_to_month_end"][i] == (months[left] == months[i]).sum()
        assert found["sessions_to_quarter_end"][i] == (quarters[left] == quarters[i]).sum()


def test_weekday_and_month() -> None:
    found = features_on("1990-01-02", "2024-12-31")
    assert found["day_of_week"].tolist() == [1, 1]
    assert found["month_of_year"].tolist() == [1, 12]


def test_rows_do_not_influence_one_another() -> None:
    days = np.arange("2019-06-01", "2021-06-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    together = calendar_features(days)
    for i in (0, 100, 300, len(days) - 1):
        for name, value in calendar_features(days[[i]]).items():
            assert value[0] == together[name][i], name


def test_closes_are_in_utc_and_know_half_days() -> None:
    days = np.array(["2024-01-02", "2024-07-02", "2024-07-03"], dtype="datetime64[D]")
    assert [str(close) for close in session_closes(days)] == [
        "2024-01-02T21:00:00.000000",
        "2024-07-02T20:00:00.000000",
        "2024-07-03T17:00:00.000000",
    ]


def test_a_day_without_trading_has_no_close() -> None:
    with pytest.raises(MalformedDataError, match="2024-07-04"):
        session_closes(np.array(["2024-07-03", "2024-07-04"], dtype="datetime64[D]"))

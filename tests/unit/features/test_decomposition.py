"""Trend, seasonal parts and calendar effects, from the past alone."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.features.calendar import day_kinds
from quant_dagster.features.compute import compute
from tests.unit.features.real_panels import mixed_panel


def test_trend_is_the_least_squares_line_of_the_log_close() -> None:
    panel = mixed_panel()
    features = compute(panel)
    logs = np.log(panel.close)
    for row, column in ((59, 3), (100, 5), (625, 0)):
        slope, start = np.polyfit(np.arange(60), logs[row - 59 : row + 1, column], 1)
        assert features["trend_slope_60"][row, column] == pytest.approx(slope, rel=1e-8)
        expected = logs[row, column] - (start + 59 * slope)
        assert features["trend_distance_60"][row, column] == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_trend_seasons_and_residual_add_up_to_the_return() -> None:
    features = compute(mixed_panel())
    parts = ("trend_slope_60", "seasonal_weekday", "seasonal_month", "seasonal_residual")
    total = sum(features[name] for name in parts)
    known = np.isfinite(total)
    assert known.sum() > 5000
    np.testing.assert_allclose(total[known], features["return_1"][known], atol=1e-15)


def test_seasonal_parts_do_not_hold_the_session_they_explain() -> None:
    panel = mixed_panel()
    column = panel.symbols.index("IBM")
    returns = np.diff(np.log(panel.close[:, column]), prepend=np.nan)
    kinds = day_kinds(panel.sessions)
    features = compute(panel)
    for row in (252, 400, 625):
        past = returns[1:row]
        for name, kind in (("seasonal_weekday", 0), ("seasonal_month", 1)):
            same = kinds[1:row, kind] == kinds[row, kind]
            expected = past[same].mean() - past.mean()
            assert features[name][row, column] == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_turn_of_the_month_is_its_last_and_first_three_sessions() -> None:
    days = np.array(
        [
            "2024-05-30",
            "2024-05-31",
            "2024-06-03",
            "2024-06-05",
            "2024-06-06",
            "2024-06-28",
            "2024-07-01",
            "2024-07-03",
        ],
        dtype="datetime64[D]",
    )
    kinds = day_kinds(days)
    assert kinds[:, 3].tolist() == [0, 1, 1, 1, 0, 1, 1, 1]
    assert kinds[:, 4].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert kinds[:, 2].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert kinds[0, :2].tolist() == [3, 4]


def test_counting_the_turn_of_the_month_agrees_with_the_sessions_held() -> None:
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start="2019-01-01", end="2024-12-31")
    days = calendar.sessions.to_numpy().astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    flags = day_kinds(days)[:, 3]
    for month in np.unique(months)[:-1]:
        inside = np.flatnonzero(months == month)
        assert np.flatnonzero(flags[inside]).tolist() == [0, 1, 2, len(inside) - 1], month


def test_no_day_has_no_kinds() -> None:
    assert day_kinds(np.empty(0, dtype="datetime64[D]")).shape == (0, 5)

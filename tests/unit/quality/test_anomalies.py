"""Findings about bars and features: what stands out of a symbol's past or of its market, never by looking ahead."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_dagster.market_data.panel import Panel
from quant_dagster.quality.anomalies import AnomalySettings, find_anomalies, measures, summary
from quant_dagster.quality.contracts import validate
from tests.unit.quality.real_vendors import cell, changed, two_panels

SYMBOLS = ["AEE", "AEP", "BAC", "BDX", "BK", "C", "CAT", "CI", "CL", "CMS", "D", "DE", "DTE", "DUK", "ED", "EIX",
           "ETR", "EXC", "FE", "GE", "HON", "IBM", "JNJ", "KO", "LNT", "MMM", "NEE", "PCG", "PEG", "PFE",
           "PG"]  # fmt: skip
BANKRUPTCY = date(2019, 1, 14)
ALL = AnomalySettings(per_session=1000)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return two_panels(SYMBOLS, date(2018, 1, 2), date(2020, 4, 30))[0]


def test_bankruptcy_of_one_utility_stands_out_of_its_past_and_of_its_market(panel: Panel) -> None:
    found = validate("anomalies", find_anomalies(panel, {}, [BANKRUPTCY]))
    utility = found.filter(pl.col("symbol") == "PCG")
    assert {("time", "log_return"), ("section", "log_return")} <= set(utility.select("detector", "subject").iter_rows())
    assert "joint" in utility["detector"].to_list()
    assert found["symbol"][0] == "PCG", "the most severe comes first"
    assert found.filter((pl.col("detector") == "section") & (pl.col("subject") == "log_return"))[
        "symbol"
    ].to_list() == ["PCG"]


def test_crash_of_the_whole_market_is_unusual_in_time_but_not_in_the_section(panel: Panel) -> None:
    found = find_anomalies(panel, {}, [date(2020, 3, 12)], ALL).filter(pl.col("subject") == "log_return")
    by_detector = dict(found.group_by("detector").len().iter_rows())
    assert by_detector["time"] > len(SYMBOLS) / 2
    assert by_detector.get("section", 0) == 0


def test_severity_is_the_distance_from_the_median_in_robust_deviations(panel: Panel) -> None:
    row, column = cell(panel, BANKRUPTCY, "PCG")
    steps = np.diff(np.log(panel.close[row - 61 : row + 1, column]))
    before, today = steps[:-1], steps[-1]
    middle = np.median(before)
    expected = abs(today - middle) / (1.4826 * np.median(np.abs(before - middle)))
    found = find_anomalies(panel, {}, [BANKRUPTCY], ALL)
    row_found = found.row(
        by_predicate=(pl.col("symbol") == "PCG") & (pl.col("detector") == "time") & (pl.col("subject") == "log_return"),
        named=True,
    )
    assert row_found["severity"] == pytest.approx(expected)
    assert row_found["usual"] == pytest.approx(middle)


def test_features_are_looked_at_like_bars(panel: Panel) -> None:
    feature = measures(panel)["log_return"] * 3.0
    row, column = cell(panel, date(2019, 6, 12), "KO")
    feature[row, column] = 5.0
    found = find_anomalies(panel, {"momentum": feature}, [date(2019, 6, 12)])
    hits = found.filter(pl.col("subject") == "momentum")
    assert set(hits.filter(pl.col("symbol") == "KO")["detector"]) == {"time", "section"}
    with pytest.raises(ValueError, match="'short' has shape"):
        find_anomalies(panel, {"short": feature[1:]}, [date(2019, 6, 12)])


def test_combination_that_no_value_alone_shows_is_found_by_the_joint_detector(panel: Panel) -> None:
    """A range of several per cent on a day of no move: each within what the section has, together unlike any."""
    day = date(2020, 3, 13)
    found = find_anomalies(panel, {}, [day], AnomalySettings(joint=3.0, per_session=1000))
    joint = set(found.filter(pl.col("detector") == "joint")["symbol"])
    close = panel.close[cell(panel, day, "PG")[0] - 1, panel.symbols.index("PG")]
    odd = changed(panel, day, "PG", open=close, close=close, high=close * 1.12, low=close * 0.9, volume=2e5)
    assert "PG" not in joint
    again = find_anomalies(odd, {}, [day], AnomalySettings(joint=3.0, per_session=1000))
    assert "PG" in set(again.filter(pl.col("detector") == "joint")["symbol"])


def test_only_the_most_severe_of_a_session_are_kept_and_the_answer_repeats_itself(panel: Panel) -> None:
    day = date(2020, 3, 12)
    every = find_anomalies(panel, {}, [day], ALL)
    few = find_anomalies(panel, {}, [day], AnomalySettings(per_session=5))
    assert every.height > few.height == 5
    assert few.equals(every.head(5))
    assert every.equals(find_anomalies(panel, {}, [day], ALL))
    assert summary(every)["findings"].sum() == every.height


def test_findings_of_a_session_use_nothing_after_it(panel: Panel) -> None:
    stop = cell(panel, BANKRUPTCY, "PCG")[0] + 1
    assert find_anomalies(panel.rows(0, stop), {}, [BANKRUPTCY]).equals(find_anomalies(panel, {}, [BANKRUPTCY]))


def test_sessions_the_panel_does_not_have_give_no_findings(panel: Panel) -> None:
    assert find_anomalies(panel, {}, [date(2021, 1, 4)]).is_empty()

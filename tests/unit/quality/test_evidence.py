"""A second vendor clears genuine moves, contradicts wrong bars, and is itself found out when it is the wrong one."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest

from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.quality.score import QualitySettings, quality_frame, score
from tests.unit.quality.real_vendors import bar, cell, changed, issues, two_panels

MINIMUM = 0.6
SYMBOLS = ["AAPL", "DD", "FLEX", "GM", "HLT", "KLAC", "MSFT", "NWS", "OXY", "PCG", "TKO", "VTR", "WTW"]
FIRST, LAST = date(2014, 3, 3), date(2020, 12, 31)
DAY = date(2018, 4, 18)


@pytest.fixture(scope="module")
def vendors() -> tuple[Panel, Panel]:
    return two_panels(SYMBOLS, FIRST, LAST)


def test_genuine_halvings_stay_with_and_without_a_second_vendor(vendors: tuple[Panel, Panel]) -> None:
    """PG&E's bankruptcy, the oil-price war, WWE's lost broadcaster."""
    home, other = vendors
    for others in ((), (other,)):
        scores = score(home, None, others)
        for session, symbol, ratio in (
            (date(2019, 1, 14), "PCG", 0.476),
            (date(2020, 3, 9), "OXY", 0.466),
            (date(2014, 5, 16), "TKO", 0.565),
        ):
            row, column = cell(home, session, symbol)
            assert home.close[row, column] / home.close[row - 1, column] == pytest.approx(ratio, abs=1e-3)
            assert issues(scores, home, session, symbol) == {"large_move"}
            assert scores.score[row, column] >= MINIMUM


def test_move_that_volume_does_not_show_is_cleared_by_a_second_vendor(vendors: tuple[Panel, Panel]) -> None:
    """KLA went ex a dividend of a fifth of its price on 2014-11-26: an ordinary day otherwise."""
    home, other = vendors
    assert issues(score(home), home, date(2014, 11, 26), "KLAC") == {"contradicted_move"}
    assert issues(score(home, None, (other,)), home, date(2014, 11, 26), "KLAC") == {"large_move"}


def test_day_that_really_repeated_its_prices_is_cleared_by_a_second_vendor(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    assert "repeated_prices" in issues(score(home), home, date(2016, 12, 6), "NWS")
    assert issues(score(home, None, (other,)), home, date(2016, 12, 6), "NWS") == set()


def test_spin_off_that_only_the_other_vendor_adjusted_for_is_contradicted(vendors: tuple[Panel, Panel]) -> None:
    """Ventas spun off its care properties on 2015-08-18: -24 % in one vendor, -1 % in the other."""
    home, other = vendors
    day, after = date(2015, 8, 18), date(2015, 8, 19)
    scores = score(home, None, (other,))
    assert {"vendor_contradiction", "contradicted_move"} <= issues(scores, home, day, "VTR")
    assert issues(scores, home, after, "VTR") == {"unsettled_level"}
    assert scores.score[cell(home, after, "VTR")] >= MINIMUM


def test_step_that_only_the_other_vendor_made_costs_almost_nothing(vendors: tuple[Panel, Panel]) -> None:
    """Hilton's spin-off of 2017-01-04: the other vendor fell from 82 to 58, ours rose by 3 %."""
    home, other = vendors
    scores = score(home, None, (other,))
    assert issues(scores, home, date(2017, 1, 4), "HLT") == {"vendor_dispute"}
    assert scores.score[cell(home, date(2017, 1, 4), "HLT")] == pytest.approx(0.95)


def test_bad_print_of_the_other_vendor_is_not_held_against_ours(vendors: tuple[Panel, Panel]) -> None:
    """The other vendor has General Motors at 35.55 on 2017-12-01, between 43.09 and 43.05."""
    home, other = vendors
    scores = score(home, None, (other,))
    assert issues(scores, home, date(2017, 12, 1), "GM") == {"vendor_dispute"}
    assert issues(scores, home, date(2017, 12, 4), "GM") == set()
    ours_wrong = score(other, None, (home,))
    assert "vendor_contradiction" in issues(ours_wrong, other, date(2017, 12, 1), "GM")
    assert ours_wrong.score[cell(other, date(2017, 12, 1), "GM")] < MINIMUM


def test_real_bar_that_stood_still_while_the_other_vendor_fell_five_percent_is_rejected(
    vendors: tuple[Panel, Panel],
) -> None:
    """Willis Towers Watson, 2016-01-06: 125.84 again and no volume, 119.98 elsewhere."""
    home, other = vendors
    scores = score(home, None, (other,))
    found = issues(scores, home, date(2016, 1, 6), "WTW")
    assert {"vendor_contradiction", "volume_contradiction", "zero_volume"} <= found
    alone = score(home)
    assert alone.score[cell(home, date(2016, 1, 6), "WTW")] >= MINIMUM, "one vendor alone cannot tell"


@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_one_wrong_price_in_a_right_bar_is_found_against_the_second_vendor(
    vendors: tuple[Panel, Panel], field: str
) -> None:
    home, other = vendors
    wrong = changed(home, DAY, "MSFT", **{field: bar(home, DAY, "MSFT")[field] * 1.06})
    scores = score(wrong, None, (other,))
    assert issues(scores, wrong, DAY, "MSFT") & {"field_contradiction", "vendor_contradiction"}
    assert scores.score[cell(wrong, DAY, "MSFT")] < MINIMUM


def test_volume_in_lots_contradicts_the_second_vendor(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    lots = changed(home, DAY, "MSFT", volume=bar(home, DAY, "MSFT")["volume"] / 100.0)
    assert issues(score(lots), lots, DAY, "MSFT") == set(), "a hundredth of the usual volume is possible"
    assert issues(score(lots, None, (other,)), lots, DAY, "MSFT") == {"volume_contradiction"}


def test_pence_for_pounds_stay_rejected_until_they_are_the_level(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    row, column = cell(home, DAY, "MSFT")
    arrays = {name: getattr(home, name).copy(order="F") for name in FIELDS}
    for name in FIELDS[:-1]:
        arrays[name][row:, column] *= 100.0
    scores = score(dataclasses.replace(home, **arrays), None, (other,)).score[row : row + 6, column]
    assert (scores[:3] < MINIMUM).all()
    assert (scores[3:] >= MINIMUM).all()


def test_bar_of_the_session_before_under_todays_date_is_named(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    row, column = cell(home, DAY, "MSFT")
    arrays = {name: getattr(home, name).copy(order="F") for name in FIELDS}
    for name in FIELDS:
        arrays[name][row : row + 5, column] = getattr(home, name)[row - 1 : row + 4, column]
    scores = score(dataclasses.replace(home, **arrays), None, (other,))
    assert scores.has("shifted_date")[row : row + 5, column].sum() >= 4
    assert (scores.score[row : row + 5, column] < MINIMUM).all()


def test_third_vendor_that_agrees_outweighs_a_second_that_does_not(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    wrong = changed(other, DAY, "MSFT", close=bar(other, DAY, "MSFT")["close"] * 1.01)
    assert "vendor_contradiction" in issues(score(home, None, (wrong,)), home, DAY, "MSFT"), "nobody can tell who"
    found = score(home, None, (wrong, other))
    assert issues(found, home, DAY, "MSFT") == {"vendor_dispute"}


def test_said_of_a_session_uses_nothing_after_it(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    whole = score(home, None, (other,))
    for stop in (300, 900, 1201):
        cut = score(home.rows(0, stop), None, (other.rows(0, stop),))
        assert np.array_equal(cut.score, whole.score[:stop], equal_nan=True)
        assert np.array_equal(cut.issues, whole.issues[:stop])
        assert np.array_equal(cut.not_evaluated, whole.not_evaluated[:stop])


def test_score_with_a_second_vendor_needs_no_more_history_than_its_reach(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    whole, reach = score(home, None, (other,)), QualitySettings().reach
    for start in (400, 1100):
        late = score(home.rows(start - reach, start + 200), None, (other.rows(start - reach, start + 200),))
        assert np.array_equal(late.score[reach:], whole.score[start : start + 200], equal_nan=True)
        assert np.array_equal(late.issues[reach:], whole.issues[start : start + 200])


def test_what_the_second_vendor_lacks_is_said_and_costs_nothing(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    lacking = changed(other, DAY, "MSFT", **dict.fromkeys(FIELDS, float("nan")))
    rows = {row["symbol"]: row for row in quality_frame(home, [DAY], None, (lacking,)).iter_rows(named=True)}
    assert rows["MSFT"]["not_evaluated"] == "second_vendor"
    assert rows["MSFT"]["score"] == 1.0
    assert rows["AAPL"]["not_evaluated"] == ""


def test_panels_that_are_not_aligned_are_refused(vendors: tuple[Panel, Panel]) -> None:
    home, other = vendors
    with pytest.raises(ValueError, match="sessions and symbols"):
        score(home, None, (other.rows(0, 100),))

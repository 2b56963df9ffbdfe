"""Bars that contradict themselves or belong to another symbol; each beside the genuine bar that looks like it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.quality import bar_errors, benford
from quant_dagster.quality.detectors import DetectorSettings
from quant_dagster.quality.moves import huge_moves, measure_day, recent_level
from quant_dagster.quality.score import score
from tests.unit.quality.real_vendors import bar, cell, changed, issues, two_panels

SETTINGS = DetectorSettings()
DAY = date(2016, 4, 20)
SYMBOLS = ["AAPL", "GOOG", "GOOGL", "HCA", "JPM", "MSFT", "NWS", "PCG", "XOM"]


@pytest.fixture(scope="module")
def panel() -> Panel:
    return two_panels(SYMBOLS, date(2014, 3, 3), date(2019, 12, 31))[0]


def test_swapped_high_and_low_are_found_however_narrow_the_range(panel: Panel) -> None:
    prices = bar(panel, DAY, "XOM")
    assert prices["high"] / prices["low"] < 1.02
    swapped = changed(panel, DAY, "XOM", high=prices["low"], low=prices["high"])
    assert np.argwhere(bar_errors.crossed_range(swapped, SETTINGS)).tolist() == [list(cell(panel, DAY, "XOM"))]
    assert not bar_errors.crossed_range(panel, SETTINGS).any()
    assert score(swapped).score[cell(panel, DAY, "XOM")] < 0.6


@pytest.mark.parametrize(("field", "factor"), [("high", 10.0), ("low", 0.1)])
def test_one_displaced_decimal_point_makes_an_extreme_wick(panel: Panel, field: str, factor: float) -> None:
    wrong = changed(panel, DAY, "JPM", **{field: bar(panel, DAY, "JPM")[field] * factor})
    assert np.argwhere(bar_errors.extreme_wicks(wrong, measure_day(wrong, SETTINGS), SETTINGS))[-1].tolist() == list(
        cell(panel, DAY, "JPM")
    )


def test_collapse_within_the_day_that_both_vendors_saw_is_no_error() -> None:
    """On 2015-08-24 HCA traded at 43.91 in the first minutes and closed at 84.31."""
    home, other = two_panels(SYMBOLS, date(2014, 3, 3), date(2015, 12, 31))
    day = date(2015, 8, 24)
    assert "extreme_wick" in issues(score(home), home, day, "HCA"), "one vendor alone cannot tell"
    both = score(home, None, (other,))
    assert issues(both, home, day, "HCA") == set()


def test_bar_of_another_symbol_is_found_where_it_does_not_belong(panel: Panel) -> None:
    wrong = changed(panel, DAY, "XOM", **bar(panel, DAY, "JPM"))
    found = bar_errors.foreign_bars(wrong, measure_day(wrong, SETTINGS))
    assert np.argwhere(found).tolist() == [list(cell(panel, DAY, "XOM"))], "not at JPM, whose bar it is"
    assert not bar_errors.foreign_bars(panel, measure_day(panel, SETTINGS)).any()


def test_prices_delivered_twice_with_another_volume_are_found(panel: Panel) -> None:
    before = bar(panel, date(2016, 4, 19), "MSFT")
    stale = changed(panel, DAY, "MSFT", **{name: before[name] for name in FIELDS[:-1]})
    assert issues(score(stale), stale, DAY, "MSFT") == {"repeated_prices"}


def test_price_that_moved_without_volume_contradicts_itself_and_one_that_stood_still_does_not(panel: Panel) -> None:
    silent = changed(panel, DAY, "JPM", volume=0.0)
    assert np.argwhere(bar_errors.traded_without_volume(silent)).tolist() == [list(cell(panel, DAY, "JPM"))]
    before = bar(panel, date(2016, 4, 19), "JPM")["close"]
    still = changed(panel, DAY, "JPM", volume=0.0, **dict.fromkeys(FIELDS[:-1], before))
    assert not bar_errors.traded_without_volume(still).any()


def test_three_sessions_without_trades_are_a_run(panel: Panel) -> None:
    volume = panel.volume.copy(order="F")
    row, column = cell(panel, DAY, "JPM")
    volume[row : row + 4, column] = 0.0
    runs = bar_errors.zero_volume_runs(Panel(panel.sessions, panel.symbols, *_prices(panel), volume), SETTINGS)
    assert np.argwhere(runs).tolist() == [[row + 2, column], [row + 3, column]]


@pytest.mark.parametrize("ratio", [1.5, 2.0, 4.0, 7.0, 20.0])
def test_split_not_adjusted_for_is_told_from_a_crash_by_the_money_traded(panel: Panel, ratio: float) -> None:
    """A split multiplies the shares traded as it divides their price; PG&E halved on many times the money."""
    row, column = cell(panel, DAY, "MSFT")
    arrays = {name: getattr(panel, name).copy(order="F") for name in FIELDS}
    for name in FIELDS[:-1]:
        arrays[name][:row, column] *= ratio
    arrays["volume"][:row, column] /= ratio
    moves = huge_moves(Panel(panel.sessions, panel.symbols, **arrays), SETTINGS)
    assert (moves.split_like | moves.decimal_shift)[row, column]
    assert not moves.split_like[row + 1 : row + 20, column].any()
    assert huge_moves(panel, SETTINGS).confirmed[cell(panel, date(2019, 1, 14), "PCG")]


def test_fall_of_the_whole_market_is_no_outlier_and_the_same_fall_alone_is() -> None:
    symbols = ["AAPL", "ABT", "ADM", "AEP", "AFL", "AIG", "ALL", "AMGN", "AMT", "AON", "APD", "AVB", "AXP", "BA",
               "BAC", "BAX", "BDX", "BEN", "BK", "BMY", "C", "CAH", "CAT", "CB", "CCI", "CI", "CL", "CLX",
               "KO"]  # fmt: skip
    panel = two_panels(symbols, date(2019, 6, 3), date(2020, 4, 30))[0]
    crash = date(2020, 3, 12)
    found = bar_errors.outlying_moves(measure_day(panel, SETTINGS), SETTINGS)
    assert not found[cell(panel, crash, "KO")[0]].any(), "the median stock fell by 10 %"
    calm = date(2019, 11, 13)
    prices = {name: value * 0.88 for name, value in bar(panel, calm, "KO").items() if name != "volume"}
    alone = changed(panel, calm, "KO", **prices)
    outlying = bar_errors.outlying_moves(measure_day(alone, SETTINGS), SETTINGS)
    assert outlying[cell(alone, calm, "KO")]


def test_volumes_of_a_whole_market_follow_benford_and_made_up_ones_do_not(panel: Panel) -> None:
    deviation = benford.trailing_deviation(panel, SETTINGS)
    assert not (deviation > SETTINGS.digits_deviation).any()
    pooled = np.bincount(benford.first_digits(panel.volume).ravel(), minlength=10)[1:]
    assert pooled[0] > pooled[8]
    made_up = np.where(np.isnan(panel.volume), np.nan, 5e6 + 10.0 * np.arange(len(panel.sessions))[:, None])
    flat = Panel(panel.sessions, panel.symbols, *_prices(panel), np.asfortranarray(made_up))
    assert benford.unlikely_digits(flat, SETTINGS)[200:, 0].all()


def test_first_digits_are_exact_at_powers_of_ten() -> None:
    values = np.array([[1.0, 9.0, 10.0, 99.0, 100.0, 1e6, 999_999.0, 3e9, 0.0, np.nan, 0.07]])
    assert benford.first_digits(values).tolist() == [[1, 9, 1, 9, 1, 1, 9, 3, 0, 0, 7]]
    assert benford.LAW.sum() == pytest.approx(1.0)
    assert benford.LAW[0] == pytest.approx(0.30103, abs=1e-5)


def _prices(panel: Panel) -> tuple[np.ndarray, ...]:
    return tuple(getattr(panel, name) for name in FIELDS[:-1])


def test_recent_level_is_the_median_of_the_five_before_or_of_those_there_are() -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(size=(60, 40))
    values[draw.random(values.shape) < 0.2] = np.nan
    level = recent_level(np.asfortranarray(values))
    for row in range(60):
        for column in range(40):
            known = [value for value in values[max(0, row - 5) : row, column] if not np.isnan(value)]
            expected = np.median(known) if known else np.nan
            assert level[row, column] == expected or (np.isnan(level[row, column]) and not known)

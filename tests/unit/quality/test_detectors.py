"""Detectors keep genuine crashes and catch misprints, and never look ahead."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.quality import detectors
from quant_dagster.quality.detectors import DetectorSettings
from quant_dagster.quality.moves import huge_moves
from quant_dagster.quality.windows import trailing_mean

SETTINGS = DetectorSettings()


def packaged(vendor: str, symbols: list[str], start: date, end: date) -> Panel:
    return Panel.from_bars(EmbeddedVendor(vendor).daily_bars(symbols, start, end).rows, symbols)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return packaged("embedded_bokeh", ["AAPL", "GOOG", "IBM", "MSFT"], date(2007, 1, 3), date(2009, 12, 31))


def with_cell(panel: Panel, session: date, symbol: str, **fields: float) -> Panel:
    """The panel with some fields of one bar replaced."""
    row = int(np.searchsorted(panel.sessions, np.datetime64(session)))
    column = panel.symbols.index(symbol)
    arrays_of = {}
    for field in FIELDS:
        array = getattr(panel, field).copy(order="F")
        if field in fields:
            array[row, column] = fields[field]
        arrays_of[field] = array
    return dataclasses.replace(panel, **arrays_of)


def bar(panel: Panel, session: date, symbol: str) -> dict[str, float]:
    row, column = int(np.searchsorted(panel.sessions, np.datetime64(session))), panel.symbols.index(symbol)
    return {field: float(getattr(panel, field)[row, column]) for field in FIELDS}


def at(mask: np.ndarray, panel: Panel, session: date, symbol: str) -> bool:
    return bool(mask[int(np.searchsorted(panel.sessions, np.datetime64(session))), panel.symbols.index(symbol)])


DAY = date(2007, 6, 12)


def test_ordinary_years_of_four_stocks_raise_no_alarm(panel: Panel) -> None:
    moves = huge_moves(panel, SETTINGS)
    for mask in (moves.contradicted, moves.unconfirmed, moves.decimal_shift, detectors.zero_volume(panel)):
        assert not mask.any()
    assert not detectors.missing_sessions(panel, SETTINGS).any()
    assert not detectors.absurd_volume(panel, SETTINGS).any()


def test_crash_with_volume_and_range_is_confirmed(panel: Panel) -> None:
    """Apple fell 18 % on 2008-09-29 and Google rose 20 % on 2008-04-18 after its results."""
    confirmed = huge_moves(panel, SETTINGS).confirmed
    assert at(confirmed, panel, date(2008, 9, 29), "AAPL")
    assert at(confirmed, panel, date(2008, 4, 18), "GOOG")


@pytest.mark.parametrize("factor", [10.0, 100.0, 0.1, 0.01])
def test_displaced_decimal_point_is_caught_and_the_return_to_the_level_is_not(panel: Panel, factor: float) -> None:
    prices = {field: value * factor for field, value in bar(panel, DAY, "IBM").items() if field != "volume"}
    moves = huge_moves(with_cell(panel, DAY, "IBM", **prices), SETTINGS)
    assert np.argwhere(moves.decimal_shift).tolist() == [[int(np.searchsorted(panel.sessions, np.datetime64(DAY))), 2]]
    assert not (moves.contradicted | moves.unconfirmed).any()


def test_bar_at_a_wrong_level_with_ordinary_range_and_volume_is_contradicted(panel: Panel) -> None:
    prices = {field: value * 1.4 for field, value in bar(panel, DAY, "IBM").items() if field != "volume"}
    moves = huge_moves(with_cell(panel, DAY, "IBM", **prices), SETTINGS)
    assert at(moves.contradicted, panel, DAY, "IBM")
    assert moves.contradicted.sum() == 1


def test_closes_only_move_is_unconfirmed_but_a_market_wide_one_is_confirmed() -> None:
    """UnitedHealth fell 30 % alone on 1998-08-06; on 2020-03-16 everything fell."""
    symbols = EmbeddedVendor().symbols()
    calm = packaged("embedded", symbols, date(1998, 1, 2), date(1998, 12, 31))
    assert at(huge_moves(calm, SETTINGS).unconfirmed, calm, date(1998, 8, 6), "UNH")
    crisis = packaged("embedded", symbols, date(2019, 9, 3), date(2020, 12, 31))
    moves = huge_moves(crisis, SETTINGS)
    assert at(moves.confirmed, crisis, date(2020, 3, 9), "CVX") or at(moves.confirmed, crisis, date(2020, 3, 16), "BAC")
    assert not moves.contradicted.any()


def test_gap_in_a_life_is_missing_but_birth_and_death_are_not(panel: Panel) -> None:
    symbols = ["AAPL", "GOOG"]
    born = packaged("embedded_bokeh", symbols, date(2004, 6, 1), date(2005, 6, 1))
    assert not detectors.missing_sessions(born, SETTINGS).any(), "Google was listed on 2004-08-19"
    assert at(detectors.missing_sessions(with_cell(panel, DAY, "IBM", close=np.nan), SETTINGS), panel, DAY, "IBM")
    gone = panel.close.copy(order="F")
    gone[100:, 0] = np.nan
    missing = detectors.missing_sessions(dataclasses.replace(panel, close=gone), SETTINGS)
    assert missing[:, 0].sum() == SETTINGS.gone_after
    assert not missing[100 + SETTINGS.gone_after :, 0].any()


def test_stale_price_counts_from_the_first_of_identical_closes(panel: Panel) -> None:
    close = panel.close.copy(order="F")
    close[200:206, 1] = close[200, 1]
    runs = detectors.stale_runs(dataclasses.replace(panel, close=close))
    assert runs[199:207, 1].tolist() == [1, 1, 2, 3, 4, 5, 6, 1]
    stale = detectors.stale_prices(dataclasses.replace(panel, close=close), SETTINGS)
    assert np.flatnonzero(stale[:, 1]).tolist() == [204, 205]


def test_bar_delivered_twice_is_found(panel: Panel) -> None:
    twice = with_cell(panel, date(2007, 6, 13), "IBM", **bar(panel, DAY, "IBM"))
    assert np.argwhere(detectors.repeated_bars(twice)).shape[0] == 1
    assert at(detectors.repeated_bars(twice), panel, date(2007, 6, 13), "IBM")


def test_open_or_close_outside_the_range_is_measured(panel: Panel) -> None:
    assert np.nanmax(detectors.ohlc_excess(panel)) <= SETTINGS.ohlc_tolerance
    high = bar(panel, DAY, "IBM")["high"]
    excess = detectors.ohlc_excess(with_cell(panel, DAY, "IBM", close=high * 1.05))
    assert excess[np.searchsorted(panel.sessions, np.datetime64(DAY)), 2] == pytest.approx(0.05)
    assert np.isnan(detectors.ohlc_excess(with_cell(panel, DAY, "IBM", high=np.nan))).sum() == 1


def test_zero_and_absurd_volume_are_found(panel: Panel) -> None:
    usual = bar(panel, DAY, "IBM")["volume"]
    assert at(detectors.zero_volume(with_cell(panel, DAY, "IBM", volume=0.0)), panel, DAY, "IBM")
    for factor in (1000.0, 0.0005):
        found = detectors.absurd_volume(with_cell(panel, DAY, "IBM", volume=usual * factor), SETTINGS)
        assert np.argwhere(found).shape[0] == 1
        assert at(found, panel, DAY, "IBM")


@settings(max_examples=40, deadline=None)
@given(
    values=arrays(np.float64, (30, 2), elements=st.floats(-50, 50) | st.just(float("nan"))),
    cut=st.integers(0, 20),
)
def test_trailing_mean_is_the_plain_mean_whatever_came_before(values: np.ndarray, cut: int) -> None:
    window = 6
    means = trailing_mean(values, window, minimum=2)
    for row in range(30):
        for column in range(2):
            before = values[max(0, row - window) : row, column]
            known = before[np.isfinite(before)]
            if len(known) < 2:
                assert np.isnan(means[row, column])
            else:
                assert means[row, column] == pytest.approx(known.mean(), abs=1e-8)
    late = trailing_mean(values[cut:], window, minimum=2)
    assert np.array_equal(late[window:], means[cut + window :], equal_nan=True)

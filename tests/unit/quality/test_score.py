"""Scores: crashes survive, misprints do not, closes-only data is not punished for what it lacks."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.quality.contracts import validate
from quant_dagster.quality.score import PENALTIES, QualitySettings, quality_frame, score
from tests.support.market_data import shared_data

MINIMUM = 0.6
CLOSES_ONLY = QualitySettings(volume_required=False)


@pytest.fixture(scope="module")
def market() -> Panel:
    table = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"))
    bars = table.select(
        pl.col("symbol").cast(pl.String), pl.col("date").alias("session"), pl.col(*FIELDS).cast(pl.Float64)
    )
    return Panel.from_bars(bars)


@pytest.fixture(scope="module")
def stocks() -> Panel:
    vendor = EmbeddedVendor("embedded_bokeh")
    return Panel.from_bars(vendor.daily_bars(vendor.symbols(), date(2005, 1, 3), date(2013, 3, 1)).rows)


@pytest.fixture(scope="module")
def closes() -> Panel:
    vendor = EmbeddedVendor()
    return Panel.from_bars(vendor.daily_bars(vendor.symbols(), date(1998, 1, 2), date(2022, 12, 28)).rows)


def cell(panel: Panel, session: date, symbol: str) -> tuple[int, int]:
    return int(np.searchsorted(panel.sessions, np.datetime64(session))), panel.symbols.index(symbol)


def test_genuine_crashes_survive(market: Panel) -> None:
    """PG&E announced its bankruptcy, Occidental met the oil-price war, WWE lost its broadcaster, EPAM its Ukraine."""
    scores = score(market)
    for session, symbol, ratio in (
        (date(2019, 1, 14), "PCG", 0.476),
        (date(2020, 3, 9), "OXY", 0.466),
        (date(2014, 5, 16), "TKO", 0.565),
        (date(2022, 2, 28), "EPAM", 0.543),
    ):
        row, column = cell(market, session, symbol)
        assert market.close[row, column] / market.close[row - 1, column] == pytest.approx(ratio, abs=1e-3)
        assert scores.score[row, column] >= MINIMUM
        assert scores.has("large_move")[row, column]
        assert scores.score[row + 1, column] >= MINIMUM


def test_every_move_beyond_forty_percent_in_ten_years_survives(market: Panel) -> None:
    step = np.abs(np.diff(np.log(market.close), axis=0))
    rows, columns = np.nonzero(step > 0.4)
    assert len(rows) > 30
    assert (score(market).score[rows + 1, columns] >= MINIMUM).all()


@pytest.mark.parametrize("factor", [10.0, 100.0, 0.1, 0.01])
def test_displaced_decimal_points_are_rejected_and_the_next_session_is_not(market: Panel, factor: float) -> None:
    """A hundred bars of ordinary sessions, chosen by a fixed draw, have their prices multiplied."""
    draw = np.random.default_rng(7)
    rows, columns = draw.integers(100, 2500, 100), draw.integers(0, len(market.symbols), 100)
    present = ~np.isnan(market.close[rows - 60, columns]) & ~np.isnan(market.close[rows + 1, columns])
    ordinary = present & (market.volume[rows, columns] > 0) & (market.volume[rows + 1, columns] > 0)
    rows, columns = rows[ordinary], columns[ordinary]
    wrong = {}
    for field in FIELDS[:-1]:
        array = getattr(market, field).copy(order="F")
        array[rows, columns] *= factor
        wrong[field] = array
    before, after = score(market), score(dataclasses.replace(market, **wrong))
    assert len(rows) > 80
    assert (after.score[rows, columns] < MINIMUM).all()
    assert (after.score[rows + 1, columns] >= MINIMUM).all()
    assert (before.score[rows, columns] >= MINIMUM).all()


def test_score_of_a_session_does_not_depend_on_later_ones(stocks: Panel) -> None:
    whole = score(stocks)
    for stop in (400, 941, 1500):
        cut = score(stocks.rows(0, stop))
        assert np.array_equal(cut.score, whole.score[:stop], equal_nan=True)
        assert np.array_equal(cut.issues, whole.issues[:stop])


def test_score_needs_no_more_history_than_its_reach(stocks: Panel, closes: Panel) -> None:
    for panel, settings in ((stocks, QualitySettings()), (closes, CLOSES_ONLY)):
        whole, reach = score(panel, settings), settings.reach
        for start in (300, 777, 1300):
            late = score(panel.rows(start - reach, start + 250), settings)
            assert np.array_equal(late.score[reach:], whole.score[start : start + 250], equal_nan=True)
            assert np.array_equal(late.issues[reach:], whole.issues[start : start + 250])


def test_closes_only_data_says_what_was_not_evaluated_and_is_not_punished_for_it(closes: Panel) -> None:
    frame = quality_frame(closes, [date(2022, 12, 28)], CLOSES_ONLY)
    assert frame["not_evaluated"].unique().to_list() == ["ohlc,volume,confirmation,second_vendor"]
    assert frame["score"].to_list() == [1.0] * 20
    demanding = quality_frame(closes, [date(2022, 12, 28)], QualitySettings(volume_required=True))
    assert demanding["issues"].unique().to_list() == ["volume_missing"]
    assert (demanding["score"] < MINIMUM).all()


def test_halving_in_closes_only_data_survives_and_a_tenth_does_not(closes: Panel) -> None:
    """Apple fell 52 % on 2000-09-29."""
    row, column = cell(closes, date(2000, 9, 29), "AAPL")
    found = score(closes, CLOSES_ONLY)
    assert found.has("unconfirmed_move")[row, column]
    assert found.score[row, column] == pytest.approx(1.0 - PENALTIES["unconfirmed_move"])
    close = closes.close.copy(order="F")
    close[row, column] = closes.close[row - 1, column] / 10.0
    misprint = score(dataclasses.replace(closes, close=close), CLOSES_ONLY)
    assert misprint.has("decimal_shift")[row, column]
    assert misprint.score[row, column] < MINIMUM


def test_doubts_add_up_and_a_price_grows_staler(stocks: Panel) -> None:
    close, volume = stocks.close.copy(order="F"), stocks.volume.copy(order="F")
    close[300:330, 0] = close[300, 0]
    high, low = np.fmax(stocks.high, close), np.fmin(stocks.low, close)
    stale = score(dataclasses.replace(stocks, close=close, high=high, low=low))
    assert stale.score[304, 0] == pytest.approx(0.7)
    assert stale.score[314, 0] == pytest.approx(0.4)
    assert np.all(np.diff(stale.score[304:315, 0]) < 0)
    volume[304, 0] = 0.0
    silent = score(dataclasses.replace(stocks, close=close, high=high, low=low, volume=volume))
    assert silent.has("traded_without_volume")[304, 0], "prices differ within a bar in which nothing traded"
    flat = {name: array.copy(order="F") for name, array in (("open", stocks.open), ("high", high), ("low", low))}
    for array in flat.values():
        array[304, 0] = close[304, 0]
    quiet = score(dataclasses.replace(stocks, close=close, volume=volume, **flat))
    assert quiet.score[304, 0] == pytest.approx(0.7 * 0.7)


def test_quality_rows_cover_listed_symbols_only_and_keep_the_contract() -> None:
    vendor = EmbeddedVendor("embedded_bokeh")
    panel = Panel.from_bars(vendor.daily_bars(vendor.symbols(), date(2004, 1, 2), date(2005, 1, 3)).rows)
    day, before_google = date(2004, 9, 1), date(2004, 8, 18)
    frame = validate("quality", quality_frame(panel, [before_google, day]))
    assert frame.filter(pl.col("session") == before_google)["symbol"].to_list() == ["AAPL", "IBM", "MSFT"]
    google = frame.filter((pl.col("session") == day) & (pl.col("symbol") == "GOOG")).row(0, named=True)
    assert google["not_evaluated"] == "history,second_vendor"
    close = panel.close.copy(order="F")
    row, column = cell(panel, day, "IBM")
    close[row, column] = np.nan
    missing = quality_frame(dataclasses.replace(panel, close=close), [day]).filter(pl.col("symbol") == "IBM")
    assert missing.select("score", "issues").row(0) == (0.0, "missing_session")

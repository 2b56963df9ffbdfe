"""Volume curves on real one-minute bars: what they are, what they must not know, and what they are good for."""

from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.parents import Algorithm
from quant_dagster.execution.algorithms.schedules import schedule
from quant_dagster.execution.algorithms.volume_curve import CurveSource, VolumeCurve, learn, uniform
from quant_dagster.market_data.calendars import exchange_calendar
from tests.support.market_data import shared_data
from tests.support.market_store import minute_bars
from tests.unit.execution.algorithms.parents_at_work import CLOSE, OPEN, minutes, working

CALENDAR = exchange_calendar("XNYS")
FRIDAY = date(2019, 2, 15)


@pytest.fixture(scope="module")
def symbols() -> list[str]:
    file = pl.scan_parquet(shared_data("intraday_1min_us24_2019-02-11_15.parquet"))
    return file.select(pl.col("symbol").unique().sort()).collect()["symbol"].to_list()


@pytest.fixture(scope="module")
def bars(symbols: list[str]) -> pl.DataFrame:
    return minute_bars(*symbols)


@pytest.mark.parametrize("symbol", ["AAPL", "XLP", "SPY"])
def test_a_curve_is_the_median_share_of_each_bin_as_pandas_computes_it(bars: pl.DataFrame, symbol: str) -> None:
    frame = bars.filter((pl.col("symbol") == symbol) & (pl.col("session") < FRIDAY)).to_pandas()
    frame["minute"] = frame["bar_start"].dt.tz_convert("America/New_York")
    frame["bin"] = ((frame["minute"].dt.hour - 9) * 60 + frame["minute"].dt.minute - 30) // 5
    volume = frame.pivot_table(index="session", columns="bin", values="volume", aggfunc="sum", fill_value=0)
    shares = volume.div(volume.sum(axis=1), axis=0).median()
    curve = learn(bars, [symbol], CALENDAR, before=FRIDAY, sessions=20)[symbol]
    assert (curve.source, curve.sessions, len(curve.shares)) == (CurveSource.SYMBOL, 4, 78)
    assert curve.shares == pytest.approx((shares / shares.sum()).to_numpy(), abs=2e-9)
    assert math.fsum(curve.shares) == pytest.approx(1, abs=1e-12)


def test_nothing_of_the_session_that_trades_is_looked_at(bars: pl.DataFrame) -> None:
    shouting = bars.with_columns(pl.when(pl.col("session") >= FRIDAY).then(1e12).otherwise("volume").alias("volume"))
    known = learn(bars, ["AAPL"], CALENDAR, before=FRIDAY, sessions=20)
    assert learn(shouting, ["AAPL"], CALENDAR, before=FRIDAY, sessions=20) == known
    assert learn(bars.filter(pl.col("session") < FRIDAY), ["AAPL"], CALENDAR, before=FRIDAY, sessions=20) == known


def test_only_the_newest_sessions_count(bars: pl.DataFrame) -> None:
    late = bars.filter(pl.col("session") >= date(2019, 2, 12))
    assert learn(bars, ["V"], CALENDAR, before=FRIDAY, sessions=3) == learn(
        late, ["V"], CALENDAR, before=FRIDAY, sessions=20
    )


def test_a_symbol_with_too_little_history_is_given_the_curve_of_all(bars: pl.DataFrame) -> None:
    short = bars.filter((pl.col("symbol") != "V") | (pl.col("session") >= date(2019, 2, 13)))
    found = learn(short, ["V", "AAPL", "UNHEARD"], CALENDAR, before=FRIDAY, sessions=20)
    assert found["V"].source is CurveSource.POOL and found["V"] == found["UNHEARD"]
    # 24 symbols of four sessions, less VIX, an index without volume, and two of V's.
    assert found["V"].sessions == 23 * 4 - 2
    assert found["AAPL"].source is CurveSource.SYMBOL


def test_where_nothing_is_known_volume_is_taken_as_even(bars: pl.DataFrame) -> None:
    found = learn(bars, ["VIX"], CALENDAR, before=date(2019, 2, 11), sessions=20)["VIX"]
    assert found == uniform() and found.source is CurveSource.UNIFORM
    assert found.until(0.5) == pytest.approx(0.5)


def test_an_index_without_volume_is_given_the_curve_of_all(bars: pl.DataFrame) -> None:
    assert learn(bars, ["VIX"], CALENDAR, before=FRIDAY, sessions=20)["VIX"].source is CurveSource.POOL


@pytest.mark.parametrize(
    "spoilt",
    [
        pl.when(pl.col("bar_start").dt.minute() == 7).then(None).otherwise(pl.col("volume")),
        pl.lit(0.0),
    ],
)
def test_a_session_of_unknown_or_no_volume_does_not_count(bars: pl.DataFrame, spoilt: pl.Expr) -> None:
    monday = pl.col("session") == date(2019, 2, 11)
    worse = bars.with_columns(pl.when(monday).then(spoilt).otherwise(pl.col("volume")).alias("volume"))
    found = learn(worse, ["SPY"], CALENDAR, before=FRIDAY, sessions=20)["SPY"]
    assert found == learn(bars.filter(~monday), ["SPY"], CALENDAR, before=FRIDAY, sessions=20)["SPY"]
    assert found.sessions == 3


def test_a_session_that_was_loaded_in_part_does_not_count(bars: pl.DataFrame) -> None:
    monday = pl.col("session") == date(2019, 2, 11)
    halved = bars.filter(~monday | (pl.col("bar_start").dt.hour() < 18))
    assert learn(halved, ["SPY"], CALENDAR, before=FRIDAY, sessions=20)["SPY"].sessions == 3


def test_a_session_that_closes_early_is_learned_from_by_its_fractions() -> None:
    """Bars of 2018-11-23 (closes at 13:00 New York) made so that every fraction of it trades the same."""
    days = [date(2018, 11, 19), date(2018, 11, 20), date(2018, 11, 23)]
    rows = []
    for day in days:
        opens, closes = CALENDAR.open_time(day), CALENDAR.close_time(day)
        count = int((closes - opens).total_seconds() // 60)
        rows += [
            {"vendor": "t", "symbol": "A", "session": day, "bar_start": opens + timedelta(minutes=n), "seconds": 60,
             "volume": 1000.0 if n < count / 2 else 3000.0}
            for n in range(count)
        ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"seconds": pl.Int32})
    curve = learn(frame, ["A"], CALENDAR, before=date(2018, 11, 26), sessions=20)["A"]
    assert curve.sessions == 3
    assert curve.until(0.5) == pytest.approx(0.25, abs=1e-6)
    assert np.array(curve.shares[:39]) == pytest.approx(1 / 156, abs=2e-9)


def test_longer_bars_give_the_curve_of_the_minutes_they_hold(bars: pl.DataFrame) -> None:
    half_hours = bars.with_columns(
        pl.col("bar_start").dt.truncate("30m"), pl.lit(1800, pl.Int32).alias("seconds")
    ).group_by("vendor", "symbol", "session", "bar_start", "seconds").agg(pl.col("volume").sum())  # fmt: skip
    # 09:30 to 16:00 is cut at half hours by the clock, too.
    whole = learn(bars, ["SPY"], CALENDAR, before=FRIDAY, sessions=20, bins=13)
    assert learn(half_hours, ["SPY"], CALENDAR, before=FRIDAY, sessions=20, bins=13) == whole


def test_a_symbol_that_hardly_trades_still_has_volume_in_its_curve() -> None:
    """One trade early, one somewhere, one late: no bin is hit in most sessions, and the median of all is empty."""
    rows = [
        {"vendor": "t", "symbol": "A", "session": day, "seconds": 60, "volume": 100.0,
         "bar_start": CALENDAR.open_time(day) + timedelta(minutes=minute)}
        for number, day in enumerate(CALENDAR.session_dates(date(2019, 2, 4), date(2019, 2, 8)))
        for minute in (number * 5, 100 + 20 * number, 389 - 5 * number)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"seconds": pl.Int32})
    curve = learn(frame, ["A"], CALENDAR, before=FRIDAY, sessions=20)["A"]
    assert curve.source is CurveSource.SYMBOL and curve.sessions == 5
    assert sum(share > 0 for share in curve.shares) == 15


def test_a_curve_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(OrderError, match="add up to one"):
        VolumeCurve((0.5, 0.4), CurveSource.SYMBOL, 3)


def test_a_schedule_learned_on_four_days_tracks_the_fifth_better_than_equal_slices(
    bars: pl.DataFrame, symbols: list[str]
) -> None:
    """Measured on 23 real symbols: root mean square distance of what is traded from what the market traded."""
    curves = learn(bars, symbols, CALENDAR, before=FRIDAY, sessions=20)
    friday = bars.filter(pl.col("session") == FRIDAY)
    distances = []
    for symbol in symbols:
        real = friday.filter(pl.col("symbol") == symbol)
        volume = [
            real.filter(pl.col("bar_start") < minutes(30 * part))["volume"].sum() for part in range(1, 14)
        ]  # fmt: skip
        if not volume[-1]:
            continue
        traded = np.array(volume) / volume[-1]
        pair = []
        for algorithm in (Algorithm.VWAP, Algorithm.TWAP):
            parent = working(algorithm, 1_000_000, curve=curves[symbol], slices=13)
            parts = schedule(parent, OPEN, CLOSE)
            ours = [
                sum((one.quantity for one in parts if one.at < minutes(30 * part)), Decimal(0)) for part in range(1, 14)
            ]
            pair.append(float(np.sqrt(np.mean((np.array(ours, dtype=float) / 1e6 - traded) ** 2))))
        distances.append(pair)
    vwap, twap = np.array(distances).T
    assert len(vwap) == 23
    assert (vwap < twap).sum() >= 18
    assert np.median(vwap) < 0.6 * np.median(twap)

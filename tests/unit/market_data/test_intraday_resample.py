"""Longer bars from minutes, and minutes that are missing."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.intraday.files import read_files
from quant_dagster.market_data.intraday.missing import gap_runs, missing_minutes
from quant_dagster.market_data.intraday.options import IntradayFile
from quant_dagster.market_data.intraday.resample import resample_bars, resample_quotes
from quant_dagster.market_data.intraday.screening import screen_rows
from tests.support.market_data import shared_data
from tests.unit.market_data.intraday_files import at, lean_bars, lean_quotes, minute_bars, us24

NYSE = exchange_calendar("XNYS")
OPEN = at("2024-03-01 14:30")
PRICES = ["open", "high", "low", "close", "volume"]


@cache
def screened(source_of: str) -> pl.DataFrame:
    sources: dict[str, IntradayFile] = {
        "us24": us24(),
        "lean": lean_bars(),
        "lean_extended": lean_bars(extended_hours=True),
        "quotes": lean_quotes(),
    }
    source = sources[source_of]
    rows, _ = screen_rows(
        pl.concat(read_files(source)), source.kind, source.vendor, seconds=source.seconds, calendar=NYSE,
        now=at("2024-01-01 00:00"), extended_hours=source.extended_hours,
    )  # fmt: skip
    return rows


def by_hand(bars: pl.DataFrame, minutes: int) -> dict[tuple[str, date, int], tuple[float, ...]]:
    """The same buckets, one bar at a time in plain Python."""
    buckets: dict[tuple[str, date, int], list[float]] = {}
    for symbol, session, start, *values in (
        bars.sort("bar_start").select("symbol", "session", "bar_start", *PRICES).iter_rows()
    ):
        number = (start - NYSE.open_time(session)) // timedelta(minutes=minutes)
        first, high, low, last, volume = values
        if (found := buckets.get((symbol, session, number))) is None:
            buckets[symbol, session, number] = [first, high, low, last, volume, 1.0]
        else:
            found[1], found[2], found[3] = max(found[1], high), min(found[2], low), last
            found[4] += volume
            found[5] += 1.0
    return {key: tuple(values) for key, values in buckets.items()}


@pytest.mark.parametrize("minutes", [1, 5, 7, 30, 60, 390])
def test_buckets_equal_those_made_bar_by_bar(minutes: int) -> None:
    bars = screened("us24")
    done = resample_bars(bars, minutes, NYSE)
    number = (pl.col("bar_start") - pl.col("bar_start").min().over("session")).dt.total_minutes() // minutes
    # Of 24 symbols one always trades in the first minutes, so the session's first bucket is at its open.
    assert done.group_by("session").agg(pl.col("bar_start").min())["bar_start"].sort().to_list() == [
        NYSE.open_time(day) for day in sorted(set(bars["session"].to_list()))
    ]
    found = {
        (symbol, session, n): tuple(values)
        for symbol, session, n, *values in done.select(
            "symbol", "session", number, *PRICES, "minutes_present"
        ).iter_rows()
    }
    assert found == by_hand(bars, minutes)


def test_five_minutes_made_of_minutes_then_thirty_are_the_thirty_made_at_once() -> None:
    bars = screened("us24")
    twice = resample_bars(resample_bars(bars, 5, NYSE), 30, NYSE)
    assert twice.equals(resample_bars(bars, 30, NYSE))


@given(st.sets(st.integers(0, 389), min_size=1, max_size=120), st.sampled_from([2, 5, 13, 60, 100, 390]))
def test_nothing_is_lost_or_made_up_whatever_minutes_are_missing(minutes: set[int], length: int) -> None:
    bars = minute_bars(OPEN, sorted(minutes))
    done = resample_bars(bars, length, NYSE)
    assert done["volume"].sum() == bars["volume"].sum()
    assert done["minutes_present"].sum() == len(minutes)
    assert done.height == len({n // length for n in minutes})  # no bar where nothing was, nothing carried forward
    assert (done["minutes_present"] <= done["minutes_expected"]).all()
    assert done["close"][-1] == bars["close"][-1] and done["open"][0] == bars["open"][0]
    assert (done["bar_end"] <= NYSE.close_time(date(2024, 3, 1))).all()
    missing = missing_minutes(bars, NYSE)
    assert missing.select("minutes_present", "minutes_missing").row(0) == (len(minutes), 390 - len(minutes))
    runs = gap_runs(bars, NYSE)
    absent = set(range(390)) - minutes
    covered = {
        (start - OPEN) // timedelta(minutes=1) + n
        for start, long in runs.select("gap_start", "minutes").iter_rows()
        for n in range(int(long))
    }
    assert covered == absent
    assert runs.height == sum(1 for n in absent if n - 1 not in absent)


def test_the_last_bucket_ends_with_the_session_also_on_a_short_one() -> None:
    bars = screened("lean").filter(pl.col("symbol") == "GOOG")
    done = resample_bars(bars, 60, NYSE)
    short = done.filter(pl.col("session") == date(2015, 12, 24))
    assert short["bar_end"][-1] == at("2015-12-24 18:00")
    assert short["minutes_expected"].to_list() == [60.0, 60.0, 60.0, 30.0]
    assert short["seconds"].to_list() == [3600, 3600, 3600, 1800]
    full = done.filter(pl.col("session") == date(2015, 12, 28))
    assert full["minutes_expected"].to_list() == [60.0] * 6 + [30.0]
    assert full["minutes_present"].sum() == 382.0


def test_bars_outside_regular_hours_are_left_out_of_every_bucket() -> None:
    for minutes in (30, None):
        assert resample_bars(screened("lean_extended"), minutes, NYSE).equals(
            resample_bars(screened("lean"), minutes, NYSE)
        )


def test_a_session_bar_of_minutes_is_the_daily_bar_of_the_same_vendor() -> None:
    daily = pl.read_parquet(shared_data("us_daily_lean_raw.parquet")).with_columns(
        pl.col("date").cast(pl.Date).alias("session"), pl.col("symbol").cast(pl.String)
    )
    sessions = resample_bars(screened("lean"), None, NYSE).filter(pl.col("minutes_present") > 60)
    both = sessions.join(daily, on=["symbol", "session"], suffix="_daily")
    assert both.height == 34
    for name in ("open", "close"):
        assert (both[name] == both[f"{name}_daily"]).all(), name
    # The vendor's two files are not one: highs and lows differ by some cents in places, ten volumes by up to 2 %.
    for name in ("high", "low"):
        assert (both[name] / both[f"{name}_daily"] - 1).abs().max() < 4e-4  # type: ignore[operator]
    assert (both["volume"] == both["volume_daily"]).sum() == 24
    assert (both["volume"] / both["volume_daily"] - 1).abs().max() < 0.021  # type: ignore[operator]


def test_a_field_that_a_bar_lacks_is_absent_from_its_bucket() -> None:
    bars = minute_bars(OPEN, [0, 1, 5]).with_columns(
        pl.when(pl.col("bar_start") != OPEN).then("volume").alias("volume"),
        pl.when(pl.col("bar_start") != OPEN).then("high").alias("high"),
    )
    done = resample_bars(bars, 5, NYSE)
    assert done["volume"].to_list() == [None, 100.0]
    assert done["high"].to_list() == [None, 10.52]
    assert done["low"].to_list() == [9.5, 9.52]


def test_bars_of_several_lengths_or_an_odd_multiple_are_refused() -> None:
    bars = minute_bars(OPEN, [0, 5])
    mixed = bars.with_columns(seconds=pl.Series([60, 300], dtype=pl.Int32))
    with pytest.raises(ConfigurationError, match="several lengths"):
        resample_bars(mixed, 5, NYSE)
    fives = bars.with_columns(seconds=pl.lit(300, pl.Int32))
    with pytest.raises(ConfigurationError, match="name a multiple"):
        resample_bars(fives, 7, NYSE)
    with pytest.raises(ConfigurationError, match="name a multiple"):
        resample_bars(bars, 0, NYSE)
    assert resample_bars(bars.clear(), 5, NYSE).is_empty()


def test_quotes_keep_their_extremes_and_the_last_size() -> None:
    quotes = screened("quotes")
    done = resample_quotes(quotes, None, NYSE)
    by = quotes.sort("bar_start").group_by("symbol", "session", maintain_order=True)
    plain = by.agg(
        pl.col("bid_high").max(), pl.col("ask_low").min(), pl.col("bid_close", "ask_size").last(), n=pl.len()
    )
    both = done.join(plain, on=["symbol", "session"], suffix="_plain")
    assert both.height == done.height == plain.height
    for name in ("bid_high", "ask_low", "bid_close", "ask_size"):
        assert both[name].equals(both[f"{name}_plain"], null_equal=True), name
    assert (both["minutes_present"] == both["n"]).all()


def test_a_quote_weighs_as_long_as_it_stood() -> None:
    quotes = pl.DataFrame(
        {
            "vendor": "v", "symbol": "A", "session": date(2024, 3, 1), "seconds": pl.Series([60] * 4, dtype=pl.Int32),
            "bar_start": [OPEN + timedelta(minutes=n) for n in (0, 1, 6, 10)],
            **{f"{side}_{name}": [10.0 + (side == "ask")] * 4
               for side in ("bid", "ask") for name in ("open", "high", "low", "size")},
            "bid_close": [10.0, 11.0, None, 20.0], "ask_close": [12.0, 12.0, 13.0, 21.0],
        }
    )  # fmt: skip
    done = resample_quotes(quotes, 10, NYSE)
    # Spread 2 for one minute, 1 for five; the quote without a bid, four minutes, does not count.
    assert done["spread_time_weighted"].to_list() == [(2.0 * 1 + 1.0 * 5) / 6, 1.0]
    assert done["mid_time_weighted"].to_list() == [(11.0 * 1 + 11.5 * 5) / 6, 20.5]
    assert done["bid_close"].to_list() == [None, 20.0]


def test_missing_minutes_of_the_real_week_are_those_its_files_lack() -> None:
    bars = screened("us24")
    report = missing_minutes(bars, NYSE)
    assert report.height == 24 * 5
    assert report["minutes_expected"].unique().to_list() == [390.0]
    assert report["minutes_present"].sum() == bars.height
    bac = report.filter(pl.col("symbol") == "BAC")
    assert bac["minutes_missing"].to_list() == [0.0] * 5
    worst = report.sort("minutes_missing", descending=True).row(0, named=True)
    assert worst["symbol"] == "UGA"  # a small fund that hardly trades
    longest = gap_runs(bars, NYSE).sort("minutes", descending=True).row(0, named=True)
    assert (longest["symbol"], longest["minutes"]) == ("UGA", 50.0)


def test_a_session_without_a_single_bar_is_missing_whole() -> None:
    bars = pl.concat([minute_bars(OPEN, [0, 1]), minute_bars(at("2024-03-05 14:30"), [3])])
    report = missing_minutes(bars, NYSE)
    assert report["session"].to_list() == [date(2024, 3, 1), date(2024, 3, 4), date(2024, 3, 5)]
    assert report["minutes_missing"].to_list() == [388.0, 390.0, 389.0]
    assert report["gaps"].to_list() == [1, 1, 2]
    asked = missing_minutes(bars, NYSE, (date(2024, 3, 5), date(2024, 3, 6)))
    assert asked["minutes_missing"].to_list() == [389.0, 390.0]
    assert missing_minutes(bars.clear(), NYSE).is_empty()


def test_a_minute_inside_a_longer_bar_opens_no_gap_behind_itself() -> None:
    hour = minute_bars(OPEN, [0]).with_columns(seconds=pl.lit(3600, pl.Int32))
    minute = minute_bars(OPEN, [5])
    runs = gap_runs(pl.concat([hour, minute]), NYSE)
    assert runs["gap_start"].to_list() == [at("2024-03-01 15:30")]
    assert runs["minutes"].to_list() == [330.0]


def test_resampling_does_not_depend_on_the_order_of_rows() -> None:
    bars = screened("us24")
    assert resample_bars(bars.sample(fraction=1.0, shuffle=True, seed=7), 15, NYSE).equals(
        resample_bars(bars, 15, NYSE)
    )

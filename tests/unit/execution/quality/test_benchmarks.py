"""Benchmarks from real minutes and quotes, and what must not be taken for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from quant_dagster.execution.quality.benchmarks import comparable, half_spread_at, interval, one_series, price_at
from quant_dagster.storage.tables import lake_table
from quant_dagster.storage.types import money
from tests.unit.market_data.intraday_files import minute_bars

OPEN = datetime(2013, 10, 8, 13, 30, tzinfo=UTC)


def bars(minutes: list[int]) -> pl.DataFrame:
    return minute_bars(OPEN, minutes)


def quotes(bid: float | None, ask: float | None) -> pl.DataFrame:
    row = {
        "vendor": "v", "symbol": "A", "session": OPEN.date(), "bar_start": OPEN, "seconds": 60, "bid_open": bid,
        "ask_open": ask, "known_at": OPEN,
    }  # fmt: skip
    schema = lake_table("intraday_quotes").schema
    return pl.DataFrame([{name: row.get(name) for name in schema}], schema=schema)


def test_the_price_is_the_open_of_the_minute_one_is_in() -> None:
    seen = price_at(bars([0, 1]), OPEN + timedelta(seconds=75))
    assert seen is not None and (seen.price, seen.at) == (Decimal("10.01"), OPEN + timedelta(minutes=1))


def test_between_trades_the_price_is_the_last_one_before() -> None:
    seen = price_at(bars([0, 1]).with_columns(close=pl.lit(11.0)), OPEN + timedelta(minutes=30))
    assert seen is not None and seen.price == 11
    assert price_at(bars([5]), OPEN) is None, "what trades later is not known yet"


def test_vwap_counts_every_bar_that_is_touched_with_its_volume() -> None:
    rows = bars([0, 1, 2, 3]).with_columns(volume=pl.Series([100.0, 300.0, 50.0, 1e6]))
    found = interval(rows, OPEN + timedelta(seconds=59), OPEN + timedelta(minutes=2))
    assert found is not None
    typical = [(2 * close + close + 0.5 - 0.5) / 3 for close in (10.0, 10.01, 10.02)]
    expected = sum(p * v for p, v in zip(typical, (100, 300, 50), strict=True)) / 450
    assert (found.bars, found.volume) == (3, 450.0)
    assert float(found.vwap or 0) == pytest.approx(expected, abs=1e-6)


def test_a_bar_without_a_range_counts_at_its_close_and_one_without_volume_not() -> None:
    rows = bars([0, 1, 2]).with_columns(
        high=pl.lit(None, pl.Float64), low=pl.lit(None, pl.Float64), volume=pl.Series([10.0, None, 30.0])
    )
    found = interval(rows, OPEN, OPEN + timedelta(minutes=5))
    assert found is not None and (found.vwap, found.volume) == (money((10.0 * 10 + 10.02 * 30) / 40), 40.0)
    silent = interval(rows.with_columns(volume=pl.lit(None, pl.Float64)), OPEN, OPEN + timedelta(minutes=5))
    assert silent is not None and silent.vwap is None and silent.volume == 0
    assert interval(rows, OPEN + timedelta(hours=1), OPEN + timedelta(hours=2)) is None


def test_no_share_is_counted_once_a_vendor() -> None:
    """The shortest bars, of the vendor that has most of them."""
    own = bars([0, 1, 2])
    other = bars([0, 1]).with_columns(vendor=pl.lit("a"))
    hours = bars([0]).with_columns(vendor=pl.lit("b"), seconds=pl.lit(3600, pl.Int32))
    assert one_series(pl.concat([other, hours, own])).equals(own)
    assert one_series(own.clear()).is_empty()


@pytest.mark.parametrize(("bid", "ask", "half"), [
    (9.99, 10.01, "0.01"), (10.0, 10.0, "0"), (10.02, 10.01, None), (None, 10.01, None), (9.99, None, None),
    (0.0, 10.0, None),
])  # fmt: skip
def test_half_a_spread_needs_two_sides_that_do_not_cross(
    bid: float | None, ask: float | None, half: str | None
) -> None:
    seen = half_spread_at(quotes(bid, ask), OPEN + timedelta(seconds=30))
    assert (None if seen is None else seen.price) == (None if half is None else Decimal(half))
    assert half_spread_at(quotes(bid, ask), OPEN + timedelta(minutes=1)) is None, "a minute later it is another market"


def test_prices_seven_for_one_apart_are_not_comparable() -> None:
    assert comparable(Decimal("645.57"), Decimal("650.00"))
    assert not comparable(Decimal("645.57"), Decimal("92.69"))
    assert not comparable(Decimal("92.69"), Decimal("645.57"))

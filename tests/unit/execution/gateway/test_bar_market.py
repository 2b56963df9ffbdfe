"""Orders against real bars: one-minute bars of five sessions of 2019, and daily bars of the same days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.execution.gateway.account import Account, CommissionSchedule
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.bars import (
    Bar,
    SymbolBars,
    daily_bars,
    minute_bars,
    minute_by_minute,
    of_session,
    read_bars,
)
from quant_dagster.execution.gateway.market import RunningClock
from quant_dagster.execution.gateway.records import OrderState, Ticket, VenueOrder
from quant_dagster.execution.gateway.venue import Venue
from tests.support.market_data import shared_data

DAY = date(2019, 2, 13)
OPENS = datetime(2019, 2, 13, 14, 30, tzinfo=UTC)
CLOSES = datetime(2019, 2, 13, 21, 0, tzinfo=UTC)
BEFORE = OPENS - timedelta(minutes=5)
FILE = "intraday_1min_us24_2019-02-11_15.parquet"


@cache
def real_bars() -> dict[str, SymbolBars]:
    frame = read_bars(shared_data(FILE), {"bar_end": "bar_end_ny"}, time_zone="America/New_York")
    return minute_bars(of_session(frame, DAY).filter(pl.col("symbol").is_in(["AAPL", "JPM"])))


def of_day(symbol: str = "AAPL") -> list[Bar]:
    return [bar for bar in real_bars()[symbol].bars if OPENS <= bar.start < CLOSES]


def opened(
    at: datetime = BEFORE, bars: dict[str, SymbolBars] | None = None, **options: object
) -> tuple[BarMarket, Venue]:
    market = BarMarket(bars or real_bars(), opens=OPENS, closes=CLOSES, **options)  # type: ignore[arg-type]
    account = Account("DU1", Decimal(100_000_000), CommissionSchedule())
    venue = Venue(account, market.instruments, market.mark)
    market.begin(venue, at)
    return market, venue


def place(
    venue: Venue, at: datetime, side: Side = Side.BUY, quantity: int = 100, kind: str = "MKT", **fields: object
) -> int:
    number = len(venue.orders()) + 1
    ticket = Ticket(1, number, "AAPL", side, Decimal(quantity), kind, order_ref=f"r{number}", **fields)  # type: ignore[arg-type]
    venue.place(ticket, at)
    return venue.of_ref(f"r{number}").perm_id


def order(venue: Venue, perm_id: int) -> VenueOrder:
    return venue.order(perm_id)


def test_the_file_has_its_times_as_bar_starts_in_utc() -> None:
    first, last = of_day()[0], of_day()[-1]
    assert (first.start, last.end, len(of_day())) == (OPENS, CLOSES, 390)


def test_a_market_order_fills_at_the_open_of_the_next_bar_and_half_the_spread_worse() -> None:
    market, venue = opened(spread_bps=Decimal(2))
    perm_id = place(venue, BEFORE)
    market.advance(venue, OPENS)
    (done,) = venue.executions()
    worse = (of_day()[0].open * Decimal("1.0001")).quantize(Decimal("0.0001"), ROUND_CEILING)
    assert (done.price, done.at, done.quantity) == (worse, OPENS, 100)
    late = OPENS + timedelta(seconds=20)
    market.advance(venue, late)
    second = place(venue, late, Side.SELL)
    market.advance(venue, OPENS + timedelta(seconds=59))
    assert order(venue, second).filled == 0
    market.advance(venue, OPENS + timedelta(minutes=1))
    assert venue.executions()[-1].at == of_day()[1].start and venue.executions()[-1].price < of_day()[1].open
    assert order(venue, perm_id).state is OrderState.FILLED


def test_a_limit_order_fills_at_its_limit_in_the_first_bar_that_reaches_it() -> None:
    market, venue = opened()
    start = of_day()[0].open
    limit = start.quantize(Decimal("0.01")) + Decimal("0.30")
    perm_id = place(venue, BEFORE, Side.SELL, kind="LMT", limit=limit)
    market.advance(venue, CLOSES)
    reached = next(bar for bar in of_day() if bar.high >= limit)
    (done,) = venue.executions()
    assert done.price == (limit if reached.open < limit else reached.open)
    assert done.at == (reached.end if reached.open < limit else reached.start)
    assert order(venue, perm_id).state is OrderState.FILLED


def test_a_limit_order_that_the_open_reaches_gets_the_better_price() -> None:
    market, venue = opened()
    limit = (of_day()[0].open + 1).quantize(Decimal("0.01"))
    place(venue, BEFORE, kind="LMT", limit=limit)
    market.advance(venue, OPENS)
    assert venue.executions()[0].price == of_day()[0].open < limit


def test_a_stop_order_waits_for_its_price() -> None:
    market, venue = opened()
    stop = (of_day()[0].open - Decimal("0.40")).quantize(Decimal("0.01"))
    perm_id = place(venue, BEFORE, Side.SELL, kind="STP", stop=stop)
    market.advance(venue, OPENS)
    assert order(venue, perm_id).state is OrderState.PRE_SUBMITTED and not order(venue, perm_id).triggered
    market.advance(venue, CLOSES)
    reached = next((bar for bar in of_day() if bar.low <= stop), None)
    assert (order(venue, perm_id).state is OrderState.FILLED) == (reached is not None)
    if reached is not None:
        assert venue.executions()[0].price <= stop


def test_large_orders_fill_in_parts_that_never_exceed_the_share_of_the_volume() -> None:
    share = Decimal("0.1")
    market, venue = opened(participation=share)
    first_two = sum(int(bar.volume * share) for bar in of_day()[:2])
    perm_id = place(venue, BEFORE, quantity=first_two + 10)
    other = place(venue, BEFORE, quantity=50)
    market.advance(venue, CLOSES)
    by_bar: dict[datetime, Decimal] = {}
    for one in venue.executions():
        by_bar[one.at] = by_bar.get(one.at, Decimal(0)) + one.quantity
    volumes = {bar.start: bar.volume for bar in of_day()}
    assert all(quantity <= volumes[at] * share for at, quantity in by_bar.items())
    assert [one.at for one in venue.account.latest(perm_id)] == [bar.start for bar in of_day()[:3]]
    assert order(venue, other).state is OrderState.FILLED and venue.account.latest(other)[0].at == of_day()[2].start


def test_the_close_ends_day_orders() -> None:
    market, venue = opened()
    day = place(venue, BEFORE, kind="LMT", limit=Decimal("100.00"))
    lasting = place(venue, BEFORE, kind="LMT", limit=Decimal("100.00"), time_in_force="GTC")
    market.advance(venue, CLOSES)
    assert order(venue, day).state is OrderState.CANCELLED
    assert not order(venue, lasting).state.is_final and not venue.is_open


def test_the_same_steps_give_the_same_trades_however_time_is_cut() -> None:
    def trades(step: timedelta) -> list[tuple[str, Decimal, Decimal, datetime]]:
        market, venue = opened()
        place(venue, BEFORE, quantity=30_000)
        place(venue, BEFORE, Side.SELL, kind="LMT", limit=(of_day()[0].open + Decimal("0.2")).quantize(Decimal("0.01")))
        at = BEFORE
        while at < CLOSES:
            at += step
            market.advance(venue, at)
        return [(one.order_ref, one.quantity, one.price, one.at) for one in venue.executions()]

    assert trades(timedelta(seconds=7)) == trades(timedelta(hours=7)) != []


def test_a_daily_bar_is_walked_from_its_open_by_the_nearer_extreme_to_its_close() -> None:
    frame = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"))
    rows = frame.filter((pl.col("symbol") == "AAPL") & (pl.col("date").cast(pl.Date) == DAY)).with_columns(
        pl.col("date").cast(pl.Date).alias("session")
    )
    (row,) = rows.to_dicts()
    bars = daily_bars(rows, {DAY: OPENS}, {DAY: CLOSES})
    legs = bars["AAPL"].bars
    low_first = row["open"] - row["low"] <= row["high"] - row["open"]
    turns = [row["open"], *([row["low"], row["high"]] if low_first else [row["high"], row["low"]]), row["close"]]
    assert [float(leg.open) for leg in legs] == turns[:3] and [float(leg.close) for leg in legs] == turns[1:]
    assert (legs[0].start, legs[-1].end) == (OPENS, CLOSES)
    market, venue = opened(bars=bars)
    highest = Decimal(repr(row["high"])).quantize(Decimal("0.01"), "ROUND_FLOOR")
    perm_id = place(venue, BEFORE, Side.SELL, kind="LMT", limit=highest)
    market.advance(venue, CLOSES)
    assert order(venue, perm_id).state is OrderState.FILLED and order(venue, perm_id).average_price == highest


def test_a_column_may_not_take_the_name_of_another(tmp_path: Path) -> None:
    pl.DataFrame({"bar_start": [OPENS], "symbol": ["A"], "open": [1.0], "close": [2.0]}).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(ConfigurationError, match="has a column close already"):
        read_bars(tmp_path / "b.parquet", {"close": "open"}, time_zone="UTC")


def test_an_order_that_works_for_minutes_meets_a_day_that_is_walked_by_the_minute() -> None:
    frame = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"))
    rows = frame.filter((pl.col("symbol") == "AAPL") & (pl.col("date").cast(pl.Date) == DAY)).with_columns(
        pl.col("date").cast(pl.Date).alias("session")
    )
    legs = daily_bars(rows, {DAY: OPENS}, {DAY: CLOSES})["AAPL"].bars
    minutes = minute_by_minute({"AAPL": SymbolBars.of(legs)}, OPENS)["AAPL"].bars
    assert len(minutes) == (CLOSES - OPENS) // timedelta(minutes=1)
    assert all(one.end == other.start and one.close == other.open for one, other in pairwise(minutes))
    assert sum(one.volume for one in minutes) == sum(leg.volume for leg in legs)
    assert (minutes[0].open, minutes[-1].close) == (legs[0].open, legs[-1].close)
    assert max(one.high for one in minutes) == max(leg.high for leg in legs)
    assert min(one.low for one in minutes) == min(leg.low for leg in legs)
    assert minute_by_minute({"AAPL": SymbolBars.of(legs)}, CLOSES)["AAPL"].bars == legs, "history stays as it is"
    market, venue = opened(bars={"AAPL": SymbolBars.of(minutes)})
    market.advance(venue, OPENS + timedelta(minutes=30))
    price = market.quote("AAPL").ask
    assert price is not None
    perm_id = place(
        venue, OPENS + timedelta(minutes=30), kind="LMT", limit=(price * Decimal("1.001")).quantize(Decimal("0.01"))
    )
    market.advance(venue, OPENS + timedelta(minutes=35))
    assert order(venue, perm_id).state is OrderState.FILLED


@given(st.data())
def test_no_execution_lies_outside_its_bar(data: st.DataObject) -> None:
    market, venue = opened(spread_bps=Decimal(0))
    at, at_most = BEFORE, of_day()[0].open
    for _ in range(data.draw(st.integers(1, 8))):
        side = data.draw(st.sampled_from(Side))
        away = Decimal(data.draw(st.integers(-80, 80))) / 100
        kind = data.draw(st.sampled_from(["MKT", "LMT", "STP"]))
        price = (at_most + away).quantize(Decimal("0.01"))
        place(venue, at, side, data.draw(st.integers(1, 40_000)), kind,
              limit=price if kind == "LMT" else None, stop=price if kind == "STP" else None)  # fmt: skip
        at += timedelta(seconds=data.draw(st.integers(1, 2000)))
        market.advance(venue, at)
    market.advance(venue, CLOSES)
    bars = {bar.start: bar for bar in of_day()} | {bar.end: bar for bar in of_day()}
    starts = {bar.start: bar for bar in of_day()}
    for one in venue.executions():
        ticket = venue.order(one.perm_id).ticket
        candidates = [bars[one.at], *([starts[one.at]] if one.at in starts else [])]
        candidates += [bar for bar in of_day() if bar.end == one.at]
        assert any(bar.low <= one.price <= bar.high for bar in candidates)
        assert one.at > venue.order(one.perm_id).arrived_at
        if ticket.limit is not None:
            assert ticket.side.sign * (ticket.limit - one.price) >= 0
    assert all(order.filled <= order.ticket.quantity for order in venue.orders())


def test_before_its_first_bar_a_symbol_has_no_quote_and_then_the_last_price() -> None:
    bars = {"AAPL": SymbolBars.of(of_day())}
    market, venue = opened(bars=bars)
    assert market.quote("AAPL").last is None and market.mark("AAPL") == of_day()[0].open
    market.advance(venue, OPENS + timedelta(seconds=90))
    assert market.quote("AAPL").last == of_day()[1].open
    market.advance(venue, CLOSES)
    assert market.quote("AAPL").last == of_day()[-1].close


def test_history_ends_where_market_time_stands() -> None:
    market, _ = opened()
    until = OPENS + timedelta(minutes=30)
    minutes = market.history("AAPL", daily=False, until=until)
    assert minutes[-1][0] == of_day()[29].start
    days = market.history("AAPL", daily=True, until=until)
    assert len(days) == 3 and days[-1][1] == of_day()[0].open
    assert days[-1][2] == max(bar.high for bar in of_day()[:30])


def test_a_session_without_bars_names_those_that_have_some() -> None:
    frame = read_bars(shared_data(FILE), {"bar_end": "bar_end_ny"}, time_zone="America/New_York")
    with pytest.raises(DataUnavailableError, match="2019-02-15"):
        of_session(frame, date(2019, 2, 18))


def test_a_column_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="bar_end_ny"):
        read_bars(shared_data(FILE), {"bar_end": "when"}, time_zone="America/New_York")
    with pytest.raises(ConfigurationError, match="bar_start"):
        read_bars(shared_data(FILE), {}, time_zone="America/New_York")


def test_a_file_is_read_the_same_whatever_names_its_times(tmp_path: Path) -> None:
    first = of_day()[0]
    bar = {"symbol": "AAPL", "open": 1.0, "high": 2.0, "low": 1.0, "close": 2.0, "volume": 3.0}
    written = tmp_path / "bars.parquet"

    def read(columns: dict[str, str], **changed: object) -> datetime:
        pl.DataFrame([bar | changed]).write_parquet(written)
        frame = read_bars(written, columns, time_zone="America/New_York")
        assert frame.columns == ["symbol", "bar_start", "open", "high", "low", "close", "volume"]
        found: datetime = frame["bar_start"][0]
        return found

    naive = first.end.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    assert read({}, bar_start=first.start) == read({}, bar_end=first.end) == read({"bar_end": "t"}, t=naive) == OPENS
    with pytest.raises(ConfigurationError, match="is Date, not a time"):
        read({}, bar_start=DAY)
    del bar["open"]
    with pytest.raises(ConfigurationError, match="bars have no column open"):
        read({}, bar_start=first.start)


def test_a_market_that_was_not_begun_begins_where_it_is_advanced_to() -> None:
    market = BarMarket(real_bars(), opens=OPENS, closes=CLOSES)
    book = Venue(Account("DU1", Decimal(100_000_000), CommissionSchedule()), market.instruments, market.mark)
    at = OPENS + timedelta(minutes=10)
    assert market.quote("AAPL").last is None
    assert market.advance(book, at) == [] and book.is_open
    assert market.quote("AAPL").last == of_day()[10].open


def test_of_two_orders_of_a_group_only_the_first_meets_the_open() -> None:
    market, book = opened()
    grouped = {"oca_group": "g", "oca_type": 1}
    first, second = (place(book, BEFORE, **grouped) for _ in range(2))  # type: ignore[arg-type]
    market.advance(book, OPENS)
    assert order(book, first).filled == 100
    assert (order(book, second).state, order(book, second).filled) == (OrderState.CANCELLED, 0)


def test_a_running_clock_runs_as_much_faster_as_it_is_told() -> None:
    seconds = iter([100.0, 101.0, 103.5])
    clock = RunningClock(OPENS, 60.0, lambda: next(seconds))
    assert [clock.now() - OPENS, clock.now() - OPENS] == [timedelta(minutes=1), timedelta(minutes=3.5)]
    with pytest.raises(ConfigurationError):
        RunningClock(OPENS, 0.0)

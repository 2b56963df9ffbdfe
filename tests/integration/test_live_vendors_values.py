"""What a live vendor serves arrives bit for bit, whole or not at all; what it says is absent is absent."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.errors import (
    DataUnavailableError,
    MalformedAnswerError,
    UnknownSymbolError,
)
from quant_dagster.market_data.vendors.protocol import (
    ACTION_SCHEMA,
    MINUTE_SCHEMA,
    PRICE_FIELDS,
    REJECT_SCHEMA,
    ROW_SCHEMA,
)
from tests.support.market_data import shared_data
from tests.support.vendor_servers.worlds import (
    ACTIONS,
    EQUITY,
    FIRST,
    LAST,
    LIVE,
    MINUTES_FROM,
    MINUTES_UNTIL,
    World,
    daily,
    minutes,
    server_of,
    vendor_at,
    world_of,
)

VALUES = ["symbol", "session", *PRICE_FIELDS]


@cache
def yahoo_rows(path: Path) -> pl.DataFrame:
    """Rows of some symbols as Yahoo served them, the crash of 2020 and zero volumes included."""
    rows = pl.read_parquet(path).with_columns(pl.col("symbol").cast(pl.String))
    wanted = rows.filter(pl.col("symbol").is_in(["AAPL", "BKNG", "GE", "OXY"])).rename({"date": "session"})
    return wanted.with_columns(pl.col(name).cast(pl.Float64) for name in PRICE_FIELDS).sort("symbol", "session")


@pytest.mark.parametrize("name", LIVE)
def test_daily_bars_are_bit_for_bit_those_served(worlds: dict[str, World], name: str) -> None:
    answer = worlds[name].operation("daily_bars")()
    expected = daily(worlds[name].symbol).filter(pl.col("session").is_between(FIRST, LAST))
    assert answer.rows.select(VALUES).equals(expected.select(VALUES))
    assert answer.rows.schema == ROW_SCHEMA
    assert answer.rejected.schema == REJECT_SCHEMA
    assert answer.missing_symbols == ()
    assert answer.rows["known_at"].null_count() == answer.rows.height, "no vendor says when it knew"
    assert worlds[name].vendor.capabilities.remote


@pytest.mark.parametrize("name", EQUITY)
def test_ten_years_of_several_real_symbols_arrive_as_served(name: str) -> None:
    rows = yahoo_rows(shared_data("us_daily_yahoo_2014_2024.parquet"))
    with server_of(name, rows=rows) as server:
        symbols = rows["symbol"].unique().sort().to_list()
        answer = vendor_at(name, server).daily_bars(
            [*symbols[:2], "NONE", *symbols[2:]], date(2014, 1, 1), date(2024, 3, 8)
        )
    assert answer.rows.select(VALUES).equals(rows.select(VALUES))
    assert answer.missing_symbols == ("NONE",)


@pytest.mark.parametrize("name", EQUITY)
def test_a_real_week_of_minutes_arrives_as_served(name: str) -> None:
    table = pl.read_parquet(shared_data("intraday_1min_us24_2019-02-11_15.parquet"))
    start = (
        pl.col("bar_end_ny")
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("America/New_York")
        .dt.convert_time_zone("UTC")
    )
    bars = table.with_columns(bar_start=start - timedelta(minutes=1), symbol=pl.col("symbol").cast(pl.String))
    one = (
        bars.filter(pl.col("symbol") == "AAPL")
        .select(pl.col(n).cast(t) for n, t in MINUTE_SCHEMA.items())
        .sort("bar_start")
    )
    begin, until = datetime(2019, 2, 12, 15, 0, tzinfo=UTC), datetime(2019, 2, 15, 16, 0, tzinfo=UTC)
    with server_of(name, rows=daily(), minutes=one) as server:
        answer = vendor_at(name, server, now=datetime(2019, 2, 16, tzinfo=UTC)).minute_bars("AAPL", begin, until)
    expected = one.filter((pl.col("bar_start") >= begin) & (pl.col("bar_start") < until))
    assert expected.height > 1000
    assert answer.rows.equals(expected)


@pytest.mark.parametrize("name", LIVE)
def test_minute_bars_are_those_from_start_to_before_end(worlds: dict[str, World], name: str) -> None:
    begin, until = MINUTES_FROM + timedelta(minutes=5), MINUTES_UNTIL - timedelta(minutes=5)
    answer = worlds[name].vendor.minute_bars(worlds[name].symbol, begin, until)
    assert answer.rows.equals(minutes(worlds[name].symbol)[5:55])


@pytest.mark.parametrize("name", LIVE)
def test_a_minute_that_has_not_ended_is_not_reported(name: str) -> None:
    with server_of(name) as server:
        world = world_of(name, server, now=MINUTES_FROM + timedelta(minutes=29, seconds=59))
        rows = world.operation("minute_bars")().rows
    assert rows["bar_start"].max() == MINUTES_FROM + timedelta(minutes=28)


@pytest.mark.parametrize("name", EQUITY)
def test_splits_and_dividends_are_told_by_ex_date(worlds: dict[str, World], name: str) -> None:
    answer = worlds[name].operation("corporate_actions")()
    assert answer.rows.equals(ACTIONS)


@pytest.mark.parametrize("name", EQUITY)
def test_a_vendor_that_says_there_are_no_events_gives_none(worlds: dict[str, World], name: str) -> None:
    answer = worlds[name].vendor.corporate_actions("AAPL", date(2012, 10, 1), date(2013, 2, 28))
    assert answer.rows.is_empty()
    assert answer.rows.schema == ACTION_SCHEMA
    assert worlds[name].server.requests


def test_yahoo_counts_distributed_capital_gains_as_dividends(worlds: dict[str, World]) -> None:
    stamp = int(datetime(2012, 12, 20, 14, 30, tzinfo=UTC).timestamp())
    gains = {"capitalGains": {str(stamp): {"amount": 0.59, "date": stamp}}}
    worlds["yfinance"].server.change = lambda content: content["chart"]["result"][0].update(events=gains)
    rows = worlds["yfinance"].vendor.corporate_actions("AAPL", FIRST, LAST).rows
    assert rows.rows() == [("AAPL", date(2012, 12, 20), "dividend", None, 0.59)]


def test_a_session_without_close_at_yahoo_is_handed_back_as_rejected(worlds: dict[str, World]) -> None:
    def no_trade(content: Any) -> None:
        quotes = content["chart"]["result"][0]["indicators"]["quote"][0]
        for name in PRICE_FIELDS:
            quotes[name][3] = None

    worlds["yfinance"].server.change = no_trade
    answer = worlds["yfinance"].operation("daily_bars")()
    expected = daily().filter(pl.col("session").is_between(FIRST, LAST))
    assert answer.rejected.select("session", "reason").rows() == [(answer.rejected["session"][0], "no_close")]
    assert answer.rows.height == expected.height - 1
    assert answer.rejected["session"][0] not in answer.rows["session"]


def _first_chart(content: Any) -> Any:
    return content["chart"]["result"][0]


def _swap(values: list[Any]) -> None:
    values[0], values[1] = values[1], values[0]


def _series(content: Any) -> dict[str, Any]:
    found: dict[str, Any] = content["Time Series (Daily)"]
    return found


def _reverse(series: dict[str, Any]) -> None:
    entries = list(series.items())[::-1]
    series.clear()
    series.update(entries)


SPOILT: dict[str, tuple[str, Callable[[Any], object]]] = {
    "yahoo: fields of unequal length": ("yfinance", lambda c: _first_chart(c)["indicators"]["quote"][0]["open"].pop()),
    "yahoo: times out of order": ("yfinance", lambda c: _swap(_first_chart(c)["timestamp"])),
    "yahoo: another symbol": ("yfinance", lambda c: _first_chart(c)["meta"].update(symbol="MSFT")),
    "yahoo: another interval": ("yfinance", lambda c: _first_chart(c)["meta"].update(dataGranularity="1wk")),
    "yahoo: times without prices": ("yfinance", lambda c: _first_chart(c)["indicators"].update(quote=[{}])),
    "yahoo: prices without times": ("yfinance", lambda c: _first_chart(c).pop("timestamp")),
    "yahoo: a price not finite": (
        "yfinance",
        lambda c: _first_chart(c)["indicators"]["quote"][0]["low"].__setitem__(0, float("inf")),
    ),
    "yahoo: no result and no error": ("yfinance", lambda c: c["chart"].update(result=[])),
    "yahoo: unknown time zone": (
        "yfinance",
        lambda c: _first_chart(c)["meta"].update(exchangeTimezoneName="Mars/Base"),
    ),
    "alpha vantage: oldest first": ("alpha_vantage", lambda c: _reverse(_series(c))),
    "alpha vantage: another symbol": ("alpha_vantage", lambda c: c["Meta Data"].update({"2. Symbol": "MSFT"})),
    "alpha vantage: another zone": ("alpha_vantage", lambda c: c["Meta Data"].update({"5. Time Zone": "UTC"})),
    "alpha vantage: an empty series": ("alpha_vantage", lambda c: _series(c).clear()),
    "alpha vantage: a date that is none": (
        "alpha_vantage",
        lambda c: _series(c).update(soon=next(iter(_series(c).values()))),
    ),
    "alpha vantage: an unknown refusal": ("alpha_vantage", lambda c: (c.clear(), c.update(Information="Good morning"))),
    "finnhub: fields of unequal length": ("finnhub", lambda c: c["v"].pop()),
    "finnhub: times out of order": ("finnhub", lambda c: _swap(c["t"])),
    "finnhub: null in prices": ("finnhub", lambda c: c["o"].__setitem__(0, None)),
    "finnhub: ok and empty": ("finnhub", lambda c: [c[name].clear() for name in "tohlcv"]),
    "finnhub: an unknown status": ("finnhub", lambda c: c.update(s="maybe")),
    "binance: bars out of order": ("binance", _swap),
    "binance: a row that is no list": ("binance", lambda c: c.__setitem__(0, {"open": 1})),
    "kraken: bars out of order": ("kraken", lambda c: _swap(c["result"]["XBTUSDT"])),
    "kraken: another market": ("kraken", lambda c: c["result"].update(XETHZUSD=c["result"].pop("XBTUSDT"))),
    "coinbase: bars out of order": ("coinbase", _swap),
    "coinbase: null in prices": ("coinbase", lambda c: c[0].__setitem__(3, None)),
}


@pytest.mark.parametrize("case", SPOILT)
def test_an_answer_that_contradicts_its_format_is_malformed_not_half_read(worlds: dict[str, World], case: str) -> None:
    name, change = SPOILT[case]
    worlds[name].server.change = change
    with pytest.raises(MalformedAnswerError):
        worlds[name].operation("daily_bars")()


@pytest.mark.parametrize("name", LIVE)
def test_a_range_without_data_is_unavailable_and_names_the_range(worlds: dict[str, World], name: str) -> None:
    with pytest.raises(DataUnavailableError, match="2019-06-03") as caught:
        worlds[name].vendor.daily_bars([worlds[name].symbol], date(2019, 6, 3), date(2019, 6, 7))
    assert isinstance(caught.value, DataUnavailableError)
    assert not isinstance(caught.value, UnknownSymbolError)


@pytest.mark.parametrize("name", LIVE)
def test_no_symbols_or_only_unknown_ones_is_unavailable(worlds: dict[str, World], name: str) -> None:
    with pytest.raises(DataUnavailableError, match="NONE"):
        worlds[name].vendor.daily_bars(["NONE"], FIRST, LAST)
    with pytest.raises(DataUnavailableError, match="no symbol"):
        worlds[name].vendor.daily_bars([], FIRST, LAST)


@pytest.mark.parametrize("name", LIVE)
def test_one_vendor_answers_several_threads_at_once(name: str) -> None:
    ranges = [(FIRST + timedelta(days=7 * week), FIRST + timedelta(days=7 * week + 40)) for week in range(12)]
    with server_of(name) as server, ThreadPoolExecutor(4) as pool:
        world = world_of(name, server)
        answers = list(pool.map(lambda span: world.vendor.daily_bars([world.symbol], *span), ranges))
    for span, answer in zip(ranges, answers, strict=True):
        assert answer.rows.select(VALUES).equals(
            daily(world.symbol).filter(pl.col("session").is_between(*span)).select(VALUES)
        )

"""What a live vendor serves arrives bit for bit, whole or not at all; what it says is absent is absent."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.errors import (
    ConfigurationError,
    DataUnavailableError,
    MalformedAnswerError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
)
from quant_dagster.market_data.vendors.crypto import MarketFacts
from quant_dagster.market_data.vendors.protocol import (
    ACTION_SCHEMA,
    MINUTE_SCHEMA,
    PRICE_FIELDS,
    REJECT_SCHEMA,
    ROW_SCHEMA,
    TRADE_SCHEMA,
)
from quant_dagster.market_data.vendors.registry import LIVE_VENDORS, build_vendor
from quant_dagster.settings import LiveVendorsSettings
from tests.support.market_data import shared_data
from tests.support.vendor_servers import AlphaVantageServer, BinanceServer, FinnhubServer, Reply, Request, YahooServer
from tests.support.vendor_servers.worlds import (
    ACTIONS,
    BOOK,
    CRYPTO,
    EQUITY,
    FIRST,
    LAST,
    LIVE,
    MINUTES_FROM,
    MINUTES_UNTIL,
    NOW,
    World,
    daily,
    minutes,
    server_of,
    trades,
    vendor_at,
    world_of,
)

VALUES = ["symbol", "session", *PRICE_FIELDS]
PAIR = "BTC/USDT"


@cache
def yahoo_rows(path: Path) -> pl.DataFrame:
    """Rows of some symbols as Yahoo served them, the crash of 2020 and zero volumes included."""
    rows = pl.read_parquet(path).with_columns(pl.col("symbol").cast(pl.String))
    wanted = rows.filter(pl.col("symbol").is_in(["AAPL", "BKNG", "GE", "OXY"])).rename({"date": "session"})
    return wanted.with_columns(pl.col(name).cast(pl.Float64) for name in PRICE_FIELDS).sort("symbol", "session")


@cache
def venue_messages(path: Path) -> list[dict[str, Any]]:
    """Messages of Binance spot as they were received."""
    with gzip.open(path, "rt") as lines:
        return [json.loads(line.split(" ", 1)[1]) for line in lines]


def real_trades() -> pl.DataFrame:
    """Five minutes of trades of BTC/USDT on 2024-08-09; "m": the buyer was the maker."""
    messages = venue_messages(shared_data("lob_binance_spot_btcusdt_20240809.gz"))
    events = [message["data"] for message in messages if message["stream"].endswith("@trade")]
    columns = {
        "symbol": [PAIR] * len(events),
        "trade_id": [str(event["t"]) for event in events],
        "traded_at": [event["T"] * 1000 for event in events],
        "price": [float(event["p"]) for event in events],
        "size": [float(event["q"]) for event in events],
        "side": ["sell" if event["m"] else "buy" for event in events],
    }
    return pl.DataFrame(columns).with_columns(pl.col("traded_at").cast(TRADE_SCHEMA["traded_at"]))


def test_registry_and_settings_name_the_same_live_vendors() -> None:
    assert set(LIVE_VENDORS) == set(LiveVendorsSettings.model_fields) == set(LIVE)


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


def test_yahoo_says_how_far_back_its_minutes_go() -> None:
    with YahooServer(daily(), minutes=minutes(), now=NOW) as server:
        vendor: Any = vendor_at("yfinance", server)
        with pytest.raises(DataUnavailableError, match="within the last 30 days"):
            vendor.minute_bars("AAPL", NOW - timedelta(days=60), NOW)


def test_yahoo_is_asked_for_a_week_of_minutes_at_a_time(worlds: dict[str, World]) -> None:
    rows = worlds["yfinance"].vendor.minute_bars("AAPL", NOW - timedelta(days=15), NOW).rows
    charts = [r.params for r in worlds["yfinance"].server.requests if "chart" in r.path]
    assert [int(c["period2"]) - int(c["period1"]) for c in charts] == [7 * 86_400, 7 * 86_400, 86_400]
    assert rows.equals(minutes())


def test_alpha_vantage_is_asked_for_the_short_form_where_that_is_enough() -> None:
    rows = daily()
    newest = rows["session"].max()
    assert isinstance(newest, date)
    now = datetime(newest.year, newest.month, newest.day, 23, tzinfo=UTC)
    with AlphaVantageServer(rows, full_is_premium=True) as server:
        vendor = vendor_at("alpha_vantage", server, now=now)
        short = vendor.daily_bars(["AAPL"], newest - timedelta(days=30), newest)
        assert short.rows["session"].max() == newest
        with pytest.raises(UnauthorisedError, match="premium endpoint"):
            vendor.daily_bars(["AAPL"], newest - timedelta(days=300), newest)


def test_alpha_vantage_is_asked_for_minutes_month_by_month(worlds: dict[str, World]) -> None:
    world = worlds["alpha_vantage"]
    with pytest.raises(MalformedAnswerError, match="is empty"):  # it holds no series for a month before March
        world.vendor.minute_bars("AAPL", datetime(2024, 2, 1, 6, tzinfo=UTC), MINUTES_UNTIL)
    world.server.clear()
    assert [request.params["month"] for request in world.server.requests] == ["2024-02"]
    world.server.requests.clear()
    world.vendor.minute_bars("AAPL", MINUTES_FROM, datetime(2024, 4, 1, 3, tzinfo=UTC))  # 23:00 on 31 March
    assert [request.params["month"] for request in world.server.requests] == ["2024-03"]


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_vendor_with_a_list_of_symbols_gives_it(name: str) -> None:
    both = pl.concat([daily(), daily("MSFT")])
    servers: dict[str, Any] = {"alpha_vantage": AlphaVantageServer, "finnhub": FinnhubServer}
    with servers[name](both) as server:
        assert vendor_at(name, server).symbols() == ["AAPL", "MSFT"]


def test_yahoo_has_no_list_of_symbols() -> None:
    with server_of("yfinance") as server, pytest.raises(ConfigurationError, match="name them in the universe"):
        vendor_at("yfinance", server).symbols()


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_missing_key_is_said_before_anything_is_asked(name: str) -> None:
    settings = getattr(LiveVendorsSettings(), name)
    with pytest.raises(ConfigurationError, match=f"QUANT_MARKET_DATA__LIVE__{name.upper()}__API_KEY"):
        build_vendor(name, {"settings": settings, "clock": lambda: NOW})


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_a_wrong_key_is_unauthorised(name: str) -> None:
    with server_of(name) as server, pytest.raises(UnauthorisedError):
        world_of(name, server, key="stolen").operation("daily_bars")()


FACTS = {
    "binance": MarketFacts(PAIR, "BTC", "USDT", 0.01, 0.00001, 5.0, True),
    "kraken": MarketFacts(PAIR, "BTC", "USDT", 0.1, 0.00000001, 0.5, True),
    "coinbase": MarketFacts(PAIR, "BTC", "USDT", 0.01, 0.00000001, 1.0, True),
}


@pytest.mark.parametrize("name", CRYPTO)
def test_an_exchange_tells_the_facts_of_its_markets(worlds: dict[str, World], name: str) -> None:
    assert worlds[name].vendor.markets() == [FACTS[name]]
    assert worlds[name].vendor.symbols() == [PAIR]


def test_a_market_without_steps_of_price_and_size_has_no_facts_but_is_listed() -> None:
    def no_steps(content: Any) -> None:
        for market in content.get("symbols", []):
            market["filters"] = []
            market["quotePrecision"] = market["baseAssetPrecision"] = None
            market.pop("quoteAssetPrecision")

    with server_of("binance") as server:
        server.data_paths = ("/exchangeInfo",)
        server.change = no_steps
        vendor: Any = vendor_at("binance", server)
        assert vendor.symbols() == [PAIR]
        assert vendor.markets() == []


@pytest.mark.parametrize("name", CRYPTO)
def test_a_day_that_has_not_ended_is_not_reported(name: str) -> None:
    newest = daily(PAIR)["session"].max()
    assert isinstance(newest, date)
    with server_of(name) as server:
        vendor = vendor_at(name, server, now=datetime(newest.year, newest.month, newest.day, 23, 59, tzinfo=UTC))
        rows = vendor.daily_bars([PAIR], FIRST, newest).rows
    assert (
        rows["session"].to_list()
        == daily(PAIR).filter(pl.col("session").is_between(FIRST, newest))["session"].to_list()[:-1]
    )


@pytest.mark.parametrize("name", ["binance", "coinbase"])
def test_more_bars_than_a_page_holds_are_all_fetched(worlds: dict[str, World], name: str) -> None:
    answer = worlds[name].vendor.daily_bars([PAIR], date(2000, 1, 1), LAST)
    assert answer.rows.select(VALUES).equals(daily(PAIR).filter(pl.col("session") <= LAST).select(VALUES))
    assert answer.rows.height > 3000
    assert len(worlds[name].server.requests) > 3


def test_kraken_refuses_a_range_it_serves_only_a_part_of(worlds: dict[str, World]) -> None:
    newest = daily(PAIR).tail(720)["session"].to_list()
    vendor = worlds["kraken"].vendor
    assert vendor.daily_bars([PAIR], newest[0], LAST).rows["session"][0] == newest[0]
    with pytest.raises(DataUnavailableError, match="newest 720 bars"):
        vendor.daily_bars([PAIR], newest[0] - timedelta(days=1), LAST)


@pytest.mark.parametrize("name", CRYPTO)
def test_a_minute_without_trade_has_no_row(name: str) -> None:
    quiet = minutes(PAIR).with_columns(
        volume=pl.when(pl.int_range(pl.len()).is_in([10, 11])).then(0.0).otherwise("volume")
    )
    with server_of(name, minutes=quiet) as server:
        rows = world_of(name, server).operation("minute_bars")().rows
    assert rows.equals(quiet.filter(pl.col("volume") > 0))
    assert rows.height == 58


@pytest.mark.parametrize("name", CRYPTO)
def test_ten_thousand_real_trades_arrive_whole_over_many_pages(name: str) -> None:
    real = real_trades()
    begin, until = real["traded_at"][100], real["traded_at"][-100]
    with server_of(name, trades=real) as server:
        answer: Any = vendor_at(name, server)
        rows = answer.trades(PAIR, begin, until).rows
        pages = len(server.requests)
    expected = real.filter((pl.col("traded_at") >= begin) & (pl.col("traded_at") < until))
    assert rows.schema == TRADE_SCHEMA
    assert rows.equals(expected)
    assert expected.height > 9000
    assert pages > 9


@pytest.mark.parametrize("name", CRYPTO)
def test_an_hour_of_trades_is_whole(worlds: dict[str, World], name: str) -> None:
    assert worlds[name].operation("trades")().rows.equals(trades())


@pytest.mark.parametrize("name", CRYPTO)
def test_no_trade_in_the_range_is_an_empty_answer(worlds: dict[str, World], name: str) -> None:
    before = MINUTES_FROM - timedelta(minutes=3)
    assert worlds[name].vendor.trades(PAIR, before, MINUTES_FROM).rows.is_empty()


def test_a_trade_missing_between_binances_pages_is_malformed(worlds: dict[str, World]) -> None:
    worlds["binance"].server.change = lambda content: content and content.pop(1)
    with pytest.raises(MalformedAnswerError, match="trades are missing"):
        worlds["binance"].operation("trades")()


@pytest.mark.parametrize("name", CRYPTO)
def test_the_order_book_has_its_levels_best_first_and_the_venues_sequence(worlds: dict[str, World], name: str) -> None:
    book = worlds[name].operation("order_book")()
    sequence, bids, asks = BOOK
    assert (book.bids, book.asks) == (tuple(bids), tuple(asks))
    assert book.sequence == (None if name == "kraken" else sequence)
    assert book.taken_at == NOW


@pytest.mark.parametrize("name", CRYPTO)
def test_a_crossed_order_book_is_malformed(name: str) -> None:
    sequence, bids, asks = BOOK
    with (
        server_of(name, book=(sequence, asks[:1], bids[:1])) as server,
        pytest.raises(MalformedAnswerError, match="crossed"),
    ):
        world_of(name, server).operation("order_book")()


@pytest.mark.parametrize("name", ["binance", "kraken"])
def test_a_deeper_book_than_the_venue_serves_is_unavailable(worlds: dict[str, World], name: str) -> None:
    with pytest.raises(DataUnavailableError, match="levels at most"):
        worlds[name].vendor.order_book(PAIR, 5001)


@pytest.mark.parametrize("name", CRYPTO)
def test_the_list_of_markets_is_asked_for_once_a_day(name: str) -> None:
    now = [NOW]
    with server_of(name) as server:
        vendor: Any = vendor_at(name, server)
        vendor._clock = lambda: now[0]
        for _ in range(3):
            vendor.daily_bars([PAIR], FIRST, LAST)
        assert len(server.requests) == 4
        now[0] += timedelta(days=1)
        with pytest.raises(UnknownSymbolError, match="among the 1 spot markets"):
            vendor.daily_bars(["ETH/USDT"], FIRST, LAST)
        assert len(server.requests) == 5


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


def test_yahoo_is_asked_for_symbols_with_signs_as_they_are_spelt() -> None:
    rows = pl.concat([daily("^GSPC"), daily("BRK-B"), daily("ES=F")])
    with YahooServer(rows) as server:
        answer = vendor_at("yfinance", server).daily_bars(["^GSPC", "BRK-B", "ES=F"], FIRST, LAST)
    assert answer.rows["symbol"].unique(maintain_order=True).to_list() == ["^GSPC", "BRK-B", "ES=F"]


def test_a_binance_firewall_refusal_is_a_rate_limit_not_a_wrong_account() -> None:
    class Firewall(BinanceServer):
        def refused(self, request: Request) -> Reply:
            return Reply("<html>403 Forbidden</html>", 403)

    with Firewall(daily(PAIR)) as server:
        server.fault("unauthorised")
        with pytest.raises(RateLimitedError):
            vendor_at("binance", server).daily_bars([PAIR], FIRST, LAST)

"""What crypto exchanges alone serve: facts of markets, trades, order books, and bars over many pages."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.errors import (
    DataUnavailableError,
    MalformedAnswerError,
    RateLimitedError,
    UnknownSymbolError,
)
from quant_dagster.market_data.vendors.crypto import MarketFacts
from quant_dagster.market_data.vendors.protocol import (
    PRICE_FIELDS,
    TRADE_SCHEMA,
)
from tests.support.market_data import shared_data
from tests.support.vendor_servers import BinanceServer, Reply, Request
from tests.support.vendor_servers.worlds import (
    BOOK,
    CRYPTO,
    FIRST,
    LAST,
    MINUTES_FROM,
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


def test_a_binance_firewall_refusal_is_a_rate_limit_not_a_wrong_account() -> None:
    class Firewall(BinanceServer):
        def refused(self, request: Request) -> Reply:
            return Reply("<html>403 Forbidden</html>", 403)

    with Firewall(daily(PAIR)) as server:
        server.fault("unauthorised")
        with pytest.raises(RateLimitedError):
            vendor_at("binance", server).daily_bars([PAIR], FIRST, LAST)

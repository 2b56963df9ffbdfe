"""Levels, best prices, depth, and for which prices a book is complete."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import ConfigurationError, MalformedDataError
from quant_dagster.market_data.order_book.binance import parse, read_recording
from quant_dagster.market_data.order_book.book import OrderBook, TopOfBook
from quant_dagster.market_data.order_book.changes import BestQuote, BookChange
from quant_dagster.market_data.order_book.known_range import KnownRange
from quant_dagster.market_data.order_book.rebuild import common_step, rebuild
from quant_dagster.market_data.vendors.protocol import BookSnapshot

AT = datetime(2024, 8, 8, tzinfo=UTC)

# Written after Binance's documents of the streams <symbol>@depth and <symbol>@bookTicker and of GET /api/v3/depth.
SPOT_CHANGE = (
    '{"stream":"bnbbtc@depth","data":{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,'
    '"b":[["0.0024","10"]],"a":[["0.0026","100"]]}}'
)
FUTURES_CHANGE = SPOT_CHANGE.replace('"U":157', '"T":1672515782130,"pu":149,"U":157')
QUOTE = (
    '{"stream":"bnbusdt@bookTicker","data":{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000",'
    '"a":"25.36520000","A":"40.66000000"}}'
)
SNAPSHOT = '{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[["4.00000200","12.00000000"]]}'


def test_messages_are_read_as_the_venue_documents_them() -> None:
    spot, futures = parse(SPOT_CHANGE, AT), parse(FUTURES_CHANGE, AT)
    at = datetime(2022, 12, 31, 19, 43, 2, 136000, UTC)
    assert spot == BookChange(157, 160, None, at, ((0.0024, 10.0),), ((0.0026, 100.0),))
    assert isinstance(futures, BookChange) and futures.previous == 149
    assert parse(QUOTE, AT) == BestQuote(400900217, 25.3519, 31.21, 25.3652, 40.66)
    snapshot = parse(SNAPSHOT, AT)
    assert isinstance(snapshot, BookSnapshot)
    assert (snapshot.sequence, snapshot.taken_at, snapshot.bids) == (1027024, AT, ((4.0, 431.0),))
    assert parse('{"stream":"bnbbtc@trade","data":{"e":"trade"}}', AT) is None


@pytest.mark.parametrize(
    "text",
    [
        SPOT_CHANGE[:-20],
        SPOT_CHANGE.replace('"U":157,', ""),
        SPOT_CHANGE.replace('"0.0024"', '"a few"'),
        SPOT_CHANGE.replace('[["0.0024","10"]]', "null"),
        SNAPSHOT.replace('"asks"', '"offers"'),
        "null",
        "[]",
        "",
    ],
)
def test_a_message_that_is_not_the_venues_is_never_read_as_an_empty_one(text: str) -> None:
    with pytest.raises(MalformedDataError, match="not a message of Binance"):
        parse(text, AT)


def test_a_broken_recording_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "stream.txt"
    path.write_text(f"1723161255030314667 {SPOT_CHANGE}\n1723161255030314668 {SPOT_CHANGE[:40]}\n")
    with pytest.raises(MalformedDataError, match="line 2"):
        list(read_recording(path))
    with pytest.raises(ConfigurationError, match="does not exist"):
        list(read_recording(tmp_path / "absent.gz"))
    cut = tmp_path / "cut.gz"
    cut.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(MalformedDataError, match="to its end"):
        list(read_recording(cut))


levels = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=300)


@given(levels, levels)
def test_best_and_depth_equal_those_of_a_plain_dictionary(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> None:
    book = OrderBook()
    plain: tuple[dict[float, float], dict[float, float]] = ({}, {})
    for position in range(max(len(bids), len(asks))):
        now = [[(float(p), float(s)) for p, s in side[position : position + 1]] for side in (bids, asks)]
        book.change(*now)
        for side, changes in zip(plain, now, strict=True):
            for price, size in changes:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        assert book.best_bid == max(plain[0].items(), default=None)
        assert book.best_ask == min(plain[1].items(), default=None)
    assert book.levels() == plain
    expected = (sorted(plain[0].items(), reverse=True)[:5], sorted(plain[1].items())[:5])
    assert book.depth(5) == tuple(map(tuple, expected))
    assert len(book) == len(plain[0]) + len(plain[1])


def test_prices_that_come_and_go_for_long_do_not_pile_up() -> None:
    book = OrderBook([(50.0, 1.0)])
    for n in range(20_000):
        book.change([(60.0 + n % 7, 1.0)], ())
        book.change([(60.0 + n % 7, 0.0)], ())
    assert book.best_bid == (50.0, 1.0)
    assert len(book._bids._heap) < 3_000


def test_mid_microprice_and_imbalance_of_a_known_book() -> None:
    top = TopOfBook(bid=99.0, bid_size=3.0, ask=101.0, ask_size=1.0)
    assert (top.mid, top.spread) == (100.0, 2.0)
    # Three times as much wants to buy: nearer to the ask. 0.75 of the way from bid to ask.
    assert top.microprice == 100.5
    book = OrderBook([(99.0, 3.0), (98.0, 2.0), (90.0, 50.0)], [(101.0, 1.0), (101.5, 4.0)])
    assert book.size_within(1.0) == (5.0, 5.0)
    assert book.top == top
    assert not book.crossed
    book.change([(101.0, 1.0)], ())
    assert book.crossed


def seen(known: KnownRange, book: OrderBook, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> None:
    book.change(bids, asks)
    known.saw(bids, asks, book.best_bid, book.best_ask)


def test_a_book_of_changes_is_certain_at_the_top_once_nothing_can_hide_in_the_spread() -> None:
    known, book = KnownRange(0.01), OrderBook()
    seen(known, book, [(10.0, 1.0)], [(10.03, 1.0)])
    assert not known.top_is_certain  # 10.01 and 10.02 were never spoken of
    seen(known, book, [(10.02, 1.0)], [])
    assert known.top_is_certain  # one tick wide
    seen(known, book, [(10.02, 0.0)], [])
    assert not known.bid_certain  # 10.00 is the best one seen, and 10.01 may hold a bid
    seen(known, book, [(10.01, 0.0)], [])
    assert known.top_is_certain


def test_a_snapshot_is_complete_as_deep_as_it_goes_and_not_below() -> None:
    bids, asks = [(10.0, 1.0), (9.98, 1.0)], [(10.01, 1.0), (10.02, 1.0)]
    known = KnownRange.of_snapshot(bids, asks, 0.01)
    assert known is not None
    book = OrderBook(bids, asks)
    seen(known, book, [(10.0, 0.0)], [])
    assert known.top_is_certain  # 9.99 is within the snapshot, and empty
    seen(known, book, [(9.98, 0.0), (9.95, 1.0)], [])
    assert not known.bid_certain  # 9.96 and 9.97 lie below the snapshot


def test_a_tick_size_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        KnownRange(0.0)


def test_the_common_step_of_prices_is_found() -> None:
    def change(*prices: float) -> BookChange:
        return BookChange(1, 1, None, AT, tuple((price, 1.0) for price in prices), ())

    assert common_step([change(61800.2, 61800.7), change(61801.0)]) == 0.1
    assert common_step([change(0.00002, 0.00005)]) == 0.00001


def test_the_top_is_compared_with_the_newest_quote_at_or_before_it(tmp_path: Path) -> None:
    def line(body: dict[str, object], stream: str) -> str:
        return "1 " + json.dumps({"stream": f"x@{stream}", "data": body})

    def diff(first: int, last: int, bid_size: str) -> str:
        body = {"E": 1, "U": first, "u": last, "b": [["10.00", bid_size]], "a": [["10.01", "1"]]}
        return line(dict(body), "depth")

    def quote(number: int, bid_size: str) -> str:
        return line({"u": number, "b": "10.00", "B": bid_size, "a": "10.01", "A": "1"}, "bookTicker")

    path = tmp_path / "stream.txt"
    messages = [diff(1, 5, "1"), quote(3, "9"), quote(5, "1"), quote(7, "2"), diff(6, 9, "2"), quote(10, "5"),
                diff(10, 12, "4"), quote(14, "4")]  # fmt: skip
    path.write_text("\n".join(messages))
    done = rebuild(read_recording(path), tick_size=0.01)
    found = done.agreement
    assert (found.compared, found.equal, found.same_id, found.same_id_equal) == (3, 2, 1, 1)
    assert (found.size_only, found.price_differs) == (1, 0)
    assert (found.quotes, found.quotes_compared, found.superseded, found.outside) == (5, 3, 0, 2)
    assert done.disagreements["update_id"].to_list() == [12]
    assert done.disagreements["quoted_bid_size"].to_list() == [5.0]

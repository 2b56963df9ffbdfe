"""What Binance spot may say that is late, double, refused or about something else, and what is believed of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError, DataUnavailableError
from quant_dagster.execution.broker import LinkState, ReportedStatus
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.brokers.binance_spot.client import RefusedError
from quant_dagster.execution.brokers.binance_spot.inquiry import ALL_MARKETS_ABOVE
from quant_dagster.execution.brokers.binance_spot.markets import Market, read_markets, weight_limit
from quant_dagster.execution.brokers.binance_spot.messages import VenueOrder
from quant_dagster.execution.brokers.binance_spot.translation import account_of
from quant_dagster.execution.brokers.binance_spot.view import SpotView
from tests.support.binance_spot_book import Pair
from tests.support.binance_spot_server import BinanceSpotServer
from tests.unit.execution.brokers.spot_at_work import Q1, Clock, broker_of, name_of, order

NOON = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)
SMALL: dict[str, Any] = {"most_notional": Decimal(1000)}


# -- cancelling ----------------------------------------------------------------------------------------------------


def test_what_the_venue_never_saw_is_not_cancelled_there(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.cancel(Q1, NOON.date()) is None
    assert venue.sent("DELETE", "order") == []


def test_a_filled_order_is_reported_filled_and_no_cancellation_goes_out(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order(limit=None))
    report = broker.cancel(Q1, NOON.date())
    assert report is not None and report.status is ReportedStatus.FILLED
    assert venue.sent("DELETE", "order") == []


def test_an_order_that_fills_while_its_cancellation_is_under_way_is_reported_filled(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.submit(order())
    cancelled = venue._cancel

    def overtaken(params: dict[str, str]) -> Any:
        venue.fill(Q1, Decimal("0.5"), Decimal(42000))
        return cancelled(params)

    monkeypatch.setattr(venue, "_cancel", overtaken)
    report = broker.cancel(Q1, NOON.date())
    assert report is not None
    assert (report.status, report.filled_quantity) == (ReportedStatus.FILLED, Decimal("0.5"))
    assert broker.link() is LinkState.UP


def test_a_cancellation_refused_for_another_reason_is_an_error(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order())
    venue.fault("-1013", "DELETE")
    with pytest.raises(RefusedError, match="cancelling order"):
        broker.cancel(Q1, NOON.date())
    assert [one.is_open for one in venue.of(Q1)] == [True]


# -- asking for an order -------------------------------------------------------------------------------------------


def test_an_archived_order_is_cancelled_with_nothing_filled(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    venue.fault("-2026", "GET")
    report = broker.find(Q1)
    assert report is not None
    assert (report.status, report.filled_quantity) == (ReportedStatus.CANCELED, Decimal(0))


def test_a_refused_question_concludes_nothing(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.fault("-1121", "GET")
    with pytest.raises(RefusedError, match="no such symbol"):
        broker.find(Q1)


def test_reports_tell_rejections_and_what_may_still_arrive_and_leave_out_what_nobody_knows(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    refused, lost, unknown = name_of("refused"), name_of("lost"), name_of("unknown")
    venue.reject_next()
    broker.submit(order(refused))
    venue.fault("lose_request")
    broker.submit(order(lost))
    broker.open()
    told = {one.client_order_id: one.status for one in broker.reports([refused, lost, unknown])}
    assert told == {refused: ReportedStatus.REJECTED, lost: ReportedStatus.SENT}
    found = broker.find(refused)
    assert found is not None and found.status is ReportedStatus.REJECTED
    venue.advance(60)
    assert broker.reports([lost]) == []  # its window is over, and the venue knows nothing of it


def test_an_attempt_without_an_answer_is_asked_for_until_it_shows(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    other = broker_of(venue)
    venue.fault("lose_request")
    assert broker.submit(order()).status is ReportedStatus.SENT
    broker.open()
    assert broker.changes(0).reports == ()
    other.submit(order())
    clock.sleep(1)
    assert [one.status for one in broker.changes(0).reports] == [ReportedStatus.WORKING]
    clock.sleep(1)
    assert broker.changes(0).reports == ()


def test_an_order_that_arrives_while_it_is_waited_for_is_found(venue: BinanceSpotServer) -> None:
    other = broker_of(venue)

    class Late(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            other.submit(order())

    broker = broker_of(venue, Late(venue))
    found = broker.find(Q1)
    assert found is not None and found.status is ReportedStatus.WORKING
    assert len(venue.of(Q1)) == 1


def test_an_id_sent_by_two_processes_at_once_is_one_order(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = venue._new_order

    def overtaken(params: dict[str, str]) -> Any:
        placed(params)  # the other process's, a moment earlier
        return placed(params)

    monkeypatch.setattr(venue, "_new_order", overtaken)
    assert broker.submit(order()).status is ReportedStatus.WORKING
    assert len(venue.of(Q1)) == 1


def test_a_duplicate_that_the_venue_then_does_not_know_is_a_rejection(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    venue.reject_next(text="Duplicate order sent.")
    report = broker.submit(order())
    assert report.status is ReportedStatus.REJECTED and report.reason == "Duplicate order sent. (-2010)"


def test_a_symbol_that_has_no_market_is_left_out_of_the_sweep(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, symbols=lambda: ("BTC/USDT", "DOGE/USDT"))
    assert {one.params["symbol"] for one in venue.sent("GET", "myTrades")} == {"BTCUSDT"}
    assert broker.find(Q1) is None
    known = broker_of(venue, symbols=tuple, symbol_of={Q1: "DOGE/USDT"}.get)
    doubted = known.find(Q1)
    assert doubted is not None and doubted.status is ReportedStatus.SENT


@pytest.mark.parametrize("count", [ALL_MARKETS_ABOVE, ALL_MARKETS_ABOVE + 1])
def test_open_orders_of_many_markets_are_asked_for_at_once(count: int) -> None:
    pairs = [Pair(f"C{number:02}", "USDT", Decimal(100)) for number in range(count)]
    with BinanceSpotServer(pairs) as venue:
        broker = broker_of(venue, symbols=lambda: ())
        names = [(name_of(f"{pair.base}{number}"), f"{pair.base}/USDT") for pair in pairs for number in range(2)]
        for name, symbol in names:
            broker.submit(order(name, quantity="1", limit="100", symbol=symbol))
        asked = len(venue.sent("GET", "openOrders"))
        reports = broker.reports([name for name, _ in names])
        listings = venue.sent("GET", "openOrders")[asked:]
        assert [one.status for one in reports] == [ReportedStatus.WORKING] * len(names)
        assert ["symbol" in one.params for one in listings] == (
            [True] * count if count == ALL_MARKETS_ABOVE else [False]
        )
        broker.changes(0)
        polled = venue.sent("GET", "openOrders")[asked + len(listings) :]
        assert len(polled) == len(listings)
        broker.close()


def test_trades_older_than_the_newest_page_are_told_once_their_order_is_known(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order(quantity="20"))
    for _ in range(1200):
        venue.fill(Q1, Decimal("0.01"), Decimal(42000))
    late = broker_of(venue)
    assert sum(one.quantity for one in late.executions()) == 12


# -- refusals and the way there ------------------------------------------------------------------------------------


def test_a_clock_that_cannot_be_set_right_closes_the_way(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    for _ in range(2):
        venue.fault("-1021")
    with pytest.raises(BrokerUnavailableError, match="receive_window_ms"):
        broker.submit(order())
    assert broker.link() is LinkState.DOWN
    assert venue.of(Q1) == []


def test_an_order_refused_after_the_clock_was_set_is_rejected(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    venue.fault("-1021")
    venue.reject_next()
    assert broker.submit(order()).status is ReportedStatus.REJECTED


@pytest.mark.parametrize("code", ["-1000", "-1006", "-9999", "-1001"])
def test_a_code_that_leaves_open_what_was_done_leaves_the_order_sent(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, code: str
) -> None:
    venue.fault(code)
    assert broker.submit(order()).status is ReportedStatus.SENT
    assert broker.link() is LinkState.DOWN


@pytest.mark.parametrize("code", ["-1015", "-2015"])
def test_a_code_that_says_nothing_was_done_leaves_no_order_in_doubt(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, code: str
) -> None:
    venue.fault(code)
    with pytest.raises(BrokerUnavailableError, match=code):
        broker.submit(order())
    broker.open()
    assert broker.reports([Q1]) == []


def test_a_refusal_by_the_firewall_is_no_unknown_outcome_and_keeps_quiet_for_a_minute(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    venue.fault("403")
    with pytest.raises(BrokerUnavailableError, match=r"firewall \(403\)"):
        broker.submit(order())
    with pytest.raises(BrokerUnavailableError, match="takes no requests for another"):
        broker.open()
    clock.sleep(61)
    broker.open()
    assert broker.submit(order()).status is ReportedStatus.WORKING


@pytest.mark.parametrize("said", [None, "soon"])
def test_too_many_requests_without_a_time_to_wait_are_followed_by_a_minute(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, said: str | None
) -> None:
    venue.retry_after = said
    venue.fault("429")
    with pytest.raises(BrokerUnavailableError, match="again in 60 s"):
        broker.submit(order())


# -- filters and markets -------------------------------------------------------------------------------------------


def bitcoin(**changed: Any) -> Market:
    market = read_markets({"symbols": [Pair("BTC", "USDT", Decimal(42000)).listing()]}, "USDT").of_symbol("BTC")
    assert market is not None
    return replace(market, **changed)


@pytest.mark.parametrize(
    ("market", "changed", "said"),
    [
        ({"order_types": frozenset({"LIMIT"})}, {"limit": None}, "BTC/USDT takes no MARKET orders"),
        ({}, {"quantity": "0"}, "quantity 0 is not above zero"),
        ({}, {"limit_price": None}, "a limit order needs a limit price"),
        ({}, {"order_type": "stop", "limit_price": None}, "a stop order needs a stop price"),
        (SMALL, {}, "NOTIONAL: 21000.0 USDT is above 1000"),
        (SMALL | {"most_for_market": True}, {"limit": None}, "NOTIONAL: 21000.0 USDT is above 1000"),
    ],
)  # fmt: skip
def test_a_market_names_what_it_would_refuse(market: dict[str, Any], changed: dict[str, Any], said: str) -> None:
    assert said in bitcoin(**market).problems(order(**changed))


def test_a_highest_notional_that_is_not_for_market_orders_lets_them_pass() -> None:
    assert bitcoin(**SMALL).problems(order(limit=None)) == []


def test_the_weight_limit_is_that_of_a_minute() -> None:
    # Of the venue's page on exchange information: limits of requests and of orders stand in one list.
    orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    assert weight_limit({"rateLimits": [orders, weight]}) == 6000
    assert weight_limit({"rateLimits": [orders]}) is None


def test_an_asset_of_which_nothing_is_held_is_no_position() -> None:
    account = account_of(
        "1", {"BTC": Decimal(0), "ETH": Decimal(2), "USDT": Decimal(0)}, "USDT", lambda asset, quote: asset
    )
    assert account.positions == {"ETH": Decimal(2)} and account.cash == {"USDT": Decimal(0)}


def test_bars_need_two_instants_and_a_market(broker: BinanceSpotBroker, venue: BinanceSpotServer) -> None:
    hour = timedelta(hours=1)
    naive = NOON.replace(tzinfo=None)
    for start, end in ((NOON, NOON), (NOON, NOON - hour), (naive, NOON), (NOON, naive + hour)):
        with pytest.raises(BrokerError, match="two instants with time zones"):
            broker.history("BTC/USDT", start, end, 60)
    with pytest.raises(BrokerError, match="no market DOGE/USDT"):
        broker.history("DOGE/USDT", NOON, NOON + hour, 60)
    with pytest.raises(DataUnavailableError):  # the venue counts in milliseconds: no bar begins in between
        broker.history("BTC/USDT", NOON + timedelta(microseconds=100), NOON + timedelta(microseconds=200), 60)
    assert venue.sent("GET", "klines") == []


# -- what is remembered --------------------------------------------------------------------------------------------


def told(order_id: int = 1, executed: str = "0", status: ReportedStatus = ReportedStatus.WORKING) -> VenueOrder:
    return VenueOrder(
        "BTCUSDT", order_id, Q1, Side.BUY, "LIMIT", status, Decimal("0.5"), Decimal(executed), Decimal(42000), NOON
    )


@pytest.mark.parametrize("older", [told(executed="0.1"), told(executed="0.2")])
def test_an_answer_that_was_overtaken_does_not_undo_the_newer_one(older: VenueOrder) -> None:
    view = SpotView()
    newer = told(executed="0.2", status=ReportedStatus.CANCELED)
    view.take_order(newer)
    view.news()
    assert view.take_order(older) == newer
    assert view.order(Q1) == newer
    assert not view.has_news


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
def test_two_orders_under_one_id_are_told_to_a_person_once_and_the_newer_one_counts(ids: tuple[int, int]) -> None:
    view = SpotView()
    for order_id in (*ids, *ids):
        view.take_order(told(order_id))
    newest = view.order(Q1)
    assert newest is not None and newest.order_id == 2
    (notice,) = view.news().notices
    assert f"two orders under the id {Q1}" in notice
    assert view.news().notices == ()

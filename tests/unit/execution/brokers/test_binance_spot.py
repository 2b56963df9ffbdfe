"""Binance spot against the loopback venue, with unmodified ccxt in between: no order twice, no fill lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError, ConfigurationError, DataUnavailableError
from quant_dagster.execution.broker import Broker, Execution, LinkState, RemoteBroker, ReportedStatus
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.brokers.binance_spot.codes import TABLE, answer_to
from quant_dagster.execution.brokers.binance_spot.markets import read_markets
from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.connection import Connection, ConnectionState
from quant_dagster.execution.pricing import Quote
from quant_dagster.settings import ConnectionSettings
from tests.support.binance_spot_server import BinanceSpotServer, Pair, VenueOrder
from tests.unit.execution.brokers.spot_at_work import Q1, TODAY, WINDOW_MS, Clock, broker_of, name_of, order


def total(executions: list[Execution]) -> Decimal:
    return sum((one.quantity for one in executions), Decimal(0))


# -- an order's life -----------------------------------------------------------------------------------------------


def test_it_is_a_broker_and_a_remote_broker(broker: BinanceSpotBroker) -> None:
    as_broker: Broker = broker
    assert isinstance(as_broker, RemoteBroker)
    assert broker.link() is LinkState.UP


def test_an_order_works_fills_in_parts_and_says_what_it_cost_and_in_what(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    assert broker.submit(order()).status is ReportedStatus.WORKING
    venue.fill(Q1, Decimal("0.2"), Decimal("41999.99"), commission=Decimal("0.0002"), commission_asset="BTC")
    venue.fill(
        Q1, Decimal("0.3"), Decimal("42000"), commission=Decimal("0.01234567"), commission_asset="BNB", maker=False
    )
    first, second = broker.executions([Q1])
    assert (first.execution_id, first.quantity, first.price) == ("BTCUSDT-1", Decimal("0.2"), Decimal("41999.99"))
    assert (first.commission, first.commission_currency, first.currency) == (Decimal("0.0002"), "BTC", "USDT")
    assert (second.commission, second.commission_currency) == (Decimal("0.01234567"), "BNB")
    assert (first.provenance["liquidity"], second.provenance["liquidity"]) == ("maker", "taker")
    assert first.executed_at is not None and first.session == TODAY and first.client_order_id == Q1
    report = broker.find(Q1)
    assert report is not None and (report.status, report.filled_quantity) == (ReportedStatus.FILLED, Decimal("0.5"))


def test_executions_of_two_markets_never_share_an_id(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    other = name_of("ether")
    broker.submit(order())
    broker.submit(order(other, limit="2300", symbol="ETH/USDT"))
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    venue.fill(other, Decimal("0.5"), Decimal(2300))
    assert [one["id"] for one in venue.trades] == [1, 1]  # the venue counts them per market
    assert {one.execution_id: one.symbol for one in broker.executions()} == {
        "BTCUSDT-1": "BTC/USDT", "ETHUSDT-1": "ETH/USDT",
    }  # fmt: skip


def test_a_symbol_without_a_quote_currency_keeps_its_name(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, symbols=lambda: ("BTC",))
    broker.submit(order(symbol="BTC"))
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    assert venue.orders[0].pair.id == "BTCUSDT"
    assert [one.symbol for one in broker.executions()] == ["BTC"]
    assert broker.account().positions == {"BTC": Decimal("0.5")}


def test_stable_coins_are_cash_and_locked_balances_count(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.free |= {"USDC": Decimal("12.5"), "XYZ": Decimal(7)}
    broker.submit(order())  # locks 21,000 USDT
    account = broker.account()
    assert account.cash == {"USDT": Decimal(1_000_000), "USDC": Decimal("12.5")}
    assert account.positions == {"XYZ": Decimal(7)}
    assert (account.account, account.currency, account.equity) == ("354937868", "USDT", None)


def test_an_order_made_by_hand_is_listed_and_is_nobodys(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.place_by_hand("BTCUSDT", "BUY", Decimal("0.1"), Decimal(40000))
    venue.fill("web_7c9f", Decimal("0.04"), Decimal(40000))
    (listed,) = broker.open_orders()
    assert (listed.client_order_id, listed.quantity, listed.filled_quantity) == ("", Decimal("0.1"), Decimal("0.04"))
    assert [one.client_order_id for one in broker.executions()] == [""]


def test_market_and_stop_orders_arrive_as_such(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.submit(order(limit=None)).status is ReportedStatus.FILLED
    stop = order(name_of("stop"), limit=None, order_type="stop", stop_price=Decimal("40000.01"), side=Side.SELL)
    assert broker.submit(stop).status is ReportedStatus.WORKING
    assert [(one.kind, one.stop) for one in venue.orders] == [("MARKET", 0), ("STOP_LOSS", Decimal("40000.01"))]
    assert [one.order_type for one in broker.open_orders()] == ["stop"]


def test_an_order_the_venue_lets_expire_is_expired(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    broker.submit(order())
    venue.expire(Q1)
    report = broker.find(Q1)
    assert report is not None and report.status is ReportedStatus.EXPIRED


# -- filters and refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quantity": "0.000001"}, "LOT_SIZE: quantity 0.000001 is below 0.00001"),
        ({"quantity": "0.500001"}, "LOT_SIZE: quantity 0.500001 is not a multiple of 0.00001"),
        ({"limit": "42000.001"}, "PRICE_FILTER: price 42000.001 is not a multiple of 0.01"),
        ({"limit": "2000000"}, "PRICE_FILTER: price 2000000 is above 1000000"),
        ({"quantity": "0.00002", "limit": "42000"}, "NOTIONAL: 0.84000 USDT is below 5"),
        ({"quantity": "0.00002", "limit": None}, "NOTIONAL"),
        ({"quantity": "121", "limit": None}, "MARKET_LOT_SIZE: quantity 121 is above 120"),
        ({"symbol": "DOGE/USDT"}, "no market DOGE/USDT"),
        ({"order_type": "iceberg"}, "order type iceberg is not offered"),
    ],
)
def test_what_a_filter_refuses_is_not_sent(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, changed: dict[str, Any], said: str
) -> None:
    report = broker.submit(order(**changed))
    assert report.status is ReportedStatus.REJECTED and said in report.reason
    assert venue.sent("POST", "order") == []


def test_a_market_that_is_halted_takes_no_order(venue: BinanceSpotServer) -> None:
    venue.pairs["BTCUSDT"].status = "HALT"
    assert "status is HALT" in broker_of(venue).submit(order()).reason


def test_amounts_are_sent_without_exponents(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.submit(order(quantity="1E+1", limit="42000.00")).status is ReportedStatus.WORKING
    (sent,) = venue.sent("POST", "order")
    assert (sent.params["quantity"], sent.params["price"]) == ("10", "42000")


def test_a_refusal_by_the_venue_is_a_rejected_order(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.reject_next()
    report = broker.submit(order())
    assert report.status is ReportedStatus.REJECTED and "insufficient balance" in report.reason
    assert broker.link() is LinkState.UP
    assert broker.submit(order()).status is ReportedStatus.WORKING  # asked for again, it is a new attempt


@pytest.mark.parametrize(
    ("code", "answer"),
    [(-1003, Answer.RETRY), (-1007, Answer.RECONCILE), (-1013, Answer.REJECT), (-1021, Answer.RETRY),
     (-2010, Answer.REJECT), (-2011, Answer.RECONCILE), (-2013, Answer.RECONCILE), (-2014, Answer.HALT),
     (-2015, Answer.HALT), (-9999, Answer.RECONCILE)],
)  # fmt: skip
def test_every_code_has_one_answer_and_an_unknown_one_is_asked_about(code: int, answer: Answer) -> None:
    assert answer_to(code).answer is answer
    assert all(entry.number == number and entry.meaning for number, entry in TABLE.items())


# -- never twice ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lose_answer", "500", "timeout", "html"])
def test_an_order_whose_answer_was_lost_is_sent_once(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, fault: str
) -> None:
    venue.fault(fault)
    report = broker.submit(order(limit=None))
    assert report.status is ReportedStatus.SENT
    assert broker.link() is LinkState.DOWN
    broker.open()
    found = broker.find(Q1)
    assert found is not None and found.status is ReportedStatus.FILLED
    assert broker.submit(order(limit=None)).status is ReportedStatus.FILLED
    assert len(venue.of(Q1)) == 1


def test_a_filled_order_is_not_sent_again_though_the_venue_would_take_it(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order(limit=None))
    again = broker_of(venue)  # another process: it remembers nothing
    assert again.submit(order(limit=None)).status is ReportedStatus.FILLED
    assert len(venue.of(Q1)) == 1


def test_never_seen_is_said_only_after_the_receive_window(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    venue.fault("lose_request")
    assert broker.submit(order()).status is ReportedStatus.SENT
    assert broker.submit(order()).status is ReportedStatus.SENT  # too early to send it again
    assert len(venue.sent("POST", "order")) == 1
    assert broker.find(Q1) is None
    assert 0 < sum(clock.waited) <= (WINDOW_MS + 100) / 1000
    assert broker.submit(order()).status is ReportedStatus.WORKING
    assert len(venue.of(Q1)) == 1


def test_where_the_wait_is_long_nothing_is_concluded(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, window=60_000)
    venue.fault("lose_request")
    broker.submit(order())
    with pytest.raises(BrokerUnavailableError, match="may still arrive"):
        broker.find(Q1)
    venue.advance(61)
    assert broker.find(Q1) is None


def test_a_request_that_was_long_under_way_is_refused_by_the_venue_and_found_by_nobody(
    venue: BinanceSpotServer,
) -> None:
    broker = broker_of(venue, answer=0.1, window=200)
    venue.fault("late", seconds=0.4)
    assert broker.submit(order()).status is ReportedStatus.SENT
    waiting = threading.Event()
    waiting.wait(0.5)  # until the venue has looked at it
    assert venue.of(Q1) == []


def test_a_slow_answer_is_an_unknown_outcome(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, answer=0.15)
    venue.fault("delay", seconds=0.5)
    assert broker.submit(order()).status is ReportedStatus.SENT
    broker.open()
    found = broker.find(Q1)
    assert found is not None and found.status is ReportedStatus.WORKING


def test_after_a_lost_answer_nothing_is_sent_until_the_connection_has_asked(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    asked: list[ReportedStatus | None] = []

    def sync() -> None:
        report = broker.find(Q1)
        asked.append(None if report is None else report.status)

    settings = ConnectionSettings(backoff_first_seconds=1, backoff_jitter=0)
    connection = Connection(broker, settings, sync=sync, clock=clock.monotonic)
    connection.step()
    assert connection.can_send and asked == [None]
    venue.fault("lose_answer")
    broker.submit(order())
    assert not connection.can_send
    assert connection.step() is ConnectionState.RECONNECTING
    clock.sleep(1.5)
    assert connection.step() is ConnectionState.CONNECTED
    assert connection.can_send and asked == [None, ReportedStatus.WORKING]


def test_an_answer_that_cannot_be_read_proves_nothing(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VenueOrder, "shown", lambda self: {"symbol": "BTCUSDT"})
    assert broker.submit(order()).status is ReportedStatus.SENT
    monkeypatch.undo()
    found = broker.find(Q1)
    assert found is not None and found.status is ReportedStatus.WORKING
    monkeypatch.setattr(venue, "_account", lambda params: {"balances": [{"asset": "BTC"}]})
    with pytest.raises(BrokerUnavailableError, match="cannot be read"):
        broker.account()


def test_an_order_that_could_not_go_out_is_no_unknown_outcome(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    venue.refuse_connections()
    with pytest.raises(BrokerUnavailableError):
        broker.submit(order())
    venue.listen()
    broker.open()
    assert broker.find(Q1) is None


def test_an_id_whose_market_is_not_known_stays_in_doubt(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, symbols=tuple)
    found = broker.find(Q1)
    assert found is not None and found.status is ReportedStatus.SENT and "market is not known" in found.reason


def test_the_ledgers_symbol_leads_to_the_one_market(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    broker.submit(order())
    again = broker_of(venue, symbols=tuple, symbol_of={Q1: "BTC/USDT"}.get)
    before = len(venue.sent("GET", "order"))
    found = again.find(Q1)
    assert found is not None and found.status is ReportedStatus.WORKING
    assert [one.params["symbol"] for one in venue.sent("GET", "order")[before:]] == ["BTCUSDT"]


def test_what_another_process_may_just_have_sent_is_waited_for(venue: BinanceSpotServer) -> None:
    clock = Clock(venue)
    broker = broker_of(venue, clock)
    assert broker.find(Q1) is None
    assert sum(clock.waited) > 0
    before = len(clock.waited)
    assert broker.find(Q1) is None
    assert len(clock.waited) == before  # and only once


# -- the way there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["429", "418"])
def test_a_refusal_with_retry_after_is_heeded(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock, status: str
) -> None:
    venue.fault(status)
    with pytest.raises(BrokerUnavailableError, match="again in 7 s"):
        broker.submit(order())
    before = len(venue.received)
    with pytest.raises(BrokerUnavailableError, match="takes no requests for another"):
        broker.ping(1)
    assert len(venue.received) == before
    clock.sleep(7)
    broker.open()
    assert broker.submit(order()).status is ReportedStatus.WORKING


def test_used_up_weight_stops_questions_but_no_order(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    venue.advance(60 - venue.now().second)  # early in a minute
    broker.submit(order())
    venue.extra_weight = 5990
    broker.ping(1)
    with pytest.raises(BrokerUnavailableError, match="request weight is used up"):
        broker.account()
    venue.extra_weight = 0
    venue.advance(60)
    assert broker.account().cash


def test_polling_pauses_until_the_next_minute_when_half_the_weight_is_used(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    venue.advance(60 - venue.now().second)
    broker.submit(order())
    broker.changes(0)
    venue.extra_weight = 3500
    clock.sleep(1)
    broker.changes(0)
    polls = len(venue.sent("GET", "openOrders"))
    broker.changes(10)
    assert len(venue.sent("GET", "openOrders")) == polls
    broker.changes(60)
    assert len(venue.sent("GET", "openOrders")) > polls


def test_a_clock_that_went_wrong_is_set_again(
    venue: BinanceSpotServer, broker: BinanceSpotBroker, clock: Clock
) -> None:
    clock.skew = timedelta(seconds=-30)
    assert broker.submit(order()).status is ReportedStatus.WORKING
    assert len(venue.sent("GET", "time")) == 2
    assert abs((broker.market_time() - venue.now()).total_seconds()) < 1


def test_a_wrong_key_closes_the_way_and_says_what_to_do(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, opened=False, settings={"api_key": "x"})
    with pytest.raises(BrokerUnavailableError, match="check the key's rights"):
        broker.open()
    assert broker.link() is LinkState.DOWN


def test_a_wrong_secret_closes_the_way(venue: BinanceSpotServer) -> None:
    with pytest.raises(BrokerUnavailableError, match="api_secret"):
        broker_of(venue, settings={"api_secret": "x"})


def test_without_a_key_there_is_nothing_to_open(venue: BinanceSpotServer) -> None:
    with pytest.raises(ConfigurationError, match=r"binance_spot\.api_key"):
        broker_of(venue, settings={"api_key": None})


def test_before_it_is_open_nothing_can_be_asked(venue: BinanceSpotServer) -> None:
    broker = broker_of(venue, opened=False)
    for ask in (broker.market_time, broker.account, broker.open_orders, lambda: broker.find(Q1)):
        with pytest.raises(BrokerUnavailableError):
            ask()
    assert broker.changes(0) == broker.changes(0)


def test_changes_are_told_once_and_a_lost_connection_shows_in_the_link(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order())
    broker.changes(0)
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    news = broker.changes(1)
    assert [one.execution_id for one in news.executions] == ["BTCUSDT-1"]
    assert [one.status for one in news.reports] == [ReportedStatus.FILLED]
    broker.refresh()  # sweeps the same trade up again
    assert total(broker.executions()) == Decimal("0.5")
    assert broker.changes(0.05).executions == ()
    broker.submit(order(name_of("two")))
    venue.refuse_connections()
    broker.changes(0.05)
    assert broker.link() is LinkState.DOWN


def test_what_happened_while_nobody_listened_is_swept_up(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    for number in range(3):
        broker.submit(order(name_of(str(number))))
    broker.close()
    venue.fill(name_of("0"), Decimal("0.5"), Decimal(42000))
    venue.fill(name_of("1"), Decimal("0.1"), Decimal(42000))
    venue.expire(name_of("2"))
    broker.open()
    assert total(broker.executions()) == Decimal("0.6")
    reports = {one.client_order_id: one for one in broker.reports([name_of(str(number)) for number in range(3)])}
    assert [reports[name_of(str(number))].status for number in range(3)] == [
        ReportedStatus.FILLED, ReportedStatus.WORKING, ReportedStatus.EXPIRED,
    ]  # fmt: skip


def test_more_trades_than_a_page_are_all_told_once_heard_of(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    broker.submit(order(quantity="20"))
    broker.executions()
    for _ in range(1500):
        venue.fill(Q1, Decimal("0.01"), Decimal(42000))
    assert total(broker.executions()) == 15
    late = broker_of(venue)
    assert total(late.executions([Q1])) == 15  # the newest page of the market, and the rest of the order
    assert any("newest 1000 trades" in one for one in late.changes(0).notices)


def test_a_trade_whose_order_is_not_listed_yet_is_not_told_as_somebody_elses(
    venue: BinanceSpotServer, broker: BinanceSpotBroker
) -> None:
    other = broker_of(venue)
    other.submit(order())
    venue.fill(Q1, Decimal("0.5"), Decimal(42000))
    hidden = venue.orders.pop()
    with pytest.raises(BrokerUnavailableError, match="no such order yet"):
        broker.executions()
    assert broker.changes(0).executions == ()
    venue.orders.append(hidden)
    assert [one.client_order_id for one in broker.executions()] == [Q1]


def test_orders_are_not_changed_in_place_but_cancelled(broker: BinanceSpotBroker) -> None:
    broker.submit(order())
    assert not broker.capabilities.modifies
    with pytest.raises(BrokerError, match="cancel"):
        broker.modify(order(), quantity=Decimal("0.4"), limit_price=None)


# -- the market ----------------------------------------------------------------------------------------------------


def test_the_market_is_quoted_and_bars_are_paged(venue: BinanceSpotServer, broker: BinanceSpotBroker) -> None:
    assert broker.snapshot("BTC/USDT") == Quote(Decimal("41999.99"), Decimal("42000.01"), Decimal(42000))
    assert broker.snapshot("DOGE/USDT") is None
    start = datetime(2024, 1, 1, tzinfo=UTC)
    begin = int(start.timestamp() * 1000)
    venue.pairs["BTCUSDT"].klines = [
        [begin + 60_000 * n, "42000.0", "42001.5", "41999.0", f"{42000 + n % 7}", "1.25", begin + 60_000 * n + 59_999,
         "52500.0", 10, "0.5", "21000.0", "0"]
        for n in range(1440)
    ]  # fmt: skip
    bars = broker.history("BTC/USDT", start, start + timedelta(hours=20), 60)
    assert bars.columns == ["symbol", "bar_start", "open", "high", "low", "close", "volume"]
    assert (bars.height, bars["bar_start"][0], bars["bar_start"][-1]) == (
        1200, start, start + timedelta(hours=20, minutes=-1),
    )  # fmt: skip
    assert bars["close"].to_list() == [42000.0 + n % 7 for n in range(1200)]
    with pytest.raises(DataUnavailableError):
        broker.history("ETH/USDT", start, start + timedelta(hours=1), 60)
    with pytest.raises(BrokerError, match="7 s"):
        broker.history("BTC/USDT", start, start + timedelta(hours=1), 7)


def test_the_older_notional_filter_is_read_too() -> None:
    # The example of the venue's own page on filters, in a market of its page on exchange information.
    listing = Pair("ETH", "BTC", Decimal("0.05")).listing()
    listing["filters"] = [{"filterType": "MIN_NOTIONAL", "minNotional": "0.00100000", "applyToMarket": True,
                           "avgPriceMins": 5}]  # fmt: skip
    market = read_markets({"symbols": [listing]}, "USDT").of_symbol("ETH/BTC")
    assert market is not None
    small = replace(order(limit=None, quantity="0.01"), symbol="ETH/BTC", decision_price=Decimal("0.05"))
    assert market.problems(small) == ["NOTIONAL: 0.0005 BTC is below 0.00100000"]

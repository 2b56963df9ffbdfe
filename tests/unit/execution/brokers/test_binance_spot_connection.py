"""The way to Binance spot: weights, bans, clocks and keys, and that no trade on it is lost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from quant_dagster.errors import BrokerUnavailableError, ConfigurationError
from quant_dagster.execution.broker import Execution, LinkState, ReportedStatus
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from tests.support.binance_spot_server import BinanceSpotServer
from tests.unit.execution.brokers.spot_at_work import Q1, Clock, broker_of, name_of, order


def total(executions: list[Execution]) -> Decimal:
    return sum((one.quantity for one in executions), Decimal(0))


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

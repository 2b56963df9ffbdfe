"""Whatever is lost between broker and venue, no order of Binance spot is sent twice."""

from __future__ import annotations

import threading

import pytest

from quant_dagster.errors import BrokerUnavailableError
from quant_dagster.execution.broker import LinkState, ReportedStatus
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.connection import Connection, ConnectionState
from quant_dagster.settings import ConnectionSettings
from tests.support.binance_spot_book import VenueOrder
from tests.support.binance_spot_server import BinanceSpotServer
from tests.unit.execution.brokers.spot_at_work import Q1, WINDOW_MS, Clock, broker_of, order


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

"""The connection: lost, half dead, restored, taken, broken in the middle of a message, and its pace."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.errors import BrokerUnavailableError, ConfigurationError
from quant_dagster.execution.broker import LinkState, ReportedStatus
from quant_dagster.execution.brokers.ibkr import IbkrBroker
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.settings import ConnectionSettings, IbkrSettings
from tests.support.ibkr_desk import START, TODAY, Desk, filled, order, wait_for, working
from tests.support.tws_gateway import wait_until

# -- the connection ------------------------------------------------------------------------------------------------


def test_fills_of_a_gap_between_the_gateway_and_the_broker_are_found(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.upstream_lost()
    wait_until(lambda: broker.link() is LinkState.UPSTREAM_LOST)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    with pytest.raises(BrokerUnavailableError, match="servers"):
        broker.find("never")
    with pytest.raises(BrokerUnavailableError, match="servers"):
        broker.submit(order("q2"), broker.reserve())
    gateway.upstream_restored()
    wait_until(lambda: broker.link() is LinkState.RESTORED)
    broker.refresh()
    assert broker.link() is LinkState.UP
    assert filled(broker.executions(["q1"])) == 100
    assert broker.reports(["q1"])[0].status is ReportedStatus.FILLED


def test_nothing_is_read_from_a_restored_link_before_it_was_asked(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.upstream_lost()
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    gateway.upstream_restored(data_lost=True)
    wait_until(lambda: broker.link() is LinkState.RESTORED)
    assert filled(broker.executions(["q1"])) == 100
    assert broker.link() is LinkState.UP


def test_fills_while_we_were_away_are_found_by_reference_after_a_reconnect(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    working(broker, "q2")
    gateway.disconnect_all()
    wait_until(lambda: broker.link() is LinkState.DOWN)
    with pytest.raises(BrokerUnavailableError, match="not connected"):
        broker.reports(["q1"])
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    broker.open()
    assert [one.status for one in broker.reports(["q1", "q2"])] == [ReportedStatus.FILLED, ReportedStatus.WORKING]
    assert filled(broker.executions(["q1"])) == 100
    assert broker.executions(["q1"])[0].commission == 1


def test_another_process_finds_the_orders_of_the_first(desk: Desk) -> None:
    gateway, first = desk.serve(), desk.broker()
    number = working(first)
    working(first, "q2")
    gateway.fill("q2", Decimal(100), Decimal("169.90"))
    first.close()
    second = desk.broker()
    assert [one.status for one in second.reports(["q1", "q2"])] == [ReportedStatus.WORKING, ReportedStatus.FILLED]
    assert filled(second.executions(["q2"])) == 100
    assert second.find("q3") is None
    assert int(second.reserve()) > int(number)
    second.cancel("q1", TODAY)
    wait_for(second, "q1", ReportedStatus.CANCELED)


def test_a_half_dead_link_is_found_out_in_time(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker(answer=0.5)
    broker.ping(2)
    gateway.go_silent(True)
    with pytest.raises(BrokerUnavailableError, match="no answer within"):
        broker.ping(0.2)
    with pytest.raises(BrokerUnavailableError, match="no answer within"):
        broker.refresh()
    assert broker.link() is LinkState.DOWN  # what comes late from such a link must not answer the next question
    gateway.go_silent(False)
    broker.open()
    broker.ping(2)


def test_a_client_id_in_use_is_named_at_once(desk: Desk) -> None:
    desk.serve()
    desk.broker()
    second = desk.broker(open_=False)
    with pytest.raises(BrokerUnavailableError, match=r"client id 1 is in use by another program: set execution\.ibkr"):
        second.open()
    assert desk.broker(client_id=2).link() is LinkState.UP


def test_a_port_where_nothing_listens_says_what_to_do(desk: Desk) -> None:
    desk.serve()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        broker = desk.broker(open_=False, port=free.getsockname()[1])
        with pytest.raises(BrokerUnavailableError, match="start TWS or IB Gateway"):
            broker.open()


def test_a_program_that_listens_and_says_nothing_is_no_gateway(desk: Desk) -> None:
    desk.serve()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        broker = IbkrBroker(
            IbkrSettings(port=mute.getsockname()[1]), ConnectionSettings(connect_seconds=0.3),
            session_of=lambda at: at.date(), terms=lambda symbol: None, highest_order_number=lambda: 0,
        )  # fmt: skip
        with pytest.raises(BrokerUnavailableError, match="did not answer within"):
            broker.open()
        broker.close()


def test_an_account_is_chosen_by_name_where_there_are_several(desk: Desk) -> None:
    desk.serve(account="DU1,DU2")
    with pytest.raises(ConfigurationError, match=r"several accounts \(DU1, DU2\)"):
        desk.broker()
    with pytest.raises(ConfigurationError, match="DU3"):
        desk.broker(account="DU3", client_id=2)


def test_closing_is_safe_to_repeat_and_nothing_can_be_asked_afterwards(desk: Desk) -> None:
    desk.serve()
    broker = desk.broker()
    broker.close()
    broker.close()
    assert broker.link() is LinkState.DOWN
    with pytest.raises(BrokerUnavailableError):
        broker.find("q1")
    with pytest.raises(BrokerUnavailableError):
        broker.ping(1)
    assert broker.changes(0).executions == ()
    broker.open()
    broker.ping(2)


def test_orders_of_a_day_the_broker_has_forgotten_are_not_taken_for_never_seen(desk: Desk) -> None:
    sent = {"yesterday": START - timedelta(days=1), "earlier": START, "later": START + timedelta(hours=20)}
    gateway, broker = desk.serve(), desk.broker(sent_at=sent.get)
    working(broker)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_until(lambda: filled(broker.executions(["q1"])) == 100)
    report = broker.find("yesterday")
    assert report is not None and report.status is ReportedStatus.SENT and "before the broker's day" in report.reason
    assert broker.find("earlier") is None  # of today, and today is listed completely
    gateway.advance(60)
    gateway.daily_reset()
    wait_until(lambda: broker.link() is LinkState.DOWN)
    broker.open()
    report = broker.find("earlier")
    assert report is not None and report.status is ReportedStatus.SENT and "forgotten" in report.reason
    assert filled(broker.executions(["q1"])) == 100  # what was heard stays known
    assert broker.find("later") is None
    assert any("reset" in notice for notice in broker.changes(0.2).notices)


# -- pacing ------------------------------------------------------------------------------------------------------------


def test_never_more_than_the_allowed_messages_arrive_in_any_second(desk: Desk) -> None:
    gateway, broker = desk.serve(cash=Decimal(100_000_000)), desk.broker()
    broker.prepare(["AAPL"])
    for number in range(100):
        broker.submit(order(f"q{number}"), broker.reserve())
    broker.ping(2.5)  # a sign of life does not wait behind the orders
    wait_until(lambda: len(gateway.orders()) == 100, 15)
    times = [received.at for received in gateway.messages_received()]
    busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
    assert busiest <= 30
    assert len(times) >= 100


def test_orders_that_wait_for_their_turn_are_not_sent_after_the_connection_is_gone(desk: Desk) -> None:
    gateway, broker = desk.serve(cash=Decimal(100_000_000)), desk.broker()
    names = [f"q{number}" for number in range(60)]
    for name in names:
        broker.submit(order(name), broker.reserve())
    gateway.disconnect_all()
    wait_until(lambda: broker.link() is LinkState.DOWN)
    broker.open()
    arrived = {one.ticket.order_ref for one in gateway.orders()}
    assert 0 < len(arrived) < 60
    assert {name for name in names if broker.find(name) is not None} == arrived


# -- chaos -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_no_order_is_lost_or_doubled_over_connections_that_break_in_the_middle_of_messages(
    desk: Desk, seed: int
) -> None:
    """Written number, sent, connection cut anywhere, connected again, asked, sent again only if never seen."""
    plan = FaultPlan(
        seed=seed, cut_after_sent=(300, 100_000), cut_after_received=(100, 3000), duplicate=0.1, reorder=0.1,
        commission_never=0.2,
    )  # fmt: skip
    gateway = desk.serve(faults=plan, fills_at_once=True, cash=Decimal(100_000_000))
    broker = desk.broker(open_=False, messages_per_second=50)
    names = [f"q{number}" for number in range(40)]
    written: dict[str, str] = {}
    connections = 0

    def insist(act: Callable[[], Any]) -> Any:
        nonlocal connections
        for _ in range(100):
            try:
                if broker.link() is LinkState.DOWN:
                    connections += 1
                    broker.open()
                return act()
            except BrokerUnavailableError:
                continue  # nothing is known: connect again and ask
        raise AssertionError("the connection never lasted")

    def send(name: str) -> None:
        written.setdefault(name, "") or written.update({name: broker.reserve()})
        if broker.find(name) is None:
            broker.submit(order(name, limit=None), written[name])

    for name in names:
        insist(lambda: send(name))  # noqa: B023 - used at once
    for _ in range(200):
        broker.changes(0.1)
        reports = insist(lambda: broker.reports(names))
        missing = {*names} - {one.client_order_id for one in reports if one.status is ReportedStatus.FILLED}
        if not missing:
            break
        for name in sorted(missing):
            insist(lambda: send(name))  # noqa: B023 - used at once
    assert connections > 4
    insist(broker.refresh)
    assert filled(broker.executions(names)) == 40 * 100 == gateway.positions()[0].quantity
    assert sorted(one.ticket.order_ref for one in gateway.orders()) == sorted(names)

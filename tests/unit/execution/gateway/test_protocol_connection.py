"""The connection as the unmodified ib_insync sees it: made, refused, silent, lost, reset, and asked again."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import PRICES, InsyncClient, wait_until
from tests.unit.execution.gateway.client_at_work import HUNDRED, becomes, stock, working


def test_the_client_connects_and_knows_the_account(client: InsyncClient) -> None:
    assert client.ib.client.serverVersion() == 176
    assert client.do(client.ib.managedAccounts) == ["DU0000000"]
    values = {one.tag: one.value for one in client.do(client.ib.accountValues)}
    assert values["TotalCashValue"] == values["NetLiquidation"] == "1000000.00"
    assert {2104, 2106} <= set(client.codes())


def test_market_time_is_told(client: InsyncClient, gateway: Gateway) -> None:
    gateway.advance(90)
    assert client.ask(client.ib.reqCurrentTimeAsync) == datetime(2024, 1, 2, 15, 1, 30, tzinfo=UTC)


def test_a_client_id_in_use_ends_in_a_timeout(client: InsyncClient, gateway: Gateway) -> None:
    with InsyncClient() as second:
        with pytest.raises(TimeoutError):
            second.connect(gateway, client_id=1, timeout=0.3)
        assert 326 in second.codes()
    assert gateway.clients() == (1,)


def test_after_a_reconnect_everything_can_be_asked_for(client: InsyncClient, gateway: Gateway) -> None:
    working(client, "done")
    working(client, "open")
    gateway.disconnect_all()
    wait_until(lambda: not client.ib.isConnected())
    gateway.fill("done", HUNDRED, Decimal(170))
    client.connect(gateway)
    assert [trade.order.orderRef for trade in client.do(client.ib.openTrades)] == ["open"]
    assert [fill.execution.orderRef for fill in client.do(client.ib.fills)] == ["done"]
    (completed,) = client.ask(lambda: client.ib.reqCompletedOrdersAsync(False))
    assert (completed.order.orderId, completed.order.orderRef) == (0, "done")
    assert completed.order.permId == gateway.orders()[0].perm_id


def test_what_fills_while_the_broker_is_out_of_reach_has_to_be_asked_for(
    client: InsyncClient, gateway: Gateway
) -> None:
    trade = working(client, "one")
    gateway.upstream_lost()
    wait_until(lambda: 1100 in client.codes())
    gateway.fill("one", HUNDRED, Decimal(170))
    gateway.upstream_restored()
    wait_until(lambda: 1102 in client.codes())
    assert client.ib.isConnected() and trade.orderStatus.status == "Submitted" and trade.fills == []
    (fill,) = client.ask(client.ib.reqExecutionsAsync)
    assert fill.execution.shares == 100
    gateway.upstream_lost()
    gateway.upstream_restored(data_lost=True)
    wait_until(lambda: 1101 in client.codes())


def test_a_silent_gateway_answers_nothing_and_acts_nevertheless(client: InsyncClient, gateway: Gateway) -> None:
    contract = stock(client)
    gateway.go_silent(True)
    with pytest.raises(TimeoutError):
        client.ask(client.ib.reqCurrentTimeAsync, seconds=0.2)
    import ib_insync

    trade = client.do(lambda: client.ib.placeOrder(contract, ib_insync.LimitOrder("BUY", 1, 170.0, orderRef="one")))
    wait_until(gateway.orders)
    assert client.ib.isConnected() and trade.orderStatus.status == "PendingSubmit"
    gateway.go_silent(False)
    becomes(trade, "Submitted")


def test_a_deaf_gateway_reads_what_waits_when_it_hears_again(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")
    gateway.go_silent(True, deaf=True)
    client.do(lambda: client.ib.cancelOrder(trade.order))
    with pytest.raises(TimeoutError):
        client.ask(client.ib.reqCurrentTimeAsync, seconds=0.2)
    assert gateway.orders()[0].state.value == "Submitted"
    gateway.go_silent(False)
    becomes(trade, "Cancelled")


def test_the_nightly_reset_disconnects_forgets_the_day_and_keeps_what_is_held(
    client: InsyncClient, gateway: Gateway
) -> None:
    working(client, "done")
    gateway.fill("done", HUNDRED, Decimal(170))
    working(client, "day")
    working(client, "lasting", tif="GTC")
    gateway.daily_reset()
    wait_until(lambda: not client.ib.isConnected())
    client.do(client.ib.disconnect)
    client.connect(gateway)
    assert client.do(client.ib.fills) == [] == client.ask(lambda: client.ib.reqCompletedOrdersAsync(False))
    assert [trade.order.orderRef for trade in client.do(client.ib.openTrades)] == ["lasting"]
    assert [one.position for one in client.do(client.ib.positions)] == [100]


def test_nobody_connects_while_connections_are_refused(gateway: Gateway) -> None:
    with InsyncClient() as client:
        gateway.refuse_connections(True)
        with pytest.raises(ConnectionRefusedError):
            client.connect(gateway)
        gateway.refuse_connections(False)
        client.connect(gateway)


def test_a_request_that_is_not_served_is_an_error_and_not_the_end(client: InsyncClient) -> None:
    client.do(client.ib.client.reqScannerParameters)
    wait_until(lambda: 320 in client.codes())
    assert client.ask(client.ib.reqCurrentTimeAsync)


def test_requests_are_kept_with_their_times(client: InsyncClient, gateway: Gateway) -> None:
    working(client, "one")
    received = gateway.messages_received()
    assert [one.at for one in received] == sorted(one.at for one in received)
    assert sum(one.fields[0] == "3" and "one" in one.fields for one in received) == 1
    assert PRICES.keys() == set(gateway.market.instruments)

"""Orders as the unmodified ib_insync sees them: worked, changed, cancelled, refused, warned of, and those of others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import InsyncClient, wait_until
from tests.unit.execution.gateway.client_at_work import HUNDRED, becomes, place, stock, working


def test_an_order_is_changed_under_its_id(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")

    def change() -> None:
        trade.order.lmtPrice = 169.5
        client.ib.placeOrder(trade.contract, trade.order)

    client.do(change)
    wait_until(lambda: gateway.orders()[0].ticket.limit == Decimal("169.5"))
    wait_until(lambda: trade.log[-1].message == "Modified")
    assert len(gateway.orders()) == 1


def test_an_order_is_cancelled_with_202(client: InsyncClient) -> None:
    trade = working(client, "one")
    client.do(lambda: client.ib.cancelOrder(trade.order))
    becomes(trade, "Cancelled")
    assert 202 in client.codes()


def test_a_global_cancel_reaches_every_order(client: InsyncClient) -> None:
    trades = [working(client, name) for name in ("one", "two")]
    client.do(client.ib.reqGlobalCancel)
    for trade in trades:
        becomes(trade, "Cancelled")


@pytest.mark.parametrize("code", [201, 203, 200, 110])
def test_a_rejection_reaches_the_client_with_its_code(client: InsyncClient, gateway: Gateway, code: int) -> None:
    gateway.reject_next(code, "Order rejected - reason:no")
    place(client, "one")
    wait_until(lambda: code in client.codes())
    assert not any(one.state.value == "Submitted" for one in gateway.orders())


@pytest.mark.parametrize("code", [399, 2109, 10349])
def test_a_warned_order_works_at_the_venue_whatever_the_client_thinks(
    client: InsyncClient, gateway: Gateway, code: int
) -> None:
    gateway.reject_next(code, "Order Message: take care")
    trade = place(client, "one")
    wait_until(lambda: code in client.codes())
    assert gateway.orders()[0].state.value == "Submitted"
    # The library takes 10349 for the end of the order; the others it knows.
    assert trade.orderStatus.status == ("Cancelled" if code == 10349 else "Submitted")


def test_a_tif_preset_is_told_with_10349(client: InsyncClient, gateway: Gateway) -> None:
    gateway.presets_time_in_force(True)
    place(client, "one", tif="")
    wait_until(lambda: 10349 in client.codes())
    assert gateway.orders()[0].ticket.time_in_force == "DAY"


def test_a_read_only_gateway_refuses_orders_and_cancellations(client: InsyncClient, gateway: Gateway) -> None:
    gateway.read_only(True)
    place(client, "one")
    wait_until(lambda: 321 in client.codes())
    assert gateway.orders() == ()


def test_orders_wait_for_the_market_and_say_so(client: InsyncClient, gateway: Gateway) -> None:
    gateway.market_open(False)
    trade = place(client, "one")
    wait_until(lambda: 399 in client.codes())
    assert trade.orderStatus.status == "PreSubmitted"
    gateway.market_open(True)
    becomes(trade, "Submitted")


def test_outside_hours_are_ignored_for_a_market_order_with_2109(client: InsyncClient) -> None:
    place(client, "one", limit=None, outsideRth=True)
    wait_until(lambda: 2109 in client.codes())


@pytest.mark.parametrize("code", [161, 10148])
def test_a_refused_cancellation_leaves_the_order_working(client: InsyncClient, gateway: Gateway, code: int) -> None:
    trade = working(client, "one")
    gateway.reject_next_cancel(code, "no")
    client.do(lambda: client.ib.cancelOrder(trade.order))
    wait_until(lambda: code in client.codes())
    assert gateway.orders()[0].state.value == "Submitted"


def test_cancelling_what_never_was_is_10147(client: InsyncClient) -> None:
    client.do(lambda: client.ib.client.cancelOrder(4711))
    wait_until(lambda: 10147 in client.codes())


def test_the_broker_cancels_on_its_own(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")
    gateway.cancel_by_broker("one", "trading is halted")
    becomes(trade, "Cancelled")
    assert (trade.order.orderId, 202, "Order Canceled - reason:trading is halted") in client.errors


def test_orders_of_others_are_seen_by_who_asks_for_all(client: InsyncClient, gateway: Gateway) -> None:
    gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"))
    working(client, "mine")
    own = client.ask(client.ib.reqOpenOrdersAsync)
    everything = client.ask(client.ib.reqAllOpenOrdersAsync)
    assert [trade.order.orderRef for trade in own] == ["mine"]
    assert {trade.order.orderRef for trade in everything} == {"mine", "by hand"}
    gateway.fill("by hand", Decimal(5), Decimal(105))
    fills = client.ask(client.ib.reqExecutionsAsync)
    assert [(fill.execution.orderId, fill.execution.clientId) for fill in fills] == [(0, 0)]


def test_client_0_binds_orders_made_by_hand(gateway: Gateway) -> None:
    with InsyncClient() as client:
        client.connect(gateway, client_id=0)
        gateway.place_foreign("MSFT", Side.BUY, Decimal(5), Decimal("105.00"))
        wait_until(lambda: client.do(client.ib.openTrades))
        gateway.fill("by hand", Decimal(5), Decimal(105))
        wait_until(lambda: client.do(client.ib.fills))


def test_order_ids_begin_above_all_that_were_used(client: InsyncClient, gateway: Gateway) -> None:
    used = working(client, "one").order.orderId
    client.do(client.ib.disconnect)
    wait_until(lambda: not gateway.clients())
    client.connect(gateway)
    assert place(client, "two").order.orderId > used


def test_an_order_id_used_before_is_103(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")
    gateway.fill("one", HUNDRED, Decimal(170))
    becomes(trade, "Filled")
    client.do(lambda: client.ib.client.placeOrder(trade.order.orderId, trade.contract, trade.order))
    wait_until(lambda: 103 in client.codes())


def test_a_bracket_is_worked_as_one(client: InsyncClient, gateway: Gateway) -> None:
    contract = stock(client)

    def send() -> list[Any]:
        bracket = client.ib.bracketOrder("BUY", 100, 170.0, 180.0, 160.0, tif="GTC")
        return [client.ib.placeOrder(contract, order) for order in bracket]

    entry, profit, loss = client.do(send)
    becomes(entry, "Submitted")
    becomes(profit, "PreSubmitted")
    (parent, gain, _) = gateway.orders()
    assert gain.ticket.parent_id == parent.ticket.order_id and gain.waits_for == parent.perm_id
    client.do(lambda: client.ib.cancelOrder(entry.order))
    becomes(loss, "Cancelled")


def test_a_what_if_order_is_costed_and_not_made(client: InsyncClient, gateway: Gateway) -> None:
    import ib_insync

    contract = stock(client)
    state = client.ask(lambda: client.ib.whatIfOrderAsync(contract, ib_insync.LimitOrder("BUY", 100, 170.0)))
    assert (float(state.initMarginChange), state.commission) == (8_500, 1.0)
    assert gateway.orders() == ()

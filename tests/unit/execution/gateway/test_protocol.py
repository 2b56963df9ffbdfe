"""The gateway before its judge: the unmodified ib_insync, in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import PRICES, InsyncClient, tws_gateway, wait_until

HUNDRED = Decimal(100)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with tws_gateway() as started:
        yield started


@pytest.fixture
def client(gateway: Gateway) -> Iterator[InsyncClient]:
    with InsyncClient() as connected:
        connected.connect(gateway)
        yield connected


def stock(client: InsyncClient, symbol: str = "AAPL") -> Any:
    import ib_insync

    (contract,) = client.ask(lambda: client.ib.qualifyContractsAsync(ib_insync.Stock(symbol, "SMART", "USD")))
    return contract


def place(client: InsyncClient, reference: str, action: str = "BUY", quantity: float = 100, limit: float | None = 170.0,
          symbol: str = "AAPL", **fields: Any) -> Any:  # fmt: skip
    import ib_insync

    contract = stock(client, symbol)
    kind = {"orderType": "MKT"} if limit is None else {"orderType": "LMT", "lmtPrice": limit}
    order = ib_insync.Order(
        action=action, totalQuantity=quantity, orderRef=reference, **(kind | {"tif": "DAY"} | fields)
    )
    return client.do(lambda: client.ib.placeOrder(contract, order))


def becomes(trade: Any, status: str) -> None:
    wait_until(lambda: trade.orderStatus.status == status)


def working(client: InsyncClient, reference: str, **fields: Any) -> Any:
    trade = place(client, reference, **fields)
    becomes(trade, "Submitted")
    return trade


def test_the_client_connects_and_knows_the_account(client: InsyncClient) -> None:
    assert client.ib.client.serverVersion() == 176
    assert client.do(client.ib.managedAccounts) == ["DU0000000"]
    values = {one.tag: one.value for one in client.do(client.ib.accountValues)}
    assert values["TotalCashValue"] == values["NetLiquidation"] == "1000000.00"
    assert {2104, 2106} <= set(client.codes())


def test_market_time_is_told(client: InsyncClient, gateway: Gateway) -> None:
    gateway.advance(90)
    assert client.ask(client.ib.reqCurrentTimeAsync) == datetime(2024, 1, 2, 15, 1, 30, tzinfo=UTC)


def test_a_contract_is_qualified_and_found_by_its_id(client: InsyncClient) -> None:
    import ib_insync

    contract = stock(client)
    assert contract.conId > 0 and contract.primaryExchange == "NASDAQ"
    (details,) = client.ask(lambda: client.ib.reqContractDetailsAsync(ib_insync.Contract(conId=contract.conId)))
    assert details.contract.symbol == "AAPL" and details.minTick == 0.01


def test_an_unknown_symbol_is_error_200(client: InsyncClient) -> None:
    import ib_insync

    assert client.ask(lambda: client.ib.qualifyContractsAsync(ib_insync.Stock("NOPE", "SMART", "USD"))) == []
    assert 200 in client.codes()


def test_an_order_fills_in_parts_and_its_commission_is_reported(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")
    gateway.fill("one", Decimal(40), Decimal("169.90"))
    wait_until(lambda: trade.orderStatus.filled == 40)
    gateway.fill("one", Decimal(60), Decimal("170.00"))
    becomes(trade, "Filled")
    wait_until(lambda: all(fill.commissionReport.execId for fill in trade.fills))
    assert [fill.execution.shares for fill in trade.fills] == [40, 60]
    assert [fill.execution.cumQty for fill in trade.fills] == [40, 100]
    assert sum(fill.commissionReport.commission for fill in trade.fills) == 1.0
    assert trade.fills[0].execution.time == datetime(2024, 1, 2, 15, 0, tzinfo=UTC)
    assert trade.fills[0].execution.orderRef == "one"
    assert trade.orderStatus.avgFillPrice == 169.96
    assert [entry.status for entry in trade.log][:4] == ["PendingSubmit", "PendingSubmit", "PreSubmitted", "Submitted"]


def test_positions_portfolio_and_cash_follow_a_fill(client: InsyncClient, gateway: Gateway) -> None:
    working(client, "one")
    gateway.fill("one", HUNDRED, Decimal("169.00"))
    cash = lambda: {one.tag: one.value for one in client.ib.accountValues()}["TotalCashValue"]  # noqa: E731
    wait_until(lambda: client.do(cash) == "983099.00")
    assert [(one.contract.symbol, one.position, one.avgCost) for one in client.do(client.ib.positions)] == [
        ("AAPL", 100, 169.01)
    ]
    (item,) = client.do(client.ib.portfolio)
    assert (item.marketPrice, item.marketValue, item.unrealizedPNL) == (170, 17_000, 99)
    assert gateway.cash() == 983_099
    (held,) = client.ask(client.ib.reqPositionsAsync)
    assert held.position == 100
    client.do(client.ib.client.cancelPositions)


def test_the_account_summary_tells_what_is_asked_for(client: InsyncClient) -> None:
    client.ask(client.ib.reqAccountSummaryAsync)
    summary = {one.tag: one.value for one in client.ib.wrapper.acctSummary.values()}
    assert summary["NetLiquidation"] == "1000000.00" and summary["BuyingPower"] == "2000000.00"


def test_a_realised_profit_is_in_the_commission_report(client: InsyncClient, gateway: Gateway) -> None:
    working(client, "in", quantity=10)
    gateway.fill("in", Decimal(10), Decimal(170))
    trade = working(client, "out", action="SELL", quantity=10, limit=171.0)
    gateway.fill("out", Decimal(10), Decimal(171))
    becomes(trade, "Filled")
    wait_until(lambda: trade.fills[0].commissionReport.execId)
    assert trade.fills[0].commissionReport.realizedPNL == 10 * 1.0 - 2 * 1.0


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


def test_a_correction_is_a_second_execution_to_the_library(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "one")
    done = gateway.fill("one", HUNDRED, Decimal(170))
    corrected = gateway.correct(done.exec_id, quantity=Decimal(90), price=Decimal("169.5"))
    wait_until(lambda: len(trade.fills) == 2)
    assert [fill.execution.execId[-2:] for fill in trade.fills] == ["01", "02"]
    gateway.bust(corrected.exec_id)
    wait_until(lambda: len(trade.fills) == 3)
    assert trade.fills[-1].execution.shares == 0
    wait_until(lambda: not client.do(client.ib.positions))
    assert gateway.positions() == () and gateway.cash() == 1_000_000


def test_a_cancelled_order_may_fill_late_and_a_full_one_over(client: InsyncClient, gateway: Gateway) -> None:
    trade = working(client, "late")
    client.do(lambda: client.ib.cancelOrder(trade.order))
    becomes(trade, "Cancelled")
    gateway.fill("late", Decimal(10), Decimal(170))
    wait_until(lambda: len(trade.fills) == 1)
    over = working(client, "over")
    gateway.fill("over", Decimal(130), Decimal(170))
    becomes(over, "Filled")
    assert over.orderStatus.filled == 130 and over.orderStatus.remaining == 0


def test_an_execution_may_overtake_the_acknowledgement(client: InsyncClient, gateway: Gateway) -> None:
    gateway.hold_acknowledgements(True)
    trade = place(client, "one")
    wait_until(gateway.orders)
    client.ask(client.ib.reqCurrentTimeAsync)
    assert len(trade.log) == 1  # nothing but what the library wrote itself
    gateway.fill("one", HUNDRED, Decimal(170))
    becomes(trade, "Filled")
    assert trade.log[1].message.startswith("Fill 100")


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


def test_executions_can_be_filtered(client: InsyncClient, gateway: Gateway) -> None:
    import ib_insync

    working(client, "one")
    gateway.fill("one", Decimal(10), Decimal(170))
    gateway.advance(3600)
    gateway.fill("one", Decimal(20), Decimal(170))
    ask = lambda **wanted: [  # noqa: E731
        fill.execution.shares
        for fill in client.ask(lambda: client.ib.reqExecutionsAsync(ib_insync.ExecutionFilter(**wanted)))
    ]
    assert ask() == [10, 20]
    assert ask(clientId=1) == [10, 20] and ask(clientId=9) == []
    assert ask(time="20240102-15:30:00") == [20] == ask(time="20240102 10:30:00")
    assert ask(symbol="MSFT") == [] and ask(side="BUY") == [10, 20]


def test_a_client_id_in_use_ends_in_a_timeout(client: InsyncClient, gateway: Gateway) -> None:
    with InsyncClient() as second:
        with pytest.raises(TimeoutError):
            second.connect(gateway, client_id=1, timeout=0.3)
        assert 326 in second.codes()
    assert gateway.clients() == (1,)


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


def test_quotes_come_as_snapshot_and_as_stream(client: InsyncClient, gateway: Gateway) -> None:
    contract = stock(client)
    (ticker,) = client.ask(lambda: client.ib.reqTickersAsync(contract))
    assert (ticker.bid, ticker.ask, ticker.last) == (169.99, 170.01, 170)
    live = client.do(lambda: client.ib.reqMktData(contract))
    wait_until(lambda: live.last == 170)
    gateway.set_price("AAPL", Decimal("171.25"))
    wait_until(lambda: live.last == 171.25)
    client.do(lambda: client.ib.cancelMktData(contract))


def test_a_request_that_is_not_served_is_an_error_and_not_the_end(client: InsyncClient) -> None:
    client.do(client.ib.client.reqScannerParameters)
    wait_until(lambda: 320 in client.codes())
    assert client.ask(client.ib.reqCurrentTimeAsync)


def test_a_market_may_fill_by_itself() -> None:
    with tws_gateway(fills_at_once=True) as gateway, InsyncClient() as client:
        client.connect(gateway)
        becomes(place(client, "one", limit=None), "Filled")
        waiting = working(client, "two", limit=169.0)
        gateway.set_price("AAPL", Decimal("168.50"))
        becomes(waiting, "Filled")
        assert waiting.orderStatus.avgFillPrice == 168.5


def test_requests_are_kept_with_their_times(client: InsyncClient, gateway: Gateway) -> None:
    working(client, "one")
    received = gateway.messages_received()
    assert [one.at for one in received] == sorted(one.at for one in received)
    assert sum(one.fields[0] == "3" and "one" in one.fields for one in received) == 1
    assert PRICES.keys() == set(gateway.market.instruments)

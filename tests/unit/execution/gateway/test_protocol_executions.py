"""Executions as the unmodified ib_insync sees them: commissions, positions, corrections, too early and too late."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.tws_gateway import InsyncClient, wait_until
from tests.unit.execution.gateway.client_at_work import HUNDRED, becomes, place, working


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

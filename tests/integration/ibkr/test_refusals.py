"""The gateway's codes: what is a warning, what a rejection, and what is refused before it is sent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.market_data.instruments import Terms
from tests.support.ibkr_desk import Desk, filled, heard, order, wait_for, working
from tests.support.tws_gateway import wait_until


@pytest.mark.parametrize("code", [10349, 399, 2109])
def test_a_warning_about_a_new_order_is_no_cancellation(desk: Desk, code: int) -> None:
    gateway, broker = desk.serve(), desk.broker()
    gateway.reject_next(code, "a warning")
    broker.submit(order("q1"), broker.reserve())
    heard(broker, lambda notices: any(str(code) in notice for notice in notices))
    broker.refresh()
    assert wait_for(broker, "q1", ReportedStatus.WORKING)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_for(broker, "q1", ReportedStatus.FILLED)


@pytest.mark.parametrize("code", [321, 10349, 399, 2109, 201])
def test_an_error_about_a_change_of_a_live_order_is_no_cancellation(desk: Desk, code: int) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.reject_next(code, "the change is refused")
    broker.modify(order("q1"), quantity=Decimal(90), limit_price=Decimal("169.80"))
    heard(broker, lambda notices: any(str(code) in notice for notice in notices))
    broker.refresh()
    assert broker.reports(["q1"])[0].status is ReportedStatus.WORKING
    gateway.fill("q1", Decimal(90), Decimal("169.90"))
    wait_until(lambda: filled(broker.executions(["q1"])) == 90)


@pytest.mark.parametrize("code", [110, 200, 201, 203, 321, 434])
def test_a_refused_order_is_rejected_with_the_broker_s_reason(desk: Desk, code: int) -> None:
    gateway, broker = desk.serve(), desk.broker()
    gateway.reject_next(code, "Order rejected - reason:for a test")
    broker.submit(order("q1"), broker.reserve())
    report = wait_for(broker, "q1", ReportedStatus.REJECTED)
    assert str(code) in report.reason and "for a test" in report.reason
    assert report.filled_quantity == 0


def test_an_order_beyond_the_buying_power_is_rejected(desk: Desk) -> None:
    desk.serve(cash=Decimal(1000))
    broker = desk.broker()
    broker.submit(order("q1", quantity=10_000), broker.reserve())
    assert "201" in wait_for(broker, "q1", ReportedStatus.REJECTED).reason


def test_a_read_only_login_is_told_once_and_its_orders_are_rejected(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    gateway.read_only(True)
    for name in ("q1", "q2"):
        broker.submit(order(name), broker.reserve())
        assert "Read-Only" in wait_for(broker, name, ReportedStatus.REJECTED).reason
    assert sum("Read-Only" in notice for notice in broker.changes(0.3).notices) == 1


def test_the_read_only_setting_sends_nothing(desk: Desk) -> None:
    gateway = desk.serve()
    broker = desk.broker(read_only=True)
    report = broker.submit(order("q1"), broker.reserve())
    assert report.status is ReportedStatus.REJECTED and "read_only" in report.reason
    assert gateway.orders() == ()


def test_a_cancellation_by_the_broker_has_its_reason(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.cancel_by_broker("q1", "the venue is closing")
    assert "the venue is closing" in wait_for(broker, "q1", ReportedStatus.CANCELED).reason


def test_an_unknown_symbol_is_rejected_and_nothing_is_sent(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    report = broker.submit(order("q1", symbol="NOPE"), broker.reserve())
    assert report.status is ReportedStatus.REJECTED and "NOPE" in report.reason
    assert gateway.orders() == ()
    assert set(broker.prepare(["AAPL", "NOPE"])) == {"NOPE"}


def test_an_instrument_that_is_no_stock_needs_its_contract_id(desk: Desk) -> None:
    desk.serve()
    terms = Terms("BTC", date(2020, 1, 1), Decimal("0.01"), Decimal(1), asset_class="crypto")
    broker = desk.broker(terms=lambda symbol: terms if symbol == "BTC" else None)
    assert "identifier 'ibkr'" in broker.submit(order("q1", symbol="BTC"), broker.reserve()).reason


def test_malformed_orders_are_rejected_unsent(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    for name, wrong in enumerate(
        [{"limit": None, "order_type": "limit"}, {"order_type": "iceberg"}, {"quantity": 0}, {"time_in_force": "ioc"}]
    ):
        assert broker.submit(order(f"q{name}", **wrong), broker.reserve()).status is ReportedStatus.REJECTED
    assert gateway.orders() == ()

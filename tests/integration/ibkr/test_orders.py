"""An order's life at the loopback gateway, and that one order stays one order whatever is sent twice."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import Broker, Execution, LinkState, OrderReport, RemoteBroker, ReportedStatus
from tests.support.ibkr_desk import START, TODAY, Desk, filled, heard, order, wait_for, working
from tests.support.tws_gateway import wait_until

# -- an order's life -----------------------------------------------------------------------------------------------


def test_it_is_a_broker_and_a_remote_broker(desk: Desk) -> None:
    desk.serve()
    broker: Broker = desk.broker(open_=False)
    assert isinstance(broker, RemoteBroker)
    assert broker.capabilities.remote


def test_an_order_is_sent_acknowledged_filled_in_parts_and_its_commissions_are_told(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    number = broker.reserve()
    assert broker.submit(order("q1"), number) == OrderReport(
        "q1", ReportedStatus.SENT, TODAY, Decimal(0), broker_order_id=number
    )
    assert wait_for(broker, "q1", ReportedStatus.WORKING).broker_order_id == number
    gateway.fill("q1", Decimal(40), Decimal("169.89"))
    gateway.fill("q1", Decimal(60), Decimal("169.90"))
    assert wait_for(broker, "q1", ReportedStatus.FILLED).filled_quantity == 100
    wait_until(lambda: all(one.commission is not None for one in broker.executions(["q1"])))
    first, second = broker.executions(["q1"])
    assert (first.quantity, first.price, first.correction) == (40, Decimal("169.89"), 0)
    assert (second.quantity, second.price) == (60, Decimal("169.90"))
    # The broker's fixed schedule: 0.005 a share and at least 1.00 an order, which the first execution pays whole.
    assert (first.commission, second.commission, first.commission_currency) == (Decimal(1), Decimal(0), "USD")
    assert gateway.commissions() == 1
    assert first.executed_at == START and first.session == TODAY and first.currency == "USD"
    assert first.provenance["permanent_id"] == gateway.orders()[0].perm_id
    assert first.provenance["average_price"] == "169.89"
    assert first.execution_id != second.execution_id


def test_every_change_is_handed_over_once(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    heard_of: list[Execution] = []
    broker.changes(0.2)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))

    def complete() -> bool:
        heard_of.extend(broker.changes(0.1).executions)
        return bool(heard_of) and heard_of[-1].commission is not None

    wait_until(complete)
    assert {execution.execution_id for execution in heard_of} == {broker.executions()[0].execution_id}
    assert broker.changes(0.05).executions == ()


def test_waiting_for_news_ends_with_the_news(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    broker.changes(0.2)
    found = []
    waiting = threading.Thread(target=lambda: found.append(broker.changes(30)))
    waiting.start()
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    waiting.join(5)
    assert not waiting.is_alive()
    assert found[0].executions or found[0].reports


def test_a_limit_is_put_on_the_grid_never_across_itself(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker, "q1", limit="169.997")
    working(broker, "q2", limit="170.551", side=Side.SELL, quantity=1)
    assert [one.ticket.limit for one in gateway.orders()] == [Decimal("169.99"), Decimal("170.56")]


def test_a_market_order_and_a_stop_order_arrive_as_such(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker, "q1", limit=None)
    working(broker, "q2", limit=None, order_type="stop", stop_price=Decimal("165.004"), side=Side.SELL,
            time_in_force="gtc")  # fmt: skip
    market, stop = (one.ticket for one in gateway.orders())
    assert (market.order_type, stop.order_type, stop.stop, market.order_ref) == ("MKT", "STP", Decimal("165.01"), "q1")
    assert (market.time_in_force, stop.time_in_force) == ("DAY", "GTC")


def test_an_order_is_cancelled_when_the_broker_says_so_and_not_before(desk: Desk) -> None:
    desk.serve()
    broker = desk.broker()
    working(broker)
    report = broker.cancel("q1", TODAY)
    assert report is not None and report.status in (ReportedStatus.WORKING, ReportedStatus.CANCELED)
    wait_for(broker, "q1", ReportedStatus.CANCELED)


@pytest.mark.parametrize("code", [161, 10147, 10148])
def test_a_refused_cancellation_leaves_the_order_working(desk: Desk, code: int) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.reject_next_cancel(code, "cannot be cancelled")
    broker.cancel("q1", TODAY)
    heard(broker, lambda notices: any(str(code) in notice for notice in notices))
    broker.refresh()
    assert broker.reports(["q1"])[0].status is ReportedStatus.WORKING


def test_an_order_is_changed_under_its_number(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    broker.modify(order("q1"), quantity=Decimal(80), limit_price=Decimal("169.80"))
    wait_until(lambda: gateway.orders()[0].ticket.limit == Decimal("169.80"))
    assert len(gateway.orders()) == 1
    assert gateway.orders()[0].ticket.quantity == 80
    wait_until(lambda: broker.open_orders()[0].limit_price == Decimal("169.80"))
    assert broker.modify(order("never"), quantity=Decimal(80), limit_price=None) is None


def test_a_cancelled_order_may_still_fill_and_the_fill_is_told(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    broker.cancel("q1", TODAY)
    wait_for(broker, "q1", ReportedStatus.CANCELED)
    gateway.fill("q1", Decimal(30), Decimal("169.90"))
    wait_until(lambda: filled(broker.executions(["q1"])) == 30)
    assert broker.reports(["q1"])[0].filled_quantity == 30


# -- one order stays one order -------------------------------------------------------------------------------------


def test_an_order_sent_twice_under_its_number_is_one_order(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    number = working(broker)
    broker.submit(order("q1"), number)
    broker.submit(order("q1"), number)
    broker.refresh()
    assert len(gateway.orders()) == 1
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_for(broker, "q1", ReportedStatus.FILLED)
    assert broker.submit(order("q1"), number).status is ReportedStatus.FILLED
    assert filled(list(broker.executions())) == 100


def test_an_order_sent_again_by_the_next_process_under_its_number_is_one_order(desk: Desk) -> None:
    gateway, first = desk.serve(), desk.broker()
    number = working(first)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    first.close()
    second = desk.broker(highest=int(number))
    assert second.submit(order("q1"), number).status is ReportedStatus.FILLED
    assert len(gateway.orders()) == 1
    assert gateway.positions()[0].quantity == 100


def test_order_numbers_are_above_all_that_were_ever_used(desk: Desk) -> None:
    desk.serve()
    broker = desk.broker(highest=5000)
    first = int(broker.reserve())
    assert first == 5001
    assert int(broker.reserve()) == 5002
    broker.submit(order("q1"), "6000")
    assert int(broker.reserve()) == 6001


def test_an_order_lost_with_the_connection_was_never_seen_and_can_be_sent_again(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    broker.prepare(["AAPL"])
    gateway.go_silent(True, deaf=True)  # its bytes arrive, and are never read
    number = broker.reserve()
    broker.submit(order("q1"), number)
    gateway.disconnect_all()
    gateway.go_silent(False)
    wait_until(lambda: broker.link() is LinkState.DOWN)
    broker.open()
    assert gateway.orders() == ()
    assert broker.find("q1") is None
    broker.submit(order("q1"), number)
    wait_for(broker, "q1", ReportedStatus.WORKING)
    assert len(gateway.orders()) == 1


def test_an_order_whose_number_was_overtaken_goes_under_a_new_one(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    overtaken, later = broker.reserve(), broker.reserve()
    broker.submit(order("later"), later)
    report = broker.submit(order("q1"), overtaken)
    assert int(report.broker_order_id) > int(later)
    wait_for(broker, "q1", ReportedStatus.WORKING)
    assert [one.ticket.order_ref for one in gateway.orders()] == ["later", "q1"]


def test_a_number_the_broker_refuses_is_no_rejection_of_the_order(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    gateway.reject_next(103, "Duplicate order id")
    number = broker.reserve()
    broker.submit(order("q1"), number)
    heard(broker, lambda notices: any("103" in notice for notice in notices))
    wait_until(lambda: broker.find("q1") is None)
    assert int(broker.submit(order("q1"), number).broker_order_id) > int(number)
    wait_for(broker, "q1", ReportedStatus.WORKING)


def test_two_orders_that_may_only_reduce_cannot_fill_more_than_one_of_them(desk: Desk) -> None:
    gateway = desk.serve(positions={"AAPL": (Decimal(100), Decimal(150))})
    broker = desk.broker()
    closing = {"side": Side.SELL, "reduce_only": 1, "quantity": 100, "limit": "171.00"}
    working(broker, "q1", **closing)
    working(broker, "q2", **closing)
    assert gateway.orders()[0].ticket.oca_group == gateway.orders()[1].ticket.oca_group != ""
    gateway.fill("q1", Decimal(100), Decimal("171.00"))
    wait_for(broker, "q2", ReportedStatus.CANCELED)
    assert gateway.positions() == () or gateway.positions()[0].quantity == 0
    working(broker, "q3", **closing)  # a group that is done takes no new orders: this is another
    assert gateway.orders()[2].ticket.oca_group != gateway.orders()[0].ticket.oca_group

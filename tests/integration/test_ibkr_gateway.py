"""The adapter against the loopback gateway, with the unmodified client library in between."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError, ConfigurationError, DataUnavailableError
from quant_dagster.execution.broker import Broker, Execution, LinkState, OrderReport, RemoteBroker, ReportedStatus
from quant_dagster.execution.brokers.ibkr import IbkrBroker
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.bars import minute_bars, of_session, read_bars
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.orders import Order
from quant_dagster.market_data.instruments import Terms
from quant_dagster.settings import ConnectionSettings, IbkrSettings
from tests.support.market_data import shared_data
from tests.support.tws_gateway import tws_gateway, wait_until

TODAY = date(2024, 1, 2)
START = datetime(2024, 1, 2, 15, 0, tzinfo=UTC)


def order(name: str, quantity: int = 100, limit: str | None = "169.90", **changed: Any) -> Order:
    fields: dict[str, Any] = {
        "client_order_id": name, "decision_id": None, "strategy": "trend", "session": TODAY, "symbol": "AAPL",
        "side": Side.BUY, "quantity": Decimal(quantity), "order_type": "limit" if limit else "market",
        "time_in_force": "day", "decision_price": Decimal(170), "created_at": START,
        "limit_price": None if limit is None else Decimal(limit),
    }  # fmt: skip
    return Order(**fields | changed)


class Desk:
    """Gateway and brokers of one test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.gateway: Gateway

    def serve(self, **options: Any) -> Gateway:
        self.gateway = self._stack.enter_context(tws_gateway(**options))
        return self.gateway

    def broker(self, *, open_: bool = True, highest: int = 0, answer: float = 3.0, **options: Any) -> IbkrBroker:
        settings = {name: options.pop(name) for name in list(options) if name in IbkrSettings.model_fields}
        broker = IbkrBroker(
            IbkrSettings(**{"host": self.gateway.host, "port": self.gateway.port} | settings),
            ConnectionSettings(answer_seconds=answer, connect_seconds=3),
            session_of=options.pop("session_of", lambda at: at.date()),
            terms=options.pop("terms", lambda symbol: None),
            highest_order_number=lambda: highest,
            **options,
        )
        self._stack.callback(broker.close)
        if open_:
            broker.open()
        return broker


@pytest.fixture
def desk() -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(stack)


def working(broker: IbkrBroker, name: str = "q1", **fields: Any) -> str:
    """An order that the broker has acknowledged; its number."""
    number = broker.reserve()
    broker.submit(order(name, **fields), number)
    wait_for(broker, name, ReportedStatus.WORKING)
    return number


def wait_for(broker: IbkrBroker, name: str, *statuses: ReportedStatus) -> OrderReport:
    def there() -> OrderReport | None:
        (report,) = broker.reports([name])
        return report if report.status in statuses else None

    found: OrderReport = wait_until(there)
    return found


def heard(broker: IbkrBroker, enough: Callable[[list[str]], bool]) -> list[str]:
    notices: list[str] = []

    def there() -> bool:
        notices.extend(broker.changes(0.05).notices)
        return enough(notices)

    wait_until(there)
    return notices


def filled(executions: list[Execution]) -> Decimal:
    return sum((execution.quantity for execution in executions), Decimal(0))


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


# -- codes -----------------------------------------------------------------------------------------------------


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


# -- executions ----------------------------------------------------------------------------------------------------


def test_a_correction_replaces_the_execution_and_a_bust_takes_it_back(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    first = gateway.fill("q1", Decimal(40), Decimal("169.90"))
    wait_until(lambda: broker.executions(["q1"]))
    corrected = gateway.correct(first.exec_id, price=Decimal("169.85"))
    wait_until(lambda: broker.executions(["q1"])[0].correction == 1)
    (execution,) = broker.executions(["q1"])
    assert (execution.quantity, execution.price) == (40, Decimal("169.85"))
    gateway.bust(corrected.exec_id)
    wait_until(lambda: broker.executions(["q1"])[0].correction == 2)
    assert broker.executions(["q1"])[0].quantity == 0
    broker.close()
    broker.open()
    assert [(one.quantity, one.correction) for one in broker.executions()] == [(0, 2)]


def test_an_execution_the_library_cannot_decode_is_not_lost(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_dagster.execution.gateway.messages.new_york", lambda at: "20240102 10:00:00 Middle/Earth")
        gateway.fill("q1", Decimal(40), Decimal("169.90"))
        wait_until(lambda: filled(broker.executions(["q1"])) == 40)
    assert broker.executions(["q1"])[0].executed_at is None
    assert any("Middle/Earth" in notice for notice in broker.changes(0.2).notices)


def test_a_damaged_execution_is_asked_for_again(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    session = gateway._server.sessions[1]
    whole, damaged = session.send, []

    def damage(message: bytes) -> None:
        if message[4:7] == b"11\0" and not damaged:
            damaged.append(message)
            message = message.replace(b"BOT", b"B?T")
        whole(message)

    session.send = damage  # type: ignore[method-assign]
    gateway.fill("q1", Decimal(40), Decimal("169.90"))
    wait_until(lambda: filled(broker.executions(["q1"])) == 40)
    assert damaged
    assert any("could not be read" in notice for notice in broker.changes(0.2).notices)


def test_orders_and_executions_of_others_are_told_as_theirs(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.place_foreign("MSFT", Side.SELL, Decimal(10), Decimal("106.00"), order_ref="")
    wait_until(lambda: len(gateway.orders()) == 2)
    broker.refresh()
    ours, theirs = sorted(broker.open_orders(), key=lambda one: one.symbol)
    assert (ours.client_order_id, ours.symbol, ours.order_type) == ("q1", "AAPL", "limit")
    assert (theirs.client_order_id, theirs.symbol, theirs.side, theirs.quantity) == ("", "MSFT", Side.SELL, 10)
    assert theirs.limit_price == 106
    gateway.fill("", Decimal(10), Decimal("106.00"))
    broker.refresh()
    (execution,) = broker.executions()
    assert (execution.client_order_id, execution.symbol) == ("", "MSFT")


def test_messages_twice_out_of_order_and_late_change_nothing_about_what_was_filled(desk: Desk) -> None:
    plan = FaultPlan(seed=7, duplicate=0.4, reorder=0.4, commission_never=0.3, fill_before_acknowledgement=0.5)
    gateway = desk.serve(faults=plan, fills_at_once=True, cash=Decimal(100_000_000))
    broker = desk.broker()
    names = [f"q{number}" for number in range(25)]
    for name in names:
        broker.submit(order(name, limit=None), broker.reserve())
    wait_until(lambda: all(one.status is ReportedStatus.FILLED for one in broker.reports(names)), 15)
    broker.refresh()
    assert filled(broker.executions(names)) == 25 * 100 == gateway.positions()[0].quantity
    assert all(execution.commission is not None for execution in broker.executions(names))


# -- pacing, account, prices ----------------------------------------------------------------------------------------


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


def test_the_account_is_told_with_cash_by_currency_and_signed_positions(desk: Desk) -> None:
    gateway = desk.serve(positions={"AAPL": (Decimal(100), Decimal(150)), "JPM": (Decimal(-20), Decimal(100))})
    broker = desk.broker()
    account = broker.account()
    assert (account.account, account.currency) == ("DU0000000", "USD")
    assert account.cash == {"USD": gateway.cash()}
    assert account.positions == {"AAPL": 100, "JPM": -20}
    assert account.equity == gateway.equity()
    working(broker)
    gateway.fill("q1", Decimal(100), Decimal("169.90"))
    wait_for(broker, "q1", ReportedStatus.FILLED)
    assert broker.account().positions["AAPL"] == 200
    assert broker.account().cash == {"USD": gateway.cash()}


def test_market_time_is_the_broker_s(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    assert timedelta(0) <= broker.market_time() - START < timedelta(seconds=10)
    gateway.advance(3600)
    broker.ping(2)
    assert timedelta(0) <= broker.market_time() - (START + timedelta(hours=1)) < timedelta(seconds=10)


def test_a_snapshot_of_the_market(desk: Desk) -> None:
    desk.serve()
    quote = desk.broker().snapshot("AAPL")
    assert quote is not None
    assert quote.bid is not None and quote.ask is not None
    assert quote.bid < 170 < quote.ask
    assert quote.last == 170


def test_no_history_is_an_error_and_not_an_empty_table(desk: Desk) -> None:
    desk.serve()
    broker = desk.broker()
    with pytest.raises(DataUnavailableError, match="162"):
        broker.history("AAPL", START - timedelta(hours=1), START, 60)
    with pytest.raises(DataUnavailableError, match="NOPE"):
        broker.history("NOPE", START - timedelta(hours=1), START, 60)
    with pytest.raises(BrokerError, match="7 s"):
        broker.history("AAPL", START - timedelta(hours=1), START, 7)


# -- chaos ------------------------------------------------------------------------------------------------------------


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


def test_bars_of_a_real_session_are_those_the_gateway_has(desk: Desk) -> None:
    minutes = read_bars(
        shared_data("intraday_1min_us24_2019-02-11_15.parquet"), {"bar_end": "bar_end_ny"},
        time_zone="America/New_York",
    )  # fmt: skip
    opens, closes = datetime(2019, 2, 13, 14, 30, tzinfo=UTC), datetime(2019, 2, 13, 21, tzinfo=UTC)
    real = of_session(minutes, date(2019, 2, 13)).filter(pl.col("symbol") == "AAPL")
    desk.serve(market=BarMarket(minute_bars(real), opens=opens, closes=closes), start=closes)
    broker = desk.broker()
    found = broker.history("AAPL", opens + timedelta(minutes=30), opens + timedelta(minutes=90), 60)
    assert found.height == 60
    assert found["bar_start"][0] == opens + timedelta(minutes=30)
    hour = pl.col("bar_start").is_between(opens + timedelta(minutes=30), opens + timedelta(minutes=89))
    expected = real.filter(hour).sort("bar_start")
    for field in ("open", "high", "low", "close", "volume"):
        assert found[field].to_list() == pytest.approx(expected[field].cast(pl.Float64).to_list())
    assert found["bar_start"].to_list() == expected["bar_start"].to_list()

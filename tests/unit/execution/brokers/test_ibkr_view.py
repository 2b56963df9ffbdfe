"""What is concluded from the broker's messages, and what is not."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.execution.brokers.ibkr.known_order import KnownOrder
from quant_dagster.execution.brokers.ibkr.view import BrokerView
from quant_dagster.execution.brokers.ibkr.wire import (
    CommissionMessage,
    ContractFields,
    ErrorMessage,
    ExecutionMessage,
    OrderMessage,
    StatusMessage,
)

AAPL = ContractFields(265598, "AAPL", "STK", "USD", "AAPL")
PERM = 1200000001


def sent() -> BrokerView:
    view = BrokerView()
    view.sending(KnownOrder("q1", 42, 1, contract=AAPL, quantity=Decimal(100), connection=1))
    return view


def listing(status: str, *, completed: bool = False, filled: str | None = None, perm_id: int = PERM) -> OrderMessage:
    return OrderMessage(
        0 if completed else 42, 0 if completed else 1, perm_id, "q1", "DU1", AAPL, Side.BUY, Decimal(100), "LMT",
        Decimal(170), "", status, completed, None if filled is None else Decimal(filled),
    )  # fmt: skip


def status(text: str, filled: int = 0) -> StatusMessage:
    return StatusMessage(42, 1, PERM, text, Decimal(filled), Decimal(100 - filled), "")


def execution(number: int = 1, quantity: int = 40, correction: int = 1) -> ExecutionMessage:
    return ExecutionMessage(
        f"e{number}.01.{correction:02d}", 42, 1, PERM, "q1", "DU1", AAPL, "ISLAND", Side.BUY, Decimal(quantity),
        Decimal(170), "", datetime(2023, 1, 3, 15, number, tzinfo=UTC), "0", str(quantity), "170", "2",
    )  # fmt: skip


def reported(view: BrokerView) -> ReportedStatus:
    order = view.known("q1")
    assert order is not None
    return view.reported(order)[0]


def ask(view: BrokerView, *listed: OrderMessage) -> None:
    asked = view.begin_listing()
    for message in listed:
        view.order(message)
    view.end_listing(asked)


def test_while_the_broker_is_asked_what_works_its_last_answer_stands() -> None:
    view = sent()
    ask(view, listing("Submitted"))
    asked = view.begin_listing()
    known = view.known("q1")
    assert known is not None and known.listed, "nobody may believe that nothing works"
    view.end_listing(asked)
    known = view.known("q1")
    assert known is not None and not known.listed, "the new answer does not have it"


def test_a_sent_order_of_which_nothing_was_heard_is_sent_not_working() -> None:
    assert reported(sent()) is ReportedStatus.SENT


@pytest.mark.parametrize("text", ["PendingSubmit", "PreSubmitted", "Submitted", "ApiPending", "PendingCancel"])
def test_an_acknowledged_order_works(text: str) -> None:
    view = sent()
    view.status(status(text))
    assert reported(view) is ReportedStatus.WORKING


@pytest.mark.parametrize("code", [321, 399, 2109, 10349, 103, 201, 99999])
def test_no_code_alone_ends_an_order_the_broker_has_acknowledged(code: int) -> None:
    view = sent()
    view.order(listing("Submitted"))
    view.status(status("Submitted"))
    view.error(ErrorMessage(42, code, "text"), client_id=1)
    assert reported(view) is ReportedStatus.WORKING
    ask(view, listing("Submitted"))
    assert reported(view) is ReportedStatus.WORKING


@pytest.mark.parametrize("code", [110, 200, 201, 203, 321])
def test_a_refused_new_order_is_rejected_once_the_broker_does_not_list_it(code: int) -> None:
    view = sent()
    view.error(ErrorMessage(42, code, "Order rejected - reason:margin"), client_id=1)
    assert reported(view) is ReportedStatus.SENT
    ask(view)
    order = view.known("q1")
    assert order is not None
    assert view.reported(order) == (ReportedStatus.REJECTED, 0, f"{code}: Order rejected - reason:margin")


def test_a_used_number_is_no_rejection_and_without_a_trace_the_order_is_not_on_its_way() -> None:
    view = sent()
    view.error(ErrorMessage(42, 103, "Duplicate order id"), client_id=1)
    ask(view)
    order = view.known("q1")
    assert order is not None
    assert reported(view) is ReportedStatus.SENT
    assert order.connection == 0
    view.order(listing("Filled", completed=True, filled="100"))
    assert reported(view) is ReportedStatus.FILLED


def test_an_inactive_order_with_a_refusal_is_rejected() -> None:
    view = sent()
    view.status(status("Inactive"))
    assert reported(view) is ReportedStatus.WORKING  # it may become active again
    view.error(ErrorMessage(42, 201, "Order rejected - reason:margin"), client_id=1)
    assert reported(view) is ReportedStatus.REJECTED


def test_a_cancellation_we_asked_for_is_one_and_an_expiry_is_one() -> None:
    view = sent()
    view.order(listing("Submitted"))
    order = view.known("q1")
    assert order is not None
    view.asked_to_cancel(order)
    assert reported(view) is ReportedStatus.WORKING
    view.status(status("Cancelled", 40))
    assert reported(view) is ReportedStatus.CANCELED
    expired = sent()
    expired.error(ErrorMessage(42, 202, "Order Canceled - reason:The order has expired"), client_id=1)
    expired.status(status("Cancelled"))
    assert reported(expired) is ReportedStatus.EXPIRED


def test_a_refused_order_that_the_broker_then_cancelled_was_rejected_unless_we_asked_or_it_filled() -> None:
    def refused() -> BrokerView:
        view = sent()
        view.status(status("PreSubmitted"))
        view.error(ErrorMessage(42, 201, "Order rejected - reason:margin"), client_id=1)
        return view

    view = refused()
    view.status(status("Cancelled"))
    order = view.known("q1")
    assert order is not None
    assert view.reported(order) == (ReportedStatus.REJECTED, 0, "201: Order rejected - reason:margin")
    filled = refused()
    filled.execution(execution(quantity=40))
    filled.status(status("Cancelled", 40))
    assert reported(filled) is ReportedStatus.CANCELED
    asked = refused()
    asked.asked_to_cancel(order)
    asked.status(status("Cancelled"))
    assert reported(asked) is ReportedStatus.CANCELED


def test_an_order_listed_as_completed_and_inactive_was_rejected_though_its_error_was_never_heard() -> None:
    view = sent()
    view.status(status("Inactive"))
    ask(view, listing("Inactive", completed=True))
    order = view.known("q1")
    assert order is not None
    assert view.reported(order)[::2] == (ReportedStatus.REJECTED, "inactive at the broker")


def test_the_status_of_an_order_nobody_told_of_is_kept_for_the_listing_that_names_it() -> None:
    view = BrokerView()
    view.status(status("Submitted", 40))
    assert view.known("q1") is None
    view.order(listing("Submitted"))
    (order,) = view.orders()
    assert (order.reference, order.filled) == ("q1", 40)


def test_a_cancellation_of_an_order_the_view_does_not_have_notes_nothing() -> None:
    view = BrokerView()
    view.asked_to_cancel(KnownOrder("q1", 42, 1))
    assert view.orders() == [] and view.wait(0).references == ()


def test_a_late_status_does_not_bring_a_finished_order_back() -> None:
    view = sent()
    view.status(status("Filled", 100))
    view.status(status("Submitted", 40))
    assert reported(view) is ReportedStatus.FILLED
    cancelled = sent()
    cancelled.status(status("Cancelled"))
    cancelled.status(status("Submitted"))
    assert reported(cancelled) is ReportedStatus.CANCELED
    assert cancelled.unsettled


def test_the_broker_s_listings_overrule_a_cancellation_heard_out_of_order() -> None:
    view = sent()
    view.status(status("Cancelled"))
    ask(view, listing("Submitted"))
    assert reported(view) is ReportedStatus.CANCELED
    ask(view, listing("Submitted"))
    assert reported(view) is ReportedStatus.WORKING


def test_a_completed_order_is_known_by_its_reference_and_permanent_id_as_it_has_no_number() -> None:
    view = sent()
    view.order(listing("Filled", completed=True, filled="100"))
    assert len(view.orders()) == 1
    assert reported(view) is ReportedStatus.FILLED


def test_an_execution_and_its_repetition_are_one_and_a_correction_replaces() -> None:
    view = sent()
    view.execution(execution())
    view.execution(execution())
    assert [e.quantity for e in view.executions(["q1"])] == [40]
    view.execution(execution(quantity=30, correction=2))
    view.execution(execution())  # the first version once more, late
    assert [(e.key, e.quantity, e.correction) for e in view.executions()] == [("e1.01", 30, 1)]


def test_a_commission_is_that_of_the_execution_as_corrected() -> None:
    view = sent()
    view.commission(CommissionMessage("e1.01.01", Decimal("1.00"), "USD"))  # before its execution
    view.execution(execution())
    (first,) = view.executions()
    assert view.commission_of(first) == CommissionMessage("e1.01.01", Decimal("1.00"), "USD")
    view.execution(execution(quantity=30, correction=2))
    (corrected,) = view.executions()
    assert view.commission_of(corrected) is None


def test_news_is_handed_over_once_and_a_commission_tells_the_execution_again() -> None:
    view = sent()
    view.execution(execution())
    news = view.wait(0)
    assert [e.execution_id for e in news.executions] == ["e1.01.01"]
    assert news.references == ("q1",)
    assert view.wait(0).executions == ()
    view.commission(CommissionMessage("e1.01.01", Decimal("1.00"), "USD"))
    assert [e.execution_id for e in view.wait(0).executions] == ["e1.01.01"]
    view.commission(CommissionMessage("e1.01.01", Decimal("1.00"), "USD"))
    assert view.wait(0).executions == ()


def test_an_order_sent_again_under_a_new_number_is_the_one_on_its_way() -> None:
    view = sent()
    view.sending(KnownOrder("q1", 50, 1, contract=AAPL, quantity=Decimal(100), connection=2))
    order = view.known("q1")
    assert order is not None
    assert (order.order_number, order.connection) == (50, 2)
    view.status(StatusMessage(50, 1, PERM, "Submitted", Decimal(0), Decimal(100), ""))
    assert reported(view) is ReportedStatus.WORKING
    assert len(view.orders()) == 1


def test_two_orders_at_the_broker_under_one_id_are_told() -> None:
    view = sent()
    view.order(listing("Submitted"))
    view.order(listing("Submitted", perm_id=PERM + 1))
    assert any("2 orders under the id q1" in notice for notice in view.wait(0).notices)


MESSAGES = [listing("PreSubmitted"), status("PreSubmitted"), status("Submitted", 40), execution(1, 40),
            execution(2, 60), status("Filled", 100), listing("Filled", completed=True, filled="100")]  # fmt: skip


@given(st.lists(st.sampled_from(range(len(MESSAGES))), max_size=12), st.permutations(range(len(MESSAGES))))
def test_messages_in_any_order_and_number_come_to_the_same_end(extra: list[int], order: list[int]) -> None:
    view = sent()
    for number in itertools.chain(extra, order):
        message = MESSAGES[number]
        if isinstance(message, OrderMessage):
            view.order(message)
        elif isinstance(message, StatusMessage):
            view.status(message)
        else:
            view.execution(message)
    known = view.known("q1")
    assert known is not None
    assert view.reported(known)[:2] == (ReportedStatus.FILLED, 100)
    assert view.executed_quantity("q1") == 100
    assert len(view.orders()) == 1

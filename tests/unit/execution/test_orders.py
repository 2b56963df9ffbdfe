"""The order state machine: every pair of status and event, and properties of random histories."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import (
    FILLS,
    RESTATEMENTS,
    TRANSITIONS,
    Order,
    OrderEvent,
    OrderEventKind,
    OrderStatus,
    apply,
    client_order_id,
    fill_kind,
    restatement_kind,
)

DAY = date(2023, 1, 3)
K = OrderEventKind


def order(status: OrderStatus | None = None, quantity: int = 10, filled: int = 0) -> Order:
    return Order(
        client_order_id="o1",
        decision_id="d1",
        strategy="s",
        session=DAY,
        symbol="AAPL",
        side=Side.BUY,
        quantity=Decimal(quantity),
        order_type="market",
        time_in_force="day",
        decision_price=Decimal(100),
        created_at=datetime(2023, 1, 3, tzinfo=UTC),
        status=status,
        filled_quantity=Decimal(filled),
    )


def event(kind: OrderEventKind, quantity: int = 0, price: str = "100") -> OrderEvent:
    payload = {"quantity": str(quantity), "price": price} if quantity else {}
    return OrderEvent("o1", kind, DAY, payload)


def restated(kind: OrderEventKind, quantity: int, *, was: int, price: str = "100") -> OrderEvent:
    payload = {"quantity": str(quantity), "price": price, "previous_quantity": str(was), "previous_price": "100"}
    return OrderEvent("o1", kind, DAY, payload)


FITTING = {
    # What has to have been filled before of ten shares, and an event that then is true.
    K.PARTIALLY_FILLED: (0, event(K.PARTIALLY_FILLED, 4)),
    K.FILLED: (0, event(K.FILLED, 10)),
    K.OVERFILLED: (8, event(K.OVERFILLED, 4)),
    K.RESTATED: (8, restated(K.RESTATED, 3, was=4)),
    K.RESTATED_WHOLE: (8, restated(K.RESTATED_WHOLE, 6, was=4)),
    K.RESTATED_DOWN: (10, restated(K.RESTATED_DOWN, 0, was=4)),
    K.REPLACED: (3, event(K.REPLACED, 7)),
    K.REPLACED_WHOLE: (7, event(K.REPLACED_WHOLE, 7)),
}


@pytest.mark.parametrize("kind", list(OrderEventKind))
@pytest.mark.parametrize("status", [None, *OrderStatus])
def test_only_what_the_table_lists_can_happen(status: OrderStatus | None, kind: OrderEventKind) -> None:
    filled, happening = FITTING.get(kind, (0, event(kind)))
    if status is OrderStatus.FILLED and kind is K.RESTATED:
        filled, happening = 10, restated(kind, 4, was=4, price="101")
    if (status, kind) in TRANSITIONS:
        assert apply(order(status, filled=filled), happening).status is TRANSITIONS[status, kind]
    else:
        with pytest.raises(OrderError, match="cannot happen"):
            apply(order(status, filled=filled), happening)


def test_every_status_can_be_reached_and_ended_orders_come_back_to_life_never() -> None:
    assert set(TRANSITIONS.values()) == set(OrderStatus)
    for (status, kind), after in TRANSITIONS.items():
        if status is not None and status.is_final:
            assert kind in (*FILLS, *RESTATEMENTS), "only executions, late or corrected, may change an ended order"
            assert after.is_final


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.APPROVED])
def test_what_was_executed_is_ours_in_whatever_state_the_order_was(status: OrderStatus) -> None:
    """A fill may overtake the acknowledgement, or arrive after a cancel, an expiry or a rejection."""
    if status is OrderStatus.FILLED:
        assert apply(order(status, filled=10), event(K.OVERFILLED, 1)).filled_quantity == 11
    else:
        assert apply(order(status, filled=4), event(K.PARTIALLY_FILLED, 2)).filled_quantity == 6
        assert apply(order(status, filled=4), event(K.FILLED, 6)).status is OrderStatus.FILLED


def test_partial_fills_average_their_price() -> None:
    one = apply(order(OrderStatus.ACCEPTED), event(OrderEventKind.PARTIALLY_FILLED, 4, "100"))
    two = apply(one, event(OrderEventKind.FILLED, 6, "110"))
    assert (two.status, two.filled_quantity, two.average_fill_price) == (OrderStatus.FILLED, 10, 106)


def test_an_overfill_is_said_to_be_one() -> None:
    with pytest.raises(OrderError, match="would make 12 of 10"):
        apply(order(OrderStatus.ACCEPTED, filled=8), event(K.FILLED, 4))
    over = apply(order(OrderStatus.ACCEPTED, filled=8), event(K.OVERFILLED, 4))
    assert (over.status, over.filled_quantity, over.remaining) == (OrderStatus.FILLED, 12, -2)


@pytest.mark.parametrize("kind", FILLS)
@pytest.mark.parametrize("quantity", [3, 6, 7])
def test_a_fill_that_lies_about_being_complete_is_refused(kind: OrderEventKind, quantity: int) -> None:
    one = order(OrderStatus.ACCEPTED, filled=4)
    if fill_kind(one, Decimal(quantity)) is kind:
        assert apply(one, event(kind, quantity)).filled_quantity == 4 + quantity
    else:
        with pytest.raises(OrderError, match="which is not"):
            apply(one, event(kind, quantity))


def test_a_correction_changes_quantity_and_average_price() -> None:
    one = apply(order(OrderStatus.ACCEPTED), event(K.PARTIALLY_FILLED, 4, "100"))
    one = apply(one, event(K.PARTIALLY_FILLED, 4, "110"))
    assert one.average_fill_price == 105
    corrected = apply(one, restated(K.RESTATED, 2, was=4, price="90"))
    assert (corrected.filled_quantity, corrected.average_fill_price) == (6, Decimal("103.333333"))


def test_a_bust_of_a_filled_order_leaves_it_cancelled_for_the_rest() -> None:
    filled = apply(order(OrderStatus.ACCEPTED), event(K.FILLED, 10))
    busted = apply(filled, restated(K.RESTATED_DOWN, 0, was=10))
    assert (busted.status, busted.filled_quantity, busted.average_fill_price) == (OrderStatus.CANCELED, 0, None)
    with pytest.raises(OrderError, match="which is not"):
        apply(filled, restated(K.RESTATED, 0, was=10))


@pytest.mark.parametrize("quantity", [2, 11])
def test_a_change_is_neither_to_more_than_was_approved_nor_to_less_than_was_filled(quantity: int) -> None:
    one = order(OrderStatus.PENDING_REPLACE, filled=3)
    with pytest.raises(OrderError, match="is a new order"):
        apply(one, event(K.REPLACED, quantity))


def test_sending_says_under_what_number_and_at_what_price() -> None:
    sent = datetime(2023, 1, 4, 14, 30, tzinfo=UTC)
    payload = {"broker_order_id": "17", "sent_at": sent.isoformat(), "arrival_price": "99.5", "limit_price": "99.6"}
    one = apply(order(OrderStatus.APPROVED), OrderEvent("o1", K.SUBMITTING, DAY, payload))
    assert (one.broker_order_id, one.sent_at) == ("17", sent)
    assert (one.arrival_price, one.limit_price) == (Decimal("99.5"), Decimal("99.6"))


def test_an_event_of_another_order_is_refused() -> None:
    with pytest.raises(OrderError, match="applied to order"):
        apply(order(), OrderEvent("o2", OrderEventKind.APPROVED, DAY, {}))


@given(st.text(min_size=1), st.dates(), st.text(min_size=1), st.text(min_size=1))
def test_the_client_order_id_is_a_function_of_the_intent(strategy, session, symbol, intent) -> None:
    one = client_order_id(strategy, session, symbol, intent)
    assert one == client_order_id(strategy, session, symbol, intent)
    assert one != client_order_id(strategy, session, symbol, intent + "x")


class RandomHistory(RuleBasedStateMachine):
    """Whatever arrives in whatever order: no illegal transition, filled + remaining = quantity, and the filled quantity
    only grows, unless an execution is corrected."""

    @initialize()
    def start(self) -> None:
        self.order = apply(order(), OrderEvent("o1", K.APPROVED, DAY, {"quantity": "10"}))
        self.executions: list[int] = []

    def happens(self, one: OrderEvent) -> bool:
        before = self.order
        try:
            self.order = apply(before, one)
        except OrderError:
            assert self.order == before
            return False
        assert self.order.status is TRANSITIONS[before.status, one.kind]
        assert self.order.events == before.events + 1
        if one.kind not in RESTATEMENTS:
            assert self.order.filled_quantity >= before.filled_quantity
        if before.status.is_final:
            assert self.order.status.is_final
        return True

    @rule(kind=st.sampled_from([kind for kind in OrderEventKind if kind not in (*FILLS, *RESTATEMENTS)]))
    def is_told(self, kind: OrderEventKind) -> None:
        self.happens(event(kind))

    @rule(quantity=st.integers(1, 12))
    def is_changed(self, quantity: int) -> None:
        self.happens(event(K.PENDING_REPLACE, quantity))
        whole = quantity == self.order.filled_quantity
        self.happens(event(K.REPLACED_WHOLE if whole else K.REPLACED, quantity))

    @rule(quantity=st.integers(1, 10), lie=st.sampled_from([None, *FILLS]))
    def is_filled(self, quantity: int, lie: OrderEventKind | None) -> None:
        kind = lie or fill_kind(self.order, Decimal(quantity))
        if self.happens(event(kind, quantity)):
            self.executions.append(quantity)

    @rule(number=st.integers(0, 5), quantity=st.integers(0, 10), lie=st.sampled_from([None, *RESTATEMENTS]))
    def is_corrected(self, number: int, quantity: int, lie: OrderEventKind | None) -> None:
        if number < len(self.executions):
            was = self.executions[number]
            kind = lie or restatement_kind(self.order, Decimal(quantity - was))
            if self.happens(restated(kind, quantity, was=was)):
                self.executions[number] = quantity

    @invariant()
    def quantities_add_up(self) -> None:
        one = getattr(self, "order", None)
        if one is not None:
            assert one.filled_quantity == sum(self.executions)
            assert one.filled_quantity + one.remaining == one.quantity
            assert (one.average_fill_price is None) == (one.filled_quantity == 0)

    @invariant()
    def filled_is_filled(self) -> None:
        one = getattr(self, "order", None)
        if one is not None and one.status is not None:
            assert (one.status is OrderStatus.FILLED) == (one.filled_quantity >= one.quantity)


TestRandomHistory = RandomHistory.TestCase

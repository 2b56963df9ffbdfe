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
    TRANSITIONS,
    Order,
    OrderEvent,
    OrderEventKind,
    OrderStatus,
    apply,
    client_order_id,
)

DAY = date(2023, 1, 3)
FILLS = (OrderEventKind.PARTIALLY_FILLED, OrderEventKind.FILLED)


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


@pytest.mark.parametrize("kind", list(OrderEventKind))
@pytest.mark.parametrize("status", [None, *OrderStatus])
def test_only_what_the_table_lists_can_happen(status: OrderStatus | None, kind: OrderEventKind) -> None:
    quantity = {OrderEventKind.FILLED: 10, OrderEventKind.PARTIALLY_FILLED: 4}.get(kind, 0)
    if (status, kind) in TRANSITIONS:
        assert apply(order(status), event(kind, quantity)).status is TRANSITIONS[status, kind]
    else:
        with pytest.raises(OrderError, match="cannot happen"):
            apply(order(status), event(kind, quantity))


def test_every_status_can_be_reached_and_final_ones_take_no_orders_back() -> None:
    assert set(TRANSITIONS.values()) == set(OrderStatus)
    for (status, kind), after in TRANSITIONS.items():
        if status is not None and status.is_final:
            assert kind in FILLS, "only a late fill may change an ended order"
            assert after.is_final


def test_partial_fills_average_their_price() -> None:
    one = apply(order(OrderStatus.ACCEPTED), event(OrderEventKind.PARTIALLY_FILLED, 4, "100"))
    two = apply(one, event(OrderEventKind.FILLED, 6, "110"))
    assert (two.status, two.filled_quantity, two.average_fill_price) == (OrderStatus.FILLED, 10, 106)


def test_an_overfill_is_refused() -> None:
    with pytest.raises(OrderError, match="would make 12 of 10"):
        apply(order(OrderStatus.ACCEPTED, filled=8), event(OrderEventKind.FILLED, 4))


def test_a_fill_that_lies_about_being_complete_is_refused() -> None:
    with pytest.raises(OrderError, match="with 4 of 10"):
        apply(order(OrderStatus.ACCEPTED), event(OrderEventKind.FILLED, 4))


def test_an_event_of_another_order_is_refused() -> None:
    with pytest.raises(OrderError, match="applied to order"):
        apply(order(), OrderEvent("o2", OrderEventKind.APPROVED, DAY, {}))


@given(st.text(min_size=1), st.dates(), st.text(min_size=1), st.text(min_size=1))
def test_the_client_order_id_is_a_function_of_the_intent(strategy, session, symbol, intent) -> None:
    one = client_order_id(strategy, session, symbol, intent)
    assert one == client_order_id(strategy, session, symbol, intent)
    assert one != client_order_id(strategy, session, symbol, intent + "x")


class RandomHistory(RuleBasedStateMachine):
    """Whatever arrives, an order is never overfilled and its status is the table's."""

    @initialize()
    def start(self) -> None:
        self.order = apply(order(), event(OrderEventKind.APPROVED))

    @rule(kind=st.sampled_from(list(OrderEventKind)), quantity=st.integers(1, 10))
    def happen(self, kind: OrderEventKind, quantity: int) -> None:
        before = self.order
        try:
            self.order = apply(before, event(kind, quantity if kind in FILLS else 0))
        except OrderError:
            assert self.order == before
        else:
            assert self.order.status is TRANSITIONS[before.status, kind]
            assert self.order.events == before.events + 1

    @invariant()
    def never_overfilled(self) -> None:
        one = getattr(self, "order", None)
        if one is not None:
            assert 0 <= one.filled_quantity <= one.quantity
            assert (one.status is OrderStatus.FILLED) == (one.filled_quantity == one.quantity)


TestRandomHistory = RandomHistory.TestCase

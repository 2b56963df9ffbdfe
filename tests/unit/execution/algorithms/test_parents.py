"""The parent order's state machine."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.parents import (
    TRANSITIONS,
    Algorithm,
    ParentEvent,
    ParentEventKind,
    ParentOrder,
    ParentState,
    apply,
    child_order_id,
)
from tests.unit.execution.algorithms.parents_at_work import minutes, working


def event(kind: ParentEventKind, **payload: str | None) -> ParentEvent:
    if kind is ParentEventKind.STARTED and not payload:
        payload = {"starts_at": minutes(0).isoformat(), "ends_at": minutes(9).isoformat(), "arrival_price": None}
    if kind is ParentEventKind.SLICED and not payload:
        payload = {"number": "1", "client_order_id": "q", "quantity": "10", "claimed": "90"}
    return ParentEvent("p1", kind, dict(payload))


def standing(state: ParentState | None) -> ParentOrder:
    return replace(working(Algorithm.TWAP, 100), state=state)


@pytest.mark.parametrize("state", [None, *ParentState])
@pytest.mark.parametrize("kind", list(ParentEventKind))
def test_only_what_is_in_the_table_can_happen(state: ParentState | None, kind: ParentEventKind) -> None:
    before = standing(state)
    if (state, kind) in TRANSITIONS:
        after = apply(before, event(kind))
        assert (after.state, after.events) == (TRANSITIONS[state, kind], before.events + 1)
    else:
        with pytest.raises(OrderError, match="cannot happen"):
            apply(before, event(kind))


def test_nothing_happens_to_an_order_that_is_over() -> None:
    assert not any(state.is_final for state, _ in TRANSITIONS if state is not None)
    assert {state for state in ParentState if state.is_final} == {ParentState.DONE, ParentState.CANCELLED}


@pytest.mark.parametrize(("quantity", "claimed"), [("10.00000001", "90"), ("1", "100"), ("0", "0"), ("5", "-1")])
def test_slices_beyond_the_parent_are_refused(quantity: str, claimed: str) -> None:
    wrong = event(ParentEventKind.SLICED, number="1", client_order_id="q", quantity=quantity, claimed=claimed)
    with pytest.raises(OrderError, match="nothing was recorded"):
        apply(standing(ParentState.WORKING), wrong)


@pytest.mark.parametrize(("first", "last"), [(9, 9), (9, 0)])
def test_an_interval_that_is_none_does_not_start_an_order(first: int, last: int) -> None:
    start = {"starts_at": minutes(first).isoformat(), "ends_at": minutes(last).isoformat(), "arrival_price": "1"}
    with pytest.raises(OrderError, match="not started"):
        apply(standing(ParentState.APPROVED), event(ParentEventKind.STARTED, **start))


def test_times_without_a_zone_do_not_start_an_order() -> None:
    start = {"starts_at": "2019-02-15T14:30:00", "ends_at": "2019-02-15T15:30:00", "arrival_price": "1"}
    with pytest.raises(OrderError, match="no time zone"):
        apply(standing(ParentState.APPROVED), event(ParentEventKind.STARTED, **start))


def test_an_event_of_another_parent_is_refused() -> None:
    with pytest.raises(OrderError, match="applied to parent order"):
        apply(standing(ParentState.WORKING), ParentEvent("p2", ParentEventKind.PAUSED, {}))


def test_a_slices_id_is_a_function_of_the_parent_and_its_number() -> None:
    parent = working(Algorithm.TWAP, 100)
    names = [child_order_id(parent, number) for number in range(1, 200)]
    assert len(set(names)) == 199 and names[4] == child_order_id(parent, 5)
    assert child_order_id(replace(parent, parent_id="p2"), 5) != names[4]


class RandomHistory(RuleBasedStateMachine):
    """Whatever arrives, the state is the table's and what is illegal changes nothing."""

    @initialize()
    def start(self) -> None:
        self.parent = apply(standing(None), event(ParentEventKind.APPROVED))

    @rule(kind=st.sampled_from(list(ParentEventKind)), quantity=st.integers(0, 120), claimed=st.integers(0, 120))
    def happen(self, kind: ParentEventKind, quantity: int, claimed: int) -> None:
        before = self.parent
        one = event(kind)
        if kind is ParentEventKind.SLICED:
            one = event(kind, number="1", client_order_id="q", quantity=str(quantity), claimed=str(claimed))
        try:
            self.parent = apply(before, one)
        except OrderError:
            assert self.parent == before
            return
        assert self.parent.state is TRANSITIONS[before.state, kind]
        assert kind is not ParentEventKind.SLICED or claimed + quantity <= before.quantity

    @invariant()
    def an_order_that_works_has_an_interval(self) -> None:
        one = getattr(self, "parent", None)
        if one is not None and one.state in (ParentState.WORKING, ParentState.PAUSED):
            assert one.starts_at < one.ends_at
            assert one.quantity == Decimal(100)


TestRandomHistory = RandomHistory.TestCase

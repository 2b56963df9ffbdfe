"""Automatic actions on a real ledger: orders through the gate that only reduce, once per trigger, until it is so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.errors import RiskError
from quant_dagster.execution import order_log
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionKind, ActionState, Held
from quant_dagster.risk.control import ControlMode, current, escalate
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, risk_events
from tests.unit.cycle.approval_desk import Desk, facts, inputs, state
from tests.unit.execution import test_desk as one_order
from tests.unit.execution.test_paper import WEDNESDAY

PRICE = Decimal(str(facts("IBM").price))


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    made = Desk(ledger, tmp_path)
    made.hold(1001)
    return made


def ask(desk: Desk, kind: ActionKind, trigger: str = "t", **changes: Any) -> str | None:
    given = {"actor": "tester", "reason": "because", "at": desk.ledger.now(), "trigger": trigger}
    with desk.ledger.write() as connection:
        quantity = books.holding_of(connection, "IBM").quantity
        return actions.request(connection, kind, {"IBM": Held(quantity, PRICE)}, **given | changes)


def known(desk: Desk) -> list[actions.RiskAction]:
    with desk.ledger.read() as connection:
        return actions.every(connection)


def fill(desk: Desk) -> None:
    """Send what is approved and let it meet the next session."""
    execution = one_order.desk_of(desk.ledger, desk.broker)
    execution.submit(WEDNESDAY)
    bar = replace(one_order.real_bar(WEDNESDAY), session=WEDNESDAY.replace(day=28))
    execution.settle(bar.session, {"IBM": bar})


def position(desk: Desk) -> Decimal:
    with desk.ledger.read() as connection:
        return books.holding_of(connection, "IBM").quantity


@pytest.mark.parametrize(("kind", "sold"), [(ActionKind.CLOSE_ALL, 1001), (ActionKind.HALVE, 501)])
def test_an_action_becomes_an_order_that_only_reduces(desk: Desk, kind: ActionKind, sold: int) -> None:
    assert ask(desk, kind) is not None
    desk.decide(inputs(state()))
    (order,) = desk.orders()
    assert (order["side"], order["quantity"], order["reduce_only"], order["origin"]) == ("sell", sold, 1, "action")
    assert order["decision_id"] is None
    row = desk.decided()
    assert (row["action"], row["reasons"][0]) == ("HOLD", "risk_action"), "nobody else trades it meanwhile"
    with desk.ledger.read() as connection:
        event = connection.execute(select(risk_events).where(risk_events.c.origin == "action")).mappings().one()
    assert (event["outcome"], event["cycle_id"]) == ("approved", None)
    assert known(desk)[0].state is ActionState.WORKING
    fill(desk)
    assert position(desk) == 1001 - sold


def test_the_same_trigger_again_asks_for_nothing_more(desk: Desk) -> None:
    assert ask(desk, ActionKind.HALVE) is not None
    assert ask(desk, ActionKind.HALVE) is None
    desk.decide(inputs(state()))
    fill(desk)
    assert position(desk) == 500
    assert ask(desk, ActionKind.HALVE) is None, "half of half is not taken"
    (action,) = known(desk)
    assert action.missing({"IBM": position(desk)}) == {}
    assert ask(desk, ActionKind.HALVE, "another trigger") is not None


def test_stops_are_placed_at_their_distance_and_only_ever_tightened(desk: Desk) -> None:
    ask(desk, ActionKind.PLACE_STOP, symbol="IBM", price=Decimal("180.00"))
    desk.decide(inputs(state()), portfolio={"rebalance_buffer": 1.0})
    stops = [order for order in desk.orders() if order["stop_price"] is not None]
    (stop,) = stops
    assert (stop["order_type"], stop["time_in_force"], stop["quantity"]) == ("stop", "gtc", 1001)
    assert stop["stop_price"] == 180
    assert stop["reduce_only"] == 1
    ask(desk, ActionKind.TIGHTEN_STOPS, distance=Decimal("0.02"))
    tight = known(desk)[1].stops["IBM"]
    assert PRICE * Decimal("0.98") - Decimal("0.02") <= tight < PRICE
    with desk.ledger.read() as connection:
        loose = order_log.get(connection, stop["client_order_id"])
    from quant_dagster.cycle.risk_actions import _unwanted

    assert _unwanted(loose, position(desk), known(desk), ControlMode.NORMAL), "the loose one is withdrawn"
    tighter = replace(loose, stop_price=tight)
    assert not _unwanted(tighter, position(desk), known(desk), ControlMode.NORMAL)
    assert _unwanted(tighter, Decimal(0), known(desk), ControlMode.NORMAL), "nothing is left to protect"


def test_a_stop_that_the_price_reaches_closes_the_position_and_nothing_more(desk: Desk) -> None:
    bar = one_order.real_bar(WEDNESDAY)
    ask(desk, ActionKind.PLACE_STOP, symbol="IBM", price=Decimal(str(bar.low)) + Decimal("0.10"))
    desk.decide(inputs(state()), portfolio={"rebalance_buffer": 1.0})
    fill(desk)
    assert position(desk) == 0
    with desk.ledger.read() as connection:
        (last,) = [one for one in books.fills_of(connection, "IBM") if one.provenance["priced_at"] == "stop"]
    assert last.reference_price == Decimal(str(bar.low)) + Decimal("0.10")


def test_what_cannot_be_closed_is_tried_again_and_then_escalated(desk: Desk) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    nothing_trades = {"risk": {"max_participation": 1e-9}}
    for attempt in range(3):
        with desk.ledger.write() as connection:
            (action,) = actions.working(connection)
            assert len(action.tried) == attempt
            actions.attempted(connection, action, WEDNESDAY.replace(day=20 + attempt))
    desk.decide(inputs(state()), **nothing_trades)
    (action,) = known(desk)
    assert action.state is ActionState.ESCALATED
    assert action.concluded_at is not None
    with desk.ledger.read() as connection:
        control = current(connection)
        words = connection.execute(select(audit_log.c.payload).where(audit_log.c.action == "risk_action_escalated"))
        assert "close_all could not be carried out in 3 sessions; left to do: IBM -1001" in words.scalar_one()
    assert (control.mode, control.actor) == (ControlMode.EMERGENCY, f"action:{action.action_id}")


def test_a_refused_order_counts_as_one_attempt_of_its_session(desk: Desk) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    desk.decide(inputs(state()), risk={"max_participation": 1e-9})
    assert desk.orders() == []
    (action,) = known(desk)
    assert (action.state, action.tried) == (ActionState.WORKING, (WEDNESDAY,))


def test_a_pause_lets_actions_wait(desk: Desk) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    with desk.ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="t", reason="t", at=desk.ledger.now())
    desk.decide(inputs(state()))
    assert desk.orders() == []
    assert known(desk)[0].tried == ()


def test_in_an_emergency_actions_may_still_close(desk: Desk) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    with desk.ledger.write() as connection:
        escalate(connection, ControlMode.EMERGENCY, actor="t", reason="t", at=desk.ledger.now())
    desk.decide(inputs(state()))
    (order,) = desk.orders()
    assert (order["origin"], order["quantity"]) == ("action", 1001)
    fill(desk)
    assert position(desk) == 0


def test_an_action_is_done_when_positions_are_as_wanted(desk: Desk) -> None:
    ask(desk, ActionKind.REDUCE_TO, symbol="IBM", quantity=Decimal(2000))
    desk.decide(inputs(state()), portfolio={"rebalance_buffer": 1.0})
    assert desk.orders() == [], "no larger than wanted already: never bought up to it"
    (action,) = known(desk)
    assert action.state is ActionState.DONE


def test_an_action_that_cannot_be_read_means_no_orders(desk: Desk) -> None:
    ask(desk, ActionKind.CLOSE_ALL)
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE risk_actions SET kind = 'panic_buy'")
    with pytest.raises(RiskError, match="in the ledger cannot be read: no new orders"):
        desk.decide(inputs(state()))
    assert desk.orders() == []

"""Automatic actions on a whole desk: what there is to do is seen, done once, and waits where it must."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.cycle.account_watch import held_positions
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.risk_actions import act, request_flat, something_to_do, withdraw
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentState
from quant_dagster.execution.orders import Order, client_order_id
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionKind, ActionState, RiskAction
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import AlgorithmSettings, load_settings

SESSION = date(2022, 12, 28)
PRICES = {"KO": Decimal("63.00")}


@pytest.fixture
def context(replayed_home: Path) -> TradingContext:
    made = TradingContext(load_settings())
    made.open_ledger()
    return made


def ask(context: TradingContext, kind: ActionKind, symbol: str | None = None, **terms: Decimal) -> RiskAction:
    from quant_dagster.cycle.session_data import SessionData

    with context.ledger.write() as connection:
        prices = SessionData(context, SESSION).prices(connection)
        held = held_positions(connection, context, SESSION, prices)
        wanted = actions.request(
            connection, kind, held, trigger="test", actor="ann", reason="news", at=context.ledger.now(), symbol=symbol,
            **terms,
        )  # fmt: skip
        return next(one for one in actions.working(connection) if one.action_id == wanted)


def emergency(context: TradingContext) -> None:
    with context.ledger.write() as connection:
        escalate(connection, ControlMode.EMERGENCY, actor="ann", reason="news", at=context.ledger.now())


def parent_of(context: TradingContext, symbol: str) -> str:
    """An order to buy that TWAP is to work."""
    parent_id = client_order_id("test", SESSION, symbol, "one")
    intent = OrderIntent(parent_id, None, "test", SESSION, symbol, Side.BUY, Decimal(5), Decimal("63.50"))
    verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(5), (), (), reduce_only=False)
    parameters = Parameters.chosen(Algorithm.TWAP, AlgorithmSettings(), lot=Decimal(1))  # type: ignore[call-arg]
    with context.ledger.write() as connection:
        parent_log.create(connection, verdict, algorithm=Algorithm.TWAP, parameters=parameters, at=context.ledger.now())
    return parent_id


def state_of(context: TradingContext, parent_id: str) -> ParentState | None:
    with context.ledger.read() as connection:
        return parent_log.get(connection, parent_id).state


def working(context: TradingContext) -> list[Order]:
    with context.ledger.read() as connection:
        return order_log.with_status(connection, order_log.OPEN)


def test_on_a_quiet_desk_there_is_nothing_to_do(context: TradingContext) -> None:
    before = working(context)
    assert not something_to_do(context)
    done = act(context)
    assert (done.session, done.mode, done.made, done.sent, done.working) == (SESSION, ControlMode.NORMAL, 0, 0, ())
    assert working(context) == before


def test_in_an_emergency_everything_held_is_closed_once(context: TradingContext) -> None:
    emergency(context)
    assert something_to_do(context)
    with context.ledger.read() as connection:
        held = {s: one.quantity for s, one in books.balances(connection).holdings.items() if one.quantity}
    done = act(context)
    assert (done.mode, done.refused) == (ControlMode.EMERGENCY, ())
    assert done.made == done.sent == len(held)
    closing = {one.symbol: one for one in working(context) if one.origin == "action"}
    assert {s: -one.side.sign * one.quantity for s, one in closing.items()} == held
    assert all(one.reduce_only for one in closing.values())
    assert not something_to_do(context), "the orders are on their way"
    again = act(context)
    assert (again.made, again.sent) == (0, 0)
    assert len(again.working) == 1


def test_without_positions_an_emergency_has_nothing_to_close(context: TradingContext, tmp_path: Path) -> None:
    empty = load_settings({"storage": {"ledger_url": f"sqlite:///{tmp_path}/empty.db"}})
    desk = TradingContext(empty)
    desk.open_ledger()
    emergency(desk)
    with desk.ledger.write() as connection:
        assert request_flat(connection, desk, SESSION, PRICES) is None
        assert actions.working(connection) == []


def test_an_action_on_a_symbol_stops_the_algorithm_that_opens_it_and_leaves_others(context: TradingContext) -> None:
    ko, xom = parent_of(context, "KO"), parent_of(context, "XOM")
    assert not something_to_do(context)
    ask(context, ActionKind.CLOSE_SYMBOL, "KO")
    assert something_to_do(context)
    withdraw(context, SESSION, ControlMode.NORMAL)
    assert (state_of(context, ko), state_of(context, xom)) == (ParentState.CANCELLED, ParentState.APPROVED)


def test_withdrawing_orders_ends_those_made_before_it_and_is_done_then(context: TradingContext) -> None:
    parent_id = parent_of(context, "KO")
    assert len(working(context)) == 1
    action = ask(context, ActionKind.CANCEL_ORDERS)
    assert something_to_do(context)
    done = act(context)
    assert (done.withdrawn, done.made, done.working) == (1, 0, ())
    assert working(context) == []
    assert state_of(context, parent_id) is ParentState.CANCELLED
    with context.ledger.read() as connection:
        (concluded,) = actions.every(connection)
    assert (concluded.action_id, concluded.state) == (action.action_id, ActionState.DONE)


def test_withdrawing_orders_of_one_symbol_leaves_the_others_at_work(context: TradingContext) -> None:
    (there,) = working(context)
    ask(context, ActionKind.CANCEL_ORDERS, "KO" if there.symbol != "KO" else "XOM")
    assert act(context).withdrawn == 0
    assert working(context) == [there]


def test_within_a_lease_of_its_own_the_desk_withdraws_over_it(context: TradingContext) -> None:
    (there,) = working(context)
    ask(context, ActionKind.CANCEL_ORDERS)
    with context.desk.leased():
        assert withdraw(context, SESSION, ControlMode.NORMAL) == 1
    assert working(context) == []
    with context.ledger.read() as connection:
        assert order_log.get(connection, there.client_order_id).status == "canceled"


def test_a_stop_is_placed_once_and_a_tighter_one_takes_its_place(context: TradingContext) -> None:
    ask(context, ActionKind.PLACE_STOP, "KO", price=Decimal("55.00"))
    assert something_to_do(context)
    assert act(context).made == 1
    done = act(context)
    assert (done.made, done.working) == (0, ()), "it is there and covers the position: the action is done"
    assert not something_to_do(context)
    (loose,) = [one for one in working(context) if one.stop_price is not None]
    assert (loose.symbol, loose.stop_price, loose.time_in_force) == ("KO", Decimal("55.00"), "gtc")
    ask(context, ActionKind.MOVE_STOP, "KO", price=Decimal("58.00"))
    assert something_to_do(context)
    done = act(context)
    assert (done.withdrawn, done.made) == (1, 1)
    (tight,) = [one for one in working(context) if one.stop_price is not None]
    assert (tight.stop_price, tight.quantity) == (Decimal("58.00"), loose.quantity)


def test_a_symbol_without_a_price_is_not_ordered_and_it_counts_as_an_attempt(
    context: TradingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quant_dagster.cycle import inputs

    known = inputs.market_facts
    monkeypatch.setattr(
        inputs, "market_facts", lambda *given: {s: one for s, one in known(*given).items() if s != "KO"}
    )
    action = ask(context, ActionKind.CLOSE_SYMBOL, "KO")
    done = act(context)
    assert (done.made, done.sent, done.refused) == (0, 0, ())
    (left,) = done.working
    assert (left.action_id, left.tried) == (action.action_id, (SESSION,))
    assert act(context).made == 0, "one attempt in a session"

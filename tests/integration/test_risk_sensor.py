"""The risk sensor: conditions obeyed, people told, and one run for each piece of work, however many ticks race."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from quant_dagster.accounting import books
from quant_dagster.cycle.context import TradingContext
from quant_dagster.definitions import defs
from quant_dagster.execution import order_log
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionKind, Held
from quant_dagster.risk.control import ControlMode, current, escalate
from quant_dagster.settings import load_settings
from resources.desk import DeskResource
from sensors.risk import JOB, WORK_TAG, tick, work_to_do
from tests.support.replays import finished_replay, replayed_home
from tests.support.slack_server import TOKEN, slack_server

__all__ = ["finished_replay", "replayed_home"]


@pytest.fixture
def trading(replayed_home: Path) -> TradingContext:
    return TradingContext()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def look(trading: TradingContext, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    return tick(trading, Notifier(trading.settings.notifications, trading.ledger), instance)


def asked(answer: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(answer, dg.SensorResult)
    (request,) = answer.run_requests or []
    return request


def run(instance: dg.DagsterInstance, request: dg.RunRequest, desk: DeskResource) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(JOB).execute_in_process(
        instance=instance, tags=request.tags, resources={"desk": desk}, raise_on_error=False
    )


def ask(trading: TradingContext, kind: ActionKind, symbol: str) -> None:
    with trading.ledger.write() as connection:
        quantity = books.holding_of(connection, symbol).quantity
        actions.request(
            connection, kind, {symbol: Held(quantity, Decimal(50))}, trigger="t", actor="ada", reason="r",
            at=trading.ledger.now(), symbol=symbol,
        )  # fmt: skip


def test_a_quiet_desk_starts_nothing(trading: TradingContext, instance: dg.DagsterInstance) -> None:
    answer = look(trading, instance)
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message == "nothing to do; conditions: none; 0 alerts sent"


def test_a_desk_that_never_traded_starts_nothing(quant_home: Path, instance: dg.DagsterInstance) -> None:
    context = TradingContext()
    context.ledger.upgrade()
    with context.ledger.write() as connection:
        escalate(connection, ControlMode.EMERGENCY, actor="t", reason="r", at=context.ledger.now())
    assert work_to_do(context) is None
    sensor = defs.get_sensor_def("risk_sensor")
    with dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(universe=None)}) as made:
        assert isinstance(sensor(made), dg.SkipReason)


def test_a_kill_file_is_obeyed_and_everything_is_flattened_by_one_run(
    trading: TradingContext, instance: dg.DagsterInstance, replayed_home: Path
) -> None:
    (replayed_home / "KILL").write_text("smoke")
    first, second = asked(look(trading, instance)), asked(look(TradingContext(), instance))
    assert first.run_key == second.run_key, "racing ticks ask for one run"
    assert first.run_key is not None and first.run_key.startswith("risk_actions:1:2022-12-28:")
    with trading.ledger.read() as connection:
        state = current(connection)
        held = {symbol: one.quantity for symbol, one in books.balances(connection).holdings.items() if one.quantity}
    assert (state.mode, state.actor) == (ControlMode.EMERGENCY, "kill_switch:file")
    assert len(held) == 14
    assert run(instance, first, DeskResource(universe=None)).success
    with trading.ledger.read() as connection:
        orders = [one for one in order_log.with_status(connection, order_log.OPEN) if one.origin == "action"]
        (action,) = actions.working(connection)
    assert {one.symbol: one.side.sign * one.quantity for one in orders} == {name: -size for name, size in held.items()}
    assert all(one.reduce_only and one.status == "accepted" for one in orders)
    assert (action.kind, [str(day) for day in action.tried]) == (ActionKind.CLOSE_ALL, ["2022-12-28"])
    answer = look(trading, instance)
    assert isinstance(answer, dg.SkipReason), "until the market has moved on there is nothing more to do"
    assert "conditions: kill_file" in (answer.skip_message or "")


def test_an_action_is_work_until_it_was_tried_in_the_newest_session(
    trading: TradingContext, instance: dg.DagsterInstance
) -> None:
    ask(trading, ActionKind.CLOSE_SYMBOL, "KO")
    request = asked(look(trading, instance))
    with trading.ledger.write() as connection:
        (action,) = actions.working(connection)
        actions.attempted(connection, action, trading.calendar.previous_session(trading.ledger.now().date()))
    again = asked(look(trading, instance))
    assert again.run_key != request.run_key, "other work, another name"
    assert run(instance, again, DeskResource(universe=None)).success
    assert isinstance(look(trading, instance), dg.SkipReason)


def test_in_a_pause_actions_wait_and_are_new_work_afterwards(
    trading: TradingContext, instance: dg.DagsterInstance
) -> None:
    ask(trading, ActionKind.CLOSE_SYMBOL, "KO")
    before = work_to_do(trading)
    with trading.ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="t", reason="r", at=trading.ledger.now())
    assert isinstance(look(trading, instance), dg.SkipReason)
    with trading.ledger.write() as connection:
        escalate(connection, ControlMode.REDUCE, actor="t", reason="r", at=trading.ledger.now())
    after = asked(look(trading, instance)).tags[WORK_TAG]
    assert before is not None and after != before


def test_an_emergency_withdraws_orders_that_open(trading: TradingContext) -> None:
    with trading.ledger.read() as connection:
        (order,) = order_log.with_status(connection, order_log.OPEN)
    assert not order.reduce_only
    assert work_to_do(trading) is None, "in normal times it may fill"
    with trading.ledger.write() as connection:
        escalate(connection, ControlMode.EMERGENCY, actor="t", reason="r", at=trading.ledger.now())
    assert work_to_do(trading) is not None


def test_a_failed_run_is_tried_again_a_few_times_and_then_left_to_a_person(
    trading: TradingContext, instance: dg.DagsterInstance
) -> None:
    ask(trading, ActionKind.CLOSE_SYMBOL, "KO")
    keys = []
    for _ in range(3):
        request = asked(look(trading, instance))
        keys.append(request.run_key)
        assert not run(instance, request, DeskResource(universe="nowhere")).success
    assert len(set(keys)) == 3 and all(key is not None and key[:-1] == (keys[0] or "")[:-1] for key in keys)
    answer = look(trading, instance)
    assert isinstance(answer, dg.SkipReason)
    assert "3 runs for" in (answer.skip_message or "") and "'quant risk act'" in (answer.skip_message or "")


def test_people_are_told_once_and_work_does_not_wait_for_slack(
    replayed_home: Path, instance: dg.DagsterInstance
) -> None:
    with slack_server() as slack:
        settings = load_settings({"notifications": {"slack_token": TOKEN, "slack_base_url": slack.base_url}})
        trading = TradingContext(settings)
        ask(trading, ActionKind.CLOSE_SYMBOL, "KO")
        for _ in range(2):
            asked(look(trading, instance))
        assert [message["text"] for message in slack.messages] == [
            "WARNING: risk action close_symbol of KO asked for by ada"
        ]
    with trading.ledger.write() as connection:
        escalate(connection, ControlMode.REDUCE, actor="t", reason="r", at=trading.ledger.now())
    asked(look(trading, instance))  # nobody listens at that address any more
    assert trading.ledger.frame("alerts").height == 1

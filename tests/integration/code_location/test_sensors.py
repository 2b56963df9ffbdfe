"""Sensors of the code location: approved orders become fills runs, and Slack hears of failures once each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from quant_dagster.cycle.context import TradingContext
from quant_dagster.definitions import defs
from quant_dagster.operations.alerts.notifications import Notifier
from resources.desk import DeskResource
from sensors.alerts import check_alert
from sensors.execution import run_requests
from tests.integration.code_location.runs import FRIDAY, THURSDAY, run
from tests.support.slack_server import TOKEN, SlackServer, slack_server


class TestExecutionSensor:
    """Approved orders become fills runs, once per set of orders."""

    def test_orders_are_sent_then_filled_and_racing_ticks_converge(self, home: Path) -> None:
        trading = TradingContext()
        with dg.DagsterInstance.ephemeral() as instance:
            selection = [
                dg.AssetKey(n) for n in ("quality_scores", "features", "forecasts", "signals", "approved_orders")
            ]
            assert run("daily_cycle", THURSDAY, instance, asset_selection=selection).success
            first, second = run_requests(trading), run_requests(trading)
            assert [r.run_key for r in first] == [r.run_key for r in second]
            assert (first[0].partition_key, first[0].tags["quant/phase"]) == ("2022-12-22", "send")
            assert run("fills_job", THURSDAY, instance).success
            (settle,) = run_requests(trading)
            assert (settle.partition_key, settle.tags["quant/phase"]) == ("2022-12-23", "settle")
            assert run("fills_job", FRIDAY, instance).success
            assert run_requests(trading) == []
        assert trading.ledger.frame("fills")["session"].unique().to_list() == [FRIDAY]

    def test_a_desk_without_orders_starts_nothing(self, home: Path) -> None:
        sensor = defs.get_sensor_def("execution_sensor")
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(universe=None)})
            assert isinstance(sensor(context), dg.SkipReason)


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


@pytest.fixture
def slack_environment(slack: SlackServer, monkeypatch: pytest.MonkeyPatch) -> SlackServer:
    monkeypatch.setenv("QUANT_NOTIFICATIONS__SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("QUANT_NOTIFICATIONS__SLACK_BASE_URL", slack.base_url)
    return slack


class TestAlerts:
    """Slack hears of failed checks and failed runs, once each."""

    def test_a_failed_check_reaches_slack_once(self, home: Path, slack_environment: SlackServer) -> None:
        sensor = defs.get_sensor_def("failed_check_sensor")
        desk = DeskResource(universe=None)

        @dg.asset_check(asset="bars", description="d")
        def doomed() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"rows": 3})

        @dg.asset(name="bars")
        def bars() -> None: ...

        with dg.DagsterInstance.ephemeral() as instance:

            def tick(cursor: str | None) -> str:
                context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"desk": desk})
                sensor(context)
                return context.cursor

            assert dg.materialize([bars, doomed], instance=instance).success
            cursor = tick(None)
            assert slack_environment.messages == [], "history is not replayed"
            dg.materialize([bars, doomed], instance=instance)
            cursor = tick(cursor)
            (message,) = slack_environment.messages
            assert "check doomed of bars failed" in message["blocks"][0]["text"]["text"]
            assert any("rows: 3" in str(block) for block in message["blocks"])
            assert tick(cursor) == cursor
            assert len(slack_environment.messages) == 1

    def test_an_alert_that_slack_refused_is_told_at_the_next_tick(
        self, home: Path, slack_environment: SlackServer
    ) -> None:
        sensor = defs.get_sensor_def("failed_check_sensor")

        @dg.asset_check(asset="bars", description="d")
        def doomed() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)

        @dg.asset(name="bars")
        def bars() -> None: ...

        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor="0", resources={"desk": DeskResource(universe=None)}
            )
            dg.materialize([bars, doomed], instance=instance)
            slack_environment.fail_next("internal_error")
            assert "tried again" in sensor(context).skip_message
            assert context.cursor == "0"
            sensor(context)
            assert len(slack_environment.messages) == 1

    def test_a_blocking_failure_is_left_to_the_run_failure_sensor(self) -> None:
        evaluation = SimpleNamespace(passed=False, blocking=True, severity=dg.AssetCheckSeverity.ERROR)
        event = SimpleNamespace(asset_check_evaluation_data=evaluation)
        record = SimpleNamespace(event_log_entry=SimpleNamespace(dagster_event=event, run_id="r"))
        assert check_alert(record, "http://x") is None

    def test_a_failed_run_reaches_slack_with_its_error(self, home: Path, slack_environment: SlackServer) -> None:
        sensor = defs.get_sensor_def("run_failure_alert_sensor")
        with dg.DagsterInstance.ephemeral() as instance:
            result = run("daily_cycle", FRIDAY, instance, tags={})
            failure = (
                result.get_run_failure_event()
                if hasattr(result, "get_run_failure_event")
                else next(event for event in result.all_events if event.is_run_failure)
            )
            context = dg.build_run_status_sensor_context(
                sensor_name="run_failure_alert_sensor",
                dagster_event=failure,
                dagster_instance=instance,
                dagster_run=instance.get_run_by_id(result.run_id),
                resources={"desk": DeskResource(universe=None)},
            ).for_run_failure()
            sensor(context)
        (message,) = slack_environment.messages
        assert "daily_cycle failed" in message["text"]
        assert any("orders for 2022-12-23 are refused" in str(block) for block in message["blocks"])

    def test_without_a_token_nothing_is_sent_and_nothing_fails(self, home: Path) -> None:
        desk = DeskResource(universe=None)
        assert isinstance(desk.notifier(), Notifier)
        assert desk.open().settings.notifications.slack_token is None

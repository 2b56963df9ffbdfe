"""The code location: conventions every asset keeps, a session run as assets, sensors, schedule, PostgreSQL storage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import select

from assets.trading import REPLAY_TAG, refuse_old_session
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import record_event
from quant_dagster.cycle.run import run_cycle
from quant_dagster.definitions import build_defs, defs
from quant_dagster.errors import OrderError
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.settings import PROJECT_ROOT, load_settings
from quant_dagster.storage.ledger_tables import decisions
from resources.desk import DeskResource
from sensors.alerts import check_alert
from sensors.drift import tick as drift_tick
from sensors.execution import run_requests
from tests.support.replays import SHORT_HISTORY
from tests.support.slack_server import TOKEN, SlackServer, slack_server

THURSDAY, FRIDAY, TUESDAY = date(2022, 12, 22), date(2022, 12, 23), date(2022, 12, 27)
REPLAY = {REPLAY_TAG: "true"}
SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string())


@pytest.fixture(scope="module")
def loaded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the packaged history loaded by the load_history job."""
    home = tmp_path_factory.mktemp("loaded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_HOME", str(home))
        with dg.DagsterInstance.ephemeral() as instance:
            assert build_defs().resolve_job_def("load_history").execute_in_process(instance=instance).success
    return home


@pytest.fixture
def home(loaded_home: Path, quant_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANT_FORECASTING__FAMILIES", SHORT_HISTORY["QUANT_FORECASTING__FAMILIES"])
    shutil.copytree(loaded_home, quant_home)
    return quant_home


def run(job: str, session: date, instance: dg.DagsterInstance, tags: dict[str, str] = REPLAY, **options):
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=session.isoformat(), tags=tags, raise_on_error=False, **options
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


class TestConventions:
    """What every asset and check of the code location must have."""

    @pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
    def test_asset_is_described(self, spec: dg.AssetSpec) -> None:
        assert spec.description
        assert spec.owners
        assert spec.kinds
        assert spec.code_version
        assert spec.group_name not in (None, "default")

    def test_every_check_says_what_it_checks(self) -> None:
        keys = {key for definition in defs.asset_checks or [] for key in definition.check_keys}
        assert keys
        for definition in defs.asset_checks or []:
            for spec in definition.check_specs:
                assert spec.description, spec.name

    def test_contracts_block_and_expectations_do_not(self) -> None:
        blocking = {spec.name: spec.blocking for d in defs.asset_checks or [] for spec in d.check_specs}
        assert all(blocking[name] for name in blocking if name.endswith("_contract"))
        assert not blocking["returns_are_plausible"]
        assert blocking["books_balance"]

    def test_the_lineage_runs_from_prices_to_positions(self) -> None:
        graph = defs.resolve_asset_graph()
        upstream = graph.get(dg.AssetKey("positions"))
        seen, todo = set(), [upstream.key]
        while todo:
            key = todo.pop()
            seen.add(key.to_user_string())
            todo += list(graph.get(key).parent_keys)
        assert {"raw_prices", "bars", "quality_scores", "features", "forecasts", "signals", "approved_orders"} <= seen

    def test_partitions_are_exchange_sessions(self) -> None:
        keys = set(defs.resolve_asset_graph().get(dg.AssetKey("bars")).partitions_def.get_partition_keys())
        assert {"2022-12-23", "2022-12-27"} <= keys
        assert not {"2022-12-24", "2022-12-25", "2022-12-26", "2022-11-24"} & keys

    def test_orders_and_fills_never_retry_and_share_one_pool(self) -> None:
        graph = defs.resolve_asset_graph()
        for name in ("approved_orders", "fills", "positions", "broker_reconciliation"):
            definition = graph.get(dg.AssetKey(name)).assets_def
            assert definition.op.retry_policy is None
            assert definition.op.pool == "broker"


class TestSession:
    """Sessions run as assets."""

    def test_a_session_runs_through_every_asset_and_check(self, home: Path) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            result = run("daily_cycle", FRIDAY, instance)
            assert result.success
            done = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
            assert set(done) == {"raw_prices", "bars", "quality_scores", "features", "online_features", "factors",
                                 "model_scores", "forecasts", "signals", "approved_orders", "fills", "positions",
                                 "risk_report", "stress_report", "broker_reconciliation", "execution_quality",
                                 "reconciliation", "anomalies"}  # fmt: skip
            for event in done.values():
                assert "dagster/row_count" in event.materialization.metadata
            assert "![" in event_text(done["positions"], "equity_curve")
            passed = checks(result)
            assert passed["bars_contract"]
            assert passed["one_decision_per_symbol"]
            assert passed["every_symbol_has_every_model"]
            assert passed["every_model_answered"]
            assert passed["no_model_has_drifted"]
            assert passed["books_balance"]
            assert passed["audit_chain_intact"]
            assert passed["books_agree_with_broker"]
            assert passed["every_order_measured"]
            assert done["fills"].materialization.metadata["handed_over_to_daemon"].value is False
            again = run("daily_cycle", FRIDAY, instance)
            assert again.success
            repeated = {e.asset_key.to_user_string(): e for e in again.get_asset_materialization_events()}
            assert repeated["approved_orders"].materialization.metadata["repeated"].value is True

    def test_assets_and_the_command_decide_the_same(self, home: Path, tmp_path: Path, monkeypatch) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            for session in (THURSDAY, FRIDAY):
                assert run("daily_cycle", session, instance).success
        by_assets = decided(TradingContext())
        other = tmp_path / "other"
        shutil.copytree(home / "lake", other / "lake")
        monkeypatch.setenv("QUANT_HOME", str(other))
        context = TradingContext()
        for session in (THURSDAY, FRIDAY):
            run_cycle(context, session)
        assert decided(context) == by_assets
        assert len(by_assets) == 40

    def test_an_older_session_is_refused_unless_it_is_a_replay(self, home: Path) -> None:
        trading = TradingContext()
        with pytest.raises(OrderError, match=r"newest session with bars is 2022-12-28.*quant/replay"):
            refuse_old_session(trading, FRIDAY, replay=False)
        refuse_old_session(trading, FRIDAY, replay=True)
        with dg.DagsterInstance.ephemeral() as instance:
            result = run("daily_cycle", FRIDAY, instance, tags={})
            assert not result.success
            assert [event.step_key for event in result.get_step_failure_events()] == ["approved_orders"]

    def test_a_broken_contract_stops_what_is_downstream(self, home: Path, monkeypatch) -> None:
        """The contract is checked on what is stored; a bar that breaks it must not reach an order."""
        from quant_dagster.storage.lake import Lake

        original = Lake.read

        def broken(self, table, **options):
            frame = original(self, table, **options)
            if table == "bars" and "close" in frame.columns and options.get("start") == options.get("end"):
                frame = frame.with_columns(close=-pl.col("close"))
            return frame

        monkeypatch.setattr(Lake, "read", broken)
        with dg.DagsterInstance.ephemeral() as instance:
            result = run("daily_cycle", FRIDAY, instance)
            assert not checks(result)["bars_contract"]
            done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert "approved_orders" not in done
        with TradingContext().ledger.read() as connection:
            assert (
                not connection.dialect.has_table(connection, "decisions")
                or not connection.execute(select(decisions.c.symbol)).all()
            )


class TestUpkeep:
    """The lake's maintenance, the failover sensor and the sessions it asks for, as Dagster runs them."""

    def test_the_lake_is_compacted_and_keeps_every_row(self, home: Path) -> None:
        lake = TradingContext().lake
        before = lake.read("bars")
        with dg.DagsterInstance.ephemeral() as instance:
            result = defs.resolve_job_def("maintain_lake").execute_in_process(instance=instance)
            (event,) = result.get_asset_materialization_events()
        assert result.success
        assert event.materialization.metadata["dagster/row_count"].value == len(lake.tables())
        assert lake.read("bars").equals(before)

    def test_packaged_vendors_are_well_and_nothing_is_switched(self, home: Path) -> None:
        sensor = defs.get_sensor_def("failover_sensor")
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(universe=None)})
            answer = sensor(context)
        assert isinstance(answer, dg.SkipReason)
        assert "embedded stays active (embedded well" in (answer.skip_message or "")

    def test_a_session_is_loaded_again(self, home: Path) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            result = run("reload_sessions", FRIDAY, instance)
            done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert result.success
        assert done == {"raw_prices", "bars", "quality_scores"}
        assert checks(result)["no_missing_symbols"]


class TestModels:
    """Models judged as an asset; drift asks for it."""

    def test_the_weekly_job_judges_the_models_and_looks_for_leaders(self, home: Path) -> None:
        config = {"ops": {"model_validation": {"config": {"sessions": 20}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = defs.resolve_job_def("validate_models").execute_in_process(
                instance=instance, run_config=config, raise_on_error=False
            )
            assert result.success
            done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert done == {"model_validation", "lead_lag"}
        assert checks(result)["losers_count_for_nothing"]
        scores = TradingContext().lake.read("validation_scores")
        assert {"ar", "garch11", "hmm"} <= set(scores["model"])

    def test_drift_asks_for_one_validation_and_the_past_for_none(self, home: Path) -> None:
        trading = TradingContext()
        first = drift_tick(trading, None)
        assert not first.run_requests
        again = drift_tick(trading, first.cursor)
        assert not again.run_requests
        later = date.fromisoformat(first.cursor) + timedelta(days=1)
        for model in ("ar", "hmm"):
            record_event(trading, model, "drifted", later, "by hand", {})
        found = drift_tick(trading, again.cursor)
        assert [request.run_key for request in found.run_requests] == [f"drift:{later}"]
        assert not drift_tick(trading, found.cursor).run_requests


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


def test_the_schedule_runs_after_the_close_of_sessions_only() -> None:
    schedule = defs.get_schedule_def("daily_cycle_schedule")
    zone = ZoneInfo("America/New_York")

    def tick(day: date):
        at = datetime(day.year, day.month, day.day, 17, 30, tzinfo=zone)
        with dg.DagsterInstance.ephemeral() as instance:
            return schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))

    assert "closed on 2022-12-26" in tick(date(2022, 12, 26)).skip_message
    request = tick(TUESDAY)
    assert (request.partition_key, request.run_key) == ("2022-12-27", "daily_cycle:2022-12-27")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 17 * * 1-5", "America/New_York")


@pytest.mark.postgres
def test_a_session_runs_with_everything_on_postgresql(
    home: Path, tmp_path: Path, postgres_url: str, monkeypatch
) -> None:
    """Dagster's storage and the ledger on one PostgreSQL server."""
    from tests.support.postgres import create_database

    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    shutil.copy(PROJECT_ROOT / "config" / "dagster" / "postgres.yaml", dagster_home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", create_database(postgres_url, f"dagster_{tmp_path.name}"[:60]))
    monkeypatch.setenv("QUANT_STORAGE__LEDGER_URL", postgres_url)
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        assert "Postgres" in type(instance.event_log_storage).__name__
        result = run("daily_cycle", FRIDAY, instance)
        assert result.success
        assert instance.get_run_by_id(result.run_id).status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_latest_materialization_event(dg.AssetKey("positions")) is not None
    assert load_settings().ledger_url == postgres_url
    assert len(decided(TradingContext())) == 20


def event_text(event: dg.DagsterEvent, name: str) -> str:
    return str(event.materialization.metadata[name].value)


def decided(context: TradingContext) -> list[tuple[object, ...]]:
    with context.ledger.read() as connection:
        rows = connection.execute(select(decisions).order_by(decisions.c.session, decisions.c.symbol)).all()
    return [tuple(row) for row in rows]

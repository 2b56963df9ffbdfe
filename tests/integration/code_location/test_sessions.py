"""Sessions run as assets, the jobs of upkeep and models, and everything on PostgreSQL."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import select

from assets.trading import refuse_old_session
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import record_event
from quant_dagster.cycle.run import run_cycle
from quant_dagster.definitions import defs
from quant_dagster.errors import OrderError
from quant_dagster.settings import PROJECT_ROOT, load_settings
from quant_dagster.storage.ledger_tables import decisions
from resources.desk import DeskResource
from sensors.drift import tick as drift_tick
from tests.integration.code_location.runs import FRIDAY, THURSDAY, checks, decided, event_text, run


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

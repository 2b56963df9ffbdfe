"""The SQL models as assets of the code location."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import delete, select

from assets.marts import SOURCE_ASSETS, build_mart_assets
from quant_dagster.definitions import defs
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.storage.ledger_tables import fills
from resources.desk import DeskResource
from tests.integration.sql_models.marts import mart
from tests.support.replays import open_ledger


class TestAssets:
    """Each model is an asset of the code location, with its lineage and its tests."""

    def materialized(self, *selection: dg.AssetKey | dg.AssetCheckKey) -> dg.ExecuteInProcessResult:
        keys = [key for key in selection if isinstance(key, dg.AssetKey)]
        checks = [key for key in selection if isinstance(key, dg.AssetCheckKey)]
        chosen = dg.AssetSelection.assets(*keys) if keys else dg.AssetSelection.checks(*checks)
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                build_mart_assets(),
                selection=chosen,
                instance=instance,
                resources={"desk": DeskResource(universe=None)},
            )

    def test_every_source_is_the_work_of_an_asset_that_exists(self, project: SqlProject) -> None:
        known = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
        assert set(SOURCE_ASSETS) == set(project.sources)
        assert set(SOURCE_ASSETS.values()) <= known

    def test_blotter_depends_on_what_its_sql_reads(self) -> None:
        specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
        assert {dep.asset_key.to_user_string() for dep in specs["marts/trade_blotter"].deps} == {
            "intermediate/int_fill_costs", "intermediate/int_order_lifecycle", "staging/stg_cycles",
        }  # fmt: skip
        assert [dep.asset_key.to_user_string() for dep in specs["staging/stg_quality"].deps] == ["quality_scores"]

    def test_refresh_marts_builds_everything_and_checks_it(self, project: SqlProject, replayed_home: Path) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            result = defs.resolve_job_def("refresh_marts").execute_in_process(instance=instance)
        assert result.success
        checks = result.get_asset_check_evaluations()
        assert {check.check_name for check in checks} == {test.name for test in project.tests}
        assert all(check.passed for check in checks)
        events = {
            event.asset_key.to_user_string(): event for event in result.asset_materializations_for_node("sql_models")
        }
        assert len(events) == len(project.models)
        blotter = events["marts/trade_blotter"].metadata
        assert blotter["dagster/row_count"].value == open_ledger(replayed_home).frame("fills").height
        lineage = blotter["dagster/column_lineage"].value.deps_by_column
        assert lineage["order_status"] == [
            dg.TableColumnDep(dg.AssetKey(["intermediate", "int_order_lifecycle"]), "status")
        ]
        assert Path(str(blotter["path"].value)) == replayed_home / "marts" / "trade_blotter.parquet"
        bars = events["staging/stg_bars"].metadata
        assert bars["dagster/column_lineage"].value.deps_by_column["close"] == [
            dg.TableColumnDep(dg.AssetKey("bars"), "close")
        ]
        schema = {column.name: column for column in bars["dagster/column_schema"].value.columns}
        said = "first trade of the session, in the units of the symbol's home vendor; "
        assert (schema["open"].type, schema["open"].description) == (
            "DOUBLE",
            said + "null where the vendor has closes only",
        )

    def test_one_mart_alone_with_its_own_checks(self, project: SqlProject, replayed_home: Path) -> None:
        result = self.materialized(dg.AssetKey(["marts", "daily_pnl"]))
        events = result.asset_materializations_for_node("sql_models")
        assert [event.asset_key.to_user_string() for event in events if event.asset_key] == ["marts/daily_pnl"]
        assert {check.check_name for check in result.get_asset_check_evaluations()} == {
            test.name for test in project.tests if test.model == "daily_pnl"
        }
        assert [path.name for path in (replayed_home / "marts").iterdir()] == ["daily_pnl.parquet"]

    def test_check_alone_writes_nothing(self, replayed_home: Path) -> None:
        key = dg.AssetCheckKey(dg.AssetKey(["marts", "daily_pnl"]), "equity_is_capital_and_profit")
        result = self.materialized(key)
        assert [check.check_name for check in result.get_asset_check_evaluations()] == [key.name]
        assert not (replayed_home / "marts").exists()

    def test_failing_test_is_a_failed_check_with_its_rows(self, replayed_home: Path) -> None:
        with open_ledger(replayed_home).write() as connection:
            gone = connection.execute(select(fills.c.execution_id, fills.c.symbol)).first()
            assert gone is not None
            connection.execute(delete(fills).where(fills.c.execution_id == gone.execution_id))
        result = self.materialized(
            dg.AssetCheckKey(dg.AssetKey(["marts", "daily_pnl"]), "positions_are_the_sum_of_fills")
        )
        [check] = result.get_asset_check_evaluations()
        assert not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        assert check.metadata["failing_rows"].value == 1
        assert gone.symbol in str(check.metadata["sample"].value)

    def test_minimum_score_is_the_desk_s(self, replayed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QUANT_QUALITY__MINIMUM_SCORE", "1.0")
        self.materialized(dg.AssetKey(["marts", "data_quality_summary"]))
        summary = mart(replayed_home / "marts", "data_quality_summary")
        assert (summary["is_rejected"] == (summary["score"] < 1.0)).all()
        assert 0 < summary["is_rejected"].sum() < summary.height

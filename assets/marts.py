"""SQL models as assets, and their tests as checks: one op that builds whichever of them are selected."""

# No postponed annotations here: @multi_asset reads the type of `context` without resolving text.
import hashlib
from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.metadata import OWNERS, markdown_table
from quant_dagster.operations.sql.database import ModelResult, SqlDatabase, SqlTestResult, run_test
from quant_dagster.operations.sql.models import SqlModel
from quant_dagster.operations.sql.project import SqlProject
from quant_dagster.operations.sql.tests import SqlTest
from quant_dagster.storage.tables import TABLES
from resources.desk import DeskResource

_PREVIEW_ROWS = 8
_Built = dg.MaterializeResult | dg.AssetCheckResult

SOURCE_ASSETS = {
    "lake.bars": "bars",
    "lake.quality": "quality_scores",
    "lake.rejected_rows": "raw_prices",
    "lake.forecasts": "forecasts",
    "lake.signals": "signals",
    "ledger.cycles": "approved_orders",
    "ledger.decisions": "approved_orders",
    "ledger.risk_events": "approved_orders",
    "ledger.orders": "approved_orders",
    "ledger.order_events": "approved_orders",
    "ledger.fills": "fills",
    "ledger.postings": "fills",
    "ledger.positions": "positions",
    "ledger.account_snapshots": "positions",
}
"""The asset whose work fills each source of the SQL models."""


def build_mart_assets() -> list[dg.AssetsDefinition]:
    """One asset per SQL model, keyed by its layer and name (``marts/daily_pnl``), with its tests as checks."""
    project = SqlProject.load()
    specs = [_spec(project, model) for model in project.models.values()]
    check_specs = [_check_spec(project, test) for test in project.tests]

    @dg.multi_asset(
        specs=specs,
        check_specs=check_specs,
        can_subset=True,
        name="sql_models",
        description="Builds the selected SQL models on DuckDB in memory, writes those that are marts as Parquet, and "
        "runs the tests of what is selected.",
    )
    def sql_models(context: dg.AssetExecutionContext, desk: DeskResource) -> Iterator[_Built]:
        trading = desk.open()
        trading.ledger.upgrade()
        minimum = trading.settings.quality.minimum_score
        current = SqlProject.load(variables={"minimum_quality_score": minimum})
        models = [m for m in current.models.values() if asset_key(m) in context.selected_asset_keys]
        checks = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
        tests = [t for t in current.tests if (asset_key(current.models[t.model]), t.name) in checks]
        read = {model.name for model in models} | {name for test in tests for name in test.refs}
        with SqlDatabase(current, trading.lake, trading.ledger, read) as database:
            for model in models:
                result = database.result(model.name, trading.home / "marts")
                yield _materialized(current, model, result, database)
            for test in tests:
                yield _checked(current, test, run_test(database, test))

    return [sql_models]


def asset_key(model: SqlModel) -> dg.AssetKey:
    """``staging/stg_bars``, ``marts/daily_pnl``: the layer keeps names apart from the assets they are made of."""
    return dg.AssetKey([model.layer, model.name])


def _upstream_key(project: SqlProject, name: str) -> dg.AssetKey:
    return asset_key(project.models[name]) if name in project.models else dg.AssetKey(SOURCE_ASSETS[name])


def _spec(project: SqlProject, model: SqlModel) -> dg.AssetSpec:
    upstream = dict.fromkeys(_upstream_key(project, name) for name in project.depends_on(model.name))
    columns = [dg.TableColumn(name, description=text or None) for name, text in model.columns.items()]
    where = "a Parquet file under marts" if model.is_written else f"a {model.materialized} in memory"
    return dg.AssetSpec(
        asset_key(model),
        deps=list(upstream),
        group_name="marts",
        owners=OWNERS,
        kinds={"sql", "duckdb"},
        code_version=hashlib.sha256(f"{model.materialized}\n{model.sql}".encode()).hexdigest()[:16],
        description=f"{model.description}\n\nFrom `{model.path}`; {where}.\n\n```sql\n{model.sql.strip()}\n```",
        metadata={
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/table_name": f"{model.layer}.{model.name}",
        },
    )


def _check_spec(project: SqlProject, test: SqlTest) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        test.name,
        asset=asset_key(project.models[test.model]),
        description=f"{test.description} Passes when this finds no row:\n\n```sql\n{test.sql}\n```",
        metadata={"severity": test.severity.value, "file": test.path},
    )


def _materialized(
    project: SqlProject, model: SqlModel, result: ModelResult, database: SqlDatabase
) -> dg.MaterializeResult:
    described = [(name, kind, _described(project, model, name)) for name, kind in result.columns]
    columns = [dg.TableColumn(name, kind, description=text) for name, kind, text in described]
    lineage = {
        column: [dg.TableColumnDep(_upstream_key(project, upstream), name) for upstream, name in parents]
        for column, parents in project.column_lineage(model.name).items()
    }
    metadata: dict[str, Any] = {
        "dagster/row_count": result.rows,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "preview": dg.MetadataValue.md(markdown_table(database.head(model.name, _PREVIEW_ROWS))),
        "seconds": result.seconds,
    }
    if result.path is not None:
        metadata["path"] = dg.MetadataValue.path(str(result.path))
    return dg.MaterializeResult(asset_key=asset_key(model), metadata=metadata)


def _checked(project: SqlProject, test: SqlTest, result: SqlTestResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset_key(project.models[test.model]),
        check_name=test.name,
        passed=result.passed,
        severity=dg.AssetCheckSeverity(result.severity.value.upper()),
        metadata={
            "failing_rows": result.failing_rows,
            "sample": dg.MetadataValue.md(markdown_table(result.sample)),
            "sql": dg.MetadataValue.md(f"```sql\n{test.sql}\n```"),
        },
    )


def _described(project: SqlProject, model: SqlModel, column: str) -> str | None:
    """A column's description: its own, else that of the one column it is made of."""
    if text := model.columns.get(column):
        return text
    parents = project.column_lineage(model.name).get(column, [])
    if len(parents) != 1 or parents[0][1] != column:
        return None
    upstream, name = parents[0]
    if upstream in project.models:
        return _described(project, project.models[upstream], name)
    group, _, table = upstream.partition(".")
    described = {column.name: column.description for column in TABLES[table].columns} if group == "lake" else {}
    return described.get(name)

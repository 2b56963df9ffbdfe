"""Quality scores, and the checks that guard every table: contracts stop what is downstream, expectations warn."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from assets.partitions import session_range
from quant_dagster.cycle import history
from quant_dagster.cycle.context import code_version
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.quality.expectations import EXPECTATIONS, ExpectationOutcome, Outcome
from resources.desk import DeskResource

CONTRACTS = {
    "raw_prices": "raw_prices",
    "bars": "bars",
    "quality_scores": "quality",
    "forecasts": "forecasts",
    "signals": "signals",
    "reconciliation": "reconciliation",
    "anomalies": "anomalies",
}
"""Assets that are lake tables, and the table whose contract they must keep."""
MAY_BE_EMPTY = frozenset({"reconciliation", "anomalies"})
"""Tables of findings: none is good news."""


def build_quality_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``quality_scores``."""

    @dg.asset(
        group_name="quality",
        owners=OWNERS,
        code_version=code_version(),
        deps=["bars"],
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="A score from 0 to 1 per symbol and session, with the issues found and the checks that could not "
        "be evaluated. Below quality.minimum_score a symbol is REJECTed.",
        metadata=declared_schema("quality"),
    )
    def quality_scores(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.operations.report.charts import as_markdown, quality_heatmap_png

        trading = desk.open()
        first, last = session_range(context)
        panel = load_panel(trading.lake, trading.symbols, last)
        sessions = [day for day in panel.sessions.astype(object).tolist() if first <= day <= last]
        scores = history.score_sessions(trading, panel, sessions)
        recent = trading.lake.read(
            "quality", symbols=trading.symbols, end=last, start=panel.sessions[-60:][0].astype(object)
        )
        below = scores.filter(pl.col("score") < trading.settings.quality.minimum_score)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(scores),
                "below_minimum": below.height,
                "lowest": dg.MetadataValue.md(markdown_table(scores.sort("score").head(8))),
                "heatmap": dg.MetadataValue.md(as_markdown(quality_heatmap_png(recent), "quality, last 60 sessions")),
            }
        )

    return [quality_scores]


def build_contract_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """One blocking contract check for each asset that is a lake table."""
    return [_contract_check(asset, table, partitions) for asset, table in CONTRACTS.items()]


def _contract_check(asset: str, table: str, partitions: dg.PartitionsDefinition[Any]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=f"{asset}_contract",
        blocking=True,
        partitions_def=partitions,
        description=f"The rows of this partition keep the pandera contract of lake table '{table}': types, keys, "
        "ranges and what may be null. Blocks what is downstream.",
    )
    def contract(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        first, last = session_range(context)
        rows = trading.lake.read(table, symbols=trading.symbols, start=first, end=last)
        return contract_result(table, rows, missing=rows.is_empty() and table not in MAY_BE_EMPTY)

    return contract


def contract_result(table: str, rows: pl.DataFrame, *, missing: bool) -> dg.AssetCheckResult:
    """What a lake table's contract says of rows; ``missing``: there are none, and there should be."""
    from quant_dagster.quality.contracts import check

    result = check(table, rows)
    failures = pl.DataFrame(
        {
            "check": [str(failure.check) for failure in result.failures],
            "column": [str(failure.column) for failure in result.failures],
            "rows": [failure.count for failure in result.failures],
            "examples": ["; ".join(map(str, failure.examples)) for failure in result.failures],
        }
    )
    return dg.AssetCheckResult(
        passed=result.passed and not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description="the partition has no rows" if missing else None,
        metadata={
            "rows_checked": rows.height,
            "failed_checks": len(result.failures),
            "failures": dg.MetadataValue.md(markdown_table(failures)),
        },
    )


def build_quality_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """The Great Expectations suite over recent bars, and the universe's coverage: they warn, they do not block."""
    specs = [
        dg.AssetCheckSpec(name=name, asset="bars", description=text, blocking=False)
        for name, text in EXPECTATIONS.items()
    ]

    @dg.multi_asset_check(specs=specs, can_subset=True, name="bars_expectations")
    def bars_expectations(context: dg.AssetCheckExecutionContext, desk: DeskResource):  # type: ignore[no-untyped-def]
        from quant_dagster.quality.expectations import build_data_docs, run_expectations

        trading = desk.open()
        newest = trading.lake.read("bars", columns=["session"], symbols=trading.symbols, ordered=False)["session"].max()
        panel = load_panel(trading.lake, trading.symbols, newest, lookback=250)  # type: ignore[arg-type]
        rows = trading.lake.read("bars", symbols=trading.symbols, start=panel.sessions[0].astype(object))
        page = build_data_docs(rows, trading.home / "reports" / "data_docs")
        outcomes = {outcome.name: outcome for outcome in run_expectations(rows)}
        for key in sorted(context.selected_asset_check_keys):
            yield _expectation_result(key.name, outcomes.get(key.name), rows.height, page)

    @dg.asset_check(
        asset="quality_scores",
        name="tradable_symbols",
        partitions_def=partitions,
        description="At least four fifths of the universe score quality.minimum_score or better. Warns.",
    )
    def tradable_symbols(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        first, last = session_range(context)
        scores = trading.lake.read("quality", symbols=trading.symbols, start=first, end=last)
        minimum = trading.settings.quality.minimum_score
        share = scores.select((pl.col("score") >= minimum).mean()).item() if scores.height else 0.0
        return dg.AssetCheckResult(
            passed=bool(share >= 0.8),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "share_tradable": float(share),
                "minimum_score": minimum,
                "rejected": dg.MetadataValue.md(markdown_table(scores.filter(pl.col("score") < minimum).head(20))),
            },
        )

    return [bars_expectations, tradable_symbols]


def _expectation_result(name: str, outcome: ExpectationOutcome | None, rows: int, page: Path) -> dg.AssetCheckResult:
    """One expectation as a check result; one about a field the data does not have passes as not evaluated."""
    facts: dict[str, Any] = {"rows": rows, "data_docs": dg.MetadataValue.path(str(page))}
    if outcome is None:
        facts["not_evaluated"] = True
        return dg.AssetCheckResult(asset_key="bars", check_name=name, passed=True, metadata=facts)
    facts |= {"observed": outcome.observed, "examples": dg.MetadataValue.json(list(outcome.examples))}
    if outcome.unexpected is not None:
        facts["unexpected_rows"] = outcome.unexpected
    return dg.AssetCheckResult(
        asset_key="bars",
        check_name=name,
        passed=outcome.outcome is Outcome.MET,
        severity=dg.AssetCheckSeverity.WARN,
        description=outcome.error or None,
        metadata=facts,
    )

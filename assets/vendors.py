"""Vendors against each other, anomalies, and the lake's upkeep."""

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from assets.partitions import session_range
from quant_dagster.cycle.context import code_version
from quant_dagster.cycle.reconciling import reconcile_range
from quant_dagster.market_data import quarantine
from quant_dagster.quality.anomalies import summary as anomaly_summary
from quant_dagster.quality.reconciliation import examples, summary
from resources.desk import DeskResource

_MOST_BROKEN = 0.02
_WINDOW_DAYS = 365


def build_vendor_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``reconciliation``, ``anomalies`` and ``lake_maintenance``."""
    common: dict[str, Any] = {"group_name": "quality", "owners": OWNERS, "code_version": code_version()}

    @dg.asset(
        **common,
        deps=["raw_prices", "quality_scores"],
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="Two vendors compared bar by bar: breaks by class (bad print, adjustment, missing, stale, volume "
        "only) and who is wrong as far as can be told. The worst symbols go into quarantine.",
        metadata=declared_schema("reconciliation"),
    )
    def reconciliation(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        first, last = session_range(context)
        done = reconcile_range(trading, first, last)
        year = trading.lake.read(
            "reconciliation", symbols=trading.symbols, start=last - timedelta(days=_WINDOW_DAYS), end=last
        )
        rows = year.filter(pl.col("session") >= first)
        with trading.ledger.read() as connection:
            held = quarantine.active(connection, last)
        under = pl.DataFrame({"symbol": list(held), "reason": list(held.values())}, schema=["symbol", "reason"])
        return dg.MaterializeResult(
            metadata={
                **table_metadata(rows),
                "vendors": ", ".join(done.vendors) if done else "fewer than two had rows: nothing to compare",
                "compared": done.compared if done else 0,
                "breaks": sum(done.breaks.values()) if done else 0,
                "breaks_of_the_year": dg.MetadataValue.md(markdown_table(summary(year))),
                "examples_of_the_year": dg.MetadataValue.md(markdown_table(examples(year, per_class=5))),
                "quarantine": dg.MetadataValue.md(markdown_table(under)),
            }
        )

    @dg.asset(
        **common,
        deps=["quality_scores", "features"],
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        description="Bars and feature values that are unusual for their symbol or their market: the most severe "
        "findings of the session. Worth a look, not a verdict.",
        metadata=declared_schema("anomalies"),
    )
    def anomalies(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.anomalies import record_anomalies

        session = session_range(context)[1]
        found = record_anomalies(desk.session(session))
        return dg.MaterializeResult(
            metadata={
                **table_metadata(found),
                "by_detector": dg.MetadataValue.md(markdown_table(anomaly_summary(found))),
                "worst": dg.MetadataValue.md(markdown_table(found.head(10))),
            }
        )

    @dg.asset(
        group_name="market_data",
        owners=OWNERS,
        code_version=code_version(),
        deps=["price_history"],
        kinds={"python", "deltalake"},
        description="The lake's upkeep: small files are compacted, and files that no version younger than "
        "storage.retention_hours needs are deleted. What was known when is kept for ever in the superseded tables.",
    )
    def lake_maintenance(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        done = trading.lake.maintain(trading.settings.storage.retention_hours)
        frame = pl.DataFrame([vars(one) for one in done]) if done else pl.DataFrame()
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame),
                "files_compacted": sum(one.files_compacted for one in done),
                "files_deleted": sum(one.files_deleted for one in done),
                "tables": dg.MetadataValue.md(markdown_table(frame)),
            }
        )

    return [reconciliation, anomalies, lake_maintenance]


def build_vendor_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """Checks that warn: symbols without bars, vendors that disagree, severe anomalies."""

    @dg.asset_check(
        asset="bars",
        name="no_missing_symbols",
        partitions_def=partitions,
        description="Every symbol of the universe has a bar for the session. Warns, with the symbols and what the "
        "vendors said of them.",
    )
    def no_missing_symbols(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        session = session_range(context)[1]
        bars = trading.lake.read("bars", columns=["symbol"], start=session, end=session, ordered=False)
        missing = sorted(set(trading.symbols_on(session)) - set(bars["symbol"].to_list()))
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"missing": len(missing), "symbols": ", ".join(missing[:50]), "bars": bars.height},
        )

    @dg.asset_check(
        asset="reconciliation",
        name="vendors_agree",
        partitions_def=partitions,
        description="Prices of the session differ between the vendors for at most 2 % of the symbols. Warns.",
    )
    def vendors_agree(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        session = session_range(context)[1]
        rows = trading.lake.read("reconciliation", symbols=trading.symbols, start=session, end=session)
        broken = rows.filter(pl.col("break_class").is_in(["bad_print", "stale", "missing"]))["symbol"].n_unique()
        share = broken / max(1, len(trading.symbols_on(session)))
        return dg.AssetCheckResult(
            passed=bool(share <= _MOST_BROKEN),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"symbols_broken": broken, "share": share, "breaks": dg.MetadataValue.md(markdown_table(rows))},
        )

    @dg.asset_check(
        asset="anomalies",
        name="no_severe_anomalies",
        partitions_def=partitions,
        description="No finding of the session is twice as severe as what makes a finding. Warns, with the findings.",
    )
    def no_severe_anomalies(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        session = session_range(context)[1]
        found = desk.open().lake.read("anomalies", start=session, end=session)
        severe = found.filter(pl.col("severity") >= 16.0).sort("severity", descending=True)
        return dg.AssetCheckResult(
            passed=severe.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "findings": found.height,
                "severe": severe.height,
                "worst": dg.MetadataValue.md(markdown_table(severe.head(10))),
            },
        )

    return [no_missing_symbols, vendors_agree, no_severe_anomalies]

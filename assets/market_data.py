"""Raw prices and bars: a history loaded in one run, and daily partitions at the live edge."""

from datetime import timedelta
from typing import Any

import dagster as dg

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from assets.partitions import session_range
from quant_dagster.cycle import history
from quant_dagster.cycle.context import code_version
from quant_dagster.quality.reconciliation import summary
from resources.desk import DeskResource


def build_market_data_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``price_history``, ``raw_prices`` and ``bars``."""
    common: dict[str, Any] = {"group_name": "market_data", "owners": OWNERS, "code_version": code_version()}

    @dg.asset(
        **common,
        kinds={"python", "deltalake"},
        description="Every session there is, loaded, built into bars and scored in one run: run it once on a new desk. "
        "Daily partitions then keep the live edge.",
        metadata={"dagster/table_name": "lake.bars"},
    )
    def price_history(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.session import newest_session
        from quant_dagster.operations.report.charts import as_markdown, quality_heatmap_png

        trading = desk.open()
        last = trading.calendar.latest_completed(trading.now())
        done = history.backfill(trading, trading.settings.market_data.history_start, last)
        newest = newest_session(trading, trading.now())
        bars_of_newest = trading.lake.read("bars", symbols=trading.symbols, start=newest, end=newest)
        rejected = {reason: n for report in done.loaded.reports for reason, n in report.rejected.items()}
        breaks = trading.lake.read("reconciliation", symbols=trading.symbols)
        scores = trading.lake.read("quality", symbols=trading.symbols, start=newest - timedelta(days=90), end=newest)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(bars_of_newest),
                "newest_session": newest.isoformat(),
                "dagster/row_count": done.bars.rows,
                "rows_changed": done.bars.inserted + done.bars.updated,
                "rejected_rows": dg.MetadataValue.json(rejected),
                "lake_version": done.bars.lake_version,
                "stand_ins": done.bars.stand_ins,
                "bars_restated": done.restated.bars if done.restated else 0,
                "breaks_between_vendors": dg.MetadataValue.md(markdown_table(summary(breaks))),
                "quarantined": ", ".join(done.reconciled.quarantined) if done.reconciled else "",
                "heatmap": dg.MetadataValue.md(as_markdown(quality_heatmap_png(scores), "quality, last 90 days")),
            }
        )

    @dg.asset(
        **common,
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="Prices as the vendors sent them, one row per vendor, symbol and session; refused rows are kept "
        "apart with the reason.",
        metadata=declared_schema("raw_prices"),
        pool="vendors",
    )
    def raw_prices(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        first, last = session_range(context)
        loaded = history.ingest_range(trading, first, last)
        rows = trading.lake.read("raw_prices", symbols=trading.symbols, start=first, end=last)
        reports = [
            {"vendor": r.vendor, "source": r.source, "rows": r.rows, "inserted": r.inserted, "restated": r.restated,
             "rejected": r.rejected, "missing": list(r.missing_symbols)}
            for r in loaded.reports
        ]  # fmt: skip
        return dg.MaterializeResult(
            metadata={
                **table_metadata(rows),
                "vendors": dg.MetadataValue.json(reports),
                "lake_version": trading.lake.version("raw_prices"),
            }
        )

    @dg.asset(
        **common,
        deps=[raw_prices, price_history],
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="One bar per symbol and session, from the best vendor that has it. Fields a vendor does not have "
        "are null, never filled.",
        metadata=declared_schema("bars"),
    )
    def bars(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        first, last = session_range(context)
        report = history.build_range(trading, first, last)
        rows = trading.lake.read("bars", symbols=trading.symbols, start=first, end=last)
        by_vendor = rows.group_by("vendor").len().sort("vendor")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(rows),
                "vendors": dg.MetadataValue.md(markdown_table(by_vendor)),
                "stand_ins": report.stand_ins,
                "lake_version": report.lake_version,
            }
        )

    return [price_history, raw_prices, bars]

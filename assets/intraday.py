"""Minutes and quotes within the session, from files. What they are worth per session is said by a check that warns."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from assets.partitions import session_range
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.market_data.intraday.load import IntradayReport, load_files
from quant_dagster.market_data.intraday.missing import gap_runs, missing_minutes
from quant_dagster.market_data.intraday.options import IntradayFile, IntradayKind
from quant_dagster.quality.contracts import validate
from resources.desk import DeskResource

IntradaySources = Callable[[TradingContext], Sequence[IntradayFile]]
"""Which files are loaded, from the settings: read again by every run."""

MOST_MISSING = 0.05
"""Share of a session's minutes, over all symbols, above which the check warns."""
_REACH_DAYS = 14


def build_intraday_assets(
    partitions: dg.PartitionsDefinition[Any], sources: IntradaySources
) -> list[dg.AssetsDefinition]:
    """``intraday_bars`` and ``intraday_quotes``."""
    return [
        _asset(
            partitions,
            sources,
            IntradayKind.BARS,
            "Bars shorter than a session, as received, within regular hours. A minute without a trade has no row.",
        ),
        _asset(
            partitions,
            sources,
            IntradayKind.QUOTES,
            "Best bid and ask over bars shorter than a session, as received, within regular hours.",
        ),
    ]


def build_intraday_checks(
    partitions: dg.PartitionsDefinition[Any], most_missing: float = MOST_MISSING
) -> list[dg.AssetChecksDefinition]:
    """``no_missing_minutes`` of the bars. Warns."""

    @dg.asset_check(
        asset="intraday_bars",
        name="no_missing_minutes",
        partitions_def=partitions,
        description=f"At most {most_missing:.0%} of the session's minutes have no bar, over all symbols that had any "
        "in the last two weeks. Warns, with the symbols that lack most and the longest gaps; a quiet symbol has "
        "minutes without a trade.",
    )
    def no_missing_minutes(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        first, last = session_range(context)
        columns = ["vendor", "symbol", "session", "bar_start", "seconds"]
        bars = trading.lake.read("intraday_bars", columns=columns, start=first - timedelta(days=_REACH_DAYS), end=last)
        report = missing_minutes(bars, trading.calendar, (first, last))
        expected = float(report["minutes_expected"].sum())
        # Nothing at all is everything missing.
        share = float(report["minutes_missing"].sum()) / expected if expected else 1.0
        worst = report.sort("minutes_missing", "vendor", "symbol", descending=[True, False, False]).head(10)
        longest = gap_runs(bars, trading.calendar, (first, last)).sort("minutes", descending=True).head(10)
        return dg.AssetCheckResult(
            passed=bool(share <= most_missing),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "share_missing": share,
                "symbols": report["symbol"].n_unique(),
                "worst": dg.MetadataValue.md(markdown_table(worst)),
                "longest_gaps": dg.MetadataValue.md(markdown_table(longest)),
            },
        )

    return [no_missing_minutes]


def _asset(
    partitions: dg.PartitionsDefinition[Any], sources: IntradaySources, kind: IntradayKind, description: str
) -> dg.AssetsDefinition:
    @dg.asset(
        name=kind.table,
        group_name="market_data",
        owners=OWNERS,
        code_version=code_version(),
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=description,
        metadata=declared_schema(kind.table),
        pool="vendors",
    )
    def intraday(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        first, last = session_range(context)
        reports = [
            load_files(
                trading.lake,
                source,
                calendar=trading.calendar,
                now=trading.now(),
                contract=validate,
                sessions=(first, last),
            )
            for source in sources(trading)
            if source.kind is kind
        ]
        rows = trading.lake.read(kind.table, start=first, end=last)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(rows),
                "loads": dg.MetadataValue.md(markdown_table(_summary(reports))),
                "symbols": rows["symbol"].n_unique(),
                "lake_version": trading.lake.version(kind.table) or 0,
            }
        )

    return intraday


def _summary(reports: Sequence[IntradayReport]) -> pl.DataFrame:
    names = ("vendor", "rows", "inserted", "updated", "unchanged", "restated")
    return pl.DataFrame(
        [
            {name: asdict(report)[name] for name in names}
            | {"refused": ", ".join(f"{reason} {count}" for reason, count in report.rejected.items())}
            for report in reports
        ]
    )

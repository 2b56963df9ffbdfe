"""Corporate actions: what vendors report, what prices show, and whether the two agree."""

from datetime import timedelta

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from quant_dagster.cycle.context import code_version
from quant_dagster.market_data.corporate_actions.actions import actions_known
from quant_dagster.market_data.corporate_actions.levels import levels_of
from quant_dagster.market_data.corporate_actions.refresh import confirmation_report, refresh
from quant_dagster.quality import contracts
from resources.desk import DeskResource

_RECENT_DAYS = 45
_MOST_SHOWN = 40


class ActionsConfig(dg.Config):
    """How far back vendors are asked."""

    whole_history: bool = False
    """Ask for every action since ``market_data.history_start``, not only of the last weeks."""


def build_corporate_action_assets() -> list[dg.AssetsDefinition]:
    """``corporate_actions``."""

    @dg.asset(
        group_name="market_data",
        owners=OWNERS,
        code_version=code_version(),
        deps=["price_history", "raw_prices"],
        kinds={"python", "deltalake"},
        description="Splits, dividends and spin-offs: reported by the vendors that offer them, inferred from the "
        "prices of all, one row per source, with who confirms whom.",
        metadata=declared_schema("corporate_actions"),
        pool="vendors",
    )
    def corporate_actions(
        context: dg.AssetExecutionContext, config: ActionsConfig, desk: DeskResource
    ) -> dg.MaterializeResult:
        trading = desk.open()
        last = trading.calendar.latest_completed(trading.now())
        history = trading.settings.market_data.history_start
        first = history if config.whole_history else max(history, last - timedelta(days=_RECENT_DAYS))
        done = refresh(
            trading.lake,
            trading.vendors,
            levels_of(trading.vendors),
            trading.symbols,
            first,
            last,
            guards=trading.guards,
            calendar=trading.calendar,
            now=trading.now(),
            contract=contracts.validate,
        )
        stored = actions_known(trading.lake, trading.symbols)
        counts = stored.group_by("kind", "origin").len("rows").sort("kind", "origin")
        doubtful = done.confirmation.filter(pl.col("status") != "confirmed")
        gone = [pl.concat([one.withdrawn, one.doubted]) for one in done.reported]
        failures = {one.vendor: dict(one.failures) for one in done.reported if one.failures}
        return dg.MaterializeResult(
            metadata={
                **table_metadata(stored.sort("session", descending=True)),
                "counts": dg.MetadataValue.md(markdown_table(counts)),
                "changed": sum(one.changed for one in done.reported),
                "looked_at": ", ".join(done.inferred.sources) or "no two sources that can be compared",
                "unexplained_steps": done.inferred.unexplained.height,
                "not_confirmed": dg.MetadataValue.md(markdown_table(doubtful.tail(_MOST_SHOWN))),
                "no_longer_reported": dg.MetadataValue.md(markdown_table(pl.concat(gone) if gone else pl.DataFrame())),
                "failures": dg.MetadataValue.json(failures),
                "lake_version": trading.lake.version("corporate_actions") or 0,
            }
        )

    return [corporate_actions]


def build_corporate_action_checks() -> list[dg.AssetChecksDefinition]:
    """A check that warns of actions one source contradicts or nobody confirms."""

    @dg.asset_check(
        asset="corporate_actions",
        name="actions_confirmed",
        description="Every split, dividend and spin-off of the last weeks is shown by a second source. Warns, with "
        "those that are not.",
    )
    def actions_confirmed(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading = desk.open()
        since = trading.calendar.latest_completed(trading.now()) - timedelta(days=_RECENT_DAYS)
        report = confirmation_report(trading.lake, trading.calendar, trading.symbols)
        recent = report.filter(pl.col("session") >= since)
        open_ones = recent.filter(pl.col("status") != "confirmed")
        return dg.AssetCheckResult(
            passed=open_ones.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "actions": recent.height,
                "contradicted": open_ones.filter(pl.col("status") == "contradicted").height,
                "unconfirmed": open_ones.filter(pl.col("status") == "unconfirmed").height,
                "not_confirmed": dg.MetadataValue.md(markdown_table(open_ones.head(_MOST_SHOWN))),
            },
        )

    return [actions_confirmed]

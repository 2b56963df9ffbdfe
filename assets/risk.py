"""Risk of what is held: VaR and ES, stress, and whether the forecasts of risk held. Every check but contracts warns."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from assets.quality import contract_result
from quant_dagster.cycle.context import code_version
from resources.desk import DeskResource

_CONTRACTS = {
    "risk_measures": "risk_report",
    "risk_contributions": "risk_report",
    "stress_results": "stress_report",
    "var_backtests": "var_backtest",
}
"""Lake tables, and the asset that keeps each."""


def build_risk_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``risk_report`` and ``stress_report`` of a session, and ``var_backtest`` of the weekend."""
    daily: dict[str, Any] = {
        "group_name": "risk",
        "owners": OWNERS,
        "code_version": code_version(),
        "kinds": {"python", "deltalake"},
        "partitions_def": partitions,
        "deps": ["bars", "positions"],
    }

    @dg.asset(
        **daily,
        description="VaR and ES of what is held at the session's close, by six methods, with what each position "
        "contributes; concentration, liquidity, margin and counterparties.",
        metadata=declared_schema("risk_measures"),
    )
    def risk_report(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.risk_report import risk_report as report_risk
        from quant_dagster.operations.report.charts import as_markdown
        from quant_dagster.operations.report.risk_charts import measures_png

        report = report_risk(desk.open(), date.fromisoformat(context.partition_key))
        return dg.MaterializeResult(
            metadata={
                **table_metadata(report.measures.drop("diagnostics")),
                "statement": report.statement,
                "not_measured": dg.MetadataValue.json(list(report.not_measured)),
                "problems": dg.MetadataValue.json(list(report.problems)),
                "positions": dg.MetadataValue.md(markdown_table(report.positions)),
                "counterparties": dg.MetadataValue.md(
                    markdown_table(pl.DataFrame([vars(one) for one in report.counterparties]))
                ),
                "margin": dg.MetadataValue.md(markdown_table(fields(report.margin))),
                "sectors": dg.MetadataValue.json(report.sectors),
                "factors": dg.MetadataValue.md(markdown_table(factor_parts(report.factors))),
                "liquidity": dg.MetadataValue.md(markdown_table(liquidity_profile(report))),
                "heat": dg.MetadataValue.md(markdown_table(fields(report.heat))),
                "largest_parts": dg.MetadataValue.md(markdown_table(largest_parts(report.contributions))),
                "value_at_risk": dg.MetadataValue.md(as_markdown(measures_png(report.measures), "VaR and ES")),
            }
        )

    @dg.asset(
        **daily,
        description="What the positions would have lost in the crashes there is history of, and would lose in the "
        "shocks of risk.stress and in two Monte Carlo simulations.",
        metadata=declared_schema("stress_results"),
    )
    def stress_report(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.stress_report import stress_report as report_stress
        from quant_dagster.operations.report.charts import as_markdown
        from quant_dagster.operations.report.risk_charts import stress_png

        trading = desk.open()
        report = report_stress(trading, date.fromisoformat(context.partition_key))
        picture = stress_png(report.results, trading.settings.risk.stress.largest_loss)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(report.results.drop("detail"), preview=report.results.height),
                "statement": report.statement,
                "not_covered": dg.MetadataValue.json(list(report.not_covered)),
                "losses": dg.MetadataValue.md(as_markdown(picture, "stress")),
            }
        )

    @dg.asset(
        group_name="risk",
        owners=OWNERS,
        code_version=code_version(),
        kinds={"python", "deltalake"},
        deps=["price_history", "bars"],
        description="Value at risk of the universe in equal weights, and of the account once it is old enough, "
        "forecast session by session by every method: exceedances, Kupiec's and Christoffersen's tests, zones, ES.",
        metadata=declared_schema("var_backtests"),
    )
    def var_backtest(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.session import newest_session
        from quant_dagster.cycle.var_backtest import backtest_all
        from quant_dagster.operations.report.charts import as_markdown
        from quant_dagster.operations.report.risk_charts import backtest_png

        trading = desk.open()
        rows = backtest_all(trading, newest_session(trading, trading.now()))
        strictest = rows.filter(pl.col("confidence") == pl.col("confidence").max())
        drawn = strictest.filter(pl.col("method") == "filtered_historical").row(0, named=True)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(rows.drop("path"), preview=rows.height),
                "path": dg.MetadataValue.md(as_markdown(backtest_png(drawn), "VaR and what was lost")),
            }
        )

    return [risk_report, stress_report, var_backtest]


def build_risk_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """Contracts of the four tables; warnings of ES over its limit, too large a stress loss, forecasts that fail."""

    @dg.asset_check(
        asset="risk_report",
        name="risk_within_limits",
        partitions_def=partitions,
        description="The largest one-session ES of any method, at risk.cvar_confidence, is not over risk.cvar_limit of "
        "equity; what is held was measured.",
    )
    def risk_within_limits(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.cycle.held_portfolio import held_portfolio
        from quant_dagster.cycle.risk_report import worst_shortfall

        trading, session = desk.open(), date.fromisoformat(context.partition_key)
        rows = trading.lake.read("risk_measures", start=session, end=session)
        worst = worst_shortfall(rows, trading.settings.risk)
        if worst is None:
            return _unknown(held_portfolio(trading, session, 1).held)
        return dg.AssetCheckResult(
            passed=worst["expected_shortfall"] <= worst["limit"],
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                name: worst[name] for name in ("method", "expected_shortfall", "limit", "equity", "not_measured")
            },
        )

    @dg.asset_check(
        asset="stress_report",
        name="stress_loss_bearable",
        partitions_def=partitions,
        description="No scenario loses more than risk.stress.largest_loss of equity; what is held could be valued.",
    )
    def stress_loss_bearable(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.cycle.held_portfolio import held_portfolio
        from quant_dagster.cycle.stress_report import worst_loss

        trading, session = desk.open(), date.fromisoformat(context.partition_key)
        worst = worst_loss(trading.lake.read("stress_results", start=session, end=session))
        if worst is None:
            return _unknown(held_portfolio(trading, session, 1).held)
        bearable = trading.settings.risk.stress.largest_loss * worst["equity"]
        return dg.AssetCheckResult(
            passed=worst["loss"] <= bearable,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"bearable": bearable, **{name: worst[name] for name in ("kind", "scenario", "loss", "equity")}},
        )

    @dg.asset_check(
        asset="var_backtest",
        name="var_backtest_holds",
        description="At every confidence a method that follows volatility passes the test of conditional coverage at "
        "risk.measures.backtest_level; the methods that fail are listed.",
    )
    def var_backtest_holds(desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.cycle.var_backtest import failing, holds

        trading = desk.open()
        rows = trading.lake.read("var_backtests").filter(pl.col("session") == pl.col("session").max())
        level = trading.settings.risk.measures.backtest_level
        failed = failing(rows, level)
        return dg.AssetCheckResult(
            passed=holds(rows, level),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"failing": dg.MetadataValue.md(markdown_table(failed.drop("path")))},
        )

    contracts = [
        _contract_check(table, asset, None if asset == "var_backtest" else partitions)
        for table, asset in _CONTRACTS.items()
    ]
    return [*contracts, risk_within_limits, stress_loss_bearable, var_backtest_holds]


def fields(values: Any) -> pl.DataFrame:
    """A dataclass of numbers as a table of one row; none for None."""
    return pl.DataFrame() if values is None else pl.DataFrame([vars(values)])


def largest_parts(contributions: pl.DataFrame) -> pl.DataFrame:
    """Every position's part of the filtered historical ES at the highest confidence, largest first."""
    rows = contributions.filter(
        (pl.col("method") == "filtered_historical")
        & (pl.col("confidence") == pl.col("confidence").max())
        & (pl.col("horizon") == pl.col("horizon").min())
    )
    return rows.sort("component_es", descending=True).head(20).drop("session", "method")


def factor_parts(factors: Any) -> pl.DataFrame:
    """Parts of the portfolio's one-session volatility, largest first; no rows for None."""
    if factors is None:
        return pl.DataFrame()
    parts = factors.factors | {"specific": factors.specific}
    rows = pl.DataFrame({"factor": list(parts), "volatility": list(parts.values())})
    return rows.sort("volatility", descending=True)


def liquidity_profile(report: Any) -> pl.DataFrame:
    """Share of the book that can be sold within so many sessions, and VaR until it is; no rows where unknown."""
    if report.liquidity is None:
        return pl.DataFrame()
    profile = {f"sold_in_{sessions}": share for sessions, share in report.liquidity.sellable.items()}
    longest = {"longest": report.liquidity.longest, "unsold": report.liquidity.unsold}
    return pl.DataFrame([profile | longest | {"liquidation_var": report.liquidation_var}])


def _unknown(held: tuple[str, ...]) -> dg.AssetCheckResult:
    """Nothing was measured: well where nothing is held."""
    return dg.AssetCheckResult(
        passed=not held,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"the risk of {len(held)} positions is not known" if held else "nothing is held",
        metadata={"held": dg.MetadataValue.json(list(held))},
    )


def _contract_check(
    table: str, asset: str, partitions: dg.PartitionsDefinition[Any] | None
) -> dg.AssetChecksDefinition:
    """Tables of what is held at a session's close: none is the answer for an empty portfolio."""

    @dg.asset_check(
        asset=asset,
        name=f"{table}_contract",
        blocking=True,
        partitions_def=partitions,
        description=f"The rows just stored keep the pandera contract of lake table '{table}'.",
    )
    def contract(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        lake = desk.open().lake
        if partitions is None:
            rows = lake.read(table).filter(pl.col("session") == pl.col("session").max())
        else:
            session = date.fromisoformat(context.partition_key)
            rows = lake.read(table, start=session, end=session)
        return contract_result(table, rows, missing=False)

    return contract

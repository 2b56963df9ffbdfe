"""How every model is judged out of sample: the judgement decides what a model counts for."""

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from quant_dagster.cycle.context import code_version
from resources.desk import DeskResource

_SHOWN = [
    "target",
    "horizon",
    "model",
    "verdict",
    "weight",
    "loss",
    "naive_loss",
    "diebold_mariano",
    "diebold_mariano_p",
]
_SHOWN += ["in_confidence_set", "rmse", "mase", "qlike", "coverage_90", "profit_factor", "sharpe", "deflated_sharpe"]


class ValidationConfig(dg.Config):
    """What is judged, over how many sessions."""

    models: list[str] | None = None
    """Names of models; empty: all that the desk asks."""
    sessions: int | None = None
    """Origins of the walk-forward; empty: ``forecasting.validation.sessions``."""
    blocked: bool = False
    """Also judge by blocked cross-validation over the whole history."""


def build_validation_assets() -> list[dg.AssetsDefinition]:
    """``model_validation`` and ``lead_lag``: what is looked at when no exchange trades."""

    @dg.asset(
        group_name="forecasting",
        owners=OWNERS,
        code_version=code_version(),
        deps=["price_history", "bars"],
        kinds={"python", "deltalake"},
        description="Every model against the naive forecast of the same outcomes, walking forward with the code the "
        "desk forecasts with: losses, Diebold-Mariano tests, model confidence set, trading scores, the weights that "
        "follow. Losers count for nothing.",
        metadata=declared_schema("validation_scores"),
    )
    def model_validation(
        context: dg.AssetExecutionContext, config: ValidationConfig, desk: DeskResource
    ) -> dg.MaterializeResult:
        from quant_dagster.cycle.validation import validate

        trading = desk.open()
        done = validate(
            trading,
            models=config.models,
            sessions=config.sessions or trading.settings.forecasting.validation.sessions,
            schemes=("walk_forward", "blocked") if config.blocked else ("walk_forward",),
        )
        scores = done.scores
        return dg.MaterializeResult(
            metadata={
                **table_metadata(scores),
                "verdicts": dg.MetadataValue.md(markdown_table(scores.group_by("verdict").len().sort("verdict"))),
                **{
                    target: dg.MetadataValue.md(
                        markdown_table(scores.filter(pl.col("target") == target).sort("horizon", "loss").select(_SHOWN))
                    )
                    for target in ("mean", "variance", "regime")
                },
            }
        )

    @dg.asset(
        group_name="features",
        owners=OWNERS,
        code_version=code_version(),
        deps=["price_history", "bars"],
        kinds={"python", "deltalake"},
        description="Who tells whom: transfer entropy between all pairs of symbols over the newest 500 sessions, the "
        "market's return taken off; edges that pass a false discovery rate of 5 %.",
        metadata=declared_schema("lead_lag"),
    )
    def lead_lag(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.cycle.lead_lag import store_lead_lag
        from quant_dagster.cycle.session import newest_session
        from quant_dagster.market_data.ingest import load_panel

        trading = desk.open()
        session = newest_session(trading, trading.now())
        edges = store_lead_lag(trading, load_panel(trading.lake, trading.symbols_on(session), session))
        return dg.MaterializeResult(
            metadata={**table_metadata(edges), "edges": dg.MetadataValue.md(markdown_table(edges.head(40)))}
        )

    return [model_validation, lead_lag]


def build_validation_checks() -> list[dg.AssetChecksDefinition]:
    """Weights are what the verdicts allow. Blocking: the combined forecast is made of them."""

    @dg.asset_check(
        asset="model_validation",
        name="losers_count_for_nothing",
        blocking=True,
        description="In the newest validation losers weigh zero; the weights of each target and horizon sum to one.",
    )
    def losers_count_for_nothing(desk: DeskResource) -> dg.AssetCheckResult:
        scores = desk.open().lake.read("validation_scores", where=pl.col("weight").is_not_null())
        scores = scores.filter(pl.col("session") == pl.col("session").max())
        paid = scores.filter((pl.col("verdict").is_in(["loser", "not_judged"])) & (pl.col("weight") > 0.0))
        sums = scores.group_by("scheme", "target", "horizon").agg(pl.col("weight").sum())
        uneven = sums.filter((pl.col("weight") - 1.0).abs() > 1e-9)
        return dg.AssetCheckResult(
            passed=paid.is_empty() and uneven.is_empty(),
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "losers_with_weight": dg.MetadataValue.md(markdown_table(paid.select("model", "target", "weight"))),
                "weights_that_do_not_sum_to_one": dg.MetadataValue.md(markdown_table(uneven)),
            },
        )

    return [losers_count_for_nothing]

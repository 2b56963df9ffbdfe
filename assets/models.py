"""Features, the online store, forecasts and signals: what the desk believes, one partition per session."""

from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, declared_schema, markdown_table, table_metadata
from quant_dagster.cycle.context import code_version
from resources.desk import DeskResource


def build_model_assets(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetsDefinition]:
    """``features``, ``online_features``, ``forecasts`` and ``signals``."""
    common: dict[str, Any] = {"owners": OWNERS, "code_version": code_version(), "partitions_def": partitions}

    @dg.asset(
        **common,
        group_name="features",
        deps=["quality_scores", "bars"],
        kinds={"python", "feast", "parquet"},
        description="Causal features of every symbol, computed on the whole panel and kept with the time they were "
        "known in Feast's offline store.",
    )
    def features(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        frame = desk.session(_session(context)).store_features()
        absent = {name: int(count) for name, count in frame.null_count().row(0, named=True).items() if count}
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame),
                "features": frame.width - 3,
                "absent_values": dg.MetadataValue.json(absent),
            }
        )

    @dg.asset(
        **common,
        group_name="features",
        deps=[features],
        kinds={"feast", "sqlite"},
        description="The session's features in Feast's online store. An older session never replaces a newer one.",
    )
    def online_features(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        session = _session(context)
        push = trading.feature_store.push_online(session)
        sample = trading.feature_store.get_online(list(trading.symbols[:3]), now=trading.calendar.close_time(session))
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": push.written,
                "kept_newer": push.kept_newer,
                "served": dg.MetadataValue.md(
                    markdown_table(pl.DataFrame(sample).head(3).transpose(include_header=True))
                ),
            }
        )

    @dg.asset(
        **common,
        group_name="forecasting",
        deps=["quality_scores", "bars"],
        kinds={"python", "numba", "deltalake"},
        description="Mean, variance and regime forecasts of every symbol in one schema, with fit diagnostics, data "
        "version and the fallback used.",
        metadata=declared_schema("forecasts"),
    )
    def forecasts(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.operations.charts import as_markdown, forecast_fan_png

        frame = desk.session(_session(context)).forecast()
        used = frame.group_by("model").len().sort("model")
        fell_back = frame.filter(pl.col("fallback").is_not_null()).select("symbol", "model", "fallback").unique()
        shown = frame.select("symbol", "model", "horizon", "mean", "std", "q05", "q50", "q95", "fallback")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame.drop("diagnostics", "parameters")),
                "models_used": dg.MetadataValue.md(markdown_table(used)),
                "fallbacks": dg.MetadataValue.md(markdown_table(fell_back.head(20))),
                "fallback_count": fell_back.height,
                "combined": dg.MetadataValue.md(markdown_table(shown.filter(pl.col("model") == "combined").head(40))),
                "fan": dg.MetadataValue.md(as_markdown(forecast_fan_png(frame), "combined forecasts, 5 % to 95 %")),
            }
        )

    @dg.asset(
        **common,
        group_name="signals",
        deps=[features, forecasts],
        kinds={"python", "deltalake"},
        description="Every alpha's view on every symbol: direction, strength, confidence, risk and the priority the "
        "router gives it.",
        metadata=declared_schema("signals"),
    )
    def signals(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        frame = desk.session(_session(context)).make_signals()
        counts = frame.group_by("alpha", "direction").len().sort("alpha", "direction")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame),
                "directions": dg.MetadataValue.md(markdown_table(counts)),
                "strongest": dg.MetadataValue.md(
                    markdown_table(frame.filter(pl.col("direction") != 0).sort("priority", descending=True).head(12))
                ),
            }
        )

    return [features, online_features, forecasts, signals]


def _session(context: dg.AssetExecutionContext) -> date:
    return date.fromisoformat(context.partition_key)

"""Features, the online store, forecasts and signals: what the desk believes, one partition per session."""

from datetime import date, timedelta
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
        group_name="features",
        deps=["quality_scores", "bars"],
        kinds={"python", "deltalake"},
        description="A cross-sectional factor model: what market, sectors and styles earned in the session, and every "
        "symbol's exposure at its close, for risk and attribution.",
        metadata=declared_schema("factor_exposures"),
    )
    def factors(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        session = _session(context)
        earned = desk.session(session).store_factors()
        exposures = desk.open().lake.read("factor_exposures", start=session, end=session)
        return dg.MaterializeResult(
            metadata={
                **table_metadata(exposures),
                "factor_returns": dg.MetadataValue.md(markdown_table(earned)),
                "explained": float(earned["explained"][0]) if earned.height else 0.0,
            }
        )

    @dg.asset(
        **common,
        group_name="forecasting",
        deps=["quality_scores", "bars"],
        kinds={"python", "deltalake"},
        description="How the desk's own stored forecasts did, now that their outcome is known, beside the naive ones; "
        "and whether a model has drifted.",
        metadata=declared_schema("forecast_scores"),
    )
    def model_scores(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        session = _session(context)
        tests = desk.session(session).watch_models()
        scores = desk.open().lake.read("forecast_scores", start=session - timedelta(days=90), end=session)
        horizons = scores.group_by("model", "horizon").agg(
            pl.col("forecasts").sum(),
            pl.col("squared_error").mean().sqrt().alias("rmse"),
            pl.col("qlike", "pinball", "coverage_90", "standardised_square", "hit_rate").mean(),
        )
        return dg.MaterializeResult(
            metadata={
                **table_metadata(scores.tail(8)),
                "last_90_days": dg.MetadataValue.md(markdown_table(horizons.sort("horizon", "pinball"))),
                "drift_tests": dg.MetadataValue.md(markdown_table(tests.sort("p_value").head(40))),
                "drifted": tests.filter("drifted").height,
            }
        )

    @dg.asset(
        **common,
        group_name="forecasting",
        deps=["quality_scores", "bars", model_scores],
        kinds={"python", "numba", "deltalake"},
        description="Every model's forecast of every symbol in one schema, or the naive one that stood in, or why "
        "there is none; with diagnostics, the age of the fit, data version, and the combination by validated weights.",
        metadata=declared_schema("forecasts"),
    )
    def forecasts(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        from quant_dagster.operations.report.charts import as_markdown, forecast_fan_png

        frame = desk.session(_session(context)).forecast()
        used = (
            frame.pivot("status", index="model", values="symbol", aggregate_function=pl.element().n_unique())
            .fill_null(0)
            .sort("model")
        )
        fell_back = frame.filter(pl.col("status").is_in(["fallback", "refused"]))
        fell_back = fell_back.select("symbol", "model", "answered_by", "fallback").unique().sort("model", "symbol")
        shown = frame.select("symbol", "model", "horizon", "mean", "std", "q05", "q50", "q95", "fallback")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame.drop("diagnostics", "parameters")),
                "models_used": dg.MetadataValue.md(markdown_table(used)),
                "fallbacks": dg.MetadataValue.md(markdown_table(fell_back.head(20))),
                "fallback_count": fell_back.height,
                "oldest_fit": str(frame["fitted_on"].min()),
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
        "router gives it; the cointegrated pairs that are followed, and what each alpha was worth lately.",
        metadata=declared_schema("signals"),
    )
    def signals(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        session = _session(context)
        frame = desk.session(session).make_signals()
        lake = desk.open().lake
        pairs = lake.read("pairs", start=session, end=session)
        worth = lake.read("alpha_performance", start=session, end=session)
        counts = frame.group_by("alpha", "direction").len().sort("alpha", "direction")
        return dg.MaterializeResult(
            metadata={
                **table_metadata(frame),
                "directions": dg.MetadataValue.md(markdown_table(counts)),
                "pairs": dg.MetadataValue.md(markdown_table(pairs.sort("state", "first").head(40))),
                "alpha_performance": dg.MetadataValue.md(markdown_table(worth)),
                "strongest": dg.MetadataValue.md(
                    markdown_table(frame.filter(pl.col("direction") != 0).sort("priority", descending=True).head(12))
                ),
            }
        )

    return [features, online_features, factors, model_scores, forecasts, signals]


def build_model_checks(partitions: dg.PartitionsDefinition[Any]) -> list[dg.AssetChecksDefinition]:
    """Every model answers for most symbols; no model has drifted. Both warn: simpler models stand in."""

    @dg.asset_check(
        asset="forecasts",
        name="every_model_answered",
        partitions_def=partitions,
        description="No model failed for most symbols by one and the same reason (exception, time-out, no number).",
    )
    def every_model_answered(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        from quant_dagster.operations.alerts.models import broken_models

        broken = broken_models(desk.open(), date.fromisoformat(context.partition_key))
        return dg.AssetCheckResult(
            passed=broken.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"broken": dg.MetadataValue.md(markdown_table(broken))},
        )

    @dg.asset_check(
        asset="forecasts",
        name="every_symbol_has_every_model",
        blocking=True,
        partitions_def=partitions,
        description="Exactly one row for every symbol, model and horizon: a result, a stand-in, or a reason.",
    )
    def every_symbol_has_every_model(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        trading, session = desk.open(), date.fromisoformat(context.partition_key)
        rows = trading.lake.read("forecasts", columns=["symbol", "model", "horizon"], start=session, end=session)
        symbols, models, horizons = (rows[name].n_unique() for name in ("symbol", "model", "horizon"))
        missing = sorted(set(trading.symbols_on(session)) - set(rows["symbol"]))
        return dg.AssetCheckResult(
            passed=rows.height == symbols * models * horizons and not missing,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "rows": rows.height,
                "expected": symbols * models * horizons,
                "symbols_without": dg.MetadataValue.json(missing),
            },
        )

    @dg.asset_check(
        asset="model_scores",
        name="no_model_has_drifted",
        partitions_def=partitions,
        description="No drift test of any model is significant.",
    )
    def no_model_has_drifted(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> dg.AssetCheckResult:
        session = date.fromisoformat(context.partition_key)
        tests = desk.open().lake.read("model_drift", start=session, end=session)
        drifted = tests.filter("drifted")
        return dg.AssetCheckResult(
            passed=drifted.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"tests": tests.height, "drifted": dg.MetadataValue.md(markdown_table(drifted))},
        )

    return [every_model_answered, every_symbol_has_every_model, no_model_has_drifted]


def _session(context: dg.AssetExecutionContext) -> date:
    return date.fromisoformat(context.partition_key)

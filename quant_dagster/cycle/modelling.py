"""Forecasts of a session from what the lake holds: the panel, the fits to carry forward, the weights models earned."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.cycle.model_watch import last_drift
from quant_dagster.market_data.panel import Panel

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.forecasting.carried import EarlierFits
    from quant_dagster.forecasting.combination import ModelWeights
    from quant_dagster.forecasting.parameters import ForecastParameters
    from quant_dagster.forecasting.runner import ForecastRun


def forecast_panel(context: TradingContext, panel: Panel) -> ForecastRun:
    """Ask every family for the session after the panel's last one; nothing is stored."""
    from quant_dagster.forecasting.runner import forecast_session

    settings = forecast_parameters(context)
    return forecast_session(
        panel,
        horizons=tuple(context.settings.forecasting.horizons),
        data_version=context.lake.version("bars") or 0,
        settings=settings,
        earlier=stored_fits(context, panel),
        weights=stored_weights(context, panel.last_session, settings),
        progress=context.progress,
    )


def forecast_parameters(context: TradingContext) -> ForecastParameters:
    """The settings tree in the words of the forecasting package."""
    from quant_dagster.forecasting.parameters import (
        Backend,
        ForecastParameters,
        LanguageModelParameters,
        LearnedParameters,
    )

    settings = context.settings.forecasting
    language = settings.language_model
    key = language.api_key.get_secret_value() if language.api_key is not None else None
    return ForecastParameters(
        window=settings.window,
        min_observations=settings.minimum_observations,
        families=None if settings.families is None else tuple(settings.families),
        prior_mean=settings.prior_mean,
        prior_variance=settings.prior_variance,
        refit_sessions=settings.refit_sessions,
        time_out_seconds=settings.time_out_seconds,
        backend=Backend(settings.backend),
        dask_address=settings.dask_address,
        garch_starts=settings.garch_starts,
        hmm_states=settings.hmm_states,
        sarimax_max_order=settings.sarimax_max_order,
        sarimax_seasonal_period=settings.sarimax_seasonal_period,
        sarimax_calendar=settings.sarimax_calendar,
        ssa_window=settings.ssa_window,
        ssa_components=settings.ssa_components,
        ssa_device=settings.ssa_device,
        ensemble_window=settings.ensemble_window,
        learned=LearnedParameters(**settings.learned.model_dump()),
        language_model=LanguageModelParameters(**language.model_dump(exclude={"api_key"}), api_key=key),
        exchange=context.universe.exchange,
        artifacts=context.home / "models",
        workers=settings.workers,
    )


def stored_fits(context: TradingContext, panel: Panel) -> EarlierFits:
    """Fits of earlier sessions, from the rows of the models that carry theirs."""
    from quant_dagster.forecasting.carried import LONGEST_CARRY, earlier_fits
    from quant_dagster.forecasting.families.registry import FAMILIES

    carried = [spec.model.value for spec in FAMILIES if spec.carried]
    session = panel.last_session
    reach = min(len(panel.sessions), LONGEST_CARRY * context.settings.forecasting.refit_sessions)
    rows = context.lake.read(
        "forecasts",
        columns=["session", "symbol", "model", "horizon", "status", "fitted_on", "parameters"],
        symbols=panel.symbols,
        start=panel.sessions[-reach].astype("datetime64[D]").astype(object),
        end=session - timedelta(days=1),
        where=pl.col("model").is_in(carried) & (pl.col("horizon") == min(context.settings.forecasting.horizons)),
        ordered=False,
    )
    return earlier_fits(rows, panel.sessions, session, carried, last_drift(context, session))


def stored_weights(context: TradingContext, session: date, settings: ForecastParameters) -> ModelWeights:
    """What the newest validation up to a session found the models to be worth."""
    from quant_dagster.forecasting.combination import ModelWeights

    scores = context.lake.read("validation_scores", end=session, ordered=False)
    return ModelWeights.judged(scores, settings)

"""The code location: assets, checks, resources, sensors and schedules, assembled by `build_defs`."""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg
from dagster import BetaWarning, PreviewWarning

from assets.corporate_actions import build_corporate_action_assets, build_corporate_action_checks
from assets.execution import build_execution_assets, build_execution_checks
from assets.intraday import build_intraday_assets, build_intraday_checks
from assets.market_data import build_market_data_assets
from assets.market_store import build_market_store_assets
from assets.marts import build_mart_assets
from assets.models import build_model_assets, build_model_checks
from assets.partitions import session_partitions
from assets.quality import build_contract_checks, build_quality_assets, build_quality_checks
from assets.risk import build_risk_assets, build_risk_checks
from assets.trading import build_trading_assets, build_trading_checks
from assets.validation import build_validation_assets, build_validation_checks
from assets.vendors import build_vendor_assets, build_vendor_checks
from quant_dagster.cycle.context import intraday_files
from quant_dagster.settings import Settings, load_settings
from resources.desk import DeskResource
from sensors.alerts import failed_check_sensor, run_failure_alert_sensor
from sensors.drift import model_drift_sensor
from sensors.execution import execution_sensor
from sensors.failover import failover_sensor
from sensors.marts import marts_sensor
from sensors.risk import build_risk_job, risk_sensor
from sensors.schedules import (
    corporate_actions_schedule,
    daily_cycle_schedule,
    lake_maintenance_schedule,
    market_store_schedule,
    model_validation_schedule,
    risk_backtest_schedule,
)


def build_defs(*, settings: Settings | None = None, resources: dict[str, Any] | None = None) -> dg.Definitions:
    """Everything in the code location.

    Parameters
    ----------
    settings
        Where partitions start and when the schedule runs; default: `load_settings`.
    resources
        Resources that replace the default ones, by key (tests, other desks).
    """
    # Partitioned checks and single-run backfills are used on purpose; their notices would fill every log.
    for notice in (BetaWarning, PreviewWarning):
        warnings.filterwarnings("ignore", category=notice)
    warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying BackfillPolicies")
    settings = settings or load_settings()
    orchestration = settings.orchestration
    partitions = session_partitions(orchestration.first_session)
    trading = build_trading_assets(partitions)
    assets = [
        *build_market_data_assets(partitions),
        *build_quality_assets(partitions),
        *build_model_assets(partitions),
        *trading,
        *build_execution_assets(partitions),
        *build_vendor_assets(partitions),
        *build_corporate_action_assets(),
        *build_market_store_assets(),
        *build_validation_assets(),
        *build_risk_assets(partitions),
    ]
    if settings.market_data.intraday:
        assets += build_intraday_assets(partitions, intraday_files)
    marts = build_mart_assets()
    checks = [
        *build_contract_checks(partitions),
        *build_quality_checks(partitions),
        *build_model_checks(partitions),
        *build_trading_checks(partitions),
        *build_execution_checks(partitions),
        *build_vendor_checks(partitions),
        *build_corporate_action_checks(),
        *build_validation_checks(),
        *build_risk_checks(partitions),
    ]
    if settings.market_data.intraday:
        checks += build_intraday_checks(partitions, settings.market_data.most_missing_minutes)
    # One process for the whole graph: a process per step would spend a minute on imports.
    daily_cycle = dg.define_asset_job(
        "daily_cycle",
        selection=dg.AssetSelection.assets(*(a for a in assets if a.partitions_def is not None)),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        description="One session, from raw prices to positions.",
    )
    fills_job = dg.define_asset_job(
        "fills_job",
        selection=dg.AssetSelection.assets("fills", "positions", "broker_reconciliation", "execution_quality"),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        description="Send approved orders, book executions, mark positions, compare with the broker, measure costs.",
    )
    history_job = dg.define_asset_job(
        "load_history",
        selection=dg.AssetSelection.assets("price_history"),
        executor_def=dg.in_process_executor,
        description="Load everything before the first daily partition, once.",
    )
    reload_job = dg.define_asset_job(
        "reload_sessions",
        selection=dg.AssetSelection.assets("raw_prices", "bars", "quality_scores"),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        description="Load sessions again, after a change of vendor.",
    )
    maintenance_job = dg.define_asset_job(
        "maintain_lake",
        selection=dg.AssetSelection.assets("lake_maintenance"),
        executor_def=dg.in_process_executor,
        description="Compact the lake's tables and delete files that are past retention.",
    )
    actions_job = dg.define_asset_job(
        "refresh_corporate_actions",
        selection=dg.AssetSelection.assets("corporate_actions"),
        executor_def=dg.in_process_executor,
        description="Ask the vendors for corporate actions, infer those that prices show, confirm one by the other.",
    )
    store_job = dg.define_asset_job(
        "sync_market_store",
        selection=dg.AssetSelection.assets("market_store"),
        executor_def=dg.in_process_executor,
        description="Bring the PostgreSQL market store up to date with the lake, and apply its retention.",
    )
    validation_job = dg.define_asset_job(
        "validate_models",
        selection=dg.AssetSelection.assets("model_validation", "lead_lag"),
        executor_def=dg.in_process_executor,
        description="Judge every model out of sample, so that its weight follows; find who leads whom.",
    )
    risk_backtest_job = dg.define_asset_job(
        "risk_backtest",
        selection=dg.AssetSelection.assets("var_backtest"),
        executor_def=dg.in_process_executor,
        description="Backtest value at risk by every method, over the universe and the account.",
    )
    marts_job = dg.define_asset_job(
        "refresh_marts",
        selection=dg.AssetSelection.assets(*marts),
        executor_def=dg.in_process_executor,
        description="Rebuild the SQL models and run their tests.",
    )
    risk_job = build_risk_job()
    return dg.Definitions(
        assets=[*assets, *marts],
        asset_checks=checks,
        jobs=[
            daily_cycle,
            fills_job,
            history_job,
            reload_job,
            maintenance_job,
            actions_job,
            store_job,
            validation_job,
            risk_backtest_job,
            marts_job,
            risk_job,
        ],
        schedules=[
            daily_cycle_schedule(daily_cycle, orchestration.minutes_after_close),
            lake_maintenance_schedule(maintenance_job),
            corporate_actions_schedule(actions_job),
            market_store_schedule(store_job),
            model_validation_schedule(validation_job),
            risk_backtest_schedule(risk_backtest_job),
        ],
        sensors=[
            execution_sensor(fills_job),
            failover_sensor(reload_job),
            marts_sensor(marts_job),
            model_drift_sensor(validation_job),
            risk_sensor(risk_job),
            failed_check_sensor(),
            run_failure_alert_sensor(),
        ],
        resources={"desk": DeskResource(universe=None)} | (resources or {}),
        executor=dg.in_process_executor,
    )


defs = build_defs()

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
from sensors.schedules import daily_cycle_schedule, fixed_schedule
from sensors.sessions import session_sensor


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
    daily_cycle = _job(
        "daily_cycle",
        "One session, from raw prices to positions.",
        *(asset for asset in assets if asset.partitions_def is not None),
        partitions=partitions,
    )
    fills_job = _job(
        "fills_job",
        "Send approved orders, book executions, mark positions, compare with the broker, measure costs.",
        "fills",
        "positions",
        "broker_reconciliation",
        "execution_quality",
        partitions=partitions,
    )
    history_job = _job("load_history", "Load everything before the first daily partition, once.", "price_history")
    reload_job = _job(
        "reload_sessions",
        "Load sessions again, after a change of vendor.",
        "raw_prices",
        "bars",
        "quality_scores",
        partitions=partitions,
    )
    maintenance_job = _job(
        "maintain_lake", "Compact the lake's tables and delete files that are past retention.", "lake_maintenance"
    )
    actions_job = _job(
        "refresh_corporate_actions",
        "Ask the vendors for corporate actions, infer those that prices show, confirm one by the other.",
        "corporate_actions",
    )
    store_job = _job(
        "sync_market_store",
        "Bring the PostgreSQL market store up to date with the lake, and apply its retention.",
        "market_store",
    )
    validation_job = _job(
        "validate_models",
        "Judge every model out of sample, so that its weight follows; find who leads whom.",
        "model_validation",
        "lead_lag",
    )
    risk_backtest_job = _job(
        "risk_backtest", "Backtest value at risk by every method, over the universe and the account.", "var_backtest"
    )
    marts_job = _job("refresh_marts", "Rebuild the SQL models and run their tests.", *marts)
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
            fixed_schedule("lake_maintenance_schedule", maintenance_job),
            fixed_schedule("corporate_actions_schedule", actions_job),
            fixed_schedule("market_store_schedule", store_job),
            fixed_schedule("model_validation_schedule", validation_job),
            fixed_schedule("risk_backtest_schedule", risk_backtest_job),
        ],
        sensors=[
            execution_sensor(fills_job),
            session_sensor(daily_cycle.name),
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


def _job(
    name: str,
    description: str,
    *selection: str | dg.AssetsDefinition,
    partitions: dg.PartitionsDefinition[Any] | None = None,
) -> Any:
    """A job over assets, in one process for the whole graph: a process per step would spend a minute on imports."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*selection),
        partitions_def=partitions,
        executor_def=dg.in_process_executor,
        description=description,
    )


defs = build_defs()

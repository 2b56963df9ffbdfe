"""The session sensor: what the ``quant`` command traded shows in Dagster too."""

import dagster as dg
from sqlalchemy import select

from quant_dagster.cycle.context import TradingContext
from quant_dagster.storage.ledger_tables import cycles
from resources.desk import DeskResource

STAGES = (
    "raw_prices", "bars", "quality_scores", "features", "online_features", "factors", "anomalies", "model_scores",
    "forecasts", "signals", "approved_orders", "fills", "positions", "broker_reconciliation", "execution_quality",
    "risk_report",
)  # fmt: skip
"""Assets of which a completed cycle has made the session's partition, whoever ran it."""
AT_ONCE = 10
"""Sessions reported in one evaluation: an event takes Dagster's storage some hundredths of a second."""


def session_sensor(daily_cycle: str) -> dg.SensorDefinition:
    """Reports sessions that were completed outside Dagster. It runs nothing and changes no data.

    Parameters
    ----------
    daily_cycle
        The job that completes sessions inside Dagster; while it runs, its own events are waited for.
    """

    @dg.sensor(
        name="session_sensor",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports sessions that the quant command completed as materialized, the newest first, so that the "
        "lineage shows them. Starts no run and changes no data; what Dagster materialized itself it leaves alone.",
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
        running = dg.RunsFilter(job_name=daily_cycle, statuses=[dg.DagsterRunStatus.STARTED])
        if context.instance.get_runs_count(running):
            return dg.SkipReason(f"{daily_cycle} is running: it reports what it completes")
        trading = desk.open()
        shown = context.instance.get_materialized_partitions(dg.AssetKey("positions"))
        missing = [(day, cycle) for day, cycle in completed(trading) if day not in shown][:AT_ONCE]
        if not missing:
            return dg.SkipReason("every completed session is shown")
        return dg.SensorResult(
            skip_reason=f"reported {len(missing)} sessions; no run was needed",
            asset_events=[
                dg.AssetMaterialization(
                    asset_key=stage,
                    partition=day,
                    description="Completed by the quant command.",
                    metadata={"cycle": cycle},
                )
                for day, cycle in missing
                for stage in STAGES
            ],
        )

    return sensor


def completed(trading: TradingContext) -> list[tuple[str, str]]:
    """Sessions that have a partition and whose cycle is completed, newest first, with the cycle's id."""
    trading.ledger.upgrade()
    query = (
        select(cycles.c.session, cycles.c.cycle_id)
        .where(
            cycles.c.status == "completed",
            cycles.c.strategy == trading.settings.strategy,
            cycles.c.session >= trading.settings.orchestration.first_session,
        )
        .order_by(cycles.c.session.desc())
    )
    with trading.ledger.read() as connection:
        return [(row.session.isoformat(), row.cycle_id) for row in connection.execute(query)]

"""The marts sensor: positions that were marked refresh the SQL models."""

from typing import Any

import dagster as dg


def marts_sensor(job: Any) -> dg.SensorDefinition:
    """One refresh for each run that marked positions."""

    @dg.asset_sensor(
        asset_key=dg.AssetKey("positions"),
        job=job,
        name="marts_sensor",
        minimum_interval_seconds=60,
        description="Rebuilds the SQL models and runs their tests after positions were marked.",
    )
    def sensor(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"marts:{asset_event.run_id}")

    return sensor

"""The drift sensor: a model that has drifted is judged again."""

from datetime import date
from typing import Any

import dagster as dg

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import events
from resources.desk import DeskResource


def model_drift_sensor(job: Any) -> dg.SensorDefinition:
    """One validation for each session at which a model was found to have drifted."""

    @dg.sensor(
        job=job,
        name="model_drift_sensor",
        minimum_interval_seconds=300,
        description="Judges the models again when one has drifted: its weight follows from how it does now. Its slow "
        "fits are made anew by the next daily cycles.",
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult:
        return tick(desk.open(), context.cursor)

    return sensor


def tick(trading: TradingContext, cursor: str | None) -> dg.SensorResult:
    """Runs for drift found after the cursor's session; the first tick starts at the newest event."""
    trading.ledger.upgrade()
    found = events(trading, ["drifted"], date.fromisoformat(cursor) if cursor else date.min, date.max)
    newest = max((event["session"] for event in found), default=None)
    if cursor is None:
        at = newest or trading.calendar.latest_completed(trading.now())
        return dg.SensorResult(cursor=at.isoformat(), skip_reason=dg.SkipReason("watching for drift from now on"))
    since = date.fromisoformat(cursor)
    sessions = sorted({event["session"] for event in found if event["session"] > since})
    if not sessions:
        return dg.SensorResult(cursor=cursor, skip_reason=dg.SkipReason(f"no model has drifted since {since}"))
    models = ", ".join(sorted({event["model"] for event in found if event["session"] > since}))
    run = dg.RunRequest(run_key=f"drift:{sessions[-1]}", tags={"quant/reason": f"drift of {models}"[:200]})
    return dg.SensorResult(run_requests=[run], cursor=sessions[-1].isoformat())

"""The failover sensor: leaves a failing vendor, loads the affected sessions from the next, and goes back later."""

from typing import Any

import dagster as dg

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.vendor_watch import watch_vendors
from quant_dagster.operations.alerts.market import market_alerts
from quant_dagster.operations.alerts.notifications import NotificationError, Notifier
from resources.desk import DeskResource


def failover_sensor(job: Any) -> dg.SensorDefinition:
    """Watches vendors' health and breakers; a change of vendor is one run per affected session and one alert."""

    @dg.sensor(
        job=job,
        name="failover_sensor",
        minimum_interval_seconds=60,
        description="Changes to the next vendor when the active one fails, loads incomplete sessions again, and goes "
        "back to the better vendor after it has been well for market_data.failover.quiet_minutes. Slack hears of each "
        "change once, and of missing bars and low scores once a session.",
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
        return tick(desk.open(), desk.notifier())

    return sensor


def tick(trading: TradingContext, notifier: Notifier) -> dg.SensorResult | dg.SkipReason:
    """Look at the vendors, tell what there is to tell, and ask for the sessions a change of vendor affects."""
    watch = watch_vendors(trading)
    told, trouble = 0, ""
    for alert in market_alerts(trading, trading.calendar.latest_completed(trading.now())):
        try:
            told += notifier.send(alert)
        except NotificationError as error:  # told at a later tick; the sessions must not wait for Slack
            trouble = f"; {error}"
    if watch.switch is None:
        well = ", ".join(f"{state.name} {'well' if state.well else state.why}" for state in watch.states)
        return dg.SkipReason(f"{watch.active} stays active ({well}); {told} alerts sent{trouble}")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"failover:{watch.switch.sequence}:{session}",
                partition_key=session.isoformat(),
                tags={"quant/vendor": watch.active, "quant/reason": watch.switch.reason[:200]},
            )
            for session in watch.switch.sessions
        ]
    )

"""Schedules: the daily cycle by the exchange calendar, and the lake's upkeep at the weekend."""

from typing import Any

import dagster as dg

from assets.partitions import EXCHANGE, TIME_ZONE
from quant_dagster.market_data.calendars import exchange_calendar

_REGULAR_CLOSE_MINUTES = 16 * 60
_FIXED = {
    # No exchange trades on a Saturday. Risk is backtested after the models were judged.
    "lake_maintenance_schedule": ("0 6 * * 6", "The lake's upkeep, every Saturday morning."),
    "model_validation_schedule": ("0 8 * * 6", "Every model judged out of sample, every Saturday morning."),
    "risk_backtest_schedule": ("0 9 * * 6", "Value at risk backtested, every Saturday morning."),
    # Late in the evening: the next session opens without the right.
    "corporate_actions_schedule": (
        "0 21 * * 1-5",
        "Corporate actions reported and inferred, every weekday evening.",
    ),
    # After the evening's work; without storage.market_url it has nothing to do.
    "market_store_schedule": (
        "30 21 * * 1-5",
        "The PostgreSQL market store brought up to date with the lake, every weekday evening.",
    ),
}
"""When, and what is said of it."""


def daily_cycle_schedule(job: Any, minutes_after_close: int) -> dg.ScheduleDefinition:
    """Run the daily job after each session's regular close; a day without a session is skipped, and says so."""
    hour, minute = divmod(_REGULAR_CLOSE_MINUTES + minutes_after_close, 60)

    @dg.schedule(
        job=job,
        name="daily_cycle_schedule",
        cron_schedule=f"{minute} {hour} * * 1-5",
        execution_timezone=TIME_ZONE,
        description="The daily cycle, after the close of every exchange session.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        import zoneinfo

        day = context.scheduled_execution_time.astimezone(zoneinfo.ZoneInfo(TIME_ZONE)).date()
        if not exchange_calendar(EXCHANGE).is_session(day):
            return dg.SkipReason(f"{EXCHANGE} is closed on {day}")
        return dg.RunRequest(run_key=f"daily_cycle:{day}", partition_key=day.isoformat())

    return schedule


def fixed_schedule(name: str, job: Any) -> dg.ScheduleDefinition:
    """One of the schedules that keep to the clock, by its name."""
    cron, description = _FIXED[name]
    return dg.ScheduleDefinition(
        job=job, name=name, cron_schedule=cron, execution_timezone=TIME_ZONE, description=description
    )

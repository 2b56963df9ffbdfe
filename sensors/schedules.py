"""Schedules: the daily cycle by the exchange calendar, and the lake's upkeep at the weekend."""

from typing import Any

import dagster as dg

from assets.partitions import TIME_ZONE
from quant_dagster.market_data.calendars import exchange_calendar

_REGULAR_CLOSE_MINUTES = 16 * 60


def daily_cycle_schedule(job: Any, minutes_after_close: int, exchange: str = "XNYS") -> dg.ScheduleDefinition:
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
        if not exchange_calendar(exchange).is_session(day):
            return dg.SkipReason(f"{exchange} is closed on {day}")
        return dg.RunRequest(run_key=f"daily_cycle:{day}", partition_key=day.isoformat())

    return schedule


def lake_maintenance_schedule(job: Any) -> dg.ScheduleDefinition:
    """Compaction and retention, when no exchange trades."""
    return dg.ScheduleDefinition(
        job=job,
        name="lake_maintenance_schedule",
        cron_schedule="0 6 * * 6",
        execution_timezone=TIME_ZONE,
        description="The lake's upkeep, every Saturday morning.",
    )


def corporate_actions_schedule(job: Any) -> dg.ScheduleDefinition:
    """Corporate actions, late in the evening: the next session opens without the right."""
    return dg.ScheduleDefinition(
        job=job,
        name="corporate_actions_schedule",
        cron_schedule="0 21 * * 1-5",
        execution_timezone=TIME_ZONE,
        description="Corporate actions reported and inferred, every weekday evening.",
    )


def market_store_schedule(job: Any) -> dg.ScheduleDefinition:
    """The PostgreSQL market store, after the evening's work; without storage.market_url it has nothing to do."""
    return dg.ScheduleDefinition(
        job=job,
        name="market_store_schedule",
        cron_schedule="30 21 * * 1-5",
        execution_timezone=TIME_ZONE,
        description="The PostgreSQL market store brought up to date with the lake, every weekday evening.",
    )


def model_validation_schedule(job: Any) -> dg.ScheduleDefinition:
    """Models are judged when no exchange trades."""
    return dg.ScheduleDefinition(
        job=job,
        name="model_validation_schedule",
        cron_schedule="0 8 * * 6",
        execution_timezone=TIME_ZONE,
        description="Every model judged out of sample, every Saturday morning.",
    )


def risk_backtest_schedule(job: Any) -> dg.ScheduleDefinition:
    """After the models were judged on Saturday morning."""
    return dg.ScheduleDefinition(
        job=job,
        name="risk_backtest_schedule",
        cron_schedule="0 9 * * 6",
        execution_timezone=TIME_ZONE,
        description="Value at risk backtested, every Saturday morning.",
    )

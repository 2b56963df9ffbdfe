"""Sensors that tell people: failed checks and failed runs, once each."""

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from quant_dagster.operations.alerts.notifications import Alert, NotificationError, Severity
from resources.desk import DeskResource

_BATCH = 200


def failed_check_sensor() -> dg.SensorDefinition:
    """Tells Slack of every failed asset check. Starts at the newest event, and moves on only past what was told.

    A blocking check with ERROR severity fails its run, which the run-failure sensor reports with the check's name, so
    it is left to that sensor.
    """

    @dg.sensor(
        name="failed_check_sensor",
        minimum_interval_seconds=30,
        description="Alerts Slack when an asset check fails.",
        target=None,
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SkipReason:
        instance = context.instance
        if context.cursor is None:
            newest = instance.get_event_records(
                dg.EventRecordsFilter(event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=1
            )
            context.update_cursor(str(newest[0].storage_id if newest else 0))
            return dg.SkipReason("watching failed checks from now on")
        records = instance.get_event_records(
            dg.EventRecordsFilter(
                event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=int(context.cursor)
            ),
            limit=_BATCH,
            ascending=True,
        )
        notifier = desk.notifier()
        told = 0
        for record in records:
            alert = check_alert(record, notifier.settings.dashboard_url)
            if alert is not None:
                try:
                    told += notifier.send(alert)
                except NotificationError as error:
                    return dg.SkipReason(f"{error}; tried again at the next tick")
            context.update_cursor(str(record.storage_id))
        return dg.SkipReason(f"{len(records)} evaluations looked at, {told} alerts sent")

    return sensor


def check_alert(record: dg.EventLogRecord, dashboard: str) -> Alert | None:
    """The alert for one check evaluation; None when it passed, or when its failure failed the run as well."""
    event = record.event_log_entry.dagster_event
    if event is None:
        return None
    evaluation = event.asset_check_evaluation_data
    if evaluation.passed or (evaluation.blocking and evaluation.severity == dg.AssetCheckSeverity.ERROR):
        return None
    asset = evaluation.asset_key.to_user_string()
    facts = tuple(f"{name}: {value.value}"[:500] for name, value in evaluation.metadata.items())
    run_id = record.event_log_entry.run_id
    partition = getattr(evaluation, "partition", None) or ""
    return Alert(
        key=f"check:{run_id}:{asset}:{evaluation.check_name}:{partition}",
        severity=Severity.ERROR if evaluation.severity == dg.AssetCheckSeverity.ERROR else Severity.WARNING,
        title=f"check {evaluation.check_name} of {asset} failed",
        details=(*((evaluation.description,) if evaluation.description else ()), *facts),
        link=f"{dashboard}/runs/{run_id}",
    )


def run_failure_alert_sensor() -> dg.SensorDefinition:
    """Tells Slack of every failed run, with the step and its error."""

    @dg.run_failure_sensor(
        name="run_failure_alert_sensor",
        description="Alerts Slack when a run fails, with the failed steps and checks.",
    )
    def sensor(context: dg.RunFailureSensorContext, desk: DeskResource) -> None:
        run = context.dagster_run
        notifier = desk.notifier()
        details = [context.failure_event.message or "the run failed"]
        for event in context.get_step_failure_events():
            details.append(f"step {event.step_key}: {_root_cause(event.step_failure_data.error)}"[:2500])
        notifier.send(
            Alert(
                key=f"run:{run.run_id}",
                severity=Severity.ERROR,
                title=f"run of {run.job_name} failed ({run.tags.get('dagster/partition', 'no partition')})",
                details=tuple(details),
                link=f"{notifier.settings.dashboard_url}/runs/{run.run_id}",
            )
        )

    return sensor


def _root_cause(error: SerializableErrorInfo | None) -> str:
    """What was raised in the step, without Dagster's wrapping."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "failed"

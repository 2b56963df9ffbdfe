"""What the command traded shows in Dagster: the sensor that reports it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from quant_dagster.definitions import defs
from resources.desk import DeskResource
from sensors.sessions import STAGES, session_sensor


def evaluate(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(universe=None)})
    return session_sensor("daily_cycle")(context)


def test_every_session_of_the_ledger_is_reported_once_newest_first(replayed_home: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        answer = evaluate(instance)
        assert isinstance(answer, dg.SensorResult) and not answer.run_requests
        days = list(dict.fromkeys(event.partition for event in answer.asset_events))
        assert days == ["2022-12-28", "2022-12-27", "2022-12-23"]
        assert [event.asset_key.to_user_string() for event in answer.asset_events] == [*STAGES] * 3
        for event in answer.asset_events:
            instance.report_runless_asset_event(event)
        for stage in STAGES:
            assert instance.get_materialized_partitions(dg.AssetKey(stage)) == set(days)
        assert isinstance(evaluate(instance), dg.SkipReason)


def test_what_dagster_materialized_itself_is_left_alone(replayed_home: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("positions", partition="2022-12-27"))
        answer = evaluate(instance)
        assert isinstance(answer, dg.SensorResult)
        assert {event.partition for event in answer.asset_events} == {"2022-12-28", "2022-12-23"}


def test_a_running_daily_cycle_is_waited_for(replayed_home: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(defs.resolve_job_def("daily_cycle"), status=dg.DagsterRunStatus.STARTED)
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED
        answer = evaluate(instance)
        assert isinstance(answer, dg.SkipReason) and "daily_cycle is running" in str(answer.skip_message)


def test_an_empty_home_reports_nothing(quant_home: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(evaluate(instance), dg.SkipReason)


def test_the_stages_are_assets_that_a_cycle_makes() -> None:
    partitioned = {
        key.to_user_string()
        for key in defs.resolve_all_asset_keys()
        if defs.resolve_asset_graph().get(key).partitions_def is not None
    }
    # Looked at afterwards, by hand or by a schedule; the command's cycle does not make them.
    assert partitioned - set(STAGES) == {"reconciliation", "stress_report"} and set(STAGES) <= partitioned

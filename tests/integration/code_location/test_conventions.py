"""The code location: what every asset and check must have, and when the schedule runs."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from quant_dagster.definitions import defs
from tests.integration.code_location.runs import TUESDAY

SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string())


class TestConventions:
    """What every asset and check of the code location must have."""

    @pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
    def test_asset_is_described(self, spec: dg.AssetSpec) -> None:
        assert spec.description
        assert spec.owners
        assert spec.kinds
        assert spec.code_version
        assert spec.group_name not in (None, "default")

    def test_every_check_says_what_it_checks(self) -> None:
        keys = {key for definition in defs.asset_checks or [] for key in definition.check_keys}
        assert keys
        for definition in defs.asset_checks or []:
            for spec in definition.check_specs:
                assert spec.description, spec.name

    def test_contracts_block_and_expectations_do_not(self) -> None:
        blocking = {spec.name: spec.blocking for d in defs.asset_checks or [] for spec in d.check_specs}
        assert all(blocking[name] for name in blocking if name.endswith("_contract"))
        assert not blocking["returns_are_plausible"]
        assert blocking["books_balance"]

    def test_the_lineage_runs_from_prices_to_positions(self) -> None:
        graph = defs.resolve_asset_graph()
        upstream = graph.get(dg.AssetKey("positions"))
        seen, todo = set(), [upstream.key]
        while todo:
            key = todo.pop()
            seen.add(key.to_user_string())
            todo += list(graph.get(key).parent_keys)
        assert {"raw_prices", "bars", "quality_scores", "features", "forecasts", "signals", "approved_orders"} <= seen

    def test_partitions_are_exchange_sessions(self) -> None:
        keys = set(defs.resolve_asset_graph().get(dg.AssetKey("bars")).partitions_def.get_partition_keys())
        assert {"2022-12-23", "2022-12-27"} <= keys
        assert not {"2022-12-24", "2022-12-25", "2022-12-26", "2022-11-24"} & keys

    def test_orders_and_fills_never_retry_and_share_one_pool(self) -> None:
        graph = defs.resolve_asset_graph()
        for name in ("approved_orders", "fills", "positions", "broker_reconciliation"):
            definition = graph.get(dg.AssetKey(name)).assets_def
            assert definition.op.retry_policy is None
            assert definition.op.pool == "broker"


def test_the_schedule_runs_after_the_close_of_sessions_only() -> None:
    schedule = defs.get_schedule_def("daily_cycle_schedule")
    zone = ZoneInfo("America/New_York")

    def tick(day: date):
        at = datetime(day.year, day.month, day.day, 17, 30, tzinfo=zone)
        with dg.DagsterInstance.ephemeral() as instance:
            return schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))

    assert "closed on 2022-12-26" in tick(date(2022, 12, 26)).skip_message
    request = tick(TUESDAY)
    assert (request.partition_key, request.run_key) == ("2022-12-27", "daily_cycle:2022-12-27")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 17 * * 1-5", "America/New_York")

"""The assets after the fills and the sensors that trade: on the paper broker, at a gateway, and beside a daemon."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.execution import compare_with_broker, slippage, unmeasured
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.handover import DAEMON, handed_over
from quant_dagster.definitions import defs
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.operations.alerts.notifications import Notifier
from quant_dagster.risk.control import ControlMode, read_mode
from quant_dagster.risk.kill_switch.heartbeat import beat
from sensors.execution import run_requests
from sensors.risk import tick
from tests.support.daemon import DECIDED, TRADING, DaemonScene, gateway, scene, wait_for
from tests.support.replays import finished_replay, replayed_home

__all__ = ["finished_replay", "gateway", "replayed_home", "scene"]

LAST, BEFORE = date(2022, 12, 28), date(2022, 12, 27)


def run(session: date, *assets: str) -> dg.ExecuteInProcessResult:
    keys = [dg.AssetKey(name) for name in assets]
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def("fills_job").execute_in_process(
            instance=instance, partition_key=session.isoformat(), asset_selection=keys, raise_on_error=False
        )


def told(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


# -- reconciliation ---------------------------------------------------------------------------------------------------


def test_after_a_replay_the_books_agree_with_the_paper_broker(replayed_home: Path) -> None:
    result = run(LAST, "broker_reconciliation")
    assert result.success
    shown = told(result, "broker_reconciliation")
    assert (shown["dagster/row_count"], shown["broker"], shown["asked_for_by"]) == (0, "paper", "cycle")
    assert (shown["session"], shown["compared_positions"], shown["compared_cash"]) == ("2022-12-28", 14, 1)
    assert checks(result)["books_agree_with_broker"].passed


def test_a_break_is_shown_and_fails_its_check_but_not_the_run(replayed_home: Path) -> None:
    with sqlite3.connect(replayed_home / "paper_broker.db") as book:
        assert book.execute("UPDATE positions SET quantity = '145' WHERE symbol = 'KO'").rowcount == 1
    book.close()
    result = run(LAST, "broker_reconciliation")
    assert result.success, "locks stop what must stop; what does not need the broker goes on"
    check = checks(result)["books_agree_with_broker"]
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert "| KO | KO | 144 | 145 |" in check.metadata["breaks"].value
    assert told(result, "broker_reconciliation")["dagster/row_count"] == 1


# -- quality ----------------------------------------------------------------------------------------------------------


def test_every_order_of_a_session_is_measured(replayed_home: Path) -> None:
    result = run(BEFORE, "execution_quality")
    assert result.success
    trading = TradingContext()
    fills = trading.ledger.frame("fills").filter(pl.col("session") == BEFORE)
    shown, evaluations = told(result, "execution_quality"), checks(result)
    assert shown["dagster/row_count"] == fills["client_order_id"].n_unique() == 12
    check = evaluations["every_order_measured"]
    assert (check.passed, check.metadata["executed"].value) == (True, 12)
    assert evaluations["slippage_as_expected"].severity is dg.AssetCheckSeverity.WARN
    with trading.ledger.write() as connection:
        name = fills["client_order_id"][0]
        connection.exec_driver_sql("DELETE FROM execution_quality WHERE order_id = ?", (name,))
    assert unmeasured(trading, BEFORE) == ([name], 12)


def test_slippage_is_held_against_what_was_expected() -> None:
    rows = pl.DataFrame(
        {
            "spread_bps": [2.0] * 6, "impact_bps": [3.0, 5.0, 4.0, 3.0, 5.0, None], "fees_bps": [1.0] * 6,
            "estimated_bps": [4.0] * 6,
        }
    )  # fmt: skip
    said = slippage(rows)
    assert (said["orders"], said["paid_bps"], said["expected_bps"], said["excess_bps"]) == (5, 7.0, 4.0, 3.0)
    # Deviations -1, 1, 0, -1, 1: variance 4 / 4, so the error of the mean is one over the root of five.
    assert said["standard_error_bps"] == pytest.approx(5**-0.5)
    assert slippage(rows.head(4))["paid_bps"] == 0.0, "too few to say anything"


# -- at a gateway -----------------------------------------------------------------------------------------------------


def look(trading: TradingContext) -> str:
    with dg.DagsterInstance.ephemeral() as instance:
        answer = tick(trading, Notifier(trading.settings.notifications, trading.ledger), instance)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message or ""


@pytest.mark.slow
def test_without_a_daemon_the_asset_connects_and_compares(scene: DaemonScene) -> None:
    run, breaks = compare_with_broker(scene.context, DECIDED)
    assert run is not None
    assert (run["broker"], run["trigger"], run["session"], breaks.height) == ("ibkr", "cycle", TRADING, 0)


@pytest.mark.slow
def test_with_the_daemon_the_asset_shows_its_comparison_and_sensors_leave_it_the_work(scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    scene.start()
    scene.until(order_id, "accepted")
    assert handed_over(scene.context)
    run, breaks = compare_with_broker(scene.context, DECIDED)
    assert run is not None
    assert (run["trigger"], breaks.height) == ("reconnect", 0), "made by the daemon when it connected"
    assert run_requests(scene.context) == []
    assert look(scene.context).startswith("the trading daemon acts on risk; conditions: none")
    assert scene.order(order_id).status == "accepted", "nobody took over from a daemon that lives"


@pytest.mark.slow
def test_the_risk_sensor_takes_over_from_a_daemon_that_died(gateway: Gateway, scene: DaemonScene) -> None:
    order_id = scene.approve("KO", 10)
    daemon = scene.start(keep_orders=True)
    scene.until(order_id, "accepted")
    scene.stop()
    assert daemon is not None
    with scene.ledger.write() as connection:
        beat(connection, DAEMON, state="ok", detail="connected", at=scene.ledger.now() - timedelta(minutes=5))
    said = look(scene.context)
    assert "dead man's switch: the trading daemon is silent for 3" in said
    assert read_mode(scene.ledger).mode is ControlMode.PAUSE
    wait_for(lambda: all(one.state.is_final for one in gateway.orders()), "cancelled at the broker")
    keys = scene.ledger.frame("alerts")["alert_key"].to_list()
    assert "control:1" in keys and any(key.startswith("daemon:") for key in keys)


def test_a_broker_that_is_away_does_not_stop_the_tick(tmp_path: Path, gateway: Gateway) -> None:
    scene = DaemonScene(tmp_path, gateway, connection={"connect_seconds": 0.5})
    with scene.ledger.write() as connection:
        beat(connection, DAEMON, state="ok", detail="connected", at=scene.ledger.now() - timedelta(minutes=5))
    gateway.stop()
    said = look(scene.context)
    assert "dead man's switch: broker 'ibkr'" in said and "tried again at the next tick" in said
    keys = sorted(scene.ledger.frame("alerts")["alert_key"].to_list())
    assert keys[0] == "control:1" and keys[1].startswith("daemon:"), "the pause, and the silence it follows from"
    assert read_mode(scene.ledger).mode is ControlMode.PAUSE


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (datetime(2019, 2, 9, 12, tzinfo=UTC), [("send", "2019-02-08")]),
        (datetime(2019, 2, 11, 22, tzinfo=UTC), []),
    ],
    ids=["the newest session is sent", "an old one never"],
)
def test_orders_of_an_old_session_ask_for_no_run_at_a_real_broker(
    scene: DaemonScene, now: datetime, asked: list[tuple[str, str]]
) -> None:
    scene.approve("KO", 10)
    scene.context.now = lambda: now
    requests = run_requests(scene.context)
    assert [(one.tags["quant/phase"], one.partition_key) for one in requests] == asked

"""Commands that do something: run again they change nothing, what they print agrees with what is stored."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.operations.sql.tests import Severity
from quant_dagster.storage.lake import Lake
from tests.support.daemon import DECIDED, DURING, PRICES, DaemonScene, wait_for
from tests.support.replays import Command, ledger_rows, open_ledger


def test_a_session_that_was_decided_is_not_decided_again(replayed_home: Path, command: Command) -> None:
    before = ledger_rows(open_ledger(replayed_home))
    said = command("cycle", "--json")
    assert said.code == 0, said.err
    assert (said.json["session"], said.json["repeated"], said.json["orders"]) == ("2022-12-28", True, 0)
    after = ledger_rows(open_ledger(replayed_home))
    kept = ("decisions", "orders", "order_events", "fills", "postings", "positions")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    shown = command("cycle", "--session", "2022-12-28")
    assert shown.code == 0 and "Cycle of 2022-12-28" in shown.out


def test_a_day_without_a_session_has_no_cycle(replayed_home: Path, command: Command) -> None:
    refused = command("cycle", "--session", "2022-12-25")
    assert (refused.code, refused.out) == (3, "") and "2022-12-23" in refused.err


def test_a_replay_that_was_made_says_so_and_writes_its_report(replayed_home: Path, command: Command) -> None:
    done = command("replay", "--sessions", "3", "--report")
    assert done.code == 0, done.err
    assert "Every session had been traded before: nothing was decided, ordered or filled again." in done.out
    assert "Report: " in done.out
    said = command("replay", "--sessions", "1", "--no-report", "--json").json
    assert said["report"] is None
    assert [(row["session"], row["repeated"]) for row in said["cycles"]] == [("2022-12-28", True)]


def test_the_report_is_of_the_sessions_that_were_asked_for(replayed_home: Path, command: Command) -> None:
    said = command("report", "--sessions", "1", "--json").json
    assert said["sessions"] == 3
    page = Path(said["report"]).read_text()
    assert "2022-12-28" in page
    assert command("report", "--as-known-on", "2022-12-23", "--json").json["sessions"] == 1


def test_history_that_is_there_is_not_loaded_again(replayed_home: Path, command: Command) -> None:
    before = Lake(replayed_home / "lake").version("bars")
    said = command("backfill", "--symbols", "KO,XOM", "--start", "2022-12-01", "--end", "2022-12-28", "--json").json
    assert (said["symbols"], said["inserted"], said["updated"], said["bars_changed"]) == (2, 0, 0, 0)
    assert said["unchanged"] == said["rows"] > 0
    assert Lake(replayed_home / "lake").version("bars") == before
    assert "Backfill" in command("backfill", "--symbols", "KO", "--start", "2022-12-20").out


def test_the_sql_models_are_built_and_a_broken_one_is_an_exit_code(
    replayed_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quant_dagster.operations.sql import database

    built = command("marts", "--export-sources", "--json")
    assert built.code == 0, built.err
    stored = [row for row in built.json if row["file"]]
    assert stored and all(row["failed"] == [] for row in built.json)
    for row in stored:
        assert pl.scan_parquet(row["file"]).select(pl.len()).collect().item() == row["rows"]
    assert list((replayed_home / "marts" / "sources").iterdir())
    tests = database.run_tests

    def failing(*given: Any) -> list[database.SqlTestResult]:
        first, *rest = tests(*given)
        return [replace(first, passed=False, failing_rows=1, severity=Severity.ERROR), *rest]

    monkeypatch.setattr(database, "run_tests", failing)
    assert command("marts", "--json").code == 1


def test_warming_prepares_every_part_and_stores_nothing_of_a_decision(replayed_home: Path, command: Command) -> None:
    before = ledger_rows(open_ledger(replayed_home))["decisions"]
    rows = command("warm", "--json").json
    assert [row["part"] for row in rows] == ["instruments", "panel", "features", "forecasts", "feature store"]
    assert rows[0]["what"] == "20 symbols"
    assert rows[1]["what"].endswith("sessions up to 2022-12-28")
    assert all(row["seconds"] >= 0 for row in rows)
    assert ledger_rows(open_ledger(replayed_home))["decisions"] == before


def test_warming_an_empty_desk_goes_without_a_panel(quant_home: Path, command: Command) -> None:
    rows = command("warm", "--json").json
    assert [row["part"] for row in rows] == ["instruments", "feature store"]
    assert command("warm", "--universe", "mars").code == 2


# -- the trading daemon -----------------------------------------------------------------------------------------------


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway(prices=PRICES, start=DURING, cash=Decimal(1_000_000), fills_at_once=True) as started:
        yield started


@pytest.fixture
def approved(gateway: Gateway, quant_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An order to sell 10 KO that waits in the ledger of a desk at that gateway."""
    quant_home.mkdir()
    with DaemonScene(quant_home, gateway) as scene:
        order_id = scene.approve("KO", 10, side=Side.SELL)
    monkeypatch.setenv("QUANT_EXECUTION__BROKER", "ibkr")
    monkeypatch.setenv("QUANT_EXECUTION__CLOCK", "broker")
    monkeypatch.setenv("QUANT_EXECUTION__IBKR__PORT", str(gateway.port))
    return order_id


def test_the_daemon_trades_a_day_and_says_what_it_did(gateway: Gateway, approved: str, command: Command) -> None:
    def close_the_day() -> None:
        wait_for(gateway.standing_executions, "the fill", 30)
        gateway.advance(to=datetime(2019, 2, 11, 21, 0, 1, tzinfo=UTC))

    day = threading.Thread(target=close_the_day)
    day.start()
    answer = command("trade", "--until-close", "--json")
    day.join(30)
    assert answer.code == 0, answer.err
    assert (answer.json["sent"], answer.json["fills"]) == (1, 1)
    assert any("is over" in line for line in answer.json["said"])
    assert "ibkr connected" in answer.err, "with --json what happens is told on standard error"
    (order,) = command("orders", "--json").json
    assert (order["client_order_id"], order["status"]) == (approved, "filled")
    assert json.loads(command("broker", "status", "--json").out)["daemon"] == "stopped"


def test_a_daemon_that_was_stopped_needs_no_looking_after(approved: str, command: Command) -> None:
    assert command("trade", "--watch", "--json").json == {"done": "nothing: the daemon is well, or was stopped"}
    assert DECIDED.isoformat() in command("orders", "--json").out, "its order still waits"


def test_the_paper_broker_needs_no_daemon(replayed_home: Path, command: Command) -> None:
    refused = command("trade")
    assert (refused.code, refused.out) == (2, "")
    assert "needs no daemon" in refused.err and refused.err.count("\n") == 1

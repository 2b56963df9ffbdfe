"""``quant risk``: what it says agrees with the ledger, and what it does goes through the gate and asks who is there."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from quant_dagster.accounting import books
from quant_dagster.risk import operators
from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.gate.checks import CODES
from quant_dagster.risk.kill_switch.software import engage
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import heartbeats, risk_events
from quant_dagster.strategies.decisions import REASONS
from tests.support.replays import Command, open_ledger

ADA = "correct horse battery"
WHO = ("--actor", "ada", "--reason", "too much")


@pytest.fixture
def ledger(replayed_home: Path) -> Ledger:
    return open_ledger(replayed_home)


def held(ledger: Ledger) -> dict[str, float]:
    with ledger.read() as connection:
        found = books.balances(connection).holdings.items()
        return {symbol: float(one.quantity) for symbol, one in found if one.quantity}


def action_orders(command: Command) -> dict[str, float]:
    rows = command("orders", "--limit", "500", "--json").json
    return {row["symbol"]: float(row["quantity"]) for row in rows if row["origin"] == "action"}


# -- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report", "stress", "limits", "rules", "lockouts", "actions", "verdicts", "act"])
def test_an_empty_desk_says_what_to_do_in_one_line(command: Command, name: str) -> None:
    refused = command("risk", name)
    assert refused.code in (3, 5)
    assert refused.out == ""
    assert refused.err.startswith("quant: ") and refused.err.count("\n") == 1
    assert "run 'quant" in refused.err


def test_report_measures_and_stores(ledger: Ledger, command: Command, replayed_home: Path) -> None:
    said = command("risk", "report", "--json").json
    assert said["statement"].startswith("14 of 14 positions measured")
    day = date(2022, 12, 28)
    stored = Lake(replayed_home / "lake").read("risk_measures", start=day, end=day)
    assert {row["method"] for row in said["measures"]} == set(stored["method"]) and len(stored) == len(said["measures"])
    assert {row["symbol"] for row in said["positions"]} == set(held(ledger))
    largest = [row["parametric"] for row in said["contributions"]]
    worst = max(row["confidence"] for row in said["measures"])
    whole = next(row for row in said["measures"] if (row["method"], row["confidence"], row["horizon"]) == (
        "parametric", worst, 1))  # fmt: skip
    assert sum(largest) == pytest.approx(whole["expected_shortfall"])
    shown = command("risk", "report", "2022-12-27", "--top", "3")
    assert shown.code == 0 and "Value at risk and expected shortfall" in shown.out and "Heat" in shown.out


def test_stress_and_backtest_are_tables_of_what_is_stored(
    command: Command, replayed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_RISK__MEASURES__PATHS", "1000")
    monkeypatch.setenv("QUANT_RISK__MEASURES__WINDOW", "250")
    said = command("risk", "stress", "--json").json
    lake = Lake(replayed_home / "lake")
    assert {row["scenario"] for row in said["results"]} == set(lake.read("stress_results")["scenario"])
    assert "market_down_10" in {row["scenario"] for row in said["results"]}
    rows = command("risk", "backtest", "--start", "2022-10-03", "--json").json
    stored = lake.read("var_backtests")
    assert {(row["method"], row["confidence"], row["exceedances"]) for row in rows} == set(
        stored.select("method", "confidence", "exceedances").iter_rows()
    )
    assert all("path" not in row for row in rows)
    assert "Backtest of value at risk, equal_weight" in command("risk", "backtest", "--start", "2022-12-01").out
    too_short = command("risk", "backtest", "--account")
    assert too_short.code == 4 and too_short.err.startswith("quant: ")


def test_limits_are_those_of_the_gate_and_their_use_that_of_the_books(ledger: Ledger, command: Command) -> None:
    rows = command("risk", "limits", "--json").json
    codes = [row["code"] for row in rows]
    assert [code for code in dict.fromkeys(codes) if code in CODES] == [code for code in CODES if code in codes]
    used = {row["code"]: row for row in rows if row["code"] != "sector_limit"}
    snapshot = command("pnl", "--limit", "1", "--json").json[0]
    equity, orders = float(snapshot["equity"]), command("orders", "--limit", "500", "--json").json
    newest = [row for row in orders if row["session"] == snapshot["session"]]
    working = sum(float(row["quantity"]) * float(row["decision_price"]) for row in newest)
    gross = (float(snapshot["gross_exposure"]) + working) / equity
    assert used["gross_limit"]["value"] == pytest.approx(gross, abs=1e-5)
    assert used["buying_power"]["value"] == pytest.approx(gross, abs=1e-5)
    assert used["turnover_limit"]["value"] == pytest.approx(working / equity)
    assert used["order_limit"]["value"] == len(newest) == 1
    assert used["gross_limit"]["used"] == pytest.approx(gross, abs=1e-5)
    assert used["liquidity_limit"]["value"] is None, "closes only: no volume is known"
    assert sum(row["value"] for row in rows if row["code"] == "sector_limit") == pytest.approx(gross, abs=1e-5)
    positions = command("positions", "--json").json
    largest = max(positions, key=lambda row: abs(float(row["market_value"])))
    assert used["symbol_limit"]["about"] == largest["symbol"]
    assert used["symbol_limit"]["value"] == pytest.approx(float(largest["market_value"]) / equity)
    squares = used["concentration_limit"]["value"]
    assert squares >= sum((float(row["market_value"]) / equity) ** 2 for row in positions)


def test_the_thirteen_rules_in_their_order(ledger: Ledger, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = command("risk", "rules", "--json").json
    assert [row["rule"] for row in rows] == list(RULES)
    assert not any(row["enabled"] or row["value"] for row in rows)
    assert "No rule is enabled" in command("risk", "rules").out
    monkeypatch.setenv("QUANT_RISK__ACCOUNT_RULES__MAX_CONTRACTS__ENABLED", "true")
    monkeypatch.setenv("QUANT_RISK__ACCOUNT_RULES__MAX_CONTRACTS__LIMIT", "500")
    rows = {row["rule"]: row for row in command("risk", "rules", "--json").json}
    assert rows["max_contracts"]["enabled"] and rows["max_contracts"]["settings"]["limit"] == 500.0
    assert rows["session_block"]["value"] == {"open": True}, "as of the last second of the newest session"
    assert set(rows["trade_frequency"]["value"]) == {"day", "hour", "minute"}


def test_verdicts_with_their_codes_in_words(ledger: Ledger, command: Command) -> None:
    with ledger.write() as connection:
        connection.execute(
            update(risk_events)
            .where(risk_events.c.symbol == "PG")
            .values(outcome="rejected", approved_quantity=0, reasons=["cvar_breach", "daily_realised_loss"])
        )
    (row,) = command("risk", "verdicts", "--rejected", "--json").json
    assert (row["symbol"], row["because"]) == (
        "PG", [REASONS["cvar_breach"], "account rule: Daily realised loss"])  # fmt: skip
    assert {row["symbol"] for row in command("risk", "verdicts", "--symbol", "wmt", "--json").json} == {"WMT"}
    assert len(command("risk", "verdicts", "--session", "2022-12-28", "--json").json) == 1
    assert len(command("risk", "verdicts", "--limit", "2", "--json").json) == 2
    assert "2022-12-28   PG" in command("risk", "verdicts", "--limit", "1").out


# -- lockouts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators._SCRYPT, "n", 4)
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", ADA)
    operators.add(ledger, "ada", ADA)


def test_anybody_locks_and_an_operator_releases(
    ledger: Ledger, command: Command, operator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = command("risk", "lock", "ko", "--actor", "bo", "--reason", "rumours", "--json").json
    assert (locked["locked"], locked["until"]) == ("KO", None)
    identifier = locked["lockout_id"]
    (row,) = command("risk", "lockouts", "--json").json
    assert (row["lockout_id"], row["rule"], row["kind"], row["symbol"], row["reason"]) == (
        identifier, "manual_lockout", "lockout", "KO", "rumours")  # fmt: skip
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", "not the passphrase")
    refused = command("risk", "release", identifier[:8], *WHO)
    assert (refused.code, refused.err) == (4, "quant: 'ada' is no operator, or the passphrase is wrong\n")
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", ADA)
    assert command("risk", "release", identifier[:8], *WHO, "--json").json == {
        "lockout_id": identifier, "released": True}  # fmt: skip
    assert command("risk", "release", identifier, *WHO, "--json").json["released"] is False
    assert command("risk", "lockouts", "--json").json == []
    (past,) = command("risk", "lockouts", "--all", "--json").json
    assert (past["lockout_id"], past["released_by"]) == (identifier, "ada")


def test_the_whole_account_until_a_time(ledger: Ledger, command: Command) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    until = end.strftime("%Y-%m-%dT%H:%M:%S")
    locked = command("risk", "lock", "--until", until, *WHO, "--json").json
    assert locked["locked"] == "the whole account" and datetime.fromisoformat(locked["until"]) == end
    (row,) = command("risk", "lockouts", "--json").json
    assert row["symbol"] is None
    over = command("risk", "lock", "--until", "2022-01-01T00:00", *WHO)
    assert (over.code, "is over already" in over.err) == (2, True)
    unreadable = command("risk", "lock", "--until", "tomorrow", *WHO)
    assert (unreadable.code, "write it as 2024-05-01T20:00" in unreadable.err) == (2, True)
    unknown = command("risk", "lock", "NOPE", *WHO)
    assert (unknown.code, "neither held nor in universe 'us20'" in unknown.err) == (2, True)


def test_a_lockout_that_is_not_there_cannot_be_released(ledger: Ledger, command: Command, operator: None) -> None:
    missing = command("risk", "release", "abc", *WHO)
    assert (missing.code, "'quant risk lockouts --all' lists them" in missing.err) == (4, True)
    assert command("risk", "release", "", *WHO).code == 4
    for symbol in ("KO", "XOM"):
        command("risk", "lock", symbol, *WHO)
    ids = [row["lockout_id"] for row in command("risk", "lockouts", "--json").json]
    assert ids[0] != ids[1]


# -- actions ----------------------------------------------------------------------------------------------------------


def test_closing_one_position_is_an_order_that_only_reduces(ledger: Ledger, command: Command) -> None:
    size = held(ledger)["KO"]
    done = command("risk", "close", "ko", *WHO, "--json").json
    assert (done["made"], done["sent"], done["refused"]) == (1, 1, [])
    (action,) = done["working"]
    assert (action["kind"], action["symbol"], action["actor"], action["wants"], action["tried"]) == (
        "close_symbol", "KO", "ada", {"KO": "0"}, ["2022-12-28"])  # fmt: skip
    assert action_orders(command) == {"KO": size}
    again = command("risk", "act", "--json").json
    assert (again["made"], again["sent"]) == (0, 0), "until the market has moved on nothing more is ordered"
    (listed,) = command("risk", "actions", "--json").json
    assert (listed["state"], listed["reason"]) == ("working", "too much")
    assert "close_symbol" in command("risk", "actions").out


def test_halving_sells_half_of_every_position(ledger: Ledger, command: Command) -> None:
    before = held(ledger)
    assert command("risk", "halve", *WHO).code == 0
    assert action_orders(command) == {name: size - size // 2 for name, size in before.items()}


def test_tightened_stops_lie_at_their_distance(ledger: Ledger, command: Command) -> None:
    done = command("risk", "tighten-stops", "KO", *WHO, "--json").json
    (action,) = done["working"]
    price = float(next(row for row in command("positions", "--json").json if row["symbol"] == "KO")["price"])
    stop = float(action["wants"]["KO"].removeprefix("stop "))
    assert abs(stop - price * 0.98) < 0.02, "within two ticks"
    row = next(row for row in command("orders", "--limit", "500", "--json").json if row["origin"] == "action")
    assert (row["order_type"], float(row["stop_price"])) == ("stop", stop)


def test_what_is_not_held_cannot_be_closed(ledger: Ledger, command: Command) -> None:
    refused = command("risk", "close", "AAPL", *WHO)
    assert (refused.code, refused.err) == (4, "quant: nothing is held of AAPL: there is nothing to close_symbol\n")
    nameless = command("risk", "halve", "--actor", " ", "--reason", "x")
    assert (nameless.code, "--actor" in nameless.err) == (2, True)
    assert command("risk", "actions", "--json").json == []


def test_in_a_pause_an_action_is_written_down_and_waits(ledger: Ledger, command: Command) -> None:
    with ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="t", reason="r", at=ledger.now())
    shown = command("risk", "close", *WHO)
    assert shown.code == 0 and "The control mode is PAUSE: nothing is ordered" in shown.out
    assert action_orders(command) == {}
    assert len(command("risk", "actions", "--json").json) == 1


# -- watching ---------------------------------------------------------------------------------------------------------


def test_one_look_obeys_the_kill_file_flattens_and_tells(ledger: Ledger, command: Command, replayed_home: Path) -> None:
    quiet = command("risk", "watch", "--once", "--json").json
    assert (quiet["kill"], quiet["panic"], quiet["mode"], quiet["made"]) == ([], [], "NORMAL", 0)
    engage(replayed_home / "KILL", actor="ada", reason="smoke", at=datetime.now(UTC))
    before = held(ledger)
    seen = command("risk", "watch", "--json").json
    assert seen["mode"] == "EMERGENCY" and "smoke" in seen["kill"][0]
    assert (seen["made"], seen["sent"], seen["withdrawn"]) == (len(before), len(before), 1)
    assert action_orders(command) == before
    status = command("status", "--json").json
    assert (status["control_mode"], "kill_file" in status["control_codes"]) == ("EMERGENCY", True)
    alerts = {row["alert_key"] for row in ledger.frame("alerts").to_dicts()}
    assert "control:1" in alerts and any(key.startswith("risk_action:") for key in alerts)


def test_watching_goes_on_beats_and_outlives_a_failing_look(
    ledger: Ledger, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[tuple[str, str]] = []

    def sleep(seconds: float) -> None:
        assert seconds == 7.0
        row = ledger.frame("heartbeats").row(0, named=True)
        beats.append((row["name"], row["state"]))
        with ledger.write() as connection:
            if len(beats) == 1:
                connection.exec_driver_sql(
                    "INSERT INTO control_state (sequence, mode, actor, automatic, reason, recorded_at) "
                    "VALUES (1, 'SIESTA', 'x', 0, 'r', '2022-01-01 00:00:00.000000')"
                )
            elif len(beats) == 2:
                connection.exec_driver_sql("DELETE FROM control_state")
            else:
                raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    answer = command("risk", "watch", "--every", "7")
    assert answer.code == 130
    assert beats == [("risk_watch", "ok"), ("risk_watch", "failing"), ("risk_watch", "ok")]
    assert "control mode 'SIESTA' in the ledger is unknown" in " ".join(answer.err.split())


def test_once_and_every_exclude_each_other(command: Command) -> None:
    refused = command("risk", "watch", "--once", "--every", "5")
    assert (refused.code, "exclude each other" in refused.err) == (2, True)


def test_a_desk_without_a_cycle_can_be_watched(command: Command, quant_home: Path) -> None:
    seen = command("risk", "watch", "--json").json
    assert (seen["acted"], seen["alerts_sent"]) == ("nothing was ever held", 0)
    assert json.dumps(seen["kill"]) == "[]"
    ledger = open_ledger(quant_home)
    assert ledger.frame(heartbeats.name).height == 0, "one look is no watch"

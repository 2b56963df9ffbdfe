"""Commands that look: JSON that parses and agrees with the ledger, and verification that finds one changed byte."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.observability import audit
from quant_dagster.storage.lake import Lake
from tests.support import replays
from tests.support.replays import Command

ROWS = {
    ("decisions", "--limit", "100"): 60,
    ("decisions", "--session", "2022-12-28"): 20,
    ("decisions", "--symbols", "msft"): 3,
    ("orders", "--limit", "100"): 15,
    ("positions", "--session", "2022-12-23"): 0,
    ("pnl",): 3,
    ("pnl", "--limit", "2"): 2,
    ("lake", "tables"): 15,
    ("decisions", "--limit", "100", "--as-known-on", "2022-12-27"): 40,
    ("fills", "--limit", "100", "--as-known-on", "2022-12-23"): 0,
    ("orders", "--limit", "100", "--as-known-on", "2022-12-23"): 12,
    ("pnl", "--as-known-on", "2022-12-27"): 2,
    ("positions", "--as-known-on", "2022-12-23"): 0,
    ("data", "bars", "AAPL", "--limit", "7"): 7,
    ("data", "raw", "AAPL", "--start", "2022-12-27"): 2,
    ("data", "quality", "--below", "1.1", "--start", "2022-12-28"): 20,
    ("data", "rejected"): 0,
    ("data", "progress"): 20,
    ("data", "instruments", "--symbols", "KO,XOM"): 2,
    ("data", "breaks"): 0,
    ("data", "restatements"): 0,
    ("data", "quarantine"): 0,
    ("vendors", "status"): 2,
    ("lake", "history", "forecasts"): 4,
}


@pytest.mark.parametrize("arguments", ROWS)
def test_json_is_one_document_with_every_row(replayed_home: Path, command: Command, arguments: tuple[str, ...]) -> None:
    answer = command(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert len(answer.json) == ROWS[arguments]
    shown = command(*arguments)
    assert shown.code == 0
    assert shown.out.strip()


@pytest.mark.parametrize("arguments", [["status"], ["control", "show"], ["ledger", "check"], ["verify", "ledger"],
                                       ["verify", "audit"], ["verify", "symbols", "AAPL,MSFT"],
                                       ["verify", "backfill", "--min-sessions", "1000"]])  # fmt: skip
def test_facts_are_json_too(replayed_home: Path, command: Command, arguments: list[str]) -> None:
    answer = command(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json
    assert command(*arguments).code == 0


def test_stored_data_keeps_its_contracts_and_a_broken_row_is_found(replayed_home: Path, command: Command) -> None:
    good = command("verify", "data", "--json")
    assert good.code == 0, good.err
    assert {row["table"] for row in good.json["contracts"]} >= {"raw_prices", "bars", "quality", "forecasts"}
    assert all(row["kept"] for row in good.json["contracts"])
    lake = Lake(replayed_home / "lake")
    lake.merge("bars", lake.read("bars").tail(1).with_columns(-pl.col("close")))
    bad = command("verify", "data", "--json")
    assert bad.code == 1
    assert [row["table"] for row in bad.json["contracts"] if not row["kept"]] == ["bars"]
    assert "close_is_positive" in [one["name"] for one in bad.json["unmet"]]


def test_orders_are_shown_as_they_stood(replayed_home: Path, command: Command) -> None:
    """What was decided on Friday was filled on Tuesday: on Friday evening it was only accepted."""
    friday = command("orders", "--limit", "100", "--as-known-on", "2022-12-23", "--json").json
    tuesday = command("orders", "--limit", "100", "--as-known-on", "2022-12-27", "--json").json
    assert {order["status"] for order in friday} == {"accepted"}
    filled = [order for order in tuesday if order["session"] == "2022-12-23"]
    assert {order["status"] for order in filled} == {"filled"}
    now = command("orders", "--limit", "100", "--json").json
    last = command("orders", "--limit", "100", "--as-known-on", "2022-12-28", "--json").json
    assert [order["status"] for order in last] == [order["status"] for order in now]


def test_status_knows_nothing_of_later_sessions(replayed_home: Path, command: Command) -> None:
    status = command("status", "--as-known-on", "2022-12-27", "--json").json
    assert (status["newest_cycle"], status["bars_newest"]) == ("2022-12-27", "2022-12-27")
    assert status["counts"]["cycles"] == 2


def test_metrics_are_prometheus_text_and_no_substitute_was_served(replayed_home: Path, command: Command) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    answer = command("metrics")
    assert answer.code == 0
    families = {family.name: family for family in text_string_to_metric_families(answer.out)}
    assert [sample.value for sample in families["substitute_prices_served"].samples] == [0.0]
    assert len(families["quality_score"].samples) == 20
    assert sum(sample.value for sample in families["price_history_rows"].samples) > 20_000
    assert all(sample.value >= 0 for sample in families["data_missing_days"].samples)
    assert {"vendor_active", "breaker_state", "vendor_health_score", "quarantined_symbols"} <= families.keys()


def test_a_symbol_placed_under_quarantine_is_listed_and_released_by_a_person(
    replayed_home: Path, command: Command
) -> None:
    who = ("--actor", "ada", "--reason", "looked at it")
    assert command("data", "quarantine", "--place", "KO", *who).code == 0
    (row,) = command("data", "quarantine", "--json").json
    assert (row["symbol"], row["released_by"]) == ("KO", None)
    assert command("data", "quarantine", "--release", "KO", *who).code == 0
    (row,) = command("data", "quarantine", "--json").json
    assert row["released_by"] == "ada"
    assert command("verify", "audit").code == 0


def test_a_breaker_opened_by_hand_stops_every_vendor_until_it_is_closed(replayed_home: Path, command: Command) -> None:
    who = ("--actor", "ada", "--reason", "exchange is down")
    assert command("vendors", "breaker", "network", "open", *who).code == 0
    assert 'breaker_state{name="network"} 2.0' in command("metrics").out
    assert command("vendors", "breaker", "network", "closed", *who).code == 0
    assert 'breaker_state{name="network"} 0.0' in command("metrics").out


def test_the_change_feed_says_what_a_version_brought(replayed_home: Path, command: Command) -> None:
    answer = command("lake", "changes", "forecasts", "--since", "2", "--json").json
    assert answer["counts"] == [{"change": "inserted", "changed_columns": "", "rows": 360}]
    assert {row["session"] for row in answer["rows"]} == {"2022-12-28"}


def test_status_is_what_the_ledger_says(replayed_home: Path, command: Command) -> None:
    status = command("status", "--json").json
    equity = command("pnl", "--json").json[-1]["equity"]
    assert status["newest_cycle"] == "2022-12-28"
    assert status["equity"] == equity
    assert status["counts"] == {"cycles": 3, "decisions": 60, "orders": 15, "fills": 14}
    assert status["control_mode"] == "NORMAL"


def test_looking_changes_nothing(replayed_home: Path, command: Command) -> None:
    def content() -> tuple[Any, ...]:
        ledger = replays.ledger_rows(replays.open_ledger(replayed_home), without=())
        return ledger, replays.lake_versions(replayed_home), replays.broker_book(replayed_home)

    before = content()
    for arguments in (*ROWS, ("status",), ("verify", "ledger"), ("verify", "audit"), ("control", "show")):
        command(*arguments)
    assert content() == before


def test_the_lineage_of_a_fill_reaches_the_vendors_row(replayed_home: Path, command: Command) -> None:
    fill = command("fills", "--json").json[0]
    found = command("lineage", fill["execution_id"][:12], "--json").json
    raw = replays.lake_rows(replayed_home)["raw_prices"]
    for name in ("fill_bar", "decision_bar"):
        (row,) = found[name]["raw_prices"]
        assert row["row_hash"] in raw["row_hash"].to_list()
    assert found["forecasts"] and found["signals"]
    assert len(found["cycle"]["settings_hash"]) == 16
    shown = command("lineage", fill["execution_id"])
    assert shown.code == 0
    for said in ("vendor row", "forecast combined", "settings " + found["cycle"]["settings_hash"], "risk gate:"):
        assert said in " ".join(shown.out.split()), said


def test_backfill_verification_fails_when_there_is_too_little(replayed_home: Path, command: Command) -> None:
    assert command("verify", "backfill", "--min-sessions", "5000").code == 1
    assert command("verify", "backfill", "--min-symbols", "21", "--min-sessions", "10").code == 1


def test_control_mode_is_set_by_a_person_and_kept(replayed_home: Path, command: Command) -> None:
    assert command("control", "set", "pause", "--actor", "ada", "--reason", "lunch").code == 0
    shown = command("control", "show", "--json").json
    assert (shown["mode"], shown["actor"], shown["reason"]) == ("PAUSE", "ada", "lunch")
    assert command("verify", "audit").code == 0


COLUMNS = ("event_key", "session", "action", "actor", "payload", "recorded_at", "previous_hash", "hash")


def test_one_changed_byte_in_any_audit_row_is_found_and_the_row_named(replayed_home: Path, command: Command) -> None:
    """Every row, a column each in turn: the last character of what is stored is replaced by another.

    Every row is checked by what the command calls, every tenth by the command.
    """
    ledger = replays.open_ledger(replayed_home)
    assert command("verify", "audit").code == 0
    book = sqlite3.connect(replayed_home / "ledger.db", isolation_level=None)
    count = book.execute("SELECT count(*) FROM audit_log").fetchone()[0]
    assert count > 80
    tampered = 0
    for sequence in range(1, count + 1):
        column = COLUMNS[sequence % len(COLUMNS)]
        (value,) = book.execute(f"SELECT {column} FROM audit_log WHERE sequence = {sequence}").fetchone()
        if value is None:
            continue
        digit = column in ("session", "recorded_at")
        changed = value[:-1] + (("1" if value[-1] != "1" else "2") if digit else "!")
        book.execute(f"UPDATE audit_log SET {column} = ? WHERE sequence = {sequence}", (changed,))
        problems = audit.verify(ledger).problems
        found = [problem for problem in problems if f"audit row {sequence} " in problem]
        assert found, f"row {sequence}, {column}: {value!r} -> {changed!r} was not noticed"
        if sequence % 10 == 0:
            answer = command("verify", "audit", "--json")
            assert (answer.code, answer.json["problems"]) == (1, list(problems))
        book.execute(f"UPDATE audit_log SET {column} = ? WHERE sequence = {sequence}", (value,))
        tampered += 1
    assert tampered > 0.8 * count
    assert command("verify", "audit").code == 0
    book.close()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_byte_that_makes_a_value_unreadable_is_a_failed_verification(
    replayed_home: Path, command: Command, column: str
) -> None:
    with sqlite3.connect(replayed_home / "ledger.db") as book:
        changed = f"UPDATE audit_log SET {column} = 'é' || substr({column}, 2) WHERE sequence = 7"
        assert book.execute(changed).rowcount == 1
    answer = command("verify", "audit", "--json")
    assert (answer.code, answer.err) == (1, "")
    assert any(problem.startswith("audit row 7 ") for problem in answer.json["problems"])


def test_a_cut_off_tail_of_the_audit_log_is_found(replayed_home: Path, command: Command) -> None:
    with sqlite3.connect(replayed_home / "ledger.db") as book:
        book.execute("DELETE FROM audit_log WHERE sequence > (SELECT max(sequence) - 10 FROM audit_log)")
    answer = command("verify", "audit")
    assert answer.code == 1


@pytest.mark.parametrize(
    "statement",
    ["UPDATE fills SET price = price + 1 WHERE sequence = 1", "UPDATE postings SET amount = amount + 1 WHERE rowid = 3",
     "UPDATE orders SET status = 'expired' WHERE rowid = 1", "DELETE FROM positions WHERE rowid = 1"],
)  # fmt: skip
def test_a_tampered_ledger_fails_verification(replayed_home: Path, command: Command, statement: str) -> None:
    assert command("verify", "ledger").code == 0
    with sqlite3.connect(replayed_home / "ledger.db") as book:
        assert book.execute(statement).rowcount == 1
    answer = command("verify", "ledger", "--json")
    assert answer.code == 1
    assert answer.json["problems"]


def test_a_symbol_is_found_however_it_is_written(replayed_home: Path, command: Command) -> None:
    assert command("data", "bars", "aapl", "--json").json == command("data", "bars", "AAPL", "--json").json != []


def test_a_symbol_the_lake_has_nothing_of_is_said_to_have_none_and_how_to_load_it(
    replayed_home: Path, command: Command
) -> None:
    answer = command("data", "bars", "nope", "--json")
    assert (answer.code, answer.json) == (0, [])
    assert answer.err == "no bars of NOPE in the lake: 'quant backfill' loads what the universe names\n"
    assert command("data", "bars", "AAPL", "--start", "2030-01-02", "--json").err == "", "it has others"


def test_status_shows_no_row_without_a_value(replayed_home: Path, command: Command) -> None:
    shown, facts = command("status").out, command("status", "--json").json
    assert (facts["as_known_on"], facts["control_codes"]) == (None, [])
    assert "as known on" not in shown
    assert "control codes" not in shown
    assert "control mode" in shown


def test_a_refused_row_is_shown_with_its_file_its_number_and_what_was_found(
    quant_home: Path, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "symbol,date,open,high,low,close,volume\nAAPL,2020-01-02,1,2,0.5,abc,9\nKO,2020-01-03,1,2,0.5,-1,9\n"
        "AAPL,2020-01-03,1,2,0.5,1.5,9\n"
    )
    loaded = command("backfill", "--vendor", "files", "--path", str(path))
    assert loaded.code == 0 and "'quant data rejected' says which and why" in loaded.err
    rows = command("data", "rejected", "--json").json
    assert (rows[0]["row"], rows[0]["symbol"], rows[0]["reason"]) == (1, "AAPL", "not_a_number")
    assert rows[0]["detail"] == "close is 'abc'" and rows[0]["source"] == "prices.csv" and len(rows) == 2
    assert [row["symbol"] for row in command("data", "rejected", "--symbols", "ko", "--json").json] == ["KO"]
    assert len(command("data", "rejected", "--reason", "not_a_number", "--json").json) == 1

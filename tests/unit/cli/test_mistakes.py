"""Wrong usage is one line on standard error and an exit code, never a traceback."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from tests.support import replays
from tests.support.replays import Command

MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "a date in another form": (["cycle", "--session", "28.12.2022"], 2, ["--session '28.12.2022'", "YYYY-MM-DD"]),
    "a date that does not exist": (["backfill", "--end", "2022-02-30"], 2, ["--end '2022-02-30'", "YYYY-MM-DD"]),
    "an unknown symbol": (["cycle", "--symbols", "AAPL,NOPE"], 2, ["has no NOPE", "it has: AAPL"]),
    "no symbol": (["cycle", "--symbols", ","], 2, ["names no symbol"]),
    "an unknown universe": (["backfill", "--universe", "mars"], 2, ["unknown universe 'mars'", "known: ", "us20"]),
    "an unknown vendor": (["backfill", "--vendor", "reuter"], 2, ["reuter", "embedded"]),
    "an unknown mode": (["cycle", "--mode", "swift"], 2, ["command line", "'mode' = 'swift'", "'paper'"]),
    "real money on the paper broker": (["cycle", "--mode", "live"], 2, ["execution.broker", "'paper'"]),
    "an unknown action": (["decisions", "--action", "MAYBE"], 2, ["'MAYBE'", "BUY, SELL, HOLD, REJECT"]),
    "an unknown control mode": (
        ["control", "set", "LOUD", "--actor", "ada", "--reason", "x"], 2, ["'LOUD'", "NORMAL, PAUSE"]),
    "nobody's control mode": (["control", "set", "PAUSE", "--actor", " ", "--reason", "x"], 4, ["--actor"]),
    "an unknown fill": (["lineage", "nothing"], 5, ["there is no fill 'nothing'", "quant fills"]),
    "a day of knowledge that is no date": (["orders", "--as-known-on", "soon"], 2, ["--as-known-on 'soon'"]),
    "a source without a path": (["backfill", "--source", "yahoo"], 2, ["--source 'yahoo'", "NAME=PATH"]),
    "a version that is not there": (["lake", "changes", "bars", "--since", "99"], 1, ["99", "earlier version"]),
    "a release without a person": (["data", "quarantine", "--release", "KO"], 2, ["--actor", "--reason"]),
    "a release of what is free": (
        ["data", "quarantine", "--release", "KO", "--actor", "ada", "--reason", "x"], 2,
        ["KO is not under quarantine"]),
    "an unknown state of loading": (["data", "progress", "--state", "lost"], 2, ["'lost'", "landed, stored"]),
    "an unknown breaker": (
        ["vendors", "breaker", "yfinance", "open", "--actor", "a", "--reason", "x"], 2,
        ["'yfinance'", "vendor:yfinance"]),
    "a breaker half closed": (
        ["vendors", "breaker", "network", "ajar", "--actor", "a", "--reason", "x"], 2, ["'ajar'"]),
    "a vendor of another universe": (
        ["vendors", "switch", "kraken", "--actor", "a", "--reason", "x"], 2, ["'kraken'", "embedded"]),
    "a fill nobody knew of yet": (
        ["lineage", "0", "--as-known-on", "2022-01-03"], 5, ["fill"]),
    "more sessions than there are": (["replay", "--sessions", "100000"], 2, ["100000 sessions", "history_start"]),
    "a market of no vendor": (["gateway", "simulate", "--vendor", "reuter"], 2, ["'reuter'", "embedded_bokeh"]),
    "two markets": (
        ["gateway", "simulate", "--vendor", "embedded", "--bars", "x.parquet"], 2, ["--bars", "--vendor"]),
    "closes are no market": (["gateway", "simulate", "--vendor", "embedded"], 3, ["no open, high, low", "--bars"]),
    "an unknown table": (["lake", "history", "nothing"], 1, ["nothing", "raw_prices"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(replayed_home: Path, command: Command, mistake: str) -> None:
    arguments, code, said = MISTAKES[mistake]
    before = replays.ledger_rows(replays.open_ledger(replayed_home), without=())
    answer = command(*arguments)
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert answer.err.startswith("quant: ") and answer.err.count("\n") == 1, answer.err
    assert all(part in answer.err for part in said), answer.err
    assert replays.ledger_rows(replays.open_ledger(replayed_home), without=()) == before


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["decisions"], ["orders"], ["fills"], ["positions"], ["pnl"], ["lineage", "x"], ["verify", "ledger"],
     ["verify", "audit"], ["control", "show"], ["report"]],
)  # fmt: skip
def test_a_ledger_that_is_not_there_says_how_to_make_it(
    quant_home: Path, command: Command, arguments: list[str]
) -> None:
    answer = command(*arguments)
    assert (answer.code, answer.out) == (5, "")
    assert "run 'quant ledger upgrade'" in answer.err and answer.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["ledger", "check"], ["ledger", "check", "--json"]])
def test_checking_a_ledger_that_is_not_there_fails(quant_home: Path, command: Command, arguments: list[str]) -> None:
    assert command(*arguments).code == 1
    assert command("ledger", "upgrade").code == 0
    assert command(*arguments).code == 0


def test_a_ledger_of_another_revision_is_refused(replayed_home: Path, command: Command) -> None:
    with sqlite3.connect(replayed_home / "ledger.db") as book:
        book.execute("UPDATE alembic_version SET version_num = '9999'")
    answer = command("status")
    assert (answer.code, answer.err.count("\n")) == (5, 1)
    assert "9999" in answer.err


@pytest.mark.parametrize("url", ["mysql://me:hunter2@host/db", "not a url", "postgresql://me:hunter2@127.0.0.1:1/db"])
def test_a_ledger_address_that_does_not_work_is_said_without_its_password(
    quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("QUANT_STORAGE__LEDGER_URL", url)
    answer = command("status")
    assert (answer.code, answer.out) == (5, "")
    assert "Traceback" not in answer.err
    assert "hunter2" not in answer.err


def test_a_file_that_is_no_ledger_is_said(quant_home: Path, command: Command) -> None:
    quant_home.mkdir()
    (quant_home / "ledger.db").write_bytes(b"this is not a database, whatever its name may say " * 50)
    answer = command("status")
    assert (answer.code, answer.out) == (5, "")
    assert "Traceback" not in answer.err


def test_unknown_options_and_commands_are_wrong_usage(quant_home: Path, command: Command) -> None:
    for arguments in (["cycle", "--sesion", "2022-12-28"], ["cylce"], ["replay", "--sessions", "0"], ["lineage"]):
        answer = command(*arguments)
        assert answer.code == 2, arguments
        assert "Traceback" not in answer.err


def test_a_bad_setting_is_wrong_usage(quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_RISK__CVAR_LIMT", "1")
    answer = command("status")
    assert answer.code == 2
    assert "did you mean 'cvar_limit'?" in answer.err


@pytest.mark.parametrize("arguments", [["status"], ["replay"], ["backfill"]])
def test_a_home_that_is_no_folder_is_wrong_usage(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "file"))
    answer = command(*arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"QUANT_HOME {tmp_path / 'file'} cannot be used" in answer.err


def test_a_port_in_use_is_wrong_usage(replayed_home: Path, command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = command("metrics", "--serve", port)
    assert (answer.code, answer.out) == (2, "") and f"127.0.0.1:{port} cannot be listened on" in answer.err


def test_the_real_process_ends_with_the_same_code_and_line(tmp_path: Path) -> None:
    done = replays.quant("decisions", "--action", "MAYBE", home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("quant: --action 'MAYBE' is unknown")

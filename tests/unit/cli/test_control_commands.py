"""``quant control``, ``kill``, ``operators`` and ``kill-switch``, and the server of ``quant control serve``."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import typer
from fastapi.testclient import TestClient

from quant_dagster.cli.control_api import control_api
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlMode, read_mode
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger import Ledger
from tests.support.replays import PROJECT, Command, environment, open_ledger

ADA, BO = "correct horse battery", "another long passphrase"


@pytest.fixture
def as_ada(monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Ada is the operator, and her passphrase is in the environment."""
    monkeypatch.setitem(operators._SCRYPT, "n", 4)
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", ADA)
    assert command("operators", "add", "ada").out == "ada is an operator.\n"
    return command


def says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input that is no terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_new_desk_is_normal(command: Command) -> None:
    assert command("ledger", "upgrade").code == 0
    shown = command("control", "show", "--json").json
    assert shown == {"mode": "NORMAL", "actor": "initial", "reason": "no mode was ever set", "since": None,
                     "effective": "NORMAL", "codes": [], "because": []}  # fmt: skip


def test_stopping_needs_a_name_and_starting_a_passphrase(as_ada: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANT_OPERATOR_PASSPHRASE")
    assert as_ada("control", "set", "reduce", "--actor", "bo", "--reason", "smoke").code == 0
    order = ("control", "set", "NORMAL", "--actor", "ada", "--reason", "aired", "--json")
    says(monkeypatch, "")
    refused = as_ada(*order)
    assert refused.code == 4
    assert "nobody is there to ask; set QUANT_OPERATOR_PASSPHRASE or write it to standard input" in refused.err
    says(monkeypatch, "wrong\n")
    refused = as_ada(*order)
    assert refused.code == 4
    assert refused.err == "quant: 'ada' is no operator, or the passphrase is wrong\n"
    says(monkeypatch, ADA + "\n")
    shown = as_ada(*order).json
    assert (shown["mode"], shown["actor"], shown["reason"], shown["effective"]) == ("NORMAL", "ada", "aired", "NORMAL")
    changes = as_ada("control", "history", "--json").json
    assert [(row["previous"], row["mode"], row["actor"]) for row in changes] == [
        ("REDUCE", "NORMAL", "ada"), ("NORMAL", "REDUCE", "bo")]  # fmt: skip
    assert len(as_ada("control", "history", "--limit", "1", "--json").json) == 1


def test_where_there_is_no_operator_nobody_is_asked_for_a_passphrase(command: Command) -> None:
    assert command("control", "set", "REDUCE", "--actor", "ann", "--reason", "x").code == 0
    refused = command("control", "set", "NORMAL", "--actor", "ann", "--reason", "x")
    assert refused.code == 4 and "there is none yet: 'quant operators add NAME'" in refused.err


def test_a_person_at_a_terminal_is_asked_without_echo(as_ada: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANT_OPERATOR_PASSPHRASE")
    as_ada("control", "set", "PAUSE", "--actor", "ada", "--reason", "x")
    asked = []

    def prompt(text: str, **options: object) -> str:
        asked.append((text, options))
        return {"Passphrase of ada": ADA, "New passphrase of bo": BO}[text]

    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(typer, "prompt", prompt)
    assert as_ada("control", "set", "NORMAL", "--actor", "ada", "--reason", "x").code == 0
    assert as_ada("operators", "add", "bo", "--by", "ada").code == 0
    hidden = {"hide_input": True, "confirmation_prompt": False, "err": True}
    assert asked == [
        ("Passphrase of ada", hidden),
        ("Passphrase of ada", hidden),
        ("New passphrase of bo", hidden | {"confirmation_prompt": True}),
    ]


def test_operators_come_and_go(as_ada: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = as_ada("operators", "add", "bo")
    assert (refused.code, "one of: ada" in refused.err) == (4, True)
    says(monkeypatch, BO + "\n")
    assert as_ada("operators", "add", "bo", "--by", "ada").code == 0
    assert as_ada("operators", "revoke", "bo", "--by", "ada").out == "bo is no operator any more.\n"
    rows = as_ada("operators", "list", "--json").json
    assert [(row["name"], row["added_by"], row["revoked_at"] is None) for row in rows] == [
        ("ada", "ada", True), ("bo", "ada", False)]  # fmt: skip
    assert not any("verifier" in row or "salt" in row for row in rows)
    assert as_ada("operators", "revoke", "ada", "--by", "ada").code == 4


def test_a_passphrase_is_never_an_option(command: Command) -> None:
    for arguments in (("control", "set"), ("operators", "add"), ("operators", "revoke")):
        assert "--pass" not in command(*arguments, "--help").out


def test_a_killed_desk_comes_back_in_steps(as_ada: Command, quant_home: Path) -> None:
    killed = as_ada("kill", "--actor", "bo", "--reason", "smoke", "--json").json
    assert killed == {"killed": True, "file": str(quant_home / "KILL")}
    assert as_ada("kill", "--json").json == killed
    shown = as_ada("control", "show", "--json").json
    assert (shown["mode"], shown["actor"], shown["codes"]) == ("EMERGENCY", "bo", ["control_emergency", "kill_file"])
    status = as_ada("kill-switch", "status", "--json")
    assert (status.code, status.json["killed"]) == (1, True)
    assert status.json["conditions"][0].startswith(f"kill file {quant_home}/KILL: bo: smoke (")
    order = ("--actor", "ada", "--reason", "aired")
    refused = as_ada("control", "set", "PAUSE", *order)
    assert (refused.code, "while a kill condition holds: kill file" in refused.err) == (4, True)
    (quant_home / "KILL").unlink()
    refused = as_ada("control", "set", "NORMAL", *order)
    assert (refused.code, "goes to PAUSE or REDUCE, not NORMAL" in refused.err) == (4, True)
    assert as_ada("control", "set", "PAUSE", *order).code == 0
    assert as_ada("control", "set", "NORMAL", *order).code == 0
    status = as_ada("kill-switch", "status", "--json")
    assert (status.code, status.json["killed"], status.json["heartbeats"]) == (0, False, {})
    assert as_ada("verify", "audit").code == 0


def test_a_fresh_desk_can_be_killed(command: Command, quant_home: Path) -> None:
    assert command("kill").code == 0
    assert "unnamed: no reason given" in (quant_home / "KILL").read_text()
    assert command("control", "show", "--json").json["mode"] == "EMERGENCY"


def test_a_desk_whose_ledger_is_broken_can_be_killed(command: Command, quant_home: Path) -> None:
    quant_home.mkdir()
    (quant_home / "ledger.db").write_text("no database, but long enough to be taken for one " * 50)
    killed = command("kill", "--actor", "ada", "--reason", "smoke")
    assert killed.code == 1
    assert "trading is killed all the same" in killed.err
    assert (quant_home / "KILL").exists()


def test_a_machine_without_pins_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    refused = command("kill-switch", "run")
    assert (refused.code, "GPIO pins 17 (button), 22 (tamper line) and 27 (lamp)" in refused.err) == (2, True)


def test_the_hardware_switch_beats_and_ends_on_sigterm(quant_home: Path) -> None:
    """The real command on mock pins, where nothing holds the tamper line: it kills, and says why, until it is ended."""
    settings = {"GPIOZERO_PIN_FACTORY": "mock", "QUANT_RISK__KILL_SWITCH__HARDWARE": "true"}
    process = subprocess.Popen(
        [sys.executable, "-m", "quant_dagster.cli.main", "kill-switch", "run"],
        env=environment(quant_home, settings), cwd=PROJECT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        ledger = open_ledger(quant_home)
        for _ in range(1200):
            if (quant_home / "KILL").exists() and read_mode(ledger).mode is ControlMode.EMERGENCY:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert read_mode(ledger).reason == "the tamper line is open"


# -- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(as_ada: Command, quant_home: Path):
    settings = load_settings()
    ledger = Ledger(settings.ledger_url)
    with TestClient(control_api(ledger, settings)) as client:
        yield client
    ledger.close()


def test_the_server_says_what_is_allowed(api: TestClient) -> None:
    answer = api.get("/control")
    assert (answer.status_code, answer.json()["mode"], answer.json()["effective"]) == (200, "NORMAL", "NORMAL")


def test_anybody_stops_and_only_an_operator_starts(api: TestClient, quant_home: Path) -> None:
    assert api.post("/kill", json={"actor": "bo", "reason": "smoke"}).json() == {"killed": True, "new": True}
    state = api.get("/control").json()
    assert (state["mode"], state["actor"], state["codes"]) == ("EMERGENCY", "bo", ["control_emergency", "kill_file"])
    order = {"mode": "pause", "actor": "ada", "reason": "aired"}
    (quant_home / "KILL").unlink()
    for passphrase, said in (
        (None, "takes an operator's passphrase"),
        ("", "takes an operator's passphrase"),
        ("wrong", "'ada' is no operator, or the passphrase is wrong"),
    ):
        answer = api.post("/control", json=order | {"passphrase": passphrase})
        assert (answer.status_code, said in answer.json()["error"]) == (403, True), answer.json()
    answer = api.post("/control", json=order | {"passphrase": ADA})
    assert (answer.status_code, answer.json()["mode"], answer.json()["effective"]) == (200, "PAUSE", "PAUSE")
    answer = api.post("/control", json={"mode": "REDUCE", "actor": "bo", "reason": "smoke again"})
    assert (answer.status_code, answer.json()["mode"]) == (200, "REDUCE")


def test_an_empty_order_kills_and_what_a_web_page_could_send_does_not(api: TestClient, quant_home: Path) -> None:
    for request in ({}, {"content": "{}", "headers": {"content-type": "text/plain"}}, {"data": {"actor": "x"}}):
        answer = api.post("/kill", **request)
        assert (answer.status_code, "cannot be understood" in answer.json()["error"]) == (422, True)
    assert not (quant_home / "KILL").exists()
    assert api.post("/kill", json={}).json() == {"killed": True, "new": True}
    assert (quant_home / "KILL").read_text().startswith("unnamed: no reason given (")


def test_what_is_not_understood_is_said_without_the_passphrase(api: TestClient) -> None:
    answer = api.post("/control", json={"actor": "ada", "passphrase": ADA})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "the request cannot be understood: body.mode: Field required; body.reason: Field required"
    }
    answer = api.post("/control", json={"mode": "LOUD", "actor": "ada", "reason": "x"})
    assert (answer.status_code, "'LOUD' is unknown; choose from NORMAL, PAUSE" in answer.json()["error"]) == (422, True)


def test_what_cannot_be_done_is_said(api: TestClient, quant_home: Path) -> None:
    (quant_home / "ledger.db").unlink()
    for name in os.listdir(quant_home):
        if name.startswith("ledger.db-"):
            (quant_home / name).unlink()
    settings = load_settings()
    with TestClient(control_api(Ledger(settings.ledger_url), settings)) as fresh:
        answer = fresh.get("/control")
        assert (answer.status_code, "no new orders" in answer.json()["error"]) == (503, True)
        answer = fresh.post("/kill", json={})
        assert (answer.status_code, "trading is killed all the same" in answer.json()["error"]) == (503, True)


def test_the_command_serves_until_interrupted(quant_home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "quant_dagster.cli.main", "control", "serve", "--port", str(port)],
        env=environment(quant_home), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        answer = None
        for _ in range(600):
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}/kill", json={"actor": "bo", "reason": "smoke"})
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert answer is not None and answer.json() == {"killed": True, "new": True}, err
    assert f"curl -s http://127.0.0.1:{port}/kill" in out
    assert read_mode(open_ledger(quant_home)).actor == "bo"

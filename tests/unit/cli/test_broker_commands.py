"""``quant broker``: what does not agree is found, shown, and concluded by a person who proves who it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from quant_dagster.accounting import books
from quant_dagster.cycle.handover import DAEMON
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.lease import broker_lease
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlMode, read_mode
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger import Ledger
from tests.support.replays import Command, open_ledger

ADA = "correct horse battery"
WHO = ("--actor", "ada", "--reason", "the broker is right")


@pytest.fixture
def ledger(replayed_home: Path) -> Ledger:
    return open_ledger(replayed_home)


@pytest.fixture
def operator(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators._SCRYPT, "n", 4)
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", ADA)
    operators.add(ledger, "ada", ADA)


def at_the_broker(home: Path, *statements: str) -> None:
    """The paper broker's own book is another than ours from here on."""
    with sqlite3.connect(home / "paper_broker.db") as book:
        for statement in statements:
            assert book.execute(statement).rowcount == 1, statement
    book.close()


def one_more_share(home: Path) -> None:
    at_the_broker(home, "UPDATE positions SET quantity = '145' WHERE symbol = 'KO'")


def a_fill_less(home: Path) -> None:
    at_the_broker(home, "DELETE FROM executions WHERE content LIKE '%\"XOM\"%'")


def open_break(command: Command, kind: str) -> dict[str, str]:
    (found,) = [row for row in command("broker", "breaks", "--json").json if row["kind"] == kind]
    return found


# -- agreement --------------------------------------------------------------------------------------------------------


def test_after_a_replay_everything_agrees(ledger: Ledger, command: Command) -> None:
    done = command("broker", "reconcile", "--json")
    assert done.code == 0
    said = done.json
    with ledger.read() as connection:
        held = [one for one in books.balances(connection).holdings.values() if one.quantity]
        count = len(books.fills_of(connection))
    assert (said["agrees"], said["open"], said["session"]) == (True, [], "2022-12-28")
    assert (said["compared_positions"], said["compared_fills"], said["compared_cash"]) == (len(held), count, 1)
    assert command("broker", "breaks", "--all", "--json").json == []
    assert "Compared last: 2" in command("broker", "breaks").out


# -- a break and what a person does about it --------------------------------------------------------------------------


def test_a_position_that_differs_is_a_break_until_it_is_balanced(
    ledger: Ledger, command: Command, operator: None, replayed_home: Path
) -> None:
    one_more_share(replayed_home)
    found = command("broker", "reconcile", "--json")
    assert found.code == 1
    (row,) = found.json["open"]
    assert (row["kind"], row["symbol"], row["ours"], row["theirs"], row["state"]) == (
        "position", "KO", "144", "145", "open")  # fmt: skip
    assert [one["symbol"] for one in command("data", "quarantine", "--json").json] == ["KO"]
    name = row["break_id"][:10]
    entry = command("broker", "propose", name, "--json").json
    assert (entry["possible"], entry["needs_price"]) == (True, True) and entry["description"].startswith("add 1 KO")
    without = command("broker", "balance", name, *WHO)
    assert (without.code, "give the price of a share" in without.err) == (4, True)
    done = command("broker", "balance", name, *WHO, "--price", "63.95", "--json").json
    assert (done["state"], done["control_mode"]) == ("balanced", "NORMAL")
    with ledger.read() as connection:
        assert books.holding_of(connection, "KO").quantity == 145
    (past,) = command("broker", "breaks", "--all", "--json").json
    assert (past["state"], past["closed_by"]) == ("balanced", "ada")
    assert "balanced" in command("broker", "breaks", "--all").out
    again = command("broker", "balance", name, *WHO, "--price", "63.95")
    assert (again.code, "is not open but balanced" in again.err) == (4, True)


def test_cash_that_differs_pauses_and_accepting_it_needs_the_passphrase(
    ledger: Ledger, command: Command, operator: None, replayed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_fill_less(replayed_home)
    assert command("broker", "reconcile").code == 1
    assert read_mode(ledger).mode is ControlMode.PAUSE
    cash = open_break(command, "cash")["break_id"]
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", "not the passphrase")
    refused = command("broker", "accept", cash, *WHO)
    assert (refused.code, refused.err) == (4, "quant: 'ada' is no operator, or the passphrase is wrong\n")
    monkeypatch.setenv("QUANT_OPERATOR_PASSPHRASE", ADA)
    nameless = command("broker", "accept", cash, "--actor", "ada", "--reason", " ")
    assert (nameless.code, "say why" in nameless.err) == (4, True)
    done = command("broker", "accept", cash, *WHO, "--json").json
    assert done["state"] == "accepted" and done["control_mode"].startswith("PAUSE; 'quant control set NORMAL'")
    assert {row["kind"] for row in command("broker", "reconcile", "--json").json["open"]} == {"fill"}


def test_one_difference_is_not_entered_twice(
    ledger: Ledger, command: Command, operator: None, replayed_home: Path
) -> None:
    """Taking the fill out gives its cash back; the break of cash from before must not add it once more."""
    a_fill_less(replayed_home)
    assert command("broker", "reconcile").code == 1
    cash, fill = open_break(command, "cash"), open_break(command, "fill")
    with ledger.read() as connection:
        before = books.balances(connection).cash
    assert command("broker", "balance", fill["break_id"], *WHO).code == 0
    with ledger.read() as connection:
        after = books.balances(connection).cash
    assert after - before == Decimal(cash["theirs"]) - Decimal(cash["ours"])
    refused = command("broker", "balance", cash["break_id"], *WHO)
    assert (refused.code, "'quant broker reconcile' first" in refused.err) == (4, True)
    with ledger.read() as connection:
        assert books.balances(connection).cash == after
    command("broker", "reconcile")
    assert "cash" not in {row["kind"] for row in command("broker", "breaks", "--json").json}


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "an unknown break": (["propose", "nothing"], 4, "there is no break 'nothing'"),
    "no break": (["propose", ""], 4, "'quant broker breaks --all' lists them"),
    "a price that is none": (["balance", "x", *WHO, "--price", "much"], 2, "--price 'much' is not a number"),
    "a price below nothing": (["balance", "x", *WHO, "--price=-1"], 2, "must be a positive number"),
    "neither order nor execution": (["settle-unknown", "thing", "x", "dismiss", "--actor", "ada"], 2, "order|exec"),
    "a verdict that is none": (["settle-unknown", "order", "x", "keep", "--actor", "ada"], 2, "adopt|cancel|dismiss"),
    "nothing unknown of that name": (
        ["settle-unknown", "order", "x", "dismiss", "--actor", "ada"], 4, "'quant broker unknown' lists them"),
    "an execution cannot be adopted": (
        ["settle-unknown", "execution", "x", "adopt", "--actor", "ada"], 4, "dismissed"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(ledger: Ledger, command: Command, operator: None, mistake: str) -> None:
    arguments, code, said = MISTAKES[mistake]
    answer = command("broker", *arguments)
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert answer.err.startswith("quant: ") and answer.err.count("\n") == 1
    assert said in answer.err, answer.err


@pytest.mark.parametrize("name", ["status", "unknown", "breaks"])
def test_looking_makes_no_ledger(quant_home: Path, command: Command, name: str) -> None:
    answer = command("broker", name)
    assert (answer.code, answer.out) == (5, "")
    assert "run 'quant ledger upgrade'" in answer.err
    assert command("broker", name).code == 5, "looking has not made it"


# -- a remote broker --------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(quant_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    start = datetime(2019, 2, 11, 15, 0, tzinfo=UTC)
    with Gateway(prices={"KO": Decimal("49.60")}, start=start, cash=Decimal(500_000)) as gateway:
        monkeypatch.setenv("QUANT_EXECUTION__BROKER", "ibkr")
        monkeypatch.setenv("QUANT_EXECUTION__CLOCK", "broker")
        monkeypatch.setenv("QUANT_EXECUTION__IBKR__PORT", str(gateway.port))
        monkeypatch.setenv("QUANT_EXECUTION__CONNECTION__CONNECT_SECONDS", "3")
        yield gateway


def test_an_account_that_is_connected_to_for_a_moment(gateway: Gateway, command: Command) -> None:
    said = command("broker", "account", "--json").json
    assert (said["currency"], Decimal(str(said["cash USD"])), said["positions"]) == ("USD", 500_000, [])
    done = command("broker", "reconcile", "--json")
    assert (done.code, done.json["agrees"], done.json["session"]) == (0, True, "2019-02-11")
    status = command("broker", "status", "--json").json
    assert (status["broker"], status["held_by"], status["trading_is_the_daemons"]) == ("ibkr", "nobody", False)


def test_a_gateway_that_is_away_is_an_exit_code_of_its_own(gateway: Gateway, command: Command) -> None:
    gateway.stop()
    for name in ("account", "reconcile"):
        answer = command("broker", name)
        assert (answer.code, answer.out) == (6, ""), answer.err
        assert answer.err.startswith("quant: broker 'ibkr': ") and answer.err.count("\n") == 1


@pytest.mark.parametrize("name", ["account", "reconcile"])
def test_while_the_daemon_holds_the_broker_it_is_not_disturbed(gateway: Gateway, command: Command, name: str) -> None:
    assert command("ledger", "upgrade").code == 0
    ledger = Ledger(load_settings().ledger_url)
    with ledger.write() as connection:
        beat(connection, DAEMON, state="ok", detail="connected", at=ledger.now())
    with broker_lease(ledger, "ibkr", 60):
        answer = command("broker", name)
        assert (answer.code, answer.out) == (4, "")
        assert "is held by the trading daemon" in answer.err and "'quant broker breaks'" in answer.err
        assert command("broker", "status", "--json").json["trading_is_the_daemons"] is True
    assert command("broker", name).code == 0, "it is free again"

"""``quant order``: a person's order goes through the gate, under the person's name, and can be stepped in on."""

from __future__ import annotations

from pathlib import Path

import pytest

from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.storage.ledger import Ledger
from tests.support.replays import Command, open_ledger

ADA = ("--actor", "ada")


@pytest.fixture
def ledger(replayed_home: Path) -> Ledger:
    return open_ledger(replayed_home)


def orders(command: Command) -> dict[str, dict[str, object]]:
    return {row["client_order_id"]: row for row in command("orders", "--limit", "500", "--json").json}


def test_an_order_is_checked_kept_under_the_person_s_name_and_shown(ledger: Ledger, command: Command) -> None:
    done = command("order", "buy", "ko", "5", *ADA, "--reference", "one", "--json").json
    assert (done["outcome"], float(done["approved"]), done["reasons"]) == ("approved", 5.0, [])
    row = orders(command)[done["order"]]
    assert (row["symbol"], row["side"], float(row["quantity"]), row["strategy"], row["origin"], row["status"]) == (
        "KO", "buy", 5.0, "person:ada", "command", "approved")  # fmt: skip
    shown = command("order", "show", done["order"][:12], "--json").json
    assert [event["kind"] for event in shown["events"]] == ["approved"] and shown["slices"] == []
    assert "What happened" in command("order", "show", done["order"]).out


def test_the_same_reference_is_the_same_order(ledger: Ledger, command: Command) -> None:
    assert command("order", "buy", "KO", "5", *ADA, "--reference", "one").code == 0
    before = orders(command)
    again = command("order", "buy", "KO", "5", *ADA, "--reference", "one", "--json")
    assert (again.code, again.json["worked"], again.json["reasons"]) == (4, "refused", ["duplicate_order"])
    assert orders(command) == before


def test_a_pause_refuses_and_says_so(ledger: Ledger, command: Command) -> None:
    with ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor="t", reason="r", at=ledger.now())
    before = orders(command)
    done = command("order", "buy", "KO", "5", *ADA, "--json")
    assert (done.code, done.json["outcome"], done.json["reasons"]) == (4, "rejected", ["control_pause"])
    assert orders(command) == before


def test_an_algorithm_s_order_is_shown_and_cancelled(
    ledger: Ledger, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_EXECUTION__BROKER", "ibkr")  # it is sliced at a market that trades all day
    done = command("order", "sell", "KO", "20", *ADA, "--algorithm", "twap", "--json").json
    assert done["outcome"] == "approved" and done["order"] not in orders(command)
    early = command("order", "pause", done["order"], *ADA)
    assert (early.code, "'paused' cannot happen to it" in early.err) == (4, True), "it has not started"
    ended = command("order", "cancel", done["order"], *ADA, "--reason", "second thoughts", "--json").json
    assert (ended["order"], ended["state"]) == (done["order"], "cancelled")
    shown = command("order", "show", done["order"], "--json").json
    assert [event["kind"] for event in shown["events"]] == ["approved", "cancelled"]
    assert shown["events"][-1]["payload"] == {"reason": "second thoughts"}


def test_a_working_order_is_cancelled_at_the_broker(ledger: Ledger, command: Command) -> None:
    (working,) = [name for name, row in orders(command).items() if row["status"] == "accepted"]
    said = command("order", "cancel", working, *ADA, "--json").json
    assert said == {"order": working, "outcome": "cancelled"}
    shown = command("order", "show", working, "--json").json
    assert shown["status"] == "canceled"
    assert any("ada" in str(event["payload"].get("reason")) for event in shown["events"])


def test_an_order_that_is_over_cannot_be_changed(ledger: Ledger, command: Command) -> None:
    filled = next(name for name, row in orders(command).items() if row["status"] == "filled")
    answer = command("order", "modify", filled, *ADA, "--quantity", "1")
    assert (answer.code, answer.out) == (4, "") and answer.err.count("\n") == 1


MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "a quantity that is none": (["buy", "KO", "some", *ADA], 2, ["quantity 'some' is not a number"]),
    "a quantity below nothing": (["buy", "KO", "0", *ADA], 2, ["must be a positive number"]),
    "a quantity that never ends": (["buy", "KO", "Infinity", *ADA], 2, ["must be a positive number"]),
    "a symbol without a price": (["buy", "NOPE", "5", *ADA], 4, ["NOPE has no price", "there are: AAPL"]),
    "an unknown algorithm": (["buy", "KO", "5", *ADA, "--algorithm", "magic"], 2, ["'magic'", "twap, vwap"]),
    "an algorithm where nothing can be sliced": (
        ["buy", "KO", "5", *ADA, "--algorithm", "twap"], 2, ["'twap' needs a market that trades all day"]),
    "nobody's order": (["buy", "KO", "5", "--actor", " "], 2, ["--actor"]),
    "nobody's cancellation": (["cancel", "q07", "--actor", ""], 2, ["--actor"]),
    "a name that is too long": (["buy", "KO", "5", "--actor", "a" * 60], 2, ["--actor", "40 characters"]),
    "an unknown order": (["show", "x"], 4, ["there is no order x", "'quant orders' lists them"]),
    "no order": (["show", ""], 4, ["named by its id"]),
    "a wildcard": (["show", "%"], 4, ["there is no order %"]),
    "the beginning of many": (["show", "q"], 4, ["is the beginning of 15 orders"]),
    "nothing to change": (["modify", "q07", *ADA], 2, ["--quantity, --limit, or both"]),
    "a limit that is none": (["modify", "q07", *ADA, "--limit", "low"], 2, ["--limit 'low' is not a number"]),
    "an order that no algorithm works": (["pause", "q07", *ADA], 4, ["not an algorithm's order"]),
    "an unknown order to cancel": (["cancel", "x", *ADA], 4, ["there is no order x"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(ledger: Ledger, command: Command, mistake: str) -> None:
    arguments, code, said = MISTAKES[mistake]
    before = orders(command)
    answer = command("order", *arguments)
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert answer.err.startswith("quant: ") and answer.err.count("\n") == 1, answer.err
    assert all(part in answer.err for part in said), answer.err
    assert orders(command) == before


@pytest.mark.parametrize("arguments", [["show", "x"], ["cancel", "x", *ADA], ["buy", "KO", "1", *ADA]])
def test_without_a_ledger_it_says_how_to_make_one(quant_home: Path, command: Command, arguments: list[str]) -> None:
    answer = command("order", *arguments)
    assert (answer.code, answer.out) == (5, "")
    assert "run 'quant ledger upgrade'" in answer.err

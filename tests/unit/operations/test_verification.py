"""The ledger's checks find whatever is changed behind its back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from quant_dagster.operations.verification import verify_ledger
from tests.support.replays import open_ledger

# One change each, and a word of the sentence that must name it.
TAMPERING = {
    "an amount": ("UPDATE postings SET amount = amount + 1 WHERE rowid = 5", ""),
    "a posting gone": ("DELETE FROM postings WHERE rowid = 5", ""),
    "a posted quantity": ("UPDATE postings SET quantity = quantity + 100000000 WHERE symbol = 'PFE'", "PFE"),
    "a fill's price": ("UPDATE fills SET price = price + 1 WHERE sequence = 3", ""),
    "a fill's quantity": ("UPDATE fills SET quantity = quantity + 100000000 WHERE sequence = 3", "filled"),
    "an order's status": ("UPDATE orders SET status = 'expired' WHERE rowid = 2", "its events say"),
    "an order's filled quantity": ("UPDATE orders SET filled_quantity = 0 WHERE rowid = 2", "its events say"),
    "an order event gone": (
        "DELETE FROM order_events WHERE rowid = (SELECT min(rowid) FROM order_events WHERE kind = 'accepted')",
        "events",
    ),
    "a snapshot's cash": ("UPDATE account_snapshots SET cash = cash + 1, equity = equity + 1", "cash"),
    "a snapshot's equity": ("UPDATE account_snapshots SET equity = equity + 1", "equity"),
    "a position's quantity": ("UPDATE positions SET quantity = quantity + 1 WHERE rowid = 3", "the fills say"),
    "a position gone": ("DELETE FROM positions WHERE rowid = 3", "the fills say"),
}


def test_a_finished_replay_is_sound(finished_replay: Path) -> None:
    report = verify_ledger(open_ledger(finished_replay))
    assert report.sound
    assert report.counts["decisions"] == 60
    assert report.counts["fills"] >= 14


@pytest.mark.parametrize("what", TAMPERING)
def test_a_change_by_hand_is_found(replayed_home: Path, what: str) -> None:
    statement, said = TAMPERING[what]
    with sqlite3.connect(replayed_home / "ledger.db") as book:
        assert book.execute(statement).rowcount >= 1
    report = verify_ledger(open_ledger(replayed_home))
    assert not report.sound
    assert any(said in problem for problem in report.problems), report.problems

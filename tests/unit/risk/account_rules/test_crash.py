"""Killed between any two steps, or put back to an older ledger: the same events lead to the same ledger."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from quant_dagster.observability import audit
from quant_dagster.risk.account_rules import engine, journal, lockouts
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import Event
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_events, audit_log, daily_resets
from quant_dagster.storage.ledger_tables import lockouts as table
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    feed,
    fill,
    quick_ledger,
    quote,
    rules,
    stop,
    tick,
    word,
)

TO_RESET = (RESET - NOON).total_seconds()
EVENTS: list[Event] = [
    word(0, True),
    fill(1, "ES", 2, 100, pnl=-4, order="a"),
    fill(2, "ES", 1, 100, position=3, order="b"),
    stop(3, "ES", 95, 3),
    quote(4, "ES", 99),
    fill(5, "ES", -1, 60, pnl=-500, position=2, entry=100, order="c"),
    word(6, False),
    tick(70),
    fill(TO_RESET - 20, "ES", -2, 60, pnl=-90, position=0, order="d"),
    fill(TO_RESET + 10, "NQ", 1, 60, order="e"),
    fill(TO_RESET + 11, "NQ", 1, 60, position=2, order="f"),
    word(TO_RESET + 12, True),
    quote(TO_RESET + 13, "NQ", 59),
    tick(TO_RESET + 500),
]


def account() -> AccountRules:
    return rules(
        daily_realised_loss={"amount": 500}, auth_loss_guard={}, cooldown_after_loss={"steps": {100: 5}},
        trade_frequency={"per_minute": 2, "per_hour": 50, "per_day": 50}, no_stop_loss_grace={"seconds": 60},
    )  # fmt: skip


def contents(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row the rules write, audit hashes included."""
    found = {}
    with ledger.read() as connection:
        for each in (account_events, daily_resets, table, audit_log):
            rows = connection.execute(select(each).order_by(*each.primary_key.columns)).all()
            found[each.name] = [tuple(row) for row in rows]
    return found


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, list[tuple[Any, ...]]]:
    ledger = quick_ledger(tmp_path / "undisturbed.db")
    for event in EVENTS:
        feed(ledger, account(), event)
    assert {name: len(rows) for name, rows in contents(ledger).items()} == {
        "account_events": len(EVENTS) + 2, "daily_resets": 2, "lockouts": 5, "audit_log": 8,
    }  # fmt: skip
    return contents(ledger)


POINTS: dict[str, tuple[Any, str, int]] = {
    "a day is begun": (engine, "begin", 2),
    "an event is recorded": (journal, "_insert", 7),
    "an event is recorded, later": (journal, "_insert", 12),
    "a lockout is written, but not audited": (lockouts, "insert_new", 1),
    "a lockout is written": (lockouts, "add", 2),
    "a lockout is lifted": (lockouts, "_release", 1),
    "events were handled, and not committed": (AccountRules, "handle", 6),
    "between two events": (Ledger, "write", 9),
}


def die_after(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    calls = iter(range(times, 0, -1))

    def counted(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted


def trade_until_killed(file: Path, owner: Any, name: str, times: int) -> None:
    setattr(owner, name, die_after(getattr(owner, name), times))
    ledger, desk = Ledger(f"sqlite:///{file}"), account()
    for event in EVENTS:
        feed(ledger, desk, event)


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_at_any_point_can_be_continued(
    point: str, tmp_path: Path, undisturbed: dict[str, list[tuple[Any, ...]]]
) -> None:
    file = tmp_path / "ledger.db"
    quick_ledger(file).close()
    process = multiprocessing.get_context("fork").Process(target=trade_until_killed, args=(file, *POINTS[point]))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    ledger = Ledger(f"sqlite:///{file}", lambda: LATER)
    known = len(contents(ledger)["account_events"])
    assert 0 < known < len(EVENTS) + 2
    for event in EVENTS:
        feed(ledger, account(), event)
    assert contents(ledger) == undisturbed
    assert audit.verify(ledger).intact


@pytest.mark.parametrize("after", range(0, len(EVENTS), 3))
def test_a_ledger_put_back_to_a_backup_comes_to_the_same_from_the_same_events(
    after: int, tmp_path: Path, undisturbed: dict[str, list[tuple[Any, ...]]]
) -> None:
    file, backup = tmp_path / "ledger.db", tmp_path / "backup.db"
    ledger, desk = quick_ledger(file), account()
    for number, event in enumerate(EVENTS):
        if number == after:
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
                source.backup(target)
        feed(ledger, desk, event)
    ledger.close()
    assert not file.with_name("ledger.db-wal").exists(), "the last to close writes all of it into the file"
    file.write_bytes(backup.read_bytes())
    with ledger.read() as connection:
        active = lockouts.active(connection, NOON)
    assert len(active) == {0: 0, 3: 0, 6: 3, 9: 4, 12: 4}[after]
    feed(ledger, desk, *reversed(EVENTS[:after]))
    for event in EVENTS:
        feed(ledger, desk, event)
    assert contents(ledger) == undisturbed


def test_a_restart_within_a_window_keeps_it(tmp_path: Path) -> None:
    ledger = quick_ledger(tmp_path / "ledger.db")
    frequent = {"trade_frequency": {"per_minute": 2, "per_hour": 50, "per_day": 50}}
    feed(ledger, rules(**frequent), fill(0, "A", 1, 10))
    feed(ledger, rules(**frequent), fill(1, "B", 1, 10))
    assert [breach.value for breach in feed(ledger, rules(**frequent), fill(2, "C", 1, 10))] == [3]


def test_two_processes_with_the_same_events_write_them_once(
    tmp_path: Path, undisturbed: dict[str, list[tuple[Any, ...]]]
) -> None:
    file = tmp_path / "ledger.db"
    quick_ledger(file).close()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=trade, args=(file, step)) for step in (1, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    ledger = Ledger(f"sqlite:///{file}")
    assert contents(ledger) == undisturbed


def trade(file: Path, step: int) -> None:
    ledger, desk = Ledger(f"sqlite:///{file}"), account()
    for start in range(0, len(EVENTS), step):
        feed(ledger, desk, *EVENTS[start : start + step])

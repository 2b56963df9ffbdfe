"""A replay is a function of its inputs: again it does nothing, elsewhere it does the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.support import replays
from tests.support.replays import Command

THREE = [date(2022, 12, 23), date(2022, 12, 27), date(2022, 12, 28)]


def everything(home: Path) -> tuple[object, ...]:
    """Every row with its wall-clock times, every lake version, every byte of the feature files."""
    ledger = replays.open_ledger(home)
    features = {file: file.read_bytes() for file in sorted((home / "features" / "offline").rglob("*.parquet"))}
    lake = sorted((home / "lake").rglob("*"))
    found = replays.ledger_rows(ledger, without=()), replays.broker_book(home), replays.lake_versions(home)
    ledger.close()
    return *found, features, lake


def same(home: Path, other: Path) -> None:
    ledgers = [replays.open_ledger(home), replays.open_ledger(other)]
    got, wanted = map(replays.ledger_rows, ledgers)
    for table, rows in wanted.items():
        assert got[table] == rows, f"ledger table {table} differs"
    assert replays.broker_book(home) == replays.broker_book(other)
    assert replays.lake_versions(home) == replays.lake_versions(other)
    assert all(frame.equals(replays.lake_rows(other)[name]) for name, frame in replays.lake_rows(home).items())
    for ledger in ledgers:
        ledger.close()


def test_the_same_replay_again_changes_not_a_byte(replayed_home: Path, command: Command) -> None:
    before = everything(replayed_home)
    for _ in range(2):
        again = command("replay", "--sessions", "3", "--no-report", "--json")
        assert again.code == 0, again.err
        assert [cycle["repeated"] for cycle in again.json["cycles"]] == [True, True, True]
        assert everything(replayed_home) == before


def test_a_repeated_session_reports_the_equity_of_its_own_close(replayed_home: Path, command: Command) -> None:
    cycles = command("replay", "--sessions", "3", "--no-report", "--json").json["cycles"]
    snapshots = replays.ledger_rows(replays.open_ledger(replayed_home))["account_snapshots"]
    assert [cycle["equity"] for cycle in cycles] == [float(row[3]) for row in snapshots]


def test_a_cycle_of_a_decided_session_changes_not_a_byte(replayed_home: Path, command: Command) -> None:
    before = everything(replayed_home)
    again = command("cycle", "--session", "2022-12-28", "--json")
    assert (again.code, again.json["repeated"]) == (0, True), again.err
    assert everything(replayed_home) == before


@pytest.mark.slow
def test_another_home_and_one_worker_instead_of_two_give_the_same_rows(finished_replay: Path, tmp_path: Path) -> None:
    replays.replay(tmp_path, 3, "--workers", "1")
    same(tmp_path, finished_replay)


@pytest.mark.slow
def test_a_replay_in_parts_trades_what_one_at_once_does(
    finished_replay: Path, quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only which lake version a row was read from differs: the parts were loaded at different times."""
    for name, value in replays.SHORT_HISTORY.items():
        monkeypatch.setenv(name, value)
    first = command("replay", "--sessions", "1", "--end", "2022-12-23", "--no-report", "--json")
    rest = command("replay", "--sessions", "2", "--no-report", "--json")
    assert (first.code, rest.code) == (0, 0), first.err + rest.err
    without = (*replays.WALL_CLOCK, "provenance")
    rows, whole = (replays.ledger_rows(replays.open_ledger(home), without=without)
                   for home in (quant_home, finished_replay))  # fmt: skip
    for table in ("decisions", "orders", "fills", "postings", "positions", "account_snapshots", "risk_events"):
        assert rows[table] == whole[table], f"ledger table {table} differs"


def test_a_replay_of_some_symbols_decides_on_those_only(
    quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in replays.SHORT_HISTORY.items():
        monkeypatch.setenv(name, value)
    done = command("replay", "--sessions", "2", "--symbols", "msft,AAPL", "--no-report", "--json")
    assert done.code == 0, done.err
    rows = replays.ledger_rows(replays.open_ledger(quant_home))["decisions"]
    assert {(row[2], row[3]) for row in rows} == {(day, name) for day in THREE[1:] for name in ("AAPL", "MSFT")}


def test_a_session_before_the_newest_decided_is_refused(replayed_home: Path, command: Command) -> None:
    before = everything(replayed_home)
    refused = command("cycle", "--session", "2022-12-20")
    assert refused.code == 4
    assert "2022-12-20 cannot be decided: the ledger already holds decisions for 2022-12-28" in refused.err
    assert "QUANT_HOME of its own" in refused.err
    assert everything(replayed_home)[0] == before[0]


@pytest.mark.parametrize("day", ["2022-12-26", "2022-12-24"])
def test_a_day_on_which_the_exchange_is_closed_is_refused(replayed_home: Path, command: Command, day: str) -> None:
    before = everything(replayed_home)
    refused = command("cycle", "--session", day)
    assert (refused.code, refused.out) == (3, "")
    assert day in refused.err and "the exchange is closed that day" in refused.err
    assert everything(replayed_home) == before


def test_a_session_the_vendors_do_not_have_is_refused(replayed_home: Path, command: Command) -> None:
    before = everything(replayed_home)
    refused = command("cycle", "--session", "2022-12-29")
    assert refused.code == 3
    assert "2022-12-29" in refused.err and refused.err.count("\n") == 1
    assert replays.lake_versions(replayed_home) == before[2]

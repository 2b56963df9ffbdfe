"""Kill −9 at any moment, then the same command: everything stored ends as if there had been no crash.

Compared row for row: every ledger table but its wall-clock times (and the audit hashes over them: each chain is
verified instead), the paper broker's book, the lake's versions and rows, the offline features.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from tests.support import replays

KILLS = int(os.environ.get("QUANT_CHAOS_KILLS", "20"))


@dataclass(frozen=True)
class Undisturbed:
    """A replay nobody killed: its home, and how long it took."""

    home: Path
    seconds: float


def undisturbed(folder: Path, sessions: int) -> Undisturbed:
    started = time.monotonic()
    replays.replay(folder, sessions)
    return Undisturbed(folder, time.monotonic() - started)


@pytest.fixture
def short_run(finished_replay: Path) -> Undisturbed:
    return Undisturbed(finished_replay, float(finished_replay.with_name("finished_replay.done").read_text()))


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Timed the second time, when the kernels are compiled and the disk is warm."""
    folder = tmp_path_factory.mktemp("undisturbed_long")
    undisturbed(folder / "first", 20)
    return undisturbed(folder / "home", 20)


def assert_same(home: Path, expected: Path, ledger_url: str | None = None) -> None:
    """Everything that ``home`` holds is what ``expected`` holds, and each is sound in itself."""
    ledgers = [replays.open_ledger(home, ledger_url), replays.open_ledger(expected)]
    for ledger in ledgers:
        assert audit.verify(ledger).problems == ()
        assert verify_ledger(ledger).problems == ()
    got, wanted = map(replays.ledger_rows, ledgers)
    assert wanted["fills"], "a run without fills proves nothing"
    for table, rows in wanted.items():
        assert got[table] == rows, f"ledger table {table} differs"
    for ledger in ledgers:
        ledger.close()
    assert replays.broker_book(home) == replays.broker_book(expected)
    assert replays.lake_versions(home) == replays.lake_versions(expected)
    for kind in (replays.lake_rows, replays.stored_features):
        stored, should = kind(home), kind(expected)
        assert stored.keys() == should.keys()
        assert [name for name, frame in should.items() if not stored[name].equals(frame)] == []


def moments(seed: int, kills: int, duration: float) -> list[float]:
    """Random moments, one in each of equal parts of an undisturbed run, in random order."""
    generator = random.Random(seed)
    parts = [(number + generator.random()) * duration / kills for number in range(kills)]
    generator.shuffle(parts)
    return parts


@pytest.mark.soak
def test_three_kills_of_one_run_at_random_moments(short_run: Undisturbed, tmp_path: Path) -> None:
    seconds, home = short_run.seconds, tmp_path / "home"
    while not all(replays.replay_killed_after(at, home, 3) for at in sorted(moments(1, 3, seconds * 0.9))):
        seconds *= 0.7  # the undisturbed run had kernels to compile; this one came to its end before the last kill
        home = tmp_path / f"home{seconds:.3f}"
    replays.replay(home, 3)
    assert_same(home, short_run.home)


WRITES = [
    ("quant_dagster.storage.lake.writing:write_deltalake", 2, "before"),
    ("quant_dagster.storage.lake.writing:write_deltalake", 2, "after"),
    ("quant_dagster.features.offline:_replace", 3, "after"),
    ("feast.feature_store:FeatureStore.apply", 1, "after"),
    ("feast.feature_store:FeatureStore.write_to_online_store", 3, "before"),
    ("quant_dagster.cycle.session:approve", 1, "after"),
    ("quant_dagster.execution.brokers.paper:PaperBroker.submit", 8, "after"),
    ("quant_dagster.execution.collecting:Collector._acknowledge_all", 1, "before"),
    ("quant_dagster.execution.brokers.paper:PaperBroker.trade_session", 1, "after"),
    ("quant_dagster.execution.collecting:Collector.enter", 2, "after"),
    ("quant_dagster.cycle.session:record_snapshot", 2, "before"),
    ("quant_dagster.cycle.session:SessionCycle.complete", 1, "before"),
]
"""Every kind of write: lake, feature files, Feast's registry and online store, ledger, the broker's book."""


@pytest.mark.slow
def test_a_kill_at_every_kind_of_write(short_run: Undisturbed, tmp_path: Path) -> None:
    died = replays.replay_killed_at_each(WRITES, tmp_path, 3)
    assert all(died), (
        f"never reached, so nothing is proved of: {[p for p, d in zip(WRITES, died, strict=True) if not d]}"
    )
    assert_same(tmp_path, short_run.home)


@pytest.mark.slow
@pytest.mark.postgres
def test_two_kills_with_the_ledger_on_postgresql(short_run: Undisturbed, tmp_path: Path, postgres_url: str) -> None:
    settings: Mapping[str, str] = {"QUANT_STORAGE__LEDGER_URL": postgres_url}
    points = [
        ("quant_dagster.execution.brokers.paper:PaperBroker.submit", 5, "after"),
        ("quant_dagster.execution.order_log:record", 6, "after"),  # inside an open transaction
    ]
    assert replays.replay_killed_at_each(points, tmp_path, 3, settings) == [True, True]
    assert_same(tmp_path, short_run.home, postgres_url)


@pytest.mark.soak
@pytest.mark.parametrize("kill", range(KILLS))
def test_one_kill_in_a_replay_of_twenty_sessions(long_run: Undisturbed, tmp_path: Path, kill: int) -> None:
    moment, home = moments(2, KILLS, long_run.seconds * 0.98)[kill], tmp_path / "home"
    while not replays.replay_killed_after(moment, home, 20):
        moment *= 0.9  # the machine was faster this time, and the replay came to its end
        home = tmp_path / f"home{moment:.3f}"
    replays.replay(home, 20)
    assert_same(home, long_run.home)


@pytest.mark.soak
def test_many_kills_of_one_replay_of_twenty_sessions(long_run: Undisturbed, tmp_path: Path) -> None:
    generator = random.Random(3)
    start_up = long_run.seconds * 0.3
    killed = [replays.replay_killed_after(start_up * (0.5 + generator.random()), tmp_path, 20) for _ in range(KILLS)]
    assert sum(killed) >= 3
    replays.replay(tmp_path, 20)
    assert_same(tmp_path, long_run.home)

"""The real ``quant`` command in processes of their own, and what a QUANT_HOME holds afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock
from sqlalchemy import select

from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import metadata

PROJECT = Path(__file__).resolve().parents[2]
SHORT_HISTORY = {
    "QUANT_MARKET_DATA__HISTORY_START": "2018-01-02",
    "QUANT_FORECASTING__FAMILIES": '["ar", "garch11", "hmm"]',
}
"""Enough for every model's window, loaded in half a second; three quick models of three kinds, one carried forward."""

WALL_CLOCK = ("recorded_at", "created_at", "started_at", "completed_at", "expires_at")
_HASHES_OF_TIMES = ("previous_hash", "hash")


def environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The surroundings of a command: nothing of the developer's settings, compiled kernels shared."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUANT_")}
    return {**kept, "PYTHONPATH": str(PROJECT), "QUANT_HOME": str(home), **(settings or {})}


def quant(*arguments: str, home: Path, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "quant_dagster.cli.main", *arguments],
        env=environment(home, settings), cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def replay(home: Path, sessions: int, *options: str, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Replay to the end; what ``--json`` printed."""
    arguments = ("replay", "--sessions", str(sessions), "--no-report", "--json", *options)
    done = quant(*arguments, home=home, settings=SHORT_HISTORY | dict(settings or {}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def replay_killed_after(seconds: float, home: Path, sessions: int, settings: Mapping[str, str] | None = None) -> bool:
    """Start a replay and kill it with SIGKILL; says whether it was still running then."""
    arguments = ("replay", "--sessions", str(sessions), "--no-report")
    return quant_killed_after(seconds, *arguments, home=home, settings=SHORT_HISTORY | dict(settings or {}))


def quant_killed_after(seconds: float, *arguments: str, home: Path, settings: Mapping[str, str] | None = None) -> bool:
    """Start a command and kill it with SIGKILL; says whether it was still running then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "quant_dagster.cli.main", *arguments], env=environment(home, settings), cwd=PROJECT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


_DIES_AT_EACH = """
import importlib, json, os, signal, sys
points, sys.argv[1:] = json.loads(sys.argv[1]), sys.argv[2:]
# Loaded once, before anything starts a thread: each replay is a fork of this.
for module in ("feast", "feast.infra.offline_stores.duckdb", "quant_dagster.features.feast_home",
               "quant_dagster.cycle.run", "quant_dagster.forecasting.runner", "quant_dagster.quality.score",
               "quant_dagster.execution.brokers.paper", "alembic.command", "exchange_calendars",
               "pandera.polars", "skfolio"):
    importlib.import_module(module)
from quant_dagster.cli.main import main

def die_at(point, call, when):
    module, path = point.split(":")
    target = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        target = getattr(target, owner)
    original, calls = getattr(target, name), 0
    def dies(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(target, name, dies)

died = []
for point in [*points, None]:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        if point:
            die_at(*point)
        main()
        os._exit(0)
    died.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(died))
"""


def replay_killed_at_each(
    points: Sequence[tuple[str, int, str]], home: Path, sessions: int, settings: Mapping[str, str] | None = None
) -> list[bool]:
    """The same replay again and again in one home: each dies by SIGKILL at its point, and a last one is left alone.

    A point is ``module:Owner.name``, the number of the call, and ``before`` or ``after`` it. Says which ones died;
    one that never came to its point ran to its end.
    """
    command = [sys.executable, "-c", _DIES_AT_EACH, json.dumps(points)]
    done = subprocess.run(
        [*command, "replay", "--sessions", str(sessions), "--no-report", "--json"],
        env=environment(home, SHORT_HISTORY | dict(settings or {})), cwd=PROJECT, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *codes, last = json.loads(done.stdout)
    assert last == 0 and set(codes) <= {0, -signal.SIGKILL}, done.stderr
    return [code != 0 for code in codes]


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """The ``quant`` command inside this process: its real entry, with standard output and error caught."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Answer:
        from quant_dagster.cli.main import main

        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["quant", *arguments])
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        written = self._capsys.readouterr()
        return Answer(code, written.out, written.err)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("status", "--json")``."""
    return Command(monkeypatch, capsys)


def open_ledger(home: Path, url: str | None = None) -> Ledger:
    """The ledger of a home."""
    return Ledger(url or f"sqlite:///{home / 'ledger.db'}")


def ledger_rows(ledger: Ledger, *, without: Sequence[str] = (*WALL_CLOCK, *_HASHES_OF_TIMES)) -> dict[str, list[Any]]:
    """Every row of every table in the order of its key, but for wall-clock times and hashes over them."""
    content: dict[str, list[Any]] = {}
    with ledger.read() as connection:
        for name, table in sorted(metadata.tables.items()):
            columns = [column for column in table.columns if column.name not in without]
            query = select(*columns).order_by(*table.primary_key.columns)
            content[name] = [tuple(row) for row in connection.execute(query)]
    return content


def broker_book(home: Path) -> dict[str, list[Any]]:
    """Every row of the paper broker's own book."""
    book = sqlite3.connect(home / "paper_broker.db")
    try:
        return {name: book.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
                for name in ("orders", "executions", "sessions")}  # fmt: skip
    finally:
        book.close()


def lake_versions(home: Path) -> dict[str, int | None]:
    """Newest version of every lake table."""
    lake = Lake(home / "lake")
    return {name: lake.version(name) for name in lake.tables()}


def lake_rows(home: Path) -> dict[str, pl.DataFrame]:
    """Every row of every lake table, but for when a refused row was loaded."""
    lake = Lake(home / "lake")
    return {name: lake.read(name).drop("known_at" if name == "rejected_rows" else []) for name in lake.tables()}


def stored_features(home: Path) -> dict[str, pl.DataFrame]:
    """Every row of the offline feature store."""
    root = home / "features" / "offline"
    return {str(file.relative_to(root)): pl.read_parquet(file) for file in sorted(root.rglob("*.parquet"))
            if not file.name.startswith(".")}  # fmt: skip


@pytest.fixture(scope="session")
def finished_replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which three sessions were replayed, made once for all test processes. Copy it, do not write to it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, done = shared / "finished_replay", shared / "finished_replay.done"
    with FileLock(shared / "finished_replay.lock"):
        if not done.exists():
            started = time.monotonic()
            replay(home, 3, "--workers", "2")
            done.write_text(str(time.monotonic() - started))
    return home


@pytest.fixture
def replayed_home(finished_replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``finished_replay`` that may be written to; it is QUANT_HOME, with the settings it was made with."""
    home = tmp_path / "replayed"
    # The files of SQLite's write-ahead log come and go while another test reads; at rest they hold nothing.
    shutil.copytree(finished_replay, home, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    monkeypatch.setenv("QUANT_HOME", str(home))
    for name, value in SHORT_HISTORY.items():
        monkeypatch.setenv(name, value)
    return home

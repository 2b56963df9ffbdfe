"""Several real processes share one breaker and one budget; one of them is killed in the middle of its probe."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from quant_dagster.errors import BudgetExhaustedError, CircuitOpenError, UnreachableError
from quant_dagster.resilience.breaker import CircuitBreaker
from quant_dagster.resilience.breaker_state import BreakerStatus
from quant_dagster.resilience.budget import RequestBudget
from quant_dagster.settings import ResilienceSettings
from quant_dagster.storage.ledger import Ledger

NOON = datetime(2024, 3, 14, 12, tzinfo=UTC)
PROCESSES, BUDGET = 4, 20
SETTINGS = ResilienceSettings(failures_to_open=1, open_seconds=60.0, successes_to_close=1)
spawn = multiprocessing.get_context("spawn")


def breaker(url: str, now: datetime) -> CircuitBreaker:
    return CircuitBreaker(Ledger(url), "v", SETTINGS, probe_seconds=30.0, clock=lambda: now)


def ask_for_the_probe(url: str, now: datetime, start: Barrier, said: Connection) -> None:
    """What a process runs: wait for the others, then ask for leave at the same moment."""
    mine = breaker(url, now)
    mine.state()
    start.wait(60.0)
    try:
        said.send("probe" if mine.admit().is_probe else "call")
    except CircuitOpenError:
        said.send("refused")


def take_the_probe_and_hang(url: str, now: datetime, said: Connection) -> None:
    said.send("probe" if breaker(url, now).admit().is_probe else "call")
    signal.pause()


def spend(url: str, start: Barrier, said: Connection) -> None:
    budget = RequestBudget(Ledger(url), "v", per_minute=None, per_day=BUDGET, clock=lambda: NOON)
    start.wait(60.0)
    made = 0
    for _ in range(BUDGET):
        try:
            budget.take()
        except BudgetExhaustedError:
            break
        made += 1
    said.send(made)


def run_together(target: object, *arguments: object) -> list[object]:
    """Run ``target`` in several processes that start at one barrier; returns what each of them said."""
    start = spawn.Barrier(PROCESSES)
    said: list[object] = []
    started = []
    for _ in range(PROCESSES):
        here, there = spawn.Pipe(duplex=False)
        process = spawn.Process(target=target, args=(*arguments, start, there), daemon=True)
        process.start()
        there.close()  # so that a process that dies is noticed instead of waited for
        started.append((process, here))
    for process, here in started:
        said.append(here.recv())
        process.join(60.0)
        assert process.exitcode == 0
    return said


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an upgraded ledger."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'ledger.db'}"
    else:
        address = request.getfixturevalue("postgres_url")
    ledger = Ledger(address)
    ledger.upgrade()
    ledger.close()
    return address


@pytest.fixture
def opened(url: str) -> str:
    """The same, with a breaker that opened at noon and is due for a probe a minute later."""
    mine = breaker(url, NOON)
    mine.failed(mine.admit(), UnreachableError("v", "down"))
    mine.ledger.close()
    return url


def test_exactly_one_of_several_processes_gets_the_probe(opened: str) -> None:
    said = run_together(ask_for_the_probe, opened, NOON + timedelta(seconds=60))
    assert sorted(map(str, said)) == ["probe"] + ["refused"] * (PROCESSES - 1)


def test_no_process_gets_through_before_it_is_time(opened: str) -> None:
    said = run_together(ask_for_the_probe, opened, NOON + timedelta(seconds=59))
    assert said == ["refused"] * PROCESSES


def test_a_budget_shared_by_processes_is_used_up_and_never_exceeded(url: str) -> None:
    said = run_together(spend, url)
    assert sum(int(str(made)) for made in said) == BUDGET


def test_the_probe_of_a_killed_process_goes_to_another_when_its_time_is_over(opened: str) -> None:
    due = NOON + timedelta(seconds=60)
    here, there = spawn.Pipe(duplex=False)
    holder = spawn.Process(target=take_the_probe_and_hang, args=(opened, due, there), daemon=True)
    holder.start()
    there.close()
    assert here.recv() == "probe"
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(60.0)
    assert holder.exitcode == -signal.SIGKILL

    with pytest.raises(CircuitOpenError, match="probe is under way"):
        breaker(opened, due + timedelta(seconds=29)).admit()
    said = run_together(ask_for_the_probe, opened, due + timedelta(seconds=30))
    assert sorted(map(str, said)) == ["probe"] + ["refused"] * (PROCESSES - 1)

    later = breaker(opened, due + timedelta(seconds=60))
    permit = later.admit()
    later.succeeded(permit)
    assert later.state().status is BreakerStatus.CLOSED

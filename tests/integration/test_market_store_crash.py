"""A sync that is killed, or that races another one, leaves a store that says what it holds and holds it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.storage.lake import Lake
from quant_dagster.storage.market_store import MarketStore
from quant_dagster.storage.market_store.partitions import ensure_months
from tests.support.market_store import daily_bars, minute_bars

pytestmark = pytest.mark.postgres
NOW = datetime(2019, 6, 20, tzinfo=UTC)
PROJECT = Path(__file__).parents[2]
RUN = (
    "import sys; from tests.integration import test_market_store_crash as here; "
    "getattr(here, sys.argv[1])(*sys.argv[2:])"
)


def start(function: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process that runs a function of this module."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, function, *arguments], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error.decode()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sync_and_die(url: str, root: str, point: str) -> None:
    """Sync, killed at a named point."""
    from quant_dagster.storage.market_store import aggregate, store, syncing

    def then_die(module: object, name: str, *, before: bool) -> None:
        real: Callable[..., object] = getattr(module, name)

        def deadly(*arguments: object, **options: object) -> object:
            if before:
                die()
            result = real(*arguments, **options)
            die()
            return result

        setattr(module, name, deadly)

    targets = {
        "partitions made": (syncing, "ensure_months", False),
        "rows copied": (syncing, "copy_in", False),
        "before the buckets": (aggregate, "refresh_touched", True),
        "before the buckets of a month": (aggregate, "refresh_month", True),
        "before the version": (syncing, "write_synced", True),
        "before the commit": (syncing, "write_synced", False),
        "after the commit": (store, "sync_table", False),
    }
    module, name, before = targets[point]
    then_die(module, name, before=before)
    MarketStore(url, clock=lambda: NOW).sync(Lake(root), ["intraday_bars"])


def sync_all(url: str, root: str, at: str = "0") -> None:
    """Sync from a moment on."""
    store, lake = MarketStore(url, clock=lambda: NOW), Lake(root)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    time.sleep(max(0.0, float(at) - time.time()))
    store.sync(lake)


def upgrade_at(url: str, at: str) -> None:
    store = MarketStore(url, clock=lambda: NOW)
    time.sleep(max(0.0, float(at) - time.time()))
    store.upgrade()


def make_months_at(url: str, at: str) -> None:
    store = MarketStore(url, clock=lambda: NOW)
    time.sleep(max(0.0, float(at) - time.time()))
    for year in range(2010, 2014):
        ensure_months(store.database, "bars", [date(year, month, 15) for month in range(1, 13)])


def prepared(url: str, root: Path, *, changed: bool) -> tuple[MarketStore, Lake]:
    """A store with (``changed``) a synced table of which the lake has a newer version since, or an empty one."""
    store, lake = MarketStore(url, clock=lambda: NOW), Lake(root)
    store.upgrade()
    bars = minute_bars("AAPL")
    lake.merge("intraday_bars", bars)
    if changed:
        store.sync(lake)
        lake.merge("intraday_bars", bars.sort("bar_start").head(40).with_columns(pl.col("close") + 0.5))
        session = date(2019, 2, 15)
        lake.replace("intraday_bars", bars.filter(pl.col("session") == session).head(100), [session])
    return store, lake


@pytest.mark.parametrize(
    ("point", "changed"),
    [
        ("partitions made", False),
        ("rows copied", False),
        ("rows copied", True),
        ("before the buckets of a month", False),
        ("before the buckets", True),
        ("before the version", True),
        ("before the commit", False),
        ("before the commit", True),
        ("after the commit", True),
    ],
)
def test_a_sync_killed_at_any_point_is_made_whole_by_the_next(
    postgres_url: str, tmp_path: Path, point: str, changed: bool
) -> None:
    store, lake = prepared(postgres_url, tmp_path / "lake", changed=changed)
    before = store.read("intraday_bars"), store.read("intraday_bars_5m"), store.versions()
    process = start("sync_and_die", postgres_url, str(tmp_path / "lake"), point)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    if point == "after the commit":
        assert store.versions() == {"intraday_bars": lake.version("intraday_bars")}
    else:
        after = store.read("intraday_bars"), store.read("intraday_bars_5m"), store.versions()
        assert all(one.equals(other) for one, other in zip(before[:2], after[:2], strict=True))
        assert before[2] == after[2], "nothing of a transaction that did not end is seen"
    store.sync(lake)
    assert store.read("intraday_bars").equals(lake.read("intraday_bars"))
    assert store.differences(lake) == []
    store.close()


def test_syncs_killed_at_random_moments_lose_and_repeat_nothing(postgres_url: str, tmp_path: Path) -> None:
    store, lake = MarketStore(postgres_url, clock=lambda: NOW), Lake(tmp_path / "lake")
    store.upgrade()
    days = daily_bars(date(2018, 1, 2), date(2019, 3, 29), "AAPL", "MSFT", "XOM", "IBM")
    moments = random.Random(20190211)
    killed = 0
    for turn in range(5):
        lake.merge("bars", days.filter(pl.col("session").dt.month() % 5 == turn))
        lake.merge("bars", days.head(50 + turn).with_columns(pl.col("close") + turn))
        process = start("sync_all", postgres_url, str(tmp_path / "lake"))
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0.0, 0.4))
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        held = store.versions().get("bars")
        if held is not None:
            assert store.differences(lake, ["bars"]) == [], "the store is the version it says it is"
    assert killed > 0
    store.sync(lake)
    assert store.read("bars").equals(lake.read("bars"))
    assert store.differences(lake) == []
    store.close()


def test_two_processes_that_sync_at_once_write_each_change_once(postgres_url: str, tmp_path: Path) -> None:
    store, lake = prepared(postgres_url, tmp_path / "lake", changed=True)
    lake.merge("bars", daily_bars(date(2019, 1, 2), date(2019, 3, 29), "AAPL", "MSFT"))
    at = str(time.time() + 3.0)
    for process in [start("sync_all", postgres_url, str(tmp_path / "lake"), at) for _ in range(2)]:
        finish(process)
    assert store.versions()["intraday_bars"] == lake.version("intraday_bars")
    assert store.differences(lake) == []
    assert store.read("bars").equals(lake.read("bars"))
    store.close()


def test_a_sync_waits_for_the_one_under_way_and_then_takes_what_is_newest(postgres_url: str, tmp_path: Path) -> None:
    """Without that, the slower of two could record an older version over a newer one."""
    store, lake = prepared(postgres_url, tmp_path / "lake", changed=True)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as other:
        with store.database.begin("being the one under way", lock="intraday_bars") as connection:
            sync = other.submit(store.sync, lake, ["intraday_bars"])
            while not sync.done() and not connection.exec_driver_sql(waiting).scalar():
                time.sleep(0.01)
            assert not sync.done()
            lake.merge("intraday_bars", minute_bars("MSFT"))
        done = sync.result(timeout=60)[0]
    assert (done.how, done.version) == ("incremental", lake.version("intraday_bars"))
    assert store.differences(lake) == []
    store.close()


def test_processes_that_upgrade_and_make_the_same_months_at_once_agree(postgres_url: str) -> None:
    at = str(time.time() + 2.5)
    for process in [start("upgrade_at", postgres_url, at) for _ in range(2)]:
        finish(process)
    at = str(time.time() + 2.5)
    for process in [start("make_months_at", postgres_url, at) for _ in range(2)]:
        finish(process)
    store = MarketStore(postgres_url)
    assert next(one for one in store.status() if one.table == "bars").parts == 48
    store.close()

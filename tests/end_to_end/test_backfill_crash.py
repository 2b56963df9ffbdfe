"""Kill −9 at random moments of a backfill and of an increment: the next run completes it, nothing twice or lost."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import lake_table
from tests.support import replays
from tests.support.market_data import shared_data
from tests.support.vendor_servers.base import KEY
from tests.support.vendor_servers.finnhub import FinnhubServer
from tests.support.vendor_servers.yahoo import YahooServer

KILLS = int(os.environ.get("QUANT_CHAOS_KILLS", "20"))
SYMBOLS = ("AAPL", "IBM", "MSFT")
PACKAGED = EmbeddedVendor("embedded_bokeh").daily_bars(SYMBOLS, date(2005, 1, 3), date(2013, 3, 1)).rows


@pytest.fixture
def two_files(tmp_path: Path) -> list[str]:
    """Two vendors' files: real prices, and the same with a hundredth of the rows missing and some printed wrongly."""
    first = PACKAGED.select("symbol", pl.col("session").alias("date"), "open", "high", "low", "close", "volume")
    number = pl.int_range(pl.len())
    second = first.with_columns(
        pl.when(number % 997 == 0).then(pl.col("close") * 1.1).otherwise("close").alias("close")
    )
    paths = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    first.write_parquet(paths[0])
    second.filter(number % 101 != 0).write_parquet(paths[1])
    return [f"--source=first={paths[0]}", f"--source=second={paths[1]}"]


def stored(home: Path) -> dict[str, pl.DataFrame]:
    """Every row of the lake and where loading stands; no key twice."""
    lake, content = Lake(home / "lake"), {}
    for name in lake.tables():
        frame = lake.read(name)
        assert not frame.select(pl.struct(lake_table(name).key).is_duplicated().any()).item(), f"{name}: a key twice"
        content[name] = frame.drop("known_at") if name == "rejected_rows" else frame
    ledger = replays.open_ledger(home)
    rows = replays.ledger_rows(ledger)
    ledger.close()
    content["progress"] = pl.DataFrame(rows["backfill_progress"], orient="row")
    content["quarantine"] = pl.DataFrame(rows["quarantine"], orient="row")
    return content


def assert_same(home: Path, expected: Path) -> None:
    got, wanted = stored(home), stored(expected)
    assert got.keys() == wanted.keys()
    assert [name for name, frame in wanted.items() if not got[name].equals(frame)] == []
    assert wanted["bars"].height > 1000


def finish(home: Path, *arguments: str, settings: dict[str, str] | None = None) -> float:
    started = time.monotonic()
    done = replays.quant("backfill", *arguments, "--json", home=home, settings=settings)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


def killed_and_finished(home: Path, seconds: float, kills: int, seed: int, *arguments: str) -> int:
    """Kill a backfill at ``kills`` random moments and run it to its end; returns how many kills came in time."""
    generator = random.Random(seed)
    hits = 0
    for number in range(kills):
        # One moment in each of equal parts of the run, so that every stage is met.
        moment = (number + generator.random()) * seconds / kills
        hits += replays.quant_killed_after(moment, "backfill", *arguments, home=home)
    finish(home, *arguments)
    return hits


@pytest.mark.soak
def test_a_backfill_and_an_increment_killed_at_random_moments(tmp_path: Path, two_files: list[str]) -> None:
    until = ["--end", "2012-12-31"]
    undisturbed, home = tmp_path / "undisturbed", tmp_path / "home"
    seconds = finish(undisturbed, *two_files, *until)
    assert killed_and_finished(home, seconds, 4, 1, *two_files, *until) >= 2
    assert_same(home, undisturbed)
    seconds = finish(undisturbed, *two_files)
    assert killed_and_finished(home, seconds, 4, 2, *two_files) >= 2
    assert_same(home, undisturbed)


@pytest.mark.soak
def test_a_backfill_of_498_symbols_and_an_increment_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    path = shared_data("us_daily_yahoo_2014_2024.parquet")
    source, until = f"--source=yahoo={path}", ["--end", "2024-03-07"]
    undisturbed, home = tmp_path / "undisturbed", tmp_path / "home"
    seconds = finish(undisturbed, source, *until)
    assert killed_and_finished(home, seconds, KILLS, 3, source, *until) > KILLS // 2
    assert_same(home, undisturbed)
    seconds = finish(undisturbed, source)
    assert killed_and_finished(home, seconds, KILLS, 4, source) > KILLS // 2
    assert_same(home, undisturbed)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[YahooServer, dict[str, str]]]:
    """A desk of live vendors on loopback, as settings of a process: the first slow enough to be killed amid it."""
    with ExitStack() as stack:
        primary, secondary = stack.enter_context(YahooServer(PACKAGED)), stack.enter_context(FinnhubServer(PACKAGED))
        prefix = "QUANT_MARKET_DATA__LIVE__"
        yield (
            primary,
            {
                "QUANT_MARKET_DATA__VENDORS": json.dumps(["yfinance", "finnhub"]),
                f"{prefix}YFINANCE__BASE_URL": primary.base_url,
                f"{prefix}YFINANCE__CONCURRENCY": "1",
                f"{prefix}FINNHUB__BASE_URL": secondary.base_url,
                f"{prefix}FINNHUB__API_KEY": KEY,
                "QUANT_UNIVERSE": "us20",
            },
        )


@pytest.mark.slow
def test_what_a_live_vendor_has_answered_is_not_asked_again_after_a_kill(
    live: tuple[YahooServer, dict[str, str]], tmp_path: Path
) -> None:
    server, settings = live
    arguments = ["--symbols", ",".join(SYMBOLS[:1] + SYMBOLS[2:]), "--start", "2010-01-04", "--end", "2013-02-28"]
    undisturbed, home = tmp_path / "undisturbed", tmp_path / "home"
    finish(undisturbed, *arguments, settings=settings)
    server.requests.clear()
    # The second symbol's answer never comes, and the process is killed while it waits.
    server.fault("hang", times=1, after=1)
    assert replays.quant_killed_after(9.0, "backfill", *arguments, home=home, settings=settings)
    landed = list((home / "landing" / "yfinance").glob("AAPL*.parquet"))
    assert landed, "the first symbol's answer has landed"
    finish(home, *arguments, settings=settings)
    asked = [request.path.rsplit("/", 1)[-1] for request in server.requests if "chart" in request.path]
    assert asked == ["AAPL", "MSFT", "MSFT"]
    assert_same(home, undisturbed)
    assert not list((home / "landing").rglob("*.parquet")), "what is stored is cleared"

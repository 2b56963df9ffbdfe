"""Two processes that write to one lake table lose nothing and repeat nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from bokeh_sampledata.stocks import AAPL

from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TIMESTAMP

ROUNDS = 25
WRITER = "import sys; from tests.integration.test_lake_concurrency import write; write(*sys.argv[1:])"


def rows_of(symbol: str, turn: int, months: str) -> pl.DataFrame:
    """Turn ``turn`` of one writer: a real AAPL row, on a session of one shared month or of a month of its own."""
    day = date(2010, 3, 1) + timedelta(days=turn) if months == "one" else date(2010 + turn % 5, 1 + turn % 12, 5)
    return pl.DataFrame(
        {
            "symbol": [symbol],
            "session": [day],
            **{name: [float(AAPL[name][turn])] for name in ("open", "high", "low", "close", "volume")},
            "vendor": ["embedded_bokeh"],
            "row_hash": ["0" * 16],
        }
    ).with_columns(
        pl.col("session").cast(TIMESTAMP).alias("known_at"),
        pl.lit(None, pl.Float64).alias("level_factor"),
        pl.lit(None, pl.String).alias("vendor_change"),
    )


def write(root: str, symbol: str, months: str, marker: str) -> None:
    """What a writer process runs: merge one row a turn, marked by the writer in ``row_hash``."""
    lake = Lake(root)
    for turn in range(ROUNDS):
        lake.merge("bars", rows_of(symbol, turn, months).with_columns(row_hash=pl.lit(marker)))


def run_writers(root: Path, *writers: tuple[str, str, str]) -> None:
    project = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(root), *writer], cwd=project, stderr=subprocess.PIPE)
        for writer in writers
    ]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()


@pytest.mark.parametrize("months", ["one", "many"])
def test_two_processes_merging_different_keys_lose_no_row(tmp_path: Path, months: str) -> None:
    run_writers(tmp_path, ("AAPL", months, "a" * 16), ("IBM", months, "b" * 16))
    found = Lake(tmp_path).read("bars")
    for symbol, marker in (("AAPL", "a" * 16), ("IBM", "b" * 16)):
        expected = pl.concat([rows_of(symbol, turn, months) for turn in range(ROUNDS)])
        expected = expected.unique("session", keep="last").with_columns(row_hash=pl.lit(marker))
        assert found.filter(pl.col("symbol") == symbol).equals(expected.sort("session").select(found.columns))


def test_two_processes_merging_the_same_keys_leave_each_row_once(tmp_path: Path) -> None:
    run_writers(tmp_path, ("AAPL", "one", "a" * 16), ("AAPL", "one", "b" * 16))
    lake = Lake(tmp_path)
    found = lake.read("bars")
    assert found.height == ROUNDS
    assert found.select("symbol", "session").is_unique().all()
    assert set(found["row_hash"].to_list()) <= {"a" * 16, "b" * 16}
    writes = [entry for entry in lake.history("bars") if entry.operation == "WRITE"]
    assert len(writes) == 2 * ROUNDS, "each turn of each writer changed a row, so each made one version"


def test_writer_started_on_an_old_state_works_it_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process commits to the same month between this one's reading and its commit."""
    from quant_dagster.storage.lake import lake as module

    lake, other = Lake(tmp_path), Lake(tmp_path)
    lake.merge("bars", rows_of("AAPL", 0, "one"))
    real = module.merge_change
    interruptions = [rows_of("IBM", 1, "one")]

    def interrupted(*arguments: object) -> object:
        change = real(*arguments)  # type: ignore[arg-type]
        if interruptions:
            other.merge("bars", interruptions.pop())
        return change

    monkeypatch.setattr(module, "merge_change", interrupted)
    commit = lake.merge("bars", rows_of("GOOG", 2, "one"))
    assert (commit.version, commit.inserted) == (3, 1)
    assert sorted(lake.read("bars")["symbol"].to_list()) == ["AAPL", "GOOG", "IBM"]


FIRST = (
    "import sys, time; from tests.integration.test_lake_concurrency import first_write;"
    "first_write(sys.argv[1], sys.argv[2], float(sys.argv[3]))"
)


def first_write(root: str, marker: str, at: float) -> None:
    """What a process runs that writes to a table which does not exist, at a given moment."""
    lake, rows = Lake(root), rows_of("AAPL", 0, "one").with_columns(row_hash=pl.lit(marker))
    time.sleep(max(0.0, at - time.time()))
    lake.merge("bars", rows)


def test_two_processes_that_create_a_table_at_once_leave_each_row_once(tmp_path: Path) -> None:
    """Delta takes a second first write for an append: the table has to be created before it is written to."""
    project = Path(__file__).parents[2]
    for attempt in range(3):
        root, at = tmp_path / str(attempt), str(time.time() + 3.0)
        processes = [
            subprocess.Popen([sys.executable, "-c", FIRST, str(root), marker * 16, at], cwd=project)
            for marker in ("a", "b")
        ]
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
        assert Lake(root).read("bars").height == 1

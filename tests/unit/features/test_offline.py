"""The offline files: knowledge is added, never rewritten."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import MalformedDataError, StorageError
from quant_dagster.features import offline
from quant_dagster.features.compute import compute, to_long
from quant_dagster.features.definitions import View, features_of
from quant_dagster.features.offline import CREATED, EVENT, OfflineFiles
from tests.unit.features.real_panels import mixed_panel

KNOWN = datetime(2006, 6, 30, 22, tzinfo=UTC)


def long_frame(sessions: int = 30) -> pl.DataFrame:
    return to_long(compute(mixed_panel()), slice(-sessions, None))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}


def test_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame()
    assert files.write(frame, KNOWN) == len(frame) * len(View)
    for view in View:
        names = [name for name in frame.columns if name in files.known(view, KNOWN, KNOWN).columns and name != "symbol"]
        stored = files.known(view, datetime(2006, 1, 1, tzinfo=UTC), KNOWN)
        stored = stored.with_columns(pl.col(EVENT).dt.date().alias("session")).sort("session", "symbol")
        assert stored.select("symbol", "session", *names).equals(frame.select("symbol", "session", *names))


def test_writing_what_is_known_changes_no_byte(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame()
    files.write(frame, KNOWN)
    before = contents(tmp_path)
    assert files.write(frame, KNOWN) == 0
    assert files.write(frame, KNOWN + timedelta(days=3)) == 0  # known for longer, not known anew
    assert contents(tmp_path) == before


def test_a_restated_value_is_added_beside_the_first(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame()
    files.write(frame, KNOWN)
    mine = (pl.col("symbol") == "IBM") & (pl.col("session") == date(2006, 6, 29))
    restated = frame.with_columns(pl.when(mine).then(77.0).otherwise("rsi_14").alias("rsi_14"))
    assert files.write(restated, KNOWN + timedelta(hours=5)) == 1
    event = datetime(2006, 6, 29, 20, tzinfo=UTC)

    def rsi(at: datetime | None) -> float:
        known = files.known(View.TREND, event, event, at)
        return known.filter(pl.col("symbol") == "IBM")["rsi_14"].item()

    assert rsi(KNOWN + timedelta(hours=4)) == frame.filter(mine)["rsi_14"].item()
    assert rsi(KNOWN + timedelta(hours=5)) == rsi(None) == 77.0
    assert files.write(frame, KNOWN) == 0  # replaying the first knowledge is not news


def test_what_was_known_cannot_be_rewritten(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame()
    files.write(frame, KNOWN)
    before = contents(tmp_path)
    changed = frame.with_columns(pl.col("rsi_14") + 1.0)
    with pytest.raises(StorageError, match="pass a later known_at"):
        files.write(changed, KNOWN)
    assert contents(tmp_path) == before


def test_a_value_cannot_be_known_before_its_session_closed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="before that session's close"):
        OfflineFiles(tmp_path).write(long_frame(1), datetime(2006, 6, 30, 19, tzinfo=UTC))


def test_bars_on_a_holiday_are_refused(tmp_path: Path) -> None:
    frame = long_frame(1).with_columns(pl.lit(date(2006, 7, 4)).alias("session"))
    with pytest.raises(MalformedDataError, match="2006-07-04"):
        OfflineFiles(tmp_path).write(frame, KNOWN + timedelta(days=10))


def test_part_of_a_view_and_repeated_rows_are_refused(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame(1)
    with pytest.raises(StorageError, match="macd"):
        files.write(frame.drop("macd"), KNOWN)
    with pytest.raises(StorageError, match="two rows"):
        files.write(pl.concat([frame, frame]), KNOWN)
    with pytest.raises(StorageError, match="known_at"):
        files.write(frame)


def test_files_of_an_older_list_of_features_get_the_new_columns(tmp_path: Path) -> None:
    files, frame = OfflineFiles(tmp_path), long_frame(1)
    files.write(frame, KNOWN)
    file = files.folder(View.TREND) / "2006-06.parquet"
    pl.read_parquet(file).drop("rsi_14").write_parquet(file)
    files.prepare()
    stored = pl.read_parquet(file)
    assert stored["rsi_14"].null_count() == len(stored)
    assert files.write(frame, KNOWN + timedelta(days=1)) == frame["rsi_14"].count()


WRITE_HALF = """
import sys
from pathlib import Path
from tests.unit.features.test_offline import KNOWN, long_frame
from quant_dagster.features.offline import OfflineFiles
frame = long_frame(20)
half = frame["symbol"].unique().sort()[int(sys.argv[2])::2]
OfflineFiles(Path(sys.argv[1])).write(frame.filter(frame["symbol"].is_in(half.implode())), KNOWN)
"""


def test_two_processes_writing_one_month_lose_nothing(tmp_path: Path) -> None:
    project = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    commands = [[sys.executable, "-c", WRITE_HALF, str(tmp_path), half] for half in ("0", "1")]
    writers = [subprocess.Popen(command, env=environment, cwd=project) for command in commands]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    stored = OfflineFiles(tmp_path).known(View.TREND, datetime(2006, 6, 1, tzinfo=UTC), KNOWN)
    assert len(stored) == len(long_frame(20))
    assert (stored[CREATED] == KNOWN).all()


def older(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame as it was before two of its features existed."""
    return frame.drop("adx_14", "cci_20")


def old_store(root: Path, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as past:
        past.setattr(
            offline,
            "features_of",
            lambda view: [feature for feature in features_of(view) if feature.name not in ("adx_14", "cci_20")],
        )
        OfflineFiles(root).write(older(frame), KNOWN)


@pytest.mark.parametrize("prepared", [True, False])
def test_what_nobody_had_computed_is_filled_in_as_known_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    frame = long_frame()
    old_store(tmp_path, frame, monkeypatch)
    files = OfflineFiles(tmp_path)
    if prepared:
        files.prepare()
    mine = pl.col("symbol") == "IBM"
    has = frame.filter(pl.col("adx_14").is_not_null() | pl.col("cci_20").is_not_null())
    assert files.write(frame.filter(mine), KNOWN) == len(has.filter(mine)) > 0  # one symbol today
    assert files.write(frame, KNOWN) == len(has.filter(~mine)) > 0  # and the others another day
    before = contents(tmp_path)
    assert files.write(frame, KNOWN) == 0
    assert contents(tmp_path) == before
    stored = files.known(View.TREND, datetime(2006, 1, 1, tzinfo=UTC), KNOWN).sort(EVENT, "symbol")
    assert stored.select("symbol", "rsi_14", "adx_14").equals(frame.select("symbol", "rsi_14", "adx_14"))
    assert stored[CREATED].unique().to_list() == [KNOWN]


def test_filling_in_changes_no_value_that_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = long_frame()
    old_store(tmp_path, frame, monkeypatch)
    files = OfflineFiles(tmp_path)
    files.prepare()
    with pytest.raises(StorageError, match="rsi_14"):
        files.write(frame.with_columns(pl.lit(1.0).alias("rsi_14")), KNOWN)
    files.write(frame, KNOWN)
    with pytest.raises(StorageError, match="adx_14"):  # filled in once, it is known
        files.write(frame.with_columns(pl.col("adx_14") + 1.0), KNOWN)

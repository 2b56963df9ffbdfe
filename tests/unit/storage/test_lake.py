"""The lake: merges that change nothing make no version, history stays readable, types do not drift."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from bokeh_sampledata.stocks import AAPL, IBM

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES, TIMESTAMP, lake_table


def bars_of(symbol: str, stock: dict[str, list[object]]) -> pl.DataFrame:
    frame = pl.DataFrame({name: stock[name] for name in ("date", "open", "high", "low", "close", "volume")})
    return frame.select(
        pl.lit(symbol).alias("symbol"),
        pl.col("date").str.to_date().alias("session"),
        *(pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume")),
        pl.lit("embedded_bokeh").alias("vendor"),
        pl.col("date").str.to_date().cast(TIMESTAMP).alias("known_at"),
        pl.lit("0" * 16).alias("row_hash"),
        pl.lit(None, pl.Float64).alias("level_factor"),
        pl.lit(None, pl.String).alias("vendor_change"),
    )


BARS = pl.concat([bars_of("AAPL", AAPL), bars_of("IBM", IBM)])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.merge("bars", BARS)
    return lake


def month(frame: pl.DataFrame, text: str) -> pl.DataFrame:
    return frame.filter(pl.col("session").dt.strftime("%Y-%m") == text)


def test_first_write_creates_the_table_then_is_one_commit_and_reads_back_the_same(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    commit = lake.merge("bars", BARS)
    assert (commit.version, commit.inserted, commit.updated, commit.unchanged) == (1, BARS.height, 0, 0)
    assert lake.read("bars").equals(BARS.select(list(TABLES["bars"].schema)).sort("session", "symbol"))
    assert [entry.operation for entry in lake.history("bars")] == ["WRITE", "CREATE TABLE"]


def test_merging_the_same_rows_again_makes_no_version(lake: Lake) -> None:
    commit = lake.merge("bars", BARS.sample(fraction=1.0, shuffle=True, seed=1))
    assert not commit.changed
    assert (commit.version, commit.unchanged) == (1, BARS.height)
    assert lake.version("bars") == 1


def test_merge_inserts_updates_and_leaves_other_months_files_alone(lake: Lake) -> None:
    before = {str(path) for path in Path(lake.uri("bars")).rglob("*.parquet")}
    march = month(BARS, "2010-03").with_row_index()
    restated = march.with_columns(close=pl.when(pl.col("index") == 3).then(1.5).otherwise("close")).drop("index")
    late = restated.filter(pl.col("symbol") == "AAPL").with_columns(symbol=pl.lit("AAPL.NEW")).head(1)
    commit = lake.merge("bars", pl.concat([restated, late]))
    assert (commit.inserted, commit.updated, commit.unchanged) == (1, 1, march.height - 1)
    assert lake.read("bars").height == BARS.height + 1
    assert lake.read("bars", where=pl.col("close") == 1.5).height == 1
    added = {str(path) for path in Path(lake.uri("bars")).rglob("*.parquet")} - before
    assert [Path(path).parent.name for path in added] == ["month=2010-03"]


def test_ignored_column_alone_is_no_change(lake: Lake) -> None:
    later = BARS.with_columns(known_at=pl.lit(datetime(2026, 1, 2, tzinfo=UTC)).cast(TIMESTAMP))
    assert not lake.merge("bars", later, ignore=("known_at",)).changed
    assert lake.merge("bars", later).updated == BARS.height


def test_earlier_states_are_read_by_version_and_by_instant(lake: Lake) -> None:
    first, *_ = lake.history("bars")
    between = first.committed_at
    lake.merge("bars", month(BARS, "2013-03").with_columns(close=pl.lit(9.0)))
    assert lake.read("bars", where=pl.col("close") == 9.0).height == 2
    assert lake.read("bars", version=1).equals(BARS.select(list(TABLES["bars"].schema)).sort("session", "symbol"))
    assert lake.read("bars", as_of=between).equals(lake.read("bars", version=1))
    assert lake.read("bars", as_of=datetime.now(UTC)).equals(lake.read("bars", version=2))
    assert lake.read("bars", as_of=datetime(2020, 1, 1, tzinfo=UTC)).is_empty(), "the table did not exist then"
    with pytest.raises(StorageError, match="no version 7"):
        lake.read("bars", version=7)
    with pytest.raises(StorageError, match="time zone"):
        lake.read("bars", as_of=datetime(2020, 1, 1))


def test_read_returns_only_what_was_asked_for(lake: Lake) -> None:
    found = lake.read("bars", columns=["close"], symbols=["AAPL"], start=date(2008, 2, 28), end=date(2008, 3, 4))
    expected = BARS.filter(
        (pl.col("symbol") == "AAPL") & pl.col("session").is_between(date(2008, 2, 28), date(2008, 3, 4))
    )
    assert found.columns == ["close"]
    assert found["close"].to_list() == expected["close"].to_list()
    with pytest.raises(StorageError, match="no column \\['colour'\\]"):
        lake.read("bars", columns=["colour"])


def test_missing_table_reads_as_empty_with_its_columns(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.read("forecasts").schema == TABLES["forecasts"].schema
    assert lake.version("forecasts") is None
    assert not lake.exists("forecasts")
    assert lake.dataset("forecasts").count_rows() == 0
    with pytest.raises(StorageError, match="no table 'prices'"):
        lake.read("prices")


def test_replace_makes_the_rows_everything_of_those_sessions(lake: Lake) -> None:
    session = date(2010, 3, 1)
    only = BARS.filter((pl.col("session") == session) & (pl.col("symbol") == "IBM"))
    commit = lake.replace("bars", only, [session])
    assert (commit.inserted, commit.updated, commit.unchanged, commit.deleted) == (0, 0, 1, 1)
    assert lake.read("bars", start=session, end=session)["symbol"].to_list() == ["IBM"]
    assert lake.read("bars").height == BARS.height - 1
    assert not lake.replace("bars", only, [session]).changed
    assert lake.replace("bars", only.clear(), [session]).deleted == 1
    with pytest.raises(StorageError, match="not to be replaced"):
        lake.replace("bars", only, [date(2010, 3, 2)])


def test_new_nullable_column_is_added_and_survives_writers_that_do_not_know_it(lake: Lake) -> None:
    march = month(BARS, "2010-03")
    lake.merge("bars", march.with_columns(trades=pl.lit(12, pl.Int64)))
    everything = lake.read("bars")
    assert everything["trades"].drop_nulls().len() == march.height
    lake.merge("bars", march.with_columns(close=pl.col("close") + 1.0))
    assert lake.read("bars", start=date(2010, 3, 1), end=date(2010, 3, 31))["trades"].to_list() == [12] * march.height
    assert "trades" not in lake.read("bars", version=1).columns


def test_changed_type_is_refused_and_nothing_is_written(lake: Lake) -> None:
    with pytest.raises(StorageError, match="close is Float32, stored as Float64"):
        lake.merge("bars", BARS.with_columns(pl.col("close").cast(pl.Float32)))
    lake.merge("bars", BARS.head(1).with_columns(trades=pl.lit(12, pl.Int64)))
    with pytest.raises(StorageError, match="trades is String"):
        lake.merge("bars", BARS.head(1).with_columns(trades=pl.lit("twelve")))
    assert lake.version("bars") == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pl.concat([BARS.head(2), BARS.head(1)]), "2 rows share a key"),
        (BARS.head(2).drop("close"), "missing columns \\['close'\\]"),
        (BARS.head(2).with_columns(symbol=pl.lit(None, pl.String)), "null in key"),
        (BARS.head(2).with_columns(month=pl.lit("2010-03")), "the lake's own"),
    ],
)
def test_rows_that_cannot_be_stored_are_refused(lake: Lake, rows: pl.DataFrame, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        lake.merge("bars", rows)
    assert lake.version("bars") == 1


def test_nan_is_stored_as_null(lake: Lake) -> None:
    rows = BARS.head(1).with_columns(volume=pl.lit(float("nan")))
    lake.merge("bars", rows)
    assert lake.read("bars")["volume"].null_count() == 1
    assert not lake.merge("bars", rows).changed


def test_unpartitioned_table_keeps_rows_without_a_session(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    row = {"vendor": "files", "source": "a.csv", "row": 3, "symbol": None, "session": None}
    rows = pl.DataFrame(
        [{**row, "reason": "not_a_number", "detail": "close 'x'", "known_at": datetime(2024, 1, 2, tzinfo=UTC)}],
        schema=TABLES["rejected_rows"].schema,
    )
    assert lake.merge("rejected_rows", rows).inserted == 1
    assert not lake.merge("rejected_rows", rows).changed
    assert lake.merge("rejected_rows", rows.with_columns(row=pl.lit(4, pl.Int64))).inserted == 1
    assert lake.read("rejected_rows")["row"].to_list() == [3, 4]
    with pytest.raises(StorageError, match="merge into it"):
        lake.replace("rejected_rows", rows, [])


def test_duckdb_queries_the_table_and_an_earlier_version_of_it(lake: Lake) -> None:
    lake.merge("bars", BARS.head(1).with_columns(close=pl.lit(1.0)))
    connection = duckdb.connect()
    connection.register("now", lake.dataset("bars"))
    connection.register("before", lake.dataset("bars", version=1))
    march = lake.files("bars", start=date(2000, 3, 1), end=date(2000, 3, 31), version=1)
    assert len(march) == 1
    native = "select count(*), min(close) from read_parquet($files, union_by_name=true) where symbol = 'AAPL'"
    query = "select count(*), min(close) from {} where month = '2000-03' and symbol = 'AAPL'"
    assert connection.execute(query.format("now")).fetchone() == (23, 1.0)
    count, lowest = connection.execute(query.format("before")).fetchone() or (0, 0.0)
    assert (count, lowest) == (23, np.min(AAPL["close"][:23]))
    assert connection.execute(native, {"files": march}).fetchone() == (count, lowest)


def test_compaction_and_vacuum_change_no_row(lake: Lake) -> None:
    for close in (1.0, 2.0, 3.0):
        lake.merge("bars", BARS.head(1).with_columns(close=pl.lit(close)))
    before = lake.read("bars")
    assert lake.compact("bars") == 0, "a merge leaves one file a month: nothing to compact"
    stale = lake.vacuum("bars", 0)
    assert len(stale) == 3
    assert lake.read("bars", version=1).height == BARS.height
    assert lake.vacuum("bars", 0, dry_run=False) == stale
    assert lake.read("bars").equals(before)
    with pytest.raises(StorageError, match="does not exist"):
        lake.vacuum("signals", 0)


def test_every_table_names_its_key_among_its_required_columns() -> None:
    for table in TABLES.values():
        assert set(table.key) <= set(table.required)
        assert lake_table(table.name) is table
        assert "session" in table.key or not table.partitioned


@pytest.mark.parametrize("name", ["two words", "50% {off} #1", "Börse", "what?"])
def test_a_lake_can_live_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / name)
    lake.merge("bars", BARS)
    assert not lake.merge("bars", BARS).changed
    lake.merge("bars", BARS.head(3).with_columns(close=pl.col("close") + 1))
    assert lake.read("bars").height == BARS.height
    assert all(Path(file).is_file() for file in lake.files("bars"))

"""What was known when: replaced values are kept for ever, and the change feed says what is new since a version."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_dagster.errors import StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES, TIMESTAMP
from tests.unit.storage.test_lake import BARS

RAW = BARS.drop("level_factor", "vendor_change").select(list(TABLES["raw_prices"].schema))
FIRST = RAW.filter(pl.col("session") == RAW["session"].min())


def restated(rows: pl.DataFrame, day: date, factor: float) -> pl.DataFrame:
    return rows.with_columns(
        pl.col("close") * factor,
        pl.lit(datetime(day.year, day.month, day.day, 12, tzinfo=UTC)).cast(TIMESTAMP).alias("known_at"),
        pl.format("{}", pl.lit(f"{abs(hash(factor)):016x}"[:16])).alias("row_hash"),
    )


def test_a_restated_value_is_read_as_it_was_known_before(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", RAW)
    lake.merge("raw_prices", restated(FIRST, date(2014, 6, 2), 0.5))
    lake.merge("raw_prices", restated(FIRST, date(2014, 9, 1), 0.25))
    first = FIRST["session"][0]

    def closes(known_on: date | None) -> list[float]:
        return lake.read("raw_prices", start=first, end=first, known_on=known_on)["close"].to_list()

    original = FIRST.sort("vendor", "symbol")["close"]
    assert closes(date(2014, 6, 1)) == original.to_list()
    assert closes(date(2014, 6, 2)) == (original * 0.5).to_list()
    assert closes(date(2014, 8, 31)) == (original * 0.5).to_list()
    assert closes(date(2014, 9, 1)) == closes(None) == (original * 0.25).to_list()


def test_nothing_is_known_before_its_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", RAW)
    day = date(2005, 3, 10)
    known = lake.read("raw_prices", known_on=day)
    assert known["session"].max() == day
    assert known.height == RAW.filter(pl.col("session") <= day).height


def test_vacuum_does_not_take_what_was_known(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", RAW)
    lake.merge("raw_prices", restated(FIRST, date(2014, 6, 2), 0.5))
    for table in lake.tables():
        lake.compact(table)
        lake.vacuum(table, 0, dry_run=False)
    first = FIRST["session"][0]
    read = lake.read("raw_prices", start=first, end=first, known_on=date(2014, 1, 1))
    assert read["close"].to_list() == FIRST.sort("vendor", "symbol")["close"].to_list()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 4)), min_size=1, max_size=5))
def test_known_on_is_the_newest_value_not_after_the_day(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    """Against a plain list of what became known when."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    row = FIRST.filter(pl.col("symbol") == "AAPL")
    lake.merge("raw_prices", row)
    told = [(row["known_at"][0].date(), row["close"][0])]
    day = date(2014, 1, 1)
    for days, factor in steps:
        day += timedelta(days=days)
        new = restated(row, day, factor / 10)
        lake.merge("raw_prices", new)
        told.append((day, new["close"][0]))
    for asked, _ in told:
        expected = [value for when, value in told if when <= asked][-1]
        assert lake.read("raw_prices", known_on=asked)["close"].to_list() == [expected]


def test_a_removed_row_was_known_until_it_was_removed(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", RAW)
    removed = datetime(2014, 6, 2, 12, tzinfo=UTC)
    commit = lake.remove("raw_prices", FIRST, at=removed)
    assert (commit.deleted, commit.inserted) == (FIRST.height, 0)
    first = FIRST["session"][0]
    assert lake.read("raw_prices", start=first, end=first).is_empty()
    assert lake.read("raw_prices", start=first, end=first, known_on=date(2014, 6, 1)).height == FIRST.height
    assert lake.read("raw_prices", start=first, end=first, known_on=date(2014, 6, 2)).is_empty()
    assert lake.read("raw_prices").height == RAW.height - FIRST.height
    assert not lake.remove("raw_prices", FIRST, at=removed).changed, "removing it again changes nothing"


def test_the_change_feed_says_what_is_new_since_a_version(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", RAW.filter(pl.col("session") < date(2013, 1, 1)))
    seen = lake.version("raw_prices")
    assert seen is not None
    lake.merge("raw_prices", RAW.filter(pl.col("session") >= date(2013, 1, 1)))
    lake.merge("raw_prices", restated(FIRST, date(2014, 6, 2), 0.5))
    changes = lake.changes("raw_prices", seen)
    new = RAW.filter(pl.col("session") >= date(2013, 1, 1))
    assert dict(changes["change"].value_counts().iter_rows()) == {"inserted": new.height, "updated": FIRST.height}
    updated = changes.filter(pl.col("change") == "updated")
    assert updated["changed_columns"].unique().to_list() == ["close,known_at,row_hash"]
    assert updated["session"].unique().to_list() == [FIRST["session"][0]]
    assert lake.changes("raw_prices", lake.version("raw_prices") or 0).is_empty()


def test_compaction_is_no_change_and_a_removed_row_is_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    scores = FIRST.select("symbol", "session", score=1.0, issues=pl.lit(""), not_evaluated=pl.lit(""))
    lake.merge("quality", scores.head(1))
    lake.merge("quality", scores)
    seen = lake.version("quality") or 0
    lake.compact("quality")
    assert lake.changes("quality", seen).is_empty()
    lake.replace("quality", scores.head(1), [FIRST["session"][0]])
    assert lake.changes("quality", seen).select("change", "symbol").rows() == [("deleted", scores["symbol"][1])]


def test_a_version_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.merge("raw_prices", FIRST)
    with pytest.raises(StorageError, match="name an earlier version first"):
        lake.changes("raw_prices", 99)

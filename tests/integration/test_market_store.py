"""The market store on a real PostgreSQL, and on a real TimescaleDB where there is one, with real market data."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import text

from quant_dagster.errors import ConfigurationError, StorageError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.market_store import MarketStore
from quant_dagster.storage.market_store.schema import first_kept
from quant_dagster.storage.tables import TIMESTAMP, lake_table
from tests.support.market_store import daily_bars, minute_bars
from tests.support.postgres import create_database
from tests.support.timescale import timescale_server

pytestmark = pytest.mark.postgres
_databases = itertools.count()
NOW = datetime(2019, 6, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def timescale() -> Iterator[str]:
    with timescale_server() as url:
        yield url


@pytest.fixture(params=["postgresql", "timescaledb"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_url(engine: str, request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes empty databases."""
    server = request.getfixturevalue("postgres" if engine == "postgresql" else "timescale")
    return lambda: create_database(server, f"market_{os.getpid()}_{next(_databases)}")


@pytest.fixture
def store(new_url: Callable[[], str]) -> Iterator[MarketStore]:
    store = MarketStore(new_url(), clock=lambda: NOW)
    store.upgrade()
    yield store
    store.close()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.merge("intraday_bars", minute_bars("AAPL", "MSFT"))
    lake.merge("bars", daily_bars(date(2019, 1, 2), date(2019, 3, 29), "AAPL", "MSFT", "XOM"))
    return lake


def partitions_of(store: MarketStore, table: str) -> list[str]:
    with store.database.begin("looking") as connection:
        return list(
            connection.execute(
                text(
                    "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:t AS regclass) ORDER BY 1"
                ),
                {"t": f"market.{table}"},
            ).scalars()
        )


def five_minutes(bars: pl.DataFrame) -> pl.DataFrame:
    """What the five-minute bars should be, worked out by polars from the one-minute bars."""
    whole = {name: pl.col(name).null_count() == 0 for name in ("high", "low", "volume")}
    return (
        bars.filter(pl.col("seconds") == 60)
        .sort("vendor", "symbol", "session", "bar_start")
        .group_by("session", "vendor", "symbol", pl.col("bar_start").dt.truncate("5m").alias("bucket_start"))
        .agg(
            pl.col("open").first(),
            pl.when(whole["high"]).then(pl.col("high").max()).alias("high"),
            pl.when(whole["low"]).then(pl.col("low").min()).alias("low"),
            pl.col("close").last(),
            pl.when(whole["volume"]).then(pl.col("volume").sum()).alias("volume"),
            pl.len().cast(pl.Int32).alias("minutes_present"),
        )
        .sort("session", "vendor", "symbol", "bucket_start")
    )


def assert_same(store: MarketStore, lake: Lake) -> None:
    for table in lake.tables():
        assert store.read(table).equals(lake.read(table)), table
    assert store.differences(lake) == []
    expected = five_minutes(lake.read("intraday_bars"))
    assert store.read("intraday_bars_5m").select(expected.columns).equals(expected)


def test_the_store_is_made_of_what_the_server_has(store: MarketStore, engine: str) -> None:
    assert store.upgrade().startswith(f"{engine}: ")


def test_a_store_that_was_synced_reads_exactly_as_the_lake(store: MarketStore, lake: Lake) -> None:
    done = {one.table: one for one in store.sync(lake)}
    assert done["bars"].how == "full" and done["bars"].rows_written == lake.read("bars").height > 180
    assert done["quality"].how == "absent"
    assert_same(store, lake)
    assert store.versions() == {"bars": lake.version("bars"), "intraday_bars": lake.version("intraday_bars")}
    for choice in (
        {"symbols": ["XOM"], "start": date(2019, 1, 31), "end": date(2019, 2, 4)},
        {"columns": ["close", "symbol"], "end": date(2019, 1, 10)},
        {"symbols": []},
    ):
        assert store.read("bars", **choice).equals(lake.read("bars", **choice))  # type: ignore[arg-type]


def test_a_second_sync_writes_nothing_and_a_change_sends_only_what_changed(store: MarketStore, lake: Lake) -> None:
    store.sync(lake)
    assert {one.how for one in store.sync(lake)} == {"absent", "unchanged"}
    lake.merge("bars", lake.read("bars").head(2).with_columns(pl.col("close") + 0.01))
    lake.compact("intraday_bars")
    done = {one.table: one for one in store.sync(lake)}
    assert (done["bars"].how, done["bars"].rows_written, done["bars"].rows_deleted) == ("incremental", 2, 0)
    assert (done["bars_superseded"].how, done["bars_superseded"].rows_written) == ("full", 2)
    assert done["intraday_bars"].rows_written == 0, "compaction makes a version and changes no row"
    assert_same(store, lake)


def test_rows_the_lake_deleted_go_and_their_five_minutes_are_made_again(store: MarketStore, lake: Lake) -> None:
    store.sync(lake)
    bars = lake.read("intraday_bars")
    session = date(2019, 2, 12)
    kept = bars.filter(pl.col("session") == session, pl.col("bar_start").dt.minute() != 31)
    lake.replace("intraday_bars", kept, [session])
    done = next(one for one in store.sync(lake) if one.table == "intraday_bars")
    gone = bars.filter(pl.col("session") == session).height - kept.height
    assert (done.how, done.rows_written, done.rows_deleted) == ("incremental", 0, gone)
    if store.upgrade().startswith("postgresql"):
        assert done.buckets == gone, "each minute that went is of another bucket"
    assert_same(store, lake)


@seed(20190211)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_five_minute_bars_equal_a_full_recompute_after_any_changes(
    new_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store, lake = MarketStore(new_url(), clock=lambda: NOW), Lake(tmp_path_factory.mktemp("lake"))
    store.upgrade()
    bars = minute_bars("AAPL", "MSFT").filter(pl.col("bar_start").dt.hour() == 15)
    lake.merge("intraday_bars", bars)
    store.sync(lake, ["intraday_bars"])
    for _ in range(data.draw(st.integers(1, 3), "syncs")):
        for _ in range(data.draw(st.integers(1, 2), "changes before a sync")):
            session = data.draw(st.sampled_from(bars["session"].unique().sort().to_list()), "session")
            chosen = data.draw(st.sets(st.integers(0, 119), min_size=1, max_size=12), "rows")
            kind = data.draw(st.sampled_from(["delete", "update", "no volume", "other length"]), "kind")
            now = lake.read("intraday_bars", start=session, end=session)
            rows = now[sorted(chosen & set(range(now.height)))] if now.height else now
            if kind == "delete":
                keep = now.join(rows, on=list(lake_table("intraday_bars").key), how="anti", maintain_order="left")
                lake.replace("intraday_bars", keep, [session])
                continue
            original = bars.filter(pl.col("session") == session)[sorted(chosen)]
            changed = {
                "update": original.with_columns(pl.col("close", "high") + 0.37),
                "no volume": original.with_columns(pl.lit(None, pl.Float64).alias("volume")),
                "other length": original.with_columns(pl.lit(300, pl.Int32).alias("seconds")),
            }[kind]
            lake.merge("intraday_bars", changed)
        store.sync(lake, ["intraday_bars"])
        assert_same(store, lake)
    store.close()


def test_every_kind_of_value_comes_back_as_it_went(store: MarketStore, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "values")
    texts = ["", "\\N", "NULL", 'a "quoted", one', "two\nlines\r\n", " é漢 ", "\\.", "\t"]
    count = len(texts)
    numbers = [0.1, -0.0, 1e-308, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), None]
    signals = pl.DataFrame(
        {
            "session": [date(2024, 2, 29)] * count, "symbol": texts, "alpha": ["trend"] * count,
            "direction": [-1, 0, 1, -1, 0, 1, 127, -128], "strength": numbers, "confidence": [None] * count,
            "risk": numbers[::-1], "priority": [1.0] * count, "enabled": [True, False] * 4, "reasons": texts,
        },
        schema=lake_table("signals").schema,
    )  # fmt: skip
    lake.merge("signals", signals)
    rejected = pl.DataFrame(
        {
            "vendor": ["v"] * count, "source": ["s"] * count, "row": [2**40 + n for n in range(count)],
            "symbol": [None, *texts[1:]], "session": [None, *[date(1999, 12, 31)] * (count - 1)],
            "reason": texts, "detail": texts,
            "known_at": [datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC)] * count,
        },
        schema=lake_table("rejected_rows").schema,
    )  # fmt: skip
    lake.merge("rejected_rows", rejected)
    store.sync(lake)
    for table in ("signals", "rejected_rows"):
        assert store.read(table).equals(lake.read(table))
        assert store.sync(lake, [table], full=True)[0].rows_written == 0, "compared in full, nothing differs"
    assert store.differences(lake) == []


def test_a_column_added_to_the_lake_comes_to_the_store(store: MarketStore, lake: Lake) -> None:
    store.sync(lake)
    lake.merge("bars", lake.read("bars").head(1).with_columns(pl.lit("late print").alias('remark; --"')))
    store.sync(lake)
    assert store.read("bars").equals(lake.read("bars"))
    assert store.differences(lake) == []


def test_a_version_whose_files_are_gone_leads_to_a_full_comparison(store: MarketStore, lake: Lake) -> None:
    store.sync(lake)
    bars = lake.read("bars")
    lake.replace("bars", bars.filter(pl.col("session") == date(2019, 1, 2)).head(1), [date(2019, 1, 2)])
    lake.vacuum("bars", 0, dry_run=False)
    done = next(one for one in store.sync(lake) if one.table == "bars")
    assert (done.how, done.rows_written, done.rows_deleted) == ("full", 0, 2)
    assert_same(store, lake)


def test_a_lake_made_anew_is_not_taken_for_the_old_one(store: MarketStore, lake: Lake, tmp_path: Path) -> None:
    """Its versions have the same numbers, and what changed between them says nothing of the old lake's rows."""
    store.sync(lake)
    anew = Lake(tmp_path / "anew")
    anew.merge("bars", daily_bars(date(2019, 1, 2), date(2019, 2, 28), "AAPL"))
    anew.merge("bars", daily_bars(date(2019, 3, 1), date(2019, 3, 1), "AAPL"))
    assert anew.version("bars") > lake.version("bars")
    done = store.sync(anew, ["bars"])[0]
    assert done.how == "full" and done.rows_deleted > 100
    assert store.read("bars").equals(anew.read("bars"))


def test_differences_name_what_is_missing_extra_and_changed_and_a_full_sync_repairs_it(
    store: MarketStore, lake: Lake
) -> None:
    store.sync(lake)
    with store.database.begin("breaking it") as connection:
        connection.exec_driver_sql("DELETE FROM market.bars WHERE symbol = 'AAPL' AND session = '2019-01-02'")
        connection.exec_driver_sql(
            "UPDATE market.bars SET close = close + 1e-9 WHERE symbol = 'XOM' AND session < '2019-01-04'"
        )
        connection.exec_driver_sql(
            "UPDATE market.bars SET symbol = 'ZZZ' WHERE symbol = 'MSFT' AND session = '2019-03-01'"
        )
    found = store.differences(lake)
    assert [(d.table, d.month, d.missing, d.extra, d.changed) for d in found] == [
        ("bars", date(2019, 1, 1), 1, 0, 2),
        ("bars", date(2019, 3, 1), 1, 1, 0),
    ]
    assert {one.how for one in store.sync(lake)} == {"absent", "unchanged"}, "the lake has not changed"
    repaired = next(one for one in store.sync(lake, ["bars"], full=True))
    assert (repaired.rows_written, repaired.rows_deleted) == (4, 1)
    assert_same(store, lake)


def history_with_months(lake: Lake) -> pl.DataFrame:
    """The real minutes of February, and the same at the same times of January and May: five sessions a month."""
    bars = minute_bars("AAPL")
    months = [bars]
    for days in (-28, 91):
        shift = pl.duration(days=days)
        moved = bars.with_columns(pl.col("session") + shift, pl.col("bar_start") + shift, pl.col("known_at") + shift)
        months.append(moved.cast(bars.schema))  # type: ignore[arg-type]
    rows = pl.concat(months)
    lake.merge("intraday_bars", rows)
    return rows


def test_retention_drops_whole_months_and_a_sync_does_not_bring_them_back(store: MarketStore, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "months")
    rows = history_with_months(lake)
    store.sync(lake)
    kept = rows.filter(pl.col("session") >= date(2019, 2, 1))
    planned = store.retain(4, dry_run=True)
    assert store.read("intraday_bars").height == rows.height, "a dry run drops nothing"
    dropped = store.retain(4)  # on 20 June: February to June are kept
    assert dropped == planned
    if store.upgrade().startswith("postgresql"):
        assert dropped == ["intraday_bars_2019_01", "intraday_bars_5m_2019_01"]
    assert store.read("intraday_bars").height == kept.height
    lake.merge("intraday_bars", rows.sort("session").head(3).with_columns(pl.col("close") + 1.0))
    assert next(one for one in store.sync(lake) if one.table == "intraday_bars").rows_written == 0
    store.sync(lake, full=True)
    assert store.read("intraday_bars")["session"].min() == date(2019, 2, 11)
    assert store.read("intraday_bars_5m")["session"].min() == date(2019, 2, 11)
    assert store.differences(lake) == []
    store.retain(1)
    assert store.read("intraday_bars")["session"].min() == date(2019, 5, 13)
    assert store.read("intraday_bars_5m")["session"].min() == date(2019, 5, 13)
    assert store.differences(lake) == []
    status = next(one for one in store.status(lake) if one.table == "intraday_bars")
    assert (status.rows, status.kept_from, status.versions_behind) == (rows.height // 3, date(2019, 5, 1), 0)


def test_what_the_servers_own_policy_drops_is_not_missed(store: MarketStore, tmp_path: Path, engine: str) -> None:
    if engine != "timescaledb":
        pytest.skip("plain PostgreSQL has no policies")
    lake = Lake(tmp_path / "months")
    kept = history_with_months(lake).filter(pl.col("session") >= date(2019, 2, 1))
    store.sync(lake)
    store.retain(4)
    with store.database.autocommit("running the policy") as connection:
        job = connection.exec_driver_sql(
            "SELECT job_id FROM timescaledb_information.jobs "
            "WHERE proc_name = 'policy_retention' AND hypertable_name = 'intraday_bars'"
        ).scalar_one()
        connection.exec_driver_sql(f"CALL run_job({job})")  # by the wall clock, years later: every month is old
    assert store.read("intraday_bars").is_empty()
    missing = sum(one.missing for one in store.differences(lake) if one.table == "intraday_bars")
    assert missing == kept.height, "by the store's clock of 2019 they should be there"
    today = MarketStore(store.database.url.render_as_string(hide_password=False))
    assert today.differences(lake) == []
    today.sync(lake, full=True)
    assert today.read("intraday_bars").is_empty()
    today.close()


def test_months_are_partitions_and_there_is_no_default_one(store: MarketStore, lake: Lake, engine: str) -> None:
    if engine != "postgresql":
        pytest.skip("TimescaleDB has chunks")
    store.sync(lake)
    assert partitions_of(store, "bars") == [f"market.bars_2019_0{month}" for month in (1, 2, 3)]
    assert partitions_of(store, "intraday_bars_5m") == ["market.intraday_bars_5m_2019_02"]
    with pytest.raises(StorageError, match="no partition"), store.database.begin("writing elsewhere") as connection:
        connection.exec_driver_sql("INSERT INTO market.bars (symbol, session) VALUES ('AAPL', '1999-01-04')")


def test_retention_never_cuts_a_month() -> None:
    assert first_kept(1, date(2024, 3, 31)) == date(2024, 2, 1)
    assert first_kept(3, date(2024, 3, 1)) == date(2023, 12, 1)
    assert first_kept(12, date(2024, 1, 15)) == date(2023, 1, 1)


def test_a_store_that_was_not_set_up_says_how_to(new_url: Callable[[], str], lake: Lake) -> None:
    store = MarketStore(new_url())
    with pytest.raises(StorageError, match="market-store upgrade"):
        store.sync(lake)
    with pytest.raises(StorageError, match="market-store upgrade"):
        store.read("bars")
    store.close()


def test_errors_never_show_the_password(tmp_path: Path) -> None:
    for url in ("mysql://desk:hunter2@db/market", "postgresql+psycopg2://desk:hunter2@127.0.0.1:1/market", "hunter2"):
        with pytest.raises((ConfigurationError, StorageError)) as caught:
            MarketStore(url).upgrade()
        assert "hunter2" not in str(caught.value)


def test_unknown_tables_and_columns_are_named(store: MarketStore) -> None:
    with pytest.raises(StorageError, match="has no table 'prices'"):
        store.read("prices")
    with pytest.raises(StorageError, match=r"has no column \['adj_close'\]"):
        store.read("bars", columns=["adj_close"])
    assert store.read("bars").schema == lake_table("bars").schema
    assert store.read("trades").schema["traded_at"] == TIMESTAMP

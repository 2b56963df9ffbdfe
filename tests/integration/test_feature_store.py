"""The feature store with the real Feast: history without look-ahead, and online values that never go back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import ConfigurationError, StorageError
from quant_dagster.features.compute import compute, to_long
from quant_dagster.features.definitions import FEATURES, View
from quant_dagster.features.offline import EVENT
from quant_dagster.features.store import SERVICE, FeatureStore, OnlinePush
from tests.unit.features.real_panels import mixed_panel

PROJECT = Path(__file__).resolve().parents[2]
REPO = PROJECT / "feature_repo"
DELAY = timedelta(hours=2)
LAST, BEFORE = date(2006, 6, 30), date(2006, 6, 29)
NOW = datetime(2006, 7, 1, tzinfo=UTC)
VALUES = list(FEATURES)


def close_of(session: pl.Expr) -> pl.Expr:
    """Summer closes of New York, in UTC."""
    return session.cast(pl.Datetime("us")).dt.offset_by("20h").dt.replace_time_zone("UTC")


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Real features of May and June 2006, each known two hours after its session's close."""
    features = to_long(compute(mixed_panel()), slice(-42, None))
    return features.with_columns((close_of(pl.col("session")) + DELAY).alias("known_at"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path, frame: pl.DataFrame) -> FeatureStore:
    """A store with the frame written offline: every test that takes it runs on SQLite and on PostgreSQL."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    store = FeatureStore(REPO, tmp_path / "features", postgres_url=url)
    store.apply()
    store.write_offline(frame)
    return store


def test_history_equals_an_asof_join(store: FeatureStore, frame: pl.DataFrame) -> None:
    """Asked at every close, every known_at, a minute before it and over the weekend, for every symbol."""
    moments = frame.select(pl.col("known_at")).unique().sort("known_at")["known_at"]
    asked = pl.concat([moments, moments - DELAY, moments - timedelta(minutes=1), moments + timedelta(hours=40)])
    entities = frame.select("symbol").unique().join(pl.DataFrame({EVENT: asked}), how="cross")
    entities = entities.sort(pl.col(EVENT).hash(seed=1), "symbol").with_row_index("position")
    found = store.get_historical(entities)
    known = frame.drop("session").sort("known_at")
    expected = (
        entities.sort(EVENT)
        .join_asof(known, left_on=EVENT, right_on="known_at", by="symbol", check_sortedness=False)
        .sort("position")
        .select("position", "symbol", EVENT, *VALUES)
    )
    assert found.select(expected.columns).equals(expected)
    assert found["rsi_14"].null_count() < len(found) / 10


def test_a_restated_value_is_seen_from_when_it_was_known(store: FeatureStore, frame: pl.DataFrame) -> None:
    mine = (pl.col("symbol") == "IBM") & (pl.col("session") == BEFORE)
    first, close = frame.filter(mine)["rsi_14"].item(), datetime(2006, 6, 29, 20, tzinfo=UTC)
    restated_at = close + timedelta(hours=10)
    restated = frame.filter(mine).with_columns(pl.lit(99.0).alias("rsi_14")).drop("known_at")
    assert store.write_offline(restated, restated_at) == 1

    times = [close + DELAY, restated_at - timedelta(seconds=1), restated_at, close + timedelta(hours=16)]
    entities = pl.DataFrame({"symbol": ["IBM"] * 4, EVENT: times})
    assert store.get_historical(entities, ["rsi_14"])["rsi_14"].to_list() == [first, first, 99.0, 99.0]

    leaking = store._feast.get_historical_features(
        entity_df=entities.to_pandas(), features=["trend_features:rsi_14"], filter_by_created_timestamp=False
    )
    assert set(leaking.to_df()["rsi_14"]) == {99.0}, "without the flag Feast answers with what was not yet known"


def test_history_is_absent_after_its_time_to_live(store: FeatureStore) -> None:
    times = [datetime(2006, 7, 10, 19, tzinfo=UTC), datetime(2006, 7, 10, 21, tzinfo=UTC)]
    found = store.get_historical(pl.DataFrame({"symbol": ["IBM", "IBM"], EVENT: times}), ["return_1", "macd"])
    assert found["return_1"].is_null().to_list() == [False, True]
    assert found.columns == ["symbol", EVENT, "return_1", "macd"]


def test_online_values_are_those_computed(store: FeatureStore, frame: pl.DataFrame) -> None:
    today = frame.filter(pl.col("session") == LAST)
    assert store.push_online(LAST) == OnlinePush(LAST, len(today) * len(View), 0)
    symbols = today["symbol"].to_list()[::-1]
    served = store.get_online(symbols, now=NOW)
    assert served.columns == ["symbol", EVENT, *VALUES]
    assert served["symbol"].to_list() == symbols
    assert served.select(VALUES).equals(today.reverse().select(VALUES))
    assert served[EVENT].unique().to_list() == [datetime(2006, 6, 30, 20, tzinfo=UTC)]


def test_an_older_session_never_replaces_a_newer_one(store: FeatureStore, frame: pl.DataFrame) -> None:
    rows = len(frame.filter(pl.col("session") == LAST)) * len(View)
    store.push_online(LAST)
    served = store.get_online(["IBM", "GOOG"], now=NOW)
    assert store.push_online(BEFORE) == OnlinePush(BEFORE, 0, rows)
    assert store.get_online(["IBM", "GOOG"], now=NOW).equals(served)


def test_nobody_else_can_put_an_older_value_online_either(store: FeatureStore) -> None:
    """The guard is in the database: Feast's own materialisation is held by it too."""
    store.push_online(LAST)
    served = store.get_online(["IBM"], now=NOW)
    store._feast.materialize(datetime(2006, 6, 1, tzinfo=UTC), datetime(2006, 6, 29, 23, tzinfo=UTC))
    assert store.get_online(["IBM"], now=NOW).equals(served)


def test_a_newer_session_and_a_restatement_do_replace(store: FeatureStore, frame: pl.DataFrame) -> None:
    store.push_online(BEFORE)
    store.push_online(LAST)
    restated = frame.filter((pl.col("symbol") == "IBM") & (pl.col("session") == LAST)).drop("known_at")
    store.write_offline(restated.with_columns(pl.lit(99.0).alias("rsi_14")), NOW)
    store.push_online(LAST)
    served = store.get_online(["IBM", "MSFT"], ["rsi_14"], now=NOW)
    expected = frame.filter((pl.col("symbol") == "MSFT") & (pl.col("session") == LAST))["rsi_14"].item()
    assert served["rsi_14"].to_list() == [99.0, expected]


def test_values_too_old_or_from_the_future_are_absent(store: FeatureStore) -> None:
    store.push_online(LAST)
    close = datetime(2006, 6, 30, 20, tzinfo=UTC)

    def served(now: datetime, age: timedelta) -> bool:
        row = store.get_online(["IBM"], ["rsi_14"], now=now, max_age=age)
        assert row["rsi_14"].is_null().item() == row[EVENT].is_null().item()
        return row["rsi_14"].is_not_null().item()

    assert served(close + timedelta(days=3), timedelta(days=3))
    assert not served(close + timedelta(days=3, seconds=1), timedelta(days=3))
    assert served(close, timedelta(days=3))
    assert not served(close - timedelta(seconds=1), timedelta(days=3))


def test_absent_values_and_unknown_symbols_are_null(store: FeatureStore) -> None:
    store.push_online(LAST)
    served = store.get_online(["XOM", "NOBODY"], ["atr_14", "rsi_14"], now=NOW)
    assert served["atr_14"].to_list() == [None, None]  # XOM has closes only
    assert served["rsi_14"].is_null().to_list() == [False, True]


def test_mistakes_are_named(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="write_offline first"):
        store.push_online(date(2005, 1, 5))
    with pytest.raises(ConfigurationError, match="rsi_15"):
        store.get_online(["IBM"], ["rsi_15"], now=NOW)
    with pytest.raises(ConfigurationError, match=r"equity_features\.py"):
        FeatureStore(tmp_path / "nowhere", tmp_path / "features").apply()


def test_applying_twice_and_at_once_keeps_every_view(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from quant_dagster.features.store import FeatureStore;"
        f"FeatureStore(Path({str(REPO)!r}), Path({str(tmp_path)!r})).apply()"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program], env=environment(), cwd=tmp_path) for _ in range(2)]
    assert [run.wait(180) for run in runs] == [0, 0]
    store = FeatureStore(REPO, tmp_path)
    store.apply()
    assert {view.name for view in store._feast.list_feature_views()} == {view.value for view in View}


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "QUANT_HOME"}
    return {**inherited, "PYTHONPATH": str(PROJECT), **variables}


def feast(arguments: Sequence[str], home: Path, cwd: Path) -> str:
    command = [str(Path(sys.executable).with_name("feast")), *arguments]
    variables = environment(QUANT_HOME=str(home))
    done = subprocess.run(command, env=variables, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plain_feast_commands_work_in_an_empty_home_from_any_folder(tmp_path: Path, frame: pl.DataFrame) -> None:
    home = tmp_path / "home"
    applied = feast(["-c", "feature_repo", "apply"], home, PROJECT)
    assert "trend_features" in applied
    listed = feast(["-c", str(REPO), "feature-views", "list"], home, tmp_path)
    assert all(view.value in listed for view in View)

    store = FeatureStore(REPO, home / "features")  # the same store, as the program opens it
    store.write_offline(frame)
    store.push_online(LAST)
    served = feast(
        ["-c", str(REPO), "get-online-features", "-e", "symbol=IBM", "-f", "trend_features:rsi_14"], home, tmp_path
    )
    expected = frame.filter((pl.col("symbol") == "IBM") & (pl.col("session") == LAST))["rsi_14"].item()
    assert json.loads(served[served.index("{") : served.rindex("}") + 1])["rsi_14"] == [expected]
    assert sorted(path.name for path in home.iterdir()) == ["features"]
    assert not (REPO / ".quant").exists()
    assert SERVICE in feast(["-c", str(REPO), "feature-services", "list"], home, tmp_path)

"""Feature services: what each strategy reads, and old versions that outlive a longer list of features."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import ConfigurationError
from quant_dagster.features.compute import compute, to_long
from quant_dagster.features.definitions import FEATURES
from quant_dagster.features.offline import EVENT
from quant_dagster.features.services import SERVICE, SERVICES, service_of
from quant_dagster.features.store import FeatureStore
from quant_dagster.settings import Settings
from quant_dagster.strategies.alphas import ALPHAS, MarketState
from tests.unit.features.real_panels import mixed_panel

PROJECT = Path(__file__).resolve().parents[2]
REPO = PROJECT / "feature_repo"
LAST, BEFORE = date(2006, 6, 30), date(2006, 6, 29)
CLOSE = datetime(2006, 6, 30, 20, tzinfo=UTC)
NOW = datetime(2006, 7, 1, tzinfo=UTC)
FIRST = SERVICES["us_equity_daily_v1"].features
ADDED = [name for name in FEATURES if name not in FIRST]

OLD_PROGRAM = """
import sys
from pathlib import Path
from types import MappingProxyType
import polars as pl
from quant_dagster.features import definitions, services

first = services.SERVICES["us_equity_daily_v1"]
definitions.FEATURES = MappingProxyType({name: definitions.FEATURES[name] for name in first.features})
services.SERVICES = MappingProxyType({"us_equity_daily_v1": first})
from quant_dagster.features.store import FeatureStore

store = FeatureStore(Path(sys.argv[1]), Path(sys.argv[2]))
store.apply()
frame = pl.read_parquet(sys.argv[3])
store.write_offline(frame)
store.push_online(frame["session"].max())
"""
"""The program as it was before features were added: the same code over the list of then."""


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Real features of the last two sessions of June 2006, each known two hours after its close."""
    features = to_long(compute(mixed_panel()), slice(-2, None))
    known = pl.col("session").cast(pl.Datetime("us")).dt.offset_by("22h").dt.replace_time_zone("UTC")
    return features.with_columns(known.alias("known_at"))


@pytest.fixture
def old_home(tmp_path: Path, frame: pl.DataFrame) -> Path:
    """A features folder that the program filled when it knew only the first version's features."""
    rows = tmp_path / "rows.parquet"
    frame.select("symbol", "session", "known_at", *FIRST).write_parquet(rows)
    root = tmp_path / "home" / "features"
    command = [sys.executable, "-c", OLD_PROGRAM, str(REPO), str(root), str(rows)]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=180)
    return root


class Read(Mapping[str, np.ndarray]):
    """Features that note which of them are read."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        self.values_of, self.names = values, set[str]()

    def __getitem__(self, name: str) -> np.ndarray:
        self.names.add(name)
        return self.values_of[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("an alpha that reads every feature needs a service of every feature")

    def __len__(self) -> int:
        return len(self.values_of)


@pytest.mark.parametrize("alpha", ["trend", "mean_reversion", "pairs"])
def test_a_strategys_service_holds_exactly_what_its_alpha_reads(alpha: str, frame: pl.DataFrame) -> None:
    today = frame.filter(pl.col("session") == LAST)
    read = Read({name: today[name].fill_null(float("nan")).to_numpy() for name in FEATURES})
    ones = np.ones(len(today))
    ALPHAS[alpha](MarketState(tuple(today["symbol"]), read, 0.001 * ones, 0.01 * ones, 0.5 * ones), Settings().signals)
    assert read.names == set(SERVICES[service_of(alpha)].features)


@pytest.mark.parametrize("alpha", ["learned", "composite"])
def test_what_is_learned_from_every_feature_is_served_every_feature(alpha: str) -> None:
    assert set(SERVICES[service_of(alpha)].features) == set(FEATURES)


def test_every_strategy_has_a_service_and_none_holds_what_does_not_exist() -> None:
    assert all(service_of(alpha) in SERVICES for alpha in ALPHAS)
    assert all(set(service.features) <= set(FEATURES) for service in SERVICES.values())
    assert all(len(set(service.features)) == len(service.features) for service in SERVICES.values())


def test_the_newest_daily_service_holds_every_feature() -> None:
    """When this fails, features were added: leave the released lists alone and add a version with all of them."""
    assert service_of("us_equity_daily") == SERVICE
    assert set(SERVICES[SERVICE].features) == set(FEATURES)
    assert len(FIRST) == 68
    assert FIRST[:2] == ("return_1", "return_5")
    assert "adx_14" not in FIRST


def test_a_home_of_the_old_list_is_upgraded_where_it_is(old_home: Path, frame: pl.DataFrame) -> None:
    store = FeatureStore(REPO, old_home)
    store.apply()
    today = frame.filter(pl.col("session") == LAST)
    symbols = today["symbol"].to_list()
    served = store.get_online(symbols, "us_equity_daily_v1", now=NOW)
    assert served.columns == ["symbol", EVENT, *(name for name in FEATURES if name in FIRST)]
    assert served.select(FIRST).equals(today.select(FIRST))
    newest = store.get_online(symbols, now=NOW)
    assert newest.select(FIRST).equals(today.select(FIRST))
    assert newest.select(ADDED).null_count().row(0) == (len(symbols),) * len(ADDED)
    asked = pl.DataFrame({"symbol": symbols, EVENT: [NOW] * len(symbols)})
    history = store.get_historical(asked)
    assert history.select(FIRST).equals(today.select(FIRST))
    assert history["adx_14"].null_count() == len(symbols)

    # the same sessions computed again, with nothing known later than before
    assert store.write_offline(frame) > 0
    assert store.write_offline(frame) == 0
    assert store.push_online(LAST).kept_newer == 0
    assert store.get_online(symbols, now=NOW).select(list(FEATURES)).equals(today.select(list(FEATURES)))
    assert store.get_historical(asked).select(list(FEATURES)).equals(today.select(list(FEATURES)))
    assert store.get_online(symbols, "us_equity_daily_v1", now=NOW).equals(served)
    assert store.get_historical(asked, "us_equity_daily_v1").select(FIRST).equals(today.select(FIRST))


def test_a_new_feature_of_an_older_session_does_not_pass_for_the_newest(old_home: Path, frame: pl.DataFrame) -> None:
    """The old features stay those of the last session, the new ones are of the session before: the row says so."""
    store = FeatureStore(REPO, old_home)
    store.apply()
    store.write_offline(frame)
    store.push_online(BEFORE)
    row = store.get_online(["IBM"], ["rsi_14", "adx_14"], now=NOW)
    assert row[EVENT].item() == CLOSE - timedelta(days=1)
    stored = frame.filter(pl.col("symbol") == "IBM").sort("session")
    assert (row["rsi_14"].item(), row["adx_14"].item()) == (stored["rsi_14"][1], stored["adx_14"][0])
    assert store.get_online(["IBM"], ["rsi_14"], now=NOW)[EVENT].item() == CLOSE


def test_an_unknown_service_is_named_with_those_there_are(tmp_path: Path) -> None:
    store = FeatureStore(REPO, tmp_path)
    store.apply()
    with pytest.raises(ConfigurationError, match=r"'trend_v9'; there are: composite_v1, .*us_equity_daily_v2"):
        store.get_online(["IBM"], "trend_v9", now=NOW)
    listed = {row["name"]: row["features"] for row in store.contents() if row["kind"] == "service"}
    assert {name: sorted(features) for name, features in listed.items()} == {
        name: sorted(service.features) for name, service in SERVICES.items()
    }

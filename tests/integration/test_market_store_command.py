"""``quant market-store`` and the asset ``market_store``, on a real PostgreSQL."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from assets.market_store import build_market_store_assets
from quant_dagster.cli.market_store_commands import app
from quant_dagster.errors import ConfigurationError
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.market_store import MarketStore
from resources.desk import DeskResource
from tests.support.market_store import daily_bars, minute_bars

pytestmark = pytest.mark.postgres


@pytest.fixture
def lake(quant_home: Path) -> Lake:
    lake = Lake(quant_home / "lake")
    lake.merge("bars", daily_bars(date(2019, 1, 2), date(2019, 3, 29), "AAPL", "MSFT"))
    lake.merge("intraday_bars", minute_bars("AAPL"))
    return lake


def quant(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--json"])


def test_commands_from_an_empty_database_to_a_verified_store(
    lake: Lake, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_STORAGE__MARKET_URL", postgres_url)
    assert json.loads(quant("upgrade").stdout)["made_of"].startswith("postgresql: ")
    synced = {row["table"]: row for row in json.loads(quant("sync").stdout)}
    assert set(synced) == {"bars", "intraday_bars"}
    assert synced["bars"]["rows_written"] == lake.read("bars").height
    assert quant("verify").exit_code == 0
    status = {row["table"]: row for row in json.loads(quant("status").stdout)}
    assert (status["bars"]["rows"], status["bars"]["parts"]) == (lake.read("bars").height, 3)
    assert status["bars"]["versions_behind"] == 0
    assert status["quality"]["versions_behind"] is None
    store = MarketStore(postgres_url)
    with store.database.begin("breaking it") as connection:
        connection.exec_driver_sql("DELETE FROM market.bars WHERE session = '2019-01-02'")
    broken = quant("verify")
    assert broken.exit_code == 1
    assert [(row["month"], row["missing"]) for row in json.loads(broken.stdout)] == [("2019-01-01", 2)]
    assert quant("sync", "--full", "--table", "bars").exit_code == 0
    assert quant("verify").exit_code == 0
    listed = json.loads(quant("retain", "--months", "1", "--dry-run").stdout)
    assert [row["dropped"] for row in listed] == ["intraday_bars_2019_02", "intraday_bars_5m_2019_02"]
    assert store.read("intraday_bars").height == lake.read("intraday_bars").height
    assert json.loads(quant("retain", "--months", "1").stdout) == listed
    assert store.read("intraday_bars").is_empty()
    assert quant("verify").exit_code == 0
    store.close()


def test_commands_without_a_store_say_which_setting_is_missing(quant_home: Path) -> None:
    result = quant("status")
    assert isinstance(result.exception, ConfigurationError)
    assert "storage.market_url" in str(result.exception)


def materialize() -> dict[str, object]:
    """Run the asset; its metadata."""
    assets = build_market_store_assets()
    upstream = [dg.AssetSpec("price_history"), dg.AssetSpec("bars")]
    result = dg.materialize([*assets, *upstream], resources={"desk": DeskResource()})
    event = result.asset_materializations_for_node("market_store")[0]
    return {name: value.value for name, value in event.metadata.items()}


def test_the_asset_syncs_where_a_store_is_set_and_says_so_where_not(
    lake: Lake, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert materialize()["market_store"] == "not configured: storage.market_url is empty"
    monkeypatch.setenv("QUANT_STORAGE__MARKET_URL", postgres_url)
    monkeypatch.setenv("QUANT_STORAGE__MARKET_RETENTION_MONTHS", "12")
    first = materialize()
    assert first["rows_written"] == lake.read("bars").height, "minutes of 2019 are older than what is kept"
    lake.merge("bars", lake.read("bars").head(1).with_columns(pl.col("close") + 1.0))
    assert materialize()["rows_written"] == 2, "the row, and the one it superseded"
    store = MarketStore(postgres_url)
    assert store.differences(lake) == []
    store.close()

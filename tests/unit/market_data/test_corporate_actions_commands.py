"""``quant actions``: JSON that parses, series from one store, refusals that say what to do."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from quant_dagster.cli.actions_commands import app
from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES
from tests.support.vendor_servers.worlds import LAST

FIRST = date(2003, 6, 2)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk with MSFT's packaged prices of two vendors: unadjusted, and adjusted for dividends too."""
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    lake = Lake(tmp_path / "lake")
    for name in ("embedded_bokeh", "embedded"):
        rows = EmbeddedVendor(name).daily_bars(["MSFT"], FIRST, LAST).rows
        known = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=21)
        told = rows.with_columns(
            pl.lit(name).alias("vendor"), known.alias("known_at"), pl.lit("0" * 16).alias("row_hash")
        )
        lake.merge("raw_prices", told.select(list(TABLES["raw_prices"].schema)))
    return tmp_path


def ask(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_inference_to_a_total_return_series(home: Path) -> None:
    assert ask("list") == []
    found = ask("infer")
    assert "embedded" in str(found["looked_at"])
    assert found["inserted"] > 20
    assert ask("infer")["inserted"] == 0
    listed = ask("list", "--symbols", "MSFT")
    assert len(listed) == found["inserted"]
    assert {row["origin"] for row in listed} == {"inferred"}
    assert len(ask("confirm")) == len(listed)
    raw = ask("series", "MSFT", "--mode", "raw")
    total = ask("series", "MSFT", "--mode", "total_return")
    assert [bar["session"] for bar in raw["bars"]] == [bar["session"] for bar in total["bars"]]
    assert total["bars"][0]["close"] < raw["bars"][0]["close"]
    assert total["bars"][-1]["close"] == raw["bars"][-1]["close"]
    assert total["actions"] and not raw["actions"]


def test_an_unknown_mode_is_refused_with_those_there_are(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="raw, split, total_return"):
        ask("series", "MSFT", "--mode", "adjusted")


def test_prices_of_an_unstated_level_are_not_guessed_at(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="--level somewhere=raw"):
        ask("series", "MSFT", "--vendor", "somewhere")

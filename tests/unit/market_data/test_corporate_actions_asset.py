"""The asset and its check: materialized over packaged prices, on a Dagster instance of its own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.corporate_actions import build_corporate_action_assets, build_corporate_action_checks
from quant_dagster.market_data.corporate_actions.actions import actions_known
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES
from resources.desk import DeskResource


def test_the_asset_infers_microsofts_splits_and_its_special_dividend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    lake = Lake(tmp_path / "lake")
    for name in ("embedded_bokeh", "embedded"):
        rows = EmbeddedVendor(name).daily_bars(["MSFT"], date(2002, 1, 2), date(2013, 2, 28)).rows
        known = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=21)
        told = rows.with_columns(
            pl.lit(name).alias("vendor"), known.alias("known_at"), pl.lit("0" * 16).alias("row_hash")
        )
        lake.merge("raw_prices", told.select(list(TABLES["raw_prices"].schema)))
    definitions = [*build_corporate_action_assets(), *build_corporate_action_checks()]
    done = dg.materialize(definitions, resources={"desk": DeskResource()})
    assert done.success
    (event,) = done.asset_materializations_for_node("corporate_actions")
    stored = actions_known(lake)
    assert event.metadata["dagster/row_count"].value == stored.height
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.severity) == ("actions_confirmed", dg.AssetCheckSeverity.WARN)
    split = stored.filter(pl.col("kind") == "split").select("session", "ratio").unique()
    assert split.rows() == [(date(2003, 2, 18), 2.0)]
    # 3.00 USD of 2004-11-15, on the day of the quarter's 0.08: a tenth of the price, and cash.
    special = stored.filter(pl.col("session") == date(2004, 11, 15))
    assert special["kind"].to_list() == ["dividend"]
    assert special["amount"].to_list() == pytest.approx([3.08], abs=0.001)

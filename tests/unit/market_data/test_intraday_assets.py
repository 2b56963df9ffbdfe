"""Intraday assets: partitions of real sessions loaded from files, and the check on missing minutes."""

from __future__ import annotations

from datetime import date

import dagster as dg
import polars as pl
import pytest

from assets.intraday import build_intraday_assets, build_intraday_checks
from assets.partitions import session_partitions
from quant_dagster.cycle.context import TradingContext
from quant_dagster.market_data.intraday.options import IntradayFile
from resources.desk import DeskResource
from tests.unit.market_data.intraday_files import lean_quotes, us24

PARTITIONS = session_partitions(date(2013, 1, 2))


def sources(_context: TradingContext) -> list[IntradayFile]:
    return [us24(), lean_quotes()]


def materialize(desk: DeskResource, partition: str, most_missing: float = 0.05) -> dg.ExecuteInProcessResult:
    definitions = [*build_intraday_assets(PARTITIONS, sources), *build_intraday_checks(PARTITIONS, most_missing)]
    return dg.materialize(definitions, partition_key=partition, resources={"desk": desk},
                          instance=dg.DagsterInstance.ephemeral())  # fmt: skip


def test_a_partition_loads_its_own_session_and_no_other() -> None:
    desk = DeskResource()
    assert materialize(desk, "2019-02-13").success
    lake = desk.open().lake
    bars = lake.read("intraday_bars")
    assert bars["session"].unique().to_list() == [date(2019, 2, 13)]
    assert bars["symbol"].n_unique() == 24
    assert not lake.exists("intraday_quotes")  # the quotes file has nothing on that day
    assert materialize(desk, "2013-10-07").success
    quotes = lake.read("intraday_quotes")
    assert quotes["session"].unique().to_list() == [date(2013, 10, 7)]
    version = lake.version("intraday_bars")
    materialize(desk, "2019-02-13")
    assert lake.version("intraday_bars") == version


@pytest.mark.parametrize(("most_missing", "passes"), [(0.05, False), (0.10, True)])
def test_missing_minutes_warn_and_name_the_worst_symbols(most_missing: float, passes: bool) -> None:
    result = materialize(DeskResource(), "2019-02-13", most_missing)
    (check,) = result.get_asset_check_evaluations()
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.passed is passes
    assert str(check.metadata["worst"].value).count("UGA") == 1
    in_file = pl.read_parquet(us24().path).filter(pl.col("bar_end_ny").dt.date() == date(2019, 2, 13)).height
    assert check.metadata["share_missing"].value == pytest.approx(1 - in_file / (24 * 390))


def test_a_session_without_any_bar_warns_though_there_is_nothing_to_look_at() -> None:
    desk = DeskResource()
    (check,) = materialize(desk, "2019-02-08").get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["share_missing"].value == 1.0
    materialize(desk, "2019-02-15")
    # The symbols of the week before are expected on the Tuesday after it (Monday is a holiday).
    (check,) = materialize(desk, "2019-02-19").get_asset_check_evaluations()
    assert (check.passed, check.metadata["symbols"].value, check.metadata["share_missing"].value) == (False, 24, 1.0)

"""Two vendors' real files side by side: breaks by class, the worst symbol under quarantine, the second as evidence."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.reconciling import reconcile_range
from quant_dagster.market_data import quarantine
from quant_dagster.settings import load_settings
from tests.support.market_data import shared_data

# CRH: one vendor repeated its bars for years. BAX: one adjusted for the spin-off of 2015, the other did not.
SYMBOLS = ["AAPL", "BAX", "CRH", "JPM", "KO", "MSFT", "PFE", "XOM"]
START = date(2014, 3, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, paths = tmp_path_factory.mktemp("vendors"), {}
    for name, file in {"yahoo": "us_daily_yahoo_2014_2024", "nasdaq": "us_daily_nasdaqcom_2014_2024"}.items():
        rows = pl.read_parquet(shared_data(f"{file}.parquet")).filter(pl.col("symbol").is_in(SYMBOLS))
        paths[name] = folder / f"{name}.parquet"
        rows.write_parquet(paths[name])
    return paths


def desk(home: Path, files: dict[str, Path]) -> TradingContext:
    sources: dict[str, Any] = {name: {"path": path} for name, path in files.items()}
    market = {"sources": sources, "vendors": list(sources)}
    return TradingContext(load_settings({"home": home, "universe": "all_files", "market_data": market}))


def test_two_vendors_are_loaded_compared_and_the_worst_symbol_is_put_under_quarantine(
    quant_home: Path, files: dict[str, Path]
) -> None:
    context = desk(quant_home, files)
    done = history.backfill(context, START)
    assert done.reconciled is not None
    assert done.reconciled.quarantined == ("CRH",)
    assert done.reconciled.breaks["stale"] > 500
    breaks = context.lake.read("reconciliation")
    spin_off = breaks.filter((pl.col("symbol") == "BAX") & (pl.col("session") == date(2015, 7, 1)))
    assert spin_off["break_class"].to_list() == ["adjustment"]
    assert set(breaks.filter(pl.col("break_class") == "stale")["symbol"]) == {"CRH"}
    with context.ledger.read() as connection:
        assert quarantine.active(connection, date(2024, 3, 8)).keys() == {"CRH"}
        assert quarantine.active(connection, date(2024, 3, 6)) == {}, "the past is not judged by what came after"
    version = context.lake.version("reconciliation")
    again = reconcile_range(context, START, date(2024, 3, 8))
    assert again is not None
    assert (again.breaks, again.quarantined) == (done.reconciled.breaks, ())
    assert context.lake.version("reconciliation") == version, "comparing again changes nothing"


def test_scores_made_day_by_day_are_those_made_at_once(
    quant_home: Path, tmp_path: Path, files: dict[str, Path]
) -> None:
    """The evidence of the other vendor is causal: an evening knows no less than a backfill."""
    whole = desk(quant_home, files)
    history.backfill(whole, START)
    daily = desk(tmp_path / "daily", files)
    sessions = whole.calendar.session_dates(date(2024, 2, 20), date(2024, 3, 8))
    history.ingest_range(daily, START, sessions[-1])
    history.build_range(daily, START, date(2024, 2, 16))
    for session in sessions:
        history.build_range(daily, session, session)
        history.score_range(daily, session, session)
    got, wanted = (one.lake.read("quality", start=sessions[0]) for one in (daily, whole))
    assert got.equals(wanted)

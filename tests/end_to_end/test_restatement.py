"""A vendor rewrites history: every version is kept, the difference is told, and only what it touched is rebuilt."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.feature_history import build_features
from quant_dagster.cycle.restatement import rebuild_restated, restatements
from quant_dagster.features.definitions import View
from quant_dagster.features.offline import CREATED, EVENT
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.settings import load_settings

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
PRICES = EmbeddedVendor("embedded_bokeh").daily_bars(SYMBOLS, date(2010, 1, 4), date(2013, 3, 1)).rows.select(
    "symbol", pl.col("session").alias("date"), "open", "high", "low", "close", "volume"
)  # fmt: skip
FEATURES_FROM = date(2012, 12, 3)
FIRST_LOAD, SECOND_LOAD = datetime(2013, 3, 4, 12, tzinfo=UTC), datetime(2013, 3, 5, 12, tzinfo=UTC)
PRICE_FIELDS = ("open", "high", "low", "close")


class Desk:
    """A desk on one file, which may be rewritten."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.path, self.home = folder / "prices.parquet", home

    def context(self, now: datetime) -> TradingContext:
        market = {"sources": {"prices": {"path": self.path}}, "vendors": ["prices"]}
        settings = load_settings({"home": self.home, "universe": "all_files", "market_data": market})
        return TradingContext(settings, clock=lambda: now)

    def backfill(self, prices: pl.DataFrame, now: datetime) -> tuple[TradingContext, history.Backfill]:
        prices.write_parquet(self.path)
        context = self.context(now)
        return context, history.backfill(context, date(2010, 1, 4))


@pytest.fixture
def desk(tmp_path: Path, quant_home: Path) -> Desk:
    desk = Desk(tmp_path, quant_home)
    context, done = desk.backfill(PRICES, FIRST_LOAD)
    assert done.restated is None
    build_features(context, FEATURES_FROM, date(2013, 3, 1))
    return desk


def changed(where: pl.Expr, factor: float) -> pl.DataFrame:
    return PRICES.with_columns(
        pl.when(where).then(pl.col(name) * factor).otherwise(name).alias(name) for name in PRICE_FIELDS
    )


def features(context: TradingContext, view: View = View.VOLATILITY) -> pl.DataFrame:
    files = sorted(context.feature_store.offline.folder(view).glob("20*.parquet"))
    return pl.concat([pl.read_parquet(file) for file in files])


def test_one_row_in_a_hundred_is_restated(desk: Desk) -> None:
    touched = pl.struct("symbol", "date").hash(seed=5) % 100 == 0
    rows = PRICES.filter(touched).height
    assert 20 < rows < 60
    before = features(desk.context(FIRST_LOAD))
    context, done = desk.backfill(changed(touched, 1.01), SECOND_LOAD)
    assert sum(report.restated for report in done.loaded.reports) == rows
    assert done.restated is not None
    assert (done.restated.bars, done.restated.first) == (rows, PRICES.filter(touched)["date"].min())
    found = restatements(context.lake)
    assert found.height == rows
    assert found["ratio"].to_list() == pytest.approx([1.01] * rows)
    assert set(found["kind"]) == {"corrected"}, "scattered rows are no rescaled history, though all moved by one factor"
    old = context.lake.read("raw_prices", known_on=FIRST_LOAD.date()).select("symbol", "session", "close")
    wanted = PRICES.rename({"date": "session"}).select("symbol", "session", "close").sort("session", "symbol")
    assert old.sort("session", "symbol").equals(wanted), "what was known before is all there"
    after = features(context)
    assert after.filter(pl.col(CREATED) < SECOND_LOAD).equals(before), "no earlier value was touched"
    assert after.height > before.height


def test_only_features_that_can_see_the_restated_bar_are_written_again(desk: Desk) -> None:
    """IBM's bar of 2013-02-01 changes: its own features from there on, nobody's before, no window that has passed."""
    day = date(2013, 2, 1)
    context, done = desk.backfill(changed((pl.col("symbol") == "IBM") & (pl.col("date") == day), 1.02), SECOND_LOAD)
    assert done.restated is not None
    assert (done.restated.bars, done.restated.symbols, done.restated.first) == (1, 1, day)
    for view in (View.RETURNS, View.TREND, View.VOLATILITY):
        news = features(context, view).filter(pl.col(CREATED) >= SECOND_LOAD)
        assert news.height > 0
        assert set(news["symbol"]) == {"IBM"}
        assert news[EVENT].dt.date().min() == day
    assert features(context, View.CALENDAR).filter(pl.col(CREATED) >= SECOND_LOAD).is_empty()
    sessions = features(context).filter(pl.col(EVENT).dt.date() >= day)[EVENT].n_unique()
    assert done.restated.sessions == sessions


def test_history_rescaled_by_a_split_is_told_as_one_thing(desk: Desk) -> None:
    context, _ = desk.backfill(changed(pl.col("symbol") == "MSFT", 0.5), SECOND_LOAD)
    found = restatements(context.lake)
    assert found.group_by("symbol", "kind").len().rows() == [("MSFT", "rescaled", PRICES.filter(symbol="MSFT").height)]


def test_killed_after_the_bars_were_stored_the_features_are_still_rebuilt(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    day = date(2013, 2, 1)
    prices = changed((pl.col("symbol") == "IBM") & (pl.col("date") == day), 1.02)
    with monkeypatch.context() as patch:
        patch.setattr("quant_dagster.cycle.restatement._rebuild_features", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.backfill(prices, SECOND_LOAD)
    context, done = desk.backfill(prices, SECOND_LOAD)
    assert done.bars.updated == 0, "the bars had been stored"
    assert done.restated is not None
    assert done.restated.features > 0
    assert rebuild_restated(context) is None, "and once is enough"


def test_restated_twice_every_version_is_kept(desk: Desk) -> None:
    one = (pl.col("symbol") == "IBM") & (pl.col("date") == date(2013, 2, 1))
    desk.backfill(changed(one, 1.02), SECOND_LOAD)
    third = datetime(2013, 3, 6, 12, tzinfo=UTC)
    context, _ = desk.backfill(changed(one, 1.03), third)
    truth = PRICES.filter(one)["close"][0]
    found = restatements(context.lake).sort("restated_at")
    assert found["close"].to_list() == pytest.approx([truth, truth * 1.02])
    assert found["new_close"].to_list() == pytest.approx([truth * 1.02, truth * 1.03])
    closes = [
        context.lake.read("bars", symbols=["IBM"], start=date(2013, 2, 1), end=date(2013, 2, 1), known_on=day)["close"][
            0
        ]
        for day in (date(2013, 2, 4), SECOND_LOAD.date(), third.date())
    ]
    assert closes == pytest.approx([truth, truth * 1.02, truth * 1.03])

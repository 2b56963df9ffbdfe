"""The Great Expectations suite: real bars meet it, broken ones do not, and an error is not a failure."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.quality.expectations import ExpectationOutcome, Outcome, Severity, build_data_docs, run_expectations
from quant_dagster.storage.tables import TABLES


def bars_of(vendor: str) -> pl.DataFrame:
    source = EmbeddedVendor(vendor)
    rows = source.daily_bars(source.symbols(), date(2008, 1, 2), date(2009, 12, 31)).rows
    known = pl.col("session").cast(TABLES["bars"].schema["known_at"])
    filled = rows.with_columns(known.alias("known_at"), vendor=pl.lit(vendor), row_hash=pl.lit("0" * 16))
    filled = filled.with_columns(level_factor=pl.lit(None), vendor_change=pl.lit(None))
    return filled.select(list(TABLES["bars"].schema))


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return bars_of("embedded_bokeh")


def by_name(outcomes: list[ExpectationOutcome]) -> dict[str, ExpectationOutcome]:
    return {outcome.name: outcome for outcome in outcomes}


def test_real_bars_meet_every_expectation(bars: pl.DataFrame) -> None:
    outcomes = run_expectations(bars)
    assert len(outcomes) >= 15
    assert {outcome.outcome for outcome in outcomes} == {Outcome.MET}
    assert {outcome.severity for outcome in outcomes} == set(Severity)


def test_closes_only_bars_are_not_held_to_what_they_lack() -> None:
    outcomes = run_expectations(bars_of("embedded"))
    assert len(outcomes) >= 10
    assert {outcome.outcome for outcome in outcomes} == {Outcome.MET}
    assert not any("volume" in outcome.column or "high" in outcome.column for outcome in outcomes)


def test_broken_bars_are_counted_with_examples(bars: pl.DataFrame) -> None:
    third = pl.int_range(pl.len()) % 3 == 0
    broken = bars.with_columns(
        close=pl.when(third).then(-pl.col("close")).otherwise("close"),
        volume=pl.when(third).then(None).otherwise("volume"),
    )
    found = by_name(run_expectations(broken))
    prices = found["close_is_positive"]
    assert (prices.outcome, prices.severity) == (Outcome.NOT_MET, Severity.CRITICAL)
    assert prices.unexpected == broken.filter(third).height
    assert len(prices.examples) == 5
    assert found["volume_is_known"].outcome is Outcome.NOT_MET
    assert found["symbol_and_session_are_unique"].outcome is Outcome.MET


def test_expectation_that_cannot_be_evaluated_is_an_error_not_a_failure(
    bars: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quant_dagster.quality import expectations

    prepared = expectations._prepared
    monkeypatch.setattr(expectations, "_prepared", lambda frame: prepared(frame).drop(columns="log_range"))
    outcomes = run_expectations(bars)
    (broken,) = [outcome for outcome in outcomes if outcome.outcome is Outcome.ERROR]
    assert broken.column == "log_range"
    assert "log_range" in broken.error


def test_data_docs_are_a_site_with_the_suite_and_its_result(bars: pl.DataFrame, tmp_path: Path) -> None:
    start = build_data_docs(bars, tmp_path / "data_docs")
    assert start == tmp_path / "data_docs" / "index.html"
    pages = [path for path in start.parent.rglob("*.html") if "validations" in path.parts]
    assert len(pages) == 1
    assert "close" in pages[0].read_text(encoding="utf-8")

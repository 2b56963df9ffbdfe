"""Breaks between two real vendors, checked by hand, and planted ones of every class."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import MalformedDataError
from quant_dagster.quality.contracts import validate
from quant_dagster.quality.reconciliation import (
    CLASSES,
    compared_counts,
    examples,
    quarantine_candidates,
    reconcile,
    summary,
)
from tests.support.market_data import shared_data
from tests.unit.quality.real_vendors import YAHOO, two_vendors

FIRST, LAST = date(2014, 3, 3), date(2024, 3, 1)
SYMBOLS = ["AAPL", "CCI", "CRH", "GM", "HLT", "IBKR", "JNJ", "KO", "MSFT", "PFG", "VTR", "WTW", "XOM"]


@pytest.fixture(scope="module")
def vendors() -> tuple[pl.DataFrame, pl.DataFrame]:
    return two_vendors(SYMBOLS, FIRST, LAST)


def days(rows: pl.DataFrame) -> np.ndarray:
    return rows["session"].unique().sort().to_numpy().astype("datetime64[D]")


def breaks_of(ours: pl.DataFrame, theirs: pl.DataFrame, sessions: np.ndarray | None = None) -> pl.DataFrame:
    on = days(ours) if sessions is None else sessions
    return validate("reconciliation", reconcile(ours, theirs, vendor="yahoo", other="nasdaq", sessions=on))


@pytest.fixture(scope="module")
def breaks(vendors: tuple[pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    return breaks_of(*vendors)


def one(breaks: pl.DataFrame, symbol: str, session: date) -> dict[str, object]:
    (row,) = breaks.filter((pl.col("symbol") == symbol) & (pl.col("session") == session)).iter_rows(named=True)
    return row


def test_bad_print_is_the_vendors_whose_close_left_its_path_and_came_back(breaks: pl.DataFrame) -> None:
    """General Motors closed at 43.09, 42.79, 43.05; one vendor has 35.55 for the second."""
    found = one(breaks, "GM", date(2017, 12, 1))
    assert (found["break_class"], found["wrong"], found["field"]) == ("bad_print", "nasdaq", "close")
    assert found["value"] == pytest.approx(42.79, abs=0.01)
    assert found["other_value"] == pytest.approx(35.55, abs=0.01)


def test_spin_offs_are_adjustments_of_the_vendor_that_shows_the_fall(breaks: pl.DataFrame) -> None:
    """Ventas fell by 24 % in one vendor's rows on 2015-08-18, Hilton by 29 % in the other's on 2017-01-04."""
    ventas, hilton = one(breaks, "VTR", date(2015, 8, 18)), one(breaks, "HLT", date(2017, 1, 4))
    assert (ventas["break_class"], ventas["wrong"]) == ("adjustment", "yahoo")
    assert (hilton["break_class"], hilton["wrong"]) == ("adjustment", "nasdaq")
    assert "2024-03-01 (the last)" in str(ventas["detail"])


def test_close_that_stood_still_without_trades_is_stale(breaks: pl.DataFrame) -> None:
    found = one(breaks, "WTW", date(2016, 1, 6))
    assert (found["break_class"], found["wrong"]) == ("stale", "yahoo")
    assert found["other_value"] == pytest.approx(119.98, abs=0.01)


def test_vendors_that_agree_have_hardly_a_break(breaks: pl.DataFrame) -> None:
    for symbol in ("AAPL", "JNJ", "KO", "MSFT", "XOM"):
        assert breaks.filter(pl.col("symbol") == symbol).height < 8, "of 2,518 sessions"


def test_dividend_adjusted_rows_break_once_at_each_dividend_not_on_every_session() -> None:
    ours = pl.read_parquet(shared_data(YAHOO)).filter(pl.col("symbol").cast(pl.String).is_in(["KO", "JNJ"]))
    factor = pl.col("adj_close").cast(pl.Float64) / pl.col("close").cast(pl.Float64)
    adjusted = ours.select(
        pl.col("symbol").cast(pl.String),
        pl.col("date").alias("session"),
        *((pl.col(name).cast(pl.Float64) * factor).alias(name) for name in ("open", "high", "low", "close")),
        pl.col("volume").cast(pl.Float64),
    )
    _, theirs = two_vendors(["KO", "JNJ"], FIRST, LAST)
    found = breaks_of(adjusted, theirs)
    for symbol in ("KO", "JNJ"):
        rows = found.filter(pl.col("symbol") == symbol)
        dividends = rows.filter(pl.col("break_class") == "adjustment")
        assert 39 <= dividends.height <= 41, "four a year for ten years"
        assert rows.height - dividends.height < 8
        assert set(dividends["wrong"]) == {"unknown"}, "two rules, neither wrong"


@pytest.mark.parametrize("by", ["yahoo", "nasdaq"])
def test_planted_breaks_of_every_class_are_named_with_the_vendor_that_has_them(
    vendors: tuple[pl.DataFrame, pl.DataFrame], by: str
) -> None:
    ours, theirs = (rows.filter(pl.col("symbol") == "MSFT").sort("session") for rows in vendors)
    victim = ours if by == "yahoo" else theirs
    months = {"bad_print": 2, "missing": 3, "stale": 4, "volume_only": 6, "adjustment": 9}
    at = {name: date(2019, months[name], 12) for name in CLASSES}
    prices = ("open", "high", "low", "close")

    def on(name: str) -> pl.Expr:
        return pl.col("session") == at[name]

    planted = victim.with_columns(
        *(
            pl.when(on("bad_print")).then(pl.col(name) * 1.1)
            .when(on("stale")).then(pl.col(name).shift(1))
            .when(pl.col("session") >= at["adjustment"]).then(pl.col(name) / 2.0)
            .otherwise(name).alias(name)
            for name in prices
        ),
        volume=pl.when(on("volume_only")).then(pl.col("volume") / 100.0).otherwise("volume"),
    ).filter(~on("missing"))  # fmt: skip
    sessions = days(ours)
    found = breaks_of(planted, theirs, sessions) if by == "yahoo" else breaks_of(ours, planted, sessions)
    for name, session in at.items():
        row = one(found, "MSFT", session)
        assert row["break_class"] == name
        assert row["wrong"] == (by if name != "volume_only" else "unknown"), name


def test_symbols_on_which_the_vendors_disagree_day_after_day_are_quarantine_candidates(
    vendors: tuple[pl.DataFrame, pl.DataFrame], breaks: pl.DataFrame
) -> None:
    """One vendor's CRH is a thin foreign line, its IBKR stood at 55.78 for weeks."""
    candidates = quarantine_candidates(breaks, compared_counts(*vendors))
    assert candidates["symbol"].to_list() == ["CRH", "IBKR"]
    assert candidates["share"][0] > 0.5
    assert quarantine_candidates(breaks.clear(), compared_counts(*vendors)).is_empty()


def test_summary_counts_every_break_once_and_examples_show_each_class(breaks: pl.DataFrame) -> None:
    counted = summary(breaks)
    assert counted["breaks"].sum() == breaks.height
    shown = examples(breaks, per_class=2)
    assert shown.group_by("break_class").len()["len"].max() == 2
    assert set(shown["break_class"]) == set(breaks["break_class"])
    assert shown.filter(pl.col("break_class") == "bad_print")["symbol"].n_unique() == 2


def test_rows_named_twice_are_refused(vendors: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    ours, theirs = vendors
    with pytest.raises(MalformedDataError, match="'nasdaq' name a symbol and session twice"):
        breaks_of(ours, pl.concat([theirs, theirs.head(1)]))

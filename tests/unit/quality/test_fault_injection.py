"""Twelve kinds of errors planted into ten years of real vendor rows: they are found, and genuine bars stay."""

from __future__ import annotations

import polars as pl
import pytest

from tests.support.market_data import shared_data
from tests.unit.quality.planted_faults import KINDS, MINIMUM, Harness, read_rows

PLANTED = 20
UNSEEN_ALONE = {"whole wrong bar": 0.75, "unadjusted split": 0.85, "shifted dates": 0.0}
"""What one vendor alone cannot show in full: another stock's bar at about our price, a split on a wild day, a week of
bars that are each possible."""


@pytest.fixture(scope="module")
def harness() -> Harness:
    home = read_rows(shared_data("us_daily_yahoo_2014_2024.parquet"))
    other = read_rows(shared_data("us_daily_nasdaqcom_2014_2024.parquet"))
    some = home["symbol"].unique().sort().to_list()
    chosen = [name for name in some if name >= "N"][::6]
    lent = [name for name in some if name < "N"][::12]
    kept = pl.col("symbol").is_in(chosen + lent)
    return Harness(home.filter(kept), other.filter(kept), chosen)


@pytest.mark.parametrize("kind", KINDS)
def test_planted_errors_are_rejected_with_two_vendors_and_mostly_with_one(harness: Harness, kind: str) -> None:
    alone = harness.run(kind, PLANTED, seed=11, with_other=False)
    both = harness.run(kind, PLANTED, seed=11, with_other=True)
    assert alone.planted == both.planted == PLANTED
    assert both.flagged >= 0.95 * PLANTED, both.missed
    assert both.rejected >= 0.95 * PLANTED
    assert alone.flagged >= UNSEEN_ALONE.get(kind, 0.95) * PLANTED, alone.missed
    assert both.false_rejects < 1e-4 * both.genuine + 3, "each error may cost its neighbours a little"


def test_fewer_than_one_genuine_bar_in_ten_thousand_is_rejected(harness: Harness) -> None:
    assert harness.genuine.sum() > 60_000
    for with_other in (False, True):
        rejects = harness.clean(with_other).score < MINIMUM
        assert int((rejects & harness.genuine).sum()) < 1e-4 * harness.genuine.sum()

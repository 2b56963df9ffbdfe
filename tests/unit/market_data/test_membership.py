"""Membership by date: who was in, who was not, and what data without the dead is called."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import ConfigurationError, MalformedDataError
from quant_dagster.market_data.membership import Membership
from tests.support.market_data import shared_data

COLUMNS = ("ticker", "start_date", "end_date")


def written(path: Path, text: str) -> Membership:
    path.write_text(text, encoding="utf-8")
    return Membership.read(path, *COLUMNS)


def test_a_symbol_is_a_member_from_its_first_day_to_the_day_it_left(tmp_path: Path) -> None:
    membership = written(tmp_path / "m.csv", "ticker,start_date,end_date\nAAL,1996-01-02,1997-01-15\nAAL,2015-03-23,\n")
    for day, member in {
        date(1996, 1, 1): False, date(1996, 1, 2): True, date(1997, 1, 14): True, date(1997, 1, 15): False,
        date(2010, 1, 4): False, date(2015, 3, 23): True, date(2030, 1, 2): True,
    }.items():  # fmt: skip
        assert ("AAL" in membership.members(day)) is member, day
    assert membership.ever(date(1997, 1, 14), date(2001, 1, 2)) == {"AAL"}
    assert membership.ever(date(1997, 1, 15), date(2001, 1, 2)) == frozenset()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("A,2000-01-03,1999-01-04\n", "end before they start"),
        ("A,2000-01-03,2005-01-03\nA,2004-01-05,\n", "overlap"),
        ("A,2000-01-03,\nA,2004-01-05,\n", "overlap"),
        ("A,3rd of May,\n", "row 2"),
        ("A,2000-01-03,\n,2000-01-03,soon\n", "row 3"),
    ],
)
def test_half_a_membership_is_refused(tmp_path: Path, rows: str, problem: str) -> None:
    with pytest.raises(MalformedDataError, match=problem):
        written(tmp_path / "m.csv", "ticker,start_date,end_date\n" + rows)


def test_a_file_that_is_not_there_or_has_other_columns_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"market_data\.membership\.path"):
        Membership.read(tmp_path / "none.csv", *COLUMNS)
    with pytest.raises(ConfigurationError, match="symbol_column"):
        written(tmp_path / "m.csv", "name,from,to\nA,2000-01-03,\n")


def test_data_without_those_that_left_is_called_survivors_only(tmp_path: Path) -> None:
    membership = written(tmp_path / "m.csv", "ticker,start_date,end_date\nA,2000-01-03,\nENRN,2000-01-03,2001-11-29\n")
    alive = membership.survivorship({"A"}, date(2000, 6, 1), date(2002, 6, 3))
    assert (alive.survivors_only, alive.members, alive.covered, alive.missing) == (True, 2, 1, ("ENRN",))
    later = membership.survivorship({"A"}, date(2001, 11, 29), date(2002, 6, 3))
    assert (later.survivors_only, later.missing) == (False, ())


def test_the_index_by_date_against_what_is_known_of_it() -> None:
    """Tesla came in December 2020 (S&P Dow Jones Indices' announcements)."""
    membership = Membership.read(shared_data("sp500_ticker_start_end.csv"), *COLUMNS)
    assert "TSLA" not in membership.members(date(2020, 12, 18))
    assert "TSLA" in membership.members(date(2020, 12, 21))
    for year in range(2001, 2024):
        assert 485 <= len(membership.members(date(year, 6, 1))) <= 510, year
    prices = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"), columns=["symbol"])
    found = membership.survivorship(prices["symbol"].unique().to_list(), date(2014, 3, 3), date(2024, 3, 8))
    assert found.survivors_only, "the file holds survivors"
    assert len(found.missing) > 100

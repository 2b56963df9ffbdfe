"""Loading prices: repeated loads change nothing, restatements are dated, errors leave the lake as it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_dagster.errors import ContractError, DataUnavailableError
from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.ingest import IngestReport, build_bars, ingest, load_panel
from quant_dagster.market_data.universe import load_universe
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.protocol import Capabilities, Vendor, VendorAnswer
from quant_dagster.market_data.verification import verify_backfill, verify_symbols
from quant_dagster.quality.contracts import validate
from quant_dagster.storage.lake import Lake

NYSE = exchange_calendar("XNYS")
NOW = datetime(2024, 1, 2, 12, tzinfo=UTC)
START, END = date(2012, 1, 3), date(2013, 3, 1)
US20 = load_universe("us20")


class Restated:
    """The packaged vendor, after it changed its mind about some rows."""

    def __init__(self, change: pl.Expr, name: str = "embedded") -> None:
        self._vendor = EmbeddedVendor()
        self._change = change
        self.name = name
        self.capabilities: Capabilities = self._vendor.capabilities

    def symbols(self) -> list[str]:
        return self._vendor.symbols()

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> VendorAnswer:
        answer = self._vendor.daily_bars(symbols, start, end)
        rows = answer.rows.with_columns(self._change.alias("close"))
        return VendorAnswer(self.name, answer.source, rows, answer.rejected, answer.missing_symbols)


def load(lake: Lake, vendor: Vendor, now: datetime = NOW, symbols: Sequence[str] | None = None) -> IngestReport:
    chosen = US20.symbol_names() if symbols is None else symbols
    return ingest(lake, vendor, chosen, START, END, calendar=NYSE, now=now, contract=validate)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    load(lake, EmbeddedVendor())
    return lake


def test_history_counts_as_known_from_the_close_of_its_session(lake: Lake) -> None:
    rows = lake.read("raw_prices", symbols=["AAPL"])
    assert rows["known_at"].to_list() == [NYSE.close_time(day) for day in rows["session"]]


def test_loading_twice_changes_nothing(lake: Lake) -> None:
    report = load(lake, EmbeddedVendor(), now=datetime(2024, 6, 3, tzinfo=UTC))
    assert (report.inserted, report.updated, report.restated, report.lake_version) == (0, 0, 0, 1)
    assert report.unchanged == report.rows == lake.read("raw_prices").height


def test_restatement_counts_as_known_from_now_and_the_rest_stays(lake: Lake) -> None:
    day = date(2012, 6, 1)
    changed = (pl.col("symbol") == "AAPL") & (pl.col("session") == day)
    vendor = Restated(pl.when(changed).then(pl.col("close") * 1.01).otherwise("close"))
    later = datetime(2024, 1, 5, 22, tzinfo=UTC)
    report = load(lake, vendor, now=later)
    assert (report.restated, report.updated, report.inserted) == (1, 1, 0)
    row = lake.read("raw_prices", symbols=["AAPL"], start=day, end=day).row(0, named=True)
    assert row["known_at"] == later
    again = load(lake, vendor, now=datetime(2024, 2, 1, tzinfo=UTC))
    assert (again.restated, again.lake_version) == (0, 2), "a restatement seen again is no restatement"
    before = lake.read("raw_prices", symbols=["AAPL"], start=day, end=day, version=1).row(0, named=True)
    assert before["close"] == pytest.approx(row["close"] / 1.01)


def test_refused_rows_are_recorded_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    zero = Restated(pl.when(pl.col("session") == date(2012, 6, 1)).then(0.0).otherwise("close"))
    assert load(lake, zero).rejected == {"non_positive_price": 20}
    assert load(lake, zero, now=datetime(2024, 6, 3, tzinfo=UTC)).rejected == {"non_positive_price": 20}
    assert lake.read("rejected_rows").height == 20
    assert lake.version("rejected_rows") == 1
    assert lake.read("raw_prices", start=date(2012, 6, 1), end=date(2012, 6, 1)).is_empty()


def test_error_leaves_earlier_data_as_it_was(lake: Lake) -> None:
    def refuse(table: str, frame: pl.DataFrame) -> pl.DataFrame:
        raise ContractError(f"{table}: {frame.height}")

    before = lake.read("raw_prices")
    vendor = Restated(pl.col("close") * 2.0)
    with pytest.raises(ContractError):
        ingest(lake, vendor, ["AAPL"], START, END, calendar=NYSE, now=NOW, contract=refuse)
    with pytest.raises(DataUnavailableError):
        load(lake, EmbeddedVendor(), symbols=["TSLA"])
    assert lake.version("raw_prices") == 1
    assert lake.read("raw_prices").equals(before)


def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    ingest(
        Lake(tmp_path),
        EmbeddedVendor(),
        ["AAPL"],
        START,
        END,
        calendar=NYSE,
        now=NOW,
        contract=validate,
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert [(done, total) for _, done, total in told] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def without(lake: Lake, vendor: str, day: date) -> None:
    """Make a vendor miss a session."""
    rows = lake.read("raw_prices", start=day, end=day).filter(pl.col("vendor") != vendor)
    lake.replace("raw_prices", rows, [day])


def test_another_vendors_level_is_measured_and_its_prices_are_put_at_ours(lake: Lake) -> None:
    """The second vendor's AAPL is unadjusted: forty times the first one's level in 2012."""
    load(lake, EmbeddedVendor("embedded_bokeh"), symbols=["AAPL", "MSFT"])
    day = date(2012, 6, 1)
    truth = lake.read("raw_prices", symbols=["AAPL"], start=day, end=day)
    apple = dict(truth.select("vendor", "close").iter_rows())
    assert apple["embedded_bokeh"] / apple["embedded"] > 30
    report = build_bars(lake, US20, START, END)
    bars = lake.read("bars")
    assert report.inserted == bars.height
    assert bars["vendor"].unique().to_list() == ["embedded"]
    without(lake, "embedded", day)
    fresh = Lake(f"{lake.root}-copy")
    fresh.merge("raw_prices", lake.read("raw_prices"))
    report = build_bars(fresh, US20, START, END)
    assert (report.stand_ins, report.adjusted, report.refused_stand_ins) == (2, 2, 0)
    bar = fresh.read("bars", symbols=["AAPL"], start=day, end=day).row(0, named=True)
    assert (bar["vendor"], bar["vendor_change"]) == ("embedded_bokeh", "adjusted")
    assert bar["close"] == pytest.approx(apple["embedded"], rel=0.002)
    assert bar["level_factor"] == pytest.approx(apple["embedded"] / apple["embedded_bokeh"], rel=0.002)


def test_a_vendor_whose_level_wanders_is_refused_and_the_session_stays_missing(lake: Lake) -> None:
    wandering = Restated(pl.col("close") * (1.0 + pl.col("session").dt.day() / 100.0), name="embedded_bokeh")
    load(lake, wandering)
    day = date(2012, 6, 1)
    without(lake, "embedded", day)
    report = build_bars(lake, US20, START, END)
    assert (report.stand_ins, report.refused_stand_ins) == (0, 20)
    assert lake.read("bars", start=day, end=day).is_empty()


def test_two_common_sessions_are_too_few_to_adjust_by(lake: Lake) -> None:
    load(lake, Restated(pl.col("close") * 4.0, name="embedded_bokeh"))
    first, second, third = NYSE.session_dates(START, END)[:3]
    without(lake, "embedded", third)
    report = build_bars(lake, US20, first, third)
    assert (report.stand_ins, report.refused_stand_ins) == (0, 20)
    assert lake.read("bars")["session"].max() == second


def test_a_new_home_at_another_level_is_flagged_at_its_first_session(tmp_path: Path) -> None:
    """The better vendor turns up in mid-history, at four times the level of the one served until then."""
    lake = Lake(tmp_path)
    load(lake, Restated(pl.col("close"), name="embedded_bokeh"))
    better = Restated(pl.col("close") * 4.0)
    change = date(2012, 9, 4)
    ingest(lake, better, US20.symbol_names(), change, END, calendar=NYSE, now=NOW, contract=validate)
    report = build_bars(lake, US20, START, END)
    bars = lake.read("bars", symbols=["KO"])
    assert report.unconfirmed == 20
    assert bars.filter(pl.col("vendor_change").is_not_null()).select("session", "vendor_change").rows() == [
        (change, "unconfirmed")
    ]


def test_vendor_that_agrees_on_the_level_stands_in_for_a_missed_session(lake: Lake) -> None:
    twin = Restated(pl.col("close") * 1.001, name="embedded_bokeh")
    load(lake, twin)
    day = date(2012, 6, 1)
    lake.replace(
        "raw_prices", lake.read("raw_prices", start=day, end=day).filter(pl.col("vendor") != "embedded"), [day]
    )
    report = build_bars(lake, US20, START, END)
    assert (report.stand_ins, report.refused_stand_ins) == (20, 0)
    assert lake.read("bars", start=day, end=day)["vendor"].unique().to_list() == ["embedded_bokeh"]
    assert lake.read("bars").filter(pl.col("vendor") == "embedded_bokeh").height == 20


def test_bars_built_day_by_day_are_those_built_at_once(lake: Lake, tmp_path: Path) -> None:
    load(lake, Restated(pl.col("close") * 1.001, name="embedded_bokeh"))
    days = NYSE.session_dates(date(2012, 5, 29), date(2012, 6, 15))
    hole = days[4:7]
    held = lake.read("raw_prices", start=hole[0], end=hole[-1]).filter(pl.col("vendor") != "embedded")
    lake.replace("raw_prices", held, hole)
    other = Lake(tmp_path / "daily")
    other.merge("raw_prices", lake.read("raw_prices"))
    build_bars(lake, US20, days[0], days[-1])
    for day in days:
        build_bars(other, US20, day, day)
    assert other.read("bars").equals(lake.read("bars"))


def test_bars_without_raw_prices_are_an_error(lake: Lake) -> None:
    with pytest.raises(DataUnavailableError, match="load raw prices first"):
        build_bars(lake, US20, date(2020, 1, 1), date(2020, 1, 31))


def test_panel_holds_the_bars_asked_for_and_columns_for_symbols_without_any(lake: Lake) -> None:
    build_bars(lake, US20, START, END)
    panel = load_panel(lake, ["XOM", "ZZZ", "AAPL"], END, lookback=60)
    assert panel.symbols == ("XOM", "ZZZ", "AAPL")
    assert panel.close.shape == (60, 3)
    assert panel.last_session == END
    assert np.isnan(panel.close[:, 1]).all()
    assert panel.close[:, 2].tolist() == lake.read("bars", symbols=["AAPL"])["close"].to_list()[-60:]
    whole = load_panel(lake, ["XOM"], END, start=START)
    assert len(whole.sessions) == len(NYSE.sessions(START, END))
    with pytest.raises(DataUnavailableError, match="build bars first"):
        load_panel(lake, ["ZZZ"], END)


def test_verification_counts_sessions_against_the_exchange(lake: Lake) -> None:
    build_bars(lake, US20, START, END)
    sessions = len(NYSE.sessions(START, END))
    assert verify_backfill(lake, 20, sessions).passed
    assert not verify_backfill(lake, 21, sessions).passed
    lake.replace("bars", lake.read("bars").head(0), [date(2012, 6, 1)])
    found = verify_backfill(lake, 20, sessions)
    assert (found.passed, found.symbols, found.symbols_with_enough) == (False, 20, 0)
    apple, nothing = verify_symbols(lake, ["AAPL", "ZZZ"], NYSE)
    assert (apple.sessions, apple.missing, apple.complete) == (sessions - 1, (date(2012, 6, 1),), False)
    assert (nothing.sessions, nothing.first, nothing.complete) == (0, None, False)

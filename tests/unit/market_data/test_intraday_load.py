"""Minutes, quotes and trades into the lake: the right instant, the right session, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import ConfigurationError, DataUnavailableError, MalformedDataError, UnreachableError
from quant_dagster.market_data.calendars import ExchangeCalendar, exchange_calendar
from quant_dagster.market_data.intraday.load import IntradayReport, load_files, load_vendor
from quant_dagster.market_data.intraday.options import BarTime, IntradayFile, IntradayKind
from quant_dagster.market_data.vendors.protocol import MINUTE_SCHEMA, TRADE_SCHEMA, BookSnapshot, RowsAnswer
from quant_dagster.quality.contracts import validate
from quant_dagster.resilience.guard import ServiceGuard
from quant_dagster.settings import ResilienceSettings
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.ledger import Ledger
from tests.unit.market_data.intraday_files import NEW_YORK, at, lean_bars, lean_quotes, us24

NYSE = exchange_calendar("XNYS")
ROUND_THE_CLOCK = ExchangeCalendar("24/7", date(2024, 1, 1), date(2024, 12, 31))
NOW = at("2024-11-01 12:00")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def load(lake: Lake, source: IntradayFile, now: datetime = NOW, calendar: ExchangeCalendar = NYSE) -> IntradayReport:
    return load_files(lake, source, calendar=calendar, now=now, contract=validate)


def csv(folder: Path, text: str, name: str = "A.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def reasons(lake: Lake) -> list[tuple[int, str]]:
    return list(lake.read("rejected_rows", columns=["row", "reason"]).sort("row").iter_rows())


def test_bars_named_by_their_end_start_a_minute_earlier_and_are_known_at_their_end(lake: Lake) -> None:
    report = load(lake, us24())
    assert (report.rows, report.inserted, report.rejected) == (43164, 43164, {})
    rows = lake.read("intraday_bars", symbols=["AAPL"], start=date(2019, 2, 11), end=date(2019, 2, 11))
    assert rows.height == 390
    assert (rows["bar_start"][0], rows["known_at"][0]) == (at("2019-02-11 14:30"), at("2019-02-11 14:31"))
    assert rows["bar_start"][-1] == at("2019-02-11 20:59")  # the bar called 16:00 ends with the session


def test_loading_again_changes_nothing(lake: Lake) -> None:
    first = load(lake, lean_quotes())
    again = load(lake, lean_quotes())
    assert (again.unchanged, again.inserted, again.restated) == (first.rows, 0, 0)
    assert again.lake_version == first.lake_version
    assert again.rejected == first.rejected


def test_trades_outside_regular_hours_are_refused_unless_asked_for(lake: Lake, tmp_path: Path) -> None:
    report = load(lake, lean_bars())
    assert report.rejected == {"outside_hours": 5980}
    kept = Lake(tmp_path / "kept")
    assert load(kept, lean_bars(extended_hours=True)).rows == report.rows + 5980
    early = kept.read("intraday_bars", symbols=["AAPL"], start=date(2014, 6, 5), end=date(2014, 6, 5))
    assert early["bar_start"][0] == at("2014-06-05 08:15")


def test_an_early_close_ends_the_session(lake: Lake) -> None:
    load(lake, lean_bars())
    rows = lake.read("intraday_bars", symbols=["GOOG"], start=date(2015, 12, 24), end=date(2015, 12, 24))
    assert rows.height == 210
    assert rows["known_at"][-1] == at("2015-12-24 18:00") == NYSE.close_time(date(2015, 12, 24))
    refused = lake.read("rejected_rows", where=(pl.col("symbol") == "GOOG"))
    late = refused.filter(pl.col("session") == date(2015, 12, 24))["detail"].to_list()
    assert any("13:00:00" in detail and detail.endswith("regular hours end at 13:00") for detail in late)


def test_a_restated_bar_counts_as_known_from_the_load_that_brought_it(lake: Lake, tmp_path: Path) -> None:
    header = "time,open,high,low,close,volume\n"
    source = IntradayFile(
        csv(tmp_path, f"{header}2024-03-01 09:30,1,1,1,1,5\n2024-03-01 09:31,2,2,2,2,5\n"), IntradayKind.BARS, NEW_YORK
    )
    load(lake, source)
    csv(tmp_path, f"{header}2024-03-01 09:30,1,1,1,1,5\n2024-03-01 09:31,2,2,2,2,6\n")
    later = at("2024-11-02 12:00")
    report = load(lake, source, later)
    assert (report.unchanged, report.updated, report.restated) == (1, 1, 1)
    assert lake.read("intraday_bars")["known_at"].to_list() == [at("2024-03-01 14:31"), later]
    assert load(lake, source, at("2024-11-03 12:00")).unchanged == 2


def test_every_refused_row_says_why_and_where_it_stood(lake: Lake, tmp_path: Path) -> None:
    text = """time,open,high,low,close,volume
2024-03-01 09:30:00,10,10,10,10,5
yesterday,10,10,10,10,5
2024-03-01 09:32:00,10,10,10,ten,5
2024-03-01 09:33:00,10,10,10,,5
2024-03-01 09:34:00,10,10,-1,10,5
2024-03-01 09:35:00,10,10,10,10,-5
2024-03-01 09:36:30,10,10,10,10,5
2024-03-01 16:00:00,10,10,10,10,5
2024-03-02 10:00:00,10,10,10,10,5
2024-11-01 10:00:00,10,10,10,10,5
2024-03-01 09:40:00,10,10,10,10,5
2024-03-01 09:40:00,10,10,10,11,5
2024-03-01 09:41:00,10,10,10,10,5
2024-03-01 09:41:00,10,10,10,10,5
1985-03-01 09:41:00,10,10,10,10,5
2024-03-10 02:30:00,10,10,10,10,5
2024-03-01 09:43:00,10,10,10,inf,5
"""
    report = load(lake, IntradayFile(csv(tmp_path, text), IntradayKind.BARS, NEW_YORK))
    assert reasons(lake) == [
        (2, "not_a_time"), (3, "not_a_number"), (4, "no_close"), (5, "non_positive_price"), (6, "negative_volume"),
        (7, "off_grid"), (8, "outside_hours"), (9, "not_a_session"), (10, "bar_not_ended"), (11, "duplicate_bar"),
        (12, "duplicate_bar"), (15, "outside_calendar"), (16, "not_a_time"), (17, "not_a_number"),
    ]  # fmt: skip
    stored = lake.read("intraday_bars")
    assert stored["bar_start"].to_list() == [at("2024-03-01 14:30"), at("2024-03-01 14:41")]
    assert stored["symbol"].unique().to_list() == ["A"]  # from the file's name
    assert report.rows == 2
    details = dict(lake.read("rejected_rows").select("row", "detail").iter_rows())
    assert details[3] == "close is 'ten'"
    assert details[2].startswith("time is 'yesterday'")


def test_the_hour_that_happens_twice_is_refused_rather_than_guessed(lake: Lake, tmp_path: Path) -> None:
    text = "time,close\n2024-11-03 01:30:00,10\n2024-03-08 10:00:00,10\n"
    path = csv(tmp_path, text)
    load(lake, IntradayFile(path, IntradayKind.BARS, NEW_YORK, extended_hours=True), at("2024-12-01 12:00"))
    assert reasons(lake) == [(1, "not_a_time")]


def test_times_with_a_zone_of_their_own_are_taken_at_their_word(lake: Lake, tmp_path: Path) -> None:
    text = "time,close\n2024-03-01T14:30:00Z,10\n2024-03-01T09:31:00-05:00,11\n2024-03-01 15:32:00+01:00,12\n"
    load(lake, IntradayFile(csv(tmp_path, text), IntradayKind.BARS, NEW_YORK))
    rows = lake.read("intraday_bars")
    assert rows["bar_start"].to_list() == [at("2024-03-01 14:30"), at("2024-03-01 14:31"), at("2024-03-01 14:32")]
    assert rows["open"].null_count() == 3  # not in the file: null, not the close


def test_hour_bars_are_held_against_the_sessions_open_not_the_full_hour(lake: Lake, tmp_path: Path) -> None:
    text = "time,close\n2024-03-01 10:30:00,10\n2024-03-01 11:00:00,10\n"
    load(lake, IntradayFile(csv(tmp_path, text), IntradayKind.BARS, NEW_YORK, BarTime.END, seconds=3600))
    assert reasons(lake) == [(2, "off_grid")]
    assert lake.read("intraday_bars")["bar_start"].to_list() == [at("2024-03-01 14:30")]


def test_quotes_are_stored_as_they_came_crossed_and_one_sided_ones_too(lake: Lake, tmp_path: Path) -> None:
    report = load(lake, lean_quotes())
    assert report.rejected == {"outside_hours": 9118}
    assert lake.read("intraday_quotes").height == report.rows == 15024
    text = """time,bid_close,ask_close,bid_size,ask_size
2024-03-01 09:30:00,10.02,10.01,1,1
2024-03-01 09:31:00,,199999.99,,1
2024-03-01 09:32:00,,,1,1
2024-03-01 09:33:00,10,10.01,1,-1
"""
    other = Lake(tmp_path / "other")
    load(other, IntradayFile(csv(tmp_path, text), IntradayKind.QUOTES, NEW_YORK))
    rows = other.read("intraday_quotes")
    assert list(rows.select("bid_close", "ask_close").iter_rows()) == [(10.02, 10.01), (None, 199999.99)]
    assert reasons(other) == [(3, "no_quote"), (4, "negative_volume")]


def test_single_trades_are_stored_by_the_venues_id(lake: Lake, tmp_path: Path) -> None:
    text = """symbol,time,price,size,trade_id,side
BTC/USDT,2024-08-08 00:00:00.123456,61000,0.5,1,buy
BTC/USDT,2024-08-08 23:59:59.9,61001,0.25,2,
BTC/USDT,2024-08-08 12:00:00,61001,0,3,sell
BTC/USDT,2024-08-08 12:00:00,61001,1,,sell
BTC/USDT,2024-08-08 12:00:00,61001,1,5,both
"""
    source = IntradayFile(csv(tmp_path, text), IntradayKind.TRADES, "UTC", vendor="binance")
    load(lake, source, calendar=ROUND_THE_CLOCK)
    rows = lake.read("trades")
    assert rows["trade_id"].to_list() == ["1", "2"]
    assert rows["side"].to_list() == ["buy", None]
    assert rows["session"].unique().to_list() == [date(2024, 8, 8)]
    assert (rows["known_at"] == rows["traded_at"]).all()
    assert reasons(lake) == [(3, "non_positive_size"), (4, "no_trade"), (5, "unknown_side")]


def test_a_file_that_cannot_be_read_stops_the_load_and_stores_nothing(lake: Lake, tmp_path: Path) -> None:
    good = csv(tmp_path, "time,close\n2024-03-01 10:30:00,10\n")
    source = IntradayFile(tmp_path, IntradayKind.BARS, NEW_YORK)
    csv(tmp_path, "time,price\n2024-03-01 10:30:00,10\n", "B.csv")
    with pytest.raises(MalformedDataError, match=r"B\.csv has no column close; columns found: time, price"):
        load(lake, source)
    csv(tmp_path, "", "B.csv")
    with pytest.raises(MalformedDataError, match=r"B\.csv"):
        load(lake, source)
    assert not lake.exists("intraday_bars")
    with pytest.raises(DataUnavailableError, match="NONE"):
        load_files(lake, replace(source, path=good), calendar=NYSE, now=NOW, contract=validate, symbols=["NONE"])
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(lake, replace(source, path=tmp_path / "absent"))


def test_a_source_that_is_described_wrongly_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="time zone 'New York'"):
        IntradayFile(tmp_path, IntradayKind.BARS, "New York")
    with pytest.raises(ConfigurationError, match=r"unknown fields \['bid'\]"):
        IntradayFile(tmp_path, IntradayKind.BARS, "UTC", columns={"bid": "b"})
    with pytest.raises(ConfigurationError, match="0 seconds"):
        IntradayFile(tmp_path, IntradayKind.BARS, "UTC", seconds=0)


class Recorded:
    """A vendor that answers with the rows of the real file, and fails as it is told."""

    name = "recorded"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        rows = pl.read_parquet(us24().path).with_columns(pl.col("volume").cast(pl.Float64))
        start = pl.col("bar_end_ny").dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC") - pl.duration(minutes=1)
        self._rows = rows.with_columns(bar_start=start).select(list(MINUTE_SCHEMA))

    def minute_bars(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        if self.failures:
            self.failures -= 1
            raise UnreachableError(self.name, "connection refused")
        inside = pl.col("bar_start").is_between(start, end, closed="left")
        rows = self._rows.filter((pl.col("symbol") == symbol) & inside)
        if rows.is_empty():
            raise DataUnavailableError(symbol, self.name, start.date(), end.date())
        return RowsAnswer(self.name, f"{symbol} minutes", rows)

    def trades(self, symbol: str, start: datetime, end: datetime) -> RowsAnswer:
        return RowsAnswer(self.name, symbol, pl.DataFrame(schema=TRADE_SCHEMA))

    def order_book(self, symbol: str, depth: int) -> BookSnapshot:
        raise DataUnavailableError(symbol, self.name, None, None)


def ask(lake: Lake, vendor: Recorded, symbols: list[str], guard: ServiceGuard | None = None) -> IntradayReport:
    span = (at("2019-02-12 14:30"), at("2019-02-12 15:30"))
    return load_vendor(lake, vendor, IntradayKind.BARS, symbols, *span, calendar=NYSE, now=NOW, contract=validate,
                       guard=guard)  # fmt: skip


def test_a_vendors_minutes_are_stored_and_symbols_it_lacks_are_named(lake: Lake) -> None:
    report = ask(lake, Recorded(), ["AAPL", "BAC", "NONE"])
    assert report.rows == 120
    assert report.missing_symbols == ("NONE",)
    assert set(lake.read("intraday_bars")["vendor"]) == {"recorded"}


def test_a_failing_vendor_is_tried_again_through_its_guard_and_stores_nothing_in_between(
    lake: Lake, ledger: Ledger
) -> None:
    waits: list[float] = []
    guard = ServiceGuard(ledger, "vendor:recorded", ResilienceSettings(attempts=3), sleep=waits.append)
    assert ask(lake, Recorded(failures=2), ["AAPL"], guard).rows == 60
    assert len(waits) == 2
    other = Lake(lake.root + "_other")
    with pytest.raises(UnreachableError):
        ask(other, Recorded(failures=5), ["AAPL"])
    assert not other.exists("intraday_bars")


def test_quotes_are_not_asked_of_a_vendor(lake: Lake) -> None:
    with pytest.raises(DataUnavailableError, match="from files only"):
        load_vendor(lake, Recorded(), IntradayKind.QUOTES, ["AAPL"], NOW, NOW, calendar=NYSE, now=NOW,
                    contract=validate)  # fmt: skip

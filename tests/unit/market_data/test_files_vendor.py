"""Hostile files: each kind of bad row is refused with its reason, each unreadable file with what to change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from bokeh_sampledata.stocks import AAPL, IBM

from quant_dagster.errors import ConfigurationError, DataUnavailableError, MalformedDataError
from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.screening import screen
from quant_dagster.market_data.vendors.files import DEFAULT_COLUMNS, FilesVendor
from quant_dagster.market_data.vendors.registry import build_vendor

NYSE = exchange_calendar("XNYS")
NOW = datetime(2013, 3, 1, 22, tzinfo=UTC)
START, END = date(2013, 2, 19), date(2013, 3, 31)
HEADER = "symbol,date,open,high,low,close,volume"


def lines_of(symbol: str, stock: dict[str, list[object]], count: int = 9) -> list[str]:
    """The newest real rows of a stock, as lines of CSV: 2013-02-19 to 2013-03-01."""
    fields = ("date", "open", "high", "low", "close", "volume")
    return [f"{symbol}," + ",".join(str(stock[field][i]) for field in fields) for i in range(-count, 0)]


def screened(path: Path, lines: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    answer = FilesVendor(path).daily_bars(["AAPL", "IBM"], START, END)
    return screen(answer, NYSE, NOW)


def change(line: str, field: str, value: str) -> str:
    cells = line.split(",")
    cells[HEADER.split(",").index(field)] = value
    return ",".join(cells)


def test_clean_file_is_read_whole(tmp_path: Path) -> None:
    rows, rejected = screened(tmp_path / "a.csv", lines_of("AAPL", AAPL) + lines_of("IBM", IBM))
    assert rejected.is_empty()
    assert rows.filter(pl.col("symbol") == "AAPL")["close"].to_list() == AAPL["close"][-9:]
    assert rows["known_at"].to_list() == [NYSE.close_time(day) for day in rows["session"]]
    assert rows["row_hash"].n_unique() == 18


@pytest.mark.parametrize(
    ("field", "value", "reason", "detail"),
    [
        ("close", "n/a", "not_a_number", "close is 'n/a'"),
        ("open", "1,234".replace(",", "_"), "not_a_number", "open is '1_234'"),
        ("close", "inf", "not_a_number", "close is 'inf'"),
        ("close", "", "no_close", "close is empty"),
        ("close", "0", "non_positive_price", "close is 0.0"),
        ("low", "-3.5", "non_positive_price", "low is -3.5"),
        ("volume", "-1", "negative_volume", "volume is -1.0"),
        ("date", "yesterday", "not_a_date", "session is 'yesterday'"),
        ("date", "2013-02-30", "not_a_date", "session is '2013-02-30'"),
        ("date", "2013-02-23", "not_a_session", "2013-02-23 is a Saturday"),
        ("date", "2013-03-04", "future_session", "session 2013-03-04, newest closed 2013-03-01"),
        ("symbol", "", "no_symbol", "symbol is empty"),
    ],
)
def test_bad_row_is_refused_with_its_reason_and_the_others_stay(
    tmp_path: Path, field: str, value: str, reason: str, detail: str
) -> None:
    lines = lines_of("AAPL", AAPL)
    rows, rejected = screened(tmp_path / "a.csv", [*lines[:4], change(lines[4], field, value), *lines[5:]])
    assert rows.height == 8
    found = rejected.row(0, named=True)
    assert rejected.height == 1
    assert (found["reason"], found["detail"]) == (reason, detail)
    assert (found["vendor"], found["source"], found["row"]) == ("files", "a.csv", 5)


def test_price_that_looks_wrong_but_could_be_is_stored_for_quality_to_score(tmp_path: Path) -> None:
    line = change(change(lines_of("AAPL", AAPL)[0], "high", "1.0"), "volume", "0")
    rows, rejected = screened(tmp_path / "a.csv", [line])
    assert (rows.height, rejected.height) == (1, 0)


def test_identical_duplicates_count_once(tmp_path: Path) -> None:
    lines = lines_of("AAPL", AAPL)
    rows, rejected = screened(tmp_path / "a.csv", [*lines, lines[3], lines[3]])
    assert (rows.height, rejected.height) == (9, 0)


def test_contradicting_duplicates_are_all_refused(tmp_path: Path) -> None:
    lines = lines_of("AAPL", AAPL)
    rows, rejected = screened(tmp_path / "a.csv", [*lines, change(lines[3], "close", "400.5")])
    assert rows.height == 8
    assert rejected["reason"].to_list() == ["duplicate_session"] * 2
    assert rejected["row"].to_list() == [4, 10]


def test_point_in_time_file_keeps_the_newest_statement_with_the_time_it_became_known(tmp_path: Path) -> None:
    line = lines_of("AAPL", AAPL)[3]
    path = tmp_path / "a.csv"
    stated = [f"{line},2013-02-22T23:00:00Z", f"{change(line, 'close', '449.5')},2013-02-25T12:00:00Z"]
    path.write_text("\n".join([HEADER + ",known", *stated]) + "\n")
    vendor = FilesVendor(path, {**DEFAULT_COLUMNS, "known_at": "known"})
    rows, rejected = screen(vendor.daily_bars(["AAPL"], START, END), NYSE, NOW)
    assert rejected.is_empty()
    assert rows.select("close", "known_at").row(0) == (449.5, datetime(2013, 2, 25, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ("2013-02-22T20:59:00Z", "known_before_close"),
        ("2013-03-02T00:00:00Z", "known_in_future"),
        ("soon", "not_a_time"),
    ],
)
def test_impossible_time_of_knowledge_is_refused(tmp_path: Path, known: str, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER},known\n{lines_of('AAPL', AAPL)[3]},{known}\n")
    vendor = FilesVendor(path, {**DEFAULT_COLUMNS, "known_at": "known"})
    rows, rejected = screen(vendor.daily_bars(["AAPL"], START, END), NYSE, NOW)
    assert rows.is_empty()
    assert rejected["reason"].to_list() == [reason]


def test_missing_column_names_the_file_the_columns_found_and_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("symbol,date,last\nAAPL,2013-03-01,430.47\n")
    expected = (
        r"a\.csv has no column 'open' \(for open\).*'close' \(for close\).*"
        r"columns found: symbol, date, last; .*market_data\.files\.columns"
    )
    with pytest.raises(MalformedDataError, match=expected):
        FilesVendor(path).daily_bars(["AAPL"], START, END)
    mapped = FilesVendor(path, {"symbol": "symbol", "session": "date", "close": "last"})
    rows = mapped.daily_bars(["AAPL"], START, END).rows
    assert rows.select("close", "open", "volume").row(0) == (430.47, None, None)


@pytest.mark.parametrize("content", ["", HEADER + "\n"])
def test_empty_file_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(MalformedDataError, match=r"a\.csv is empty"):
        FilesVendor(path).daily_bars(["AAPL"], START, END)


@pytest.mark.parametrize(("mark", "said"), [(";", "';'"), ("\t", r"'\t'"), ("|", "'|'")])
def test_file_with_another_separator_is_told_so(tmp_path: Path, mark: str, said: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        mark.join(["symbol", "date", "close"]) + "\n" + mark.join(["AAPL", "2020-01-02", "300,35,1"]) + "\n"
    )
    with pytest.raises(MalformedDataError) as caught:
        FilesVendor(path).symbols()
    assert f"separated by {said}" in str(caught.value) and "\n" not in str(caught.value)


def test_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("symbol,date\n")
    with pytest.raises(MalformedDataError, match="cannot be read as parquet"):
        FilesVendor(path).daily_bars(["AAPL"], START, END)
    ragged = tmp_path / "b.csv"
    ragged.write_text(f"{HEADER}\n{lines_of('AAPL', AAPL)[0]},1,2,3\n")
    with pytest.raises(MalformedDataError, match="cannot be read as csv"):
        FilesVendor(ragged).daily_bars(["AAPL"], START, END)


def test_nothing_for_a_symbol_or_range_is_said_and_nothing_invented(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join([HEADER, *lines_of("AAPL", AAPL)]) + "\n")
    vendor = FilesVendor(path)
    assert vendor.daily_bars(["AAPL", "IBM"], START, END).missing_symbols == ("IBM",)
    with pytest.raises(DataUnavailableError, match="no data for IBM"):
        vendor.daily_bars(["IBM"], START, END)
    with pytest.raises(DataUnavailableError, match="from 1999-01-01 to 1999-02-01"):
        vendor.daily_bars(["AAPL"], date(1999, 1, 1), date(1999, 2, 1))


def test_folder_of_files_named_after_their_symbols(tmp_path: Path) -> None:
    for symbol, stock in (("AAPL", AAPL), ("IBM", IBM)):
        lines = [line.split(",", 1)[1] for line in lines_of(symbol, stock)]
        (tmp_path / f"{symbol}.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]) + "\n")
    (tmp_path / "notes.txt").write_text("not prices")
    columns = {field: name for field, name in DEFAULT_COLUMNS.items() if field != "symbol"}
    vendor = build_vendor("files", {"path": str(tmp_path), "columns": columns})
    assert vendor.symbols() == ["AAPL", "IBM"]
    answer = vendor.daily_bars(["IBM"], START, END)
    assert answer.rows["source"].unique().to_list() == ["IBM.csv"]
    assert answer.rows["close"].to_list() == IBM["close"][-9:]


def test_parquet_with_dates_and_text_prices_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pl.read_csv("\n".join([HEADER, *lines_of("AAPL", AAPL)]).encode(), try_parse_dates=True)
    table = table.with_columns(pl.col("symbol").cast(pl.Categorical))
    table.write_parquet(path)
    typed = FilesVendor(path).daily_bars(["AAPL"], START, END).rows
    assert typed["close"].to_list() == AAPL["close"][-9:]
    wrong = pl.when(pl.int_range(pl.len()) == 2).then(pl.lit("?")).otherwise(pl.col("close").cast(pl.String))
    table.with_columns(wrong.alias("close")).write_parquet(path)
    answer = FilesVendor(path).daily_bars(["AAPL"], START, END)
    assert (answer.rows.height, answer.rejected["row"].to_list()) == (8, [3])


def test_settings_that_cannot_work_are_configuration_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"market_data\.files\.path"):
        FilesVendor(None)
    with pytest.raises(ConfigurationError, match="does not exist"):
        FilesVendor(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match="holds no"):
        FilesVendor(tmp_path)
    with pytest.raises(ConfigurationError, match="unknown fields \\['colour'\\]"):
        FilesVendor(tmp_path, {"session": "date", "close": "close", "colour": "red"})
    with pytest.raises(ConfigurationError, match="no column named for \\['close'\\]"):
        FilesVendor(tmp_path, {"session": "date"})

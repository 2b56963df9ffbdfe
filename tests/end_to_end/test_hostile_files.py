"""Files that are not what they should be: a sentence that says what to do, or a refused row with its reason.

Whatever happens, what was stored before stays as it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.market_data.calendars import exchange_calendar
from tests.support import replays
from tests.support.market_data import shared_data
from tests.support.replays import Command

HEADER = "symbol,date,open,high,low,close,volume"
# Real bars of IBM and MSFT in the last week of February 2013 (bokeh_sampledata).
GOOD = """IBM,2013-02-25,201.67,202.49,197.51,197.51,3845500
IBM,2013-02-26,198.63,199.6,197.33,199.14,3391600
IBM,2013-02-27,198.89,202.75,198.6,202.33,4185500
MSFT,2013-02-26,27.38,27.6,27.34,27.37,49917300
MSFT,2013-02-27,27.42,28,27.33,27.81,36390800"""

Write = Callable[..., Path]


@pytest.fixture
def file(tmp_path: Path) -> Write:
    def write(rows: str, name: str = "prices.csv", header: str = HEADER) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{header}\n{rows}\n" if header else rows)
        return path

    return write


def stored(home: Path) -> tuple[object, object]:
    rows = {name: frame.rows() for name, frame in replays.lake_rows(home).items()}
    return replays.lake_versions(home), rows


def backfill(command: Command, path: Path) -> replays.Answer:
    return command("backfill", "--vendor", "files", "--path", str(path), "--json")


@pytest.fixture
def loaded(command: Command, file: Write, quant_home: Path) -> Path:
    """A home that holds the good rows."""
    done = backfill(command, file(GOOD, "good.csv"))
    assert (done.code, done.json["inserted"], done.json["rejected"]) == (0, 5, {}), done.err
    return quant_home


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (GOOD, "symbol,date,open,high,low,last,volume", ["no column 'close' (for close)", "columns found", "columns"]),
        ("", "", ["is empty", "remove it or fill it"]),
        (f"{HEADER}\n", "", ["is empty", "no rows"]),
        ("a,b\n1,2,3\n", "", ["cannot be read as csv"]),
    ],
    ids=["missing column", "empty file", "header only", "ragged"],
)
def test_a_file_that_cannot_be_read_stops_the_load(
    loaded: Path, command: Command, file: Write, rows: str, header: str, message: list[str]
) -> None:
    before = stored(loaded)
    bad = file(rows, "bad.csv", header)
    refused = backfill(command, bad)
    assert refused.code == 3
    assert refused.out == ""
    assert str(bad) in refused.err
    assert all(part in refused.err for part in message), refused.err
    assert "Traceback" not in refused.err
    assert stored(loaded) == before


def test_a_parquet_file_that_is_none_stops_the_load(loaded: Path, command: Command, file: Write) -> None:
    before = stored(loaded)
    bad = file(GOOD, "bad.parquet")
    refused = backfill(command, bad)
    assert refused.code == 3
    assert f"file {bad} cannot be read as parquet" in refused.err
    assert stored(loaded) == before


@pytest.mark.parametrize(
    ("row", "reason", "row_number", "detail"),
    [
        ("IBM,2013-02-28,202.12,203.27,200.83,n/a,4721500", "not_a_number", 6, "close is 'n/a'"),
        ("IBM,28.02.2013,202.12,203.27,200.83,200.83,4721500", "not_a_date", 6, "session is '28.02.2013'"),
        ("IBM,2100-01-04,202.12,203.27,200.83,200.83,4721500", "outside_calendar", 6, "2100-01-04"),
        ("IBM,2013-02-23,202.12,203.27,200.83,200.83,4721500", "not_a_session", 6, "Saturday"),
        ("IBM,2013-02-28,202.12,203.27,200.83,-200.83,4721500", "non_positive_price", 6, "close is -200.83"),
        (",2013-02-28,202.12,203.27,200.83,200.83,4721500", "no_symbol", 6, "symbol is empty"),
    ],
)
def test_a_row_that_is_no_price_is_refused_with_its_reason(
    loaded: Path, command: Command, file: Write, row: str, reason: str, row_number: int, detail: str
) -> None:
    _, before = stored(loaded)
    done = backfill(command, file(f"{GOOD}\n{row}", "mixed.csv"))
    assert done.code == 0, done.err
    assert done.json["rejected"] == {reason: 1}
    (refused,) = replays.lake_rows(loaded)["rejected_rows"].to_dicts()
    assert (refused["source"], refused["row"], refused["reason"]) == ("mixed.csv", row_number, reason)
    assert detail in refused["detail"]
    _, after = stored(loaded)
    assert {name: after[name] for name in before} == before, "the good rows stay as they were"
    shown = command("backfill", "--vendor", "files", "--path", str(file(f"{GOOD}\n{row}", "mixed.csv")))
    assert f"{reason}=1" in shown.out


def test_a_session_that_has_not_closed_is_refused(loaded: Path, command: Command, file: Write) -> None:
    today = datetime.now(UTC).date()
    coming = exchange_calendar("XNYS").session_dates(today + timedelta(days=2), today + timedelta(days=20))[0]
    done = backfill(command, file(f"{GOOD}\nIBM,{coming},1,1,1,1,1", "mixed.csv"))
    assert (done.code, done.json["rejected"]) == (0, {"future_session": 1}), done.err
    assert replays.lake_rows(loaded)["raw_prices"]["session"].max() == date(2013, 2, 27)


def test_a_file_in_which_no_row_names_a_symbol_stops_the_load(loaded: Path, command: Command, file: Write) -> None:
    before = stored(loaded)
    refused = backfill(command, file(",2013-02-28,202.12,203.27,200.83,200.83,4721500"))
    assert refused.code == 3
    assert "no row of it names a symbol" in refused.err
    assert stored(loaded) == before


def test_two_rows_for_one_session_that_disagree_are_both_refused(loaded: Path, command: Command, file: Write) -> None:
    twice = f"{GOOD}\nIBM,2013-02-28,202.12,203.27,200.83,200.83,4721500\nIBM,2013-02-28,202.12,203.27,200.83,201,1"
    done = backfill(command, file(twice, "twice.csv"))
    assert (done.code, done.json["rejected"], done.json["inserted"]) == (0, {"duplicate_session": 2}, 0), done.err
    assert replays.lake_rows(loaded)["rejected_rows"]["row"].to_list() == [6, 7]


def test_a_row_repeated_word_for_word_counts_once(loaded: Path, command: Command, file: Write) -> None:
    row = "IBM,2013-02-28,202.12,203.27,200.83,200.83,4721500"
    done = backfill(command, file(f"{GOOD}\n{row}\n{row}", "twice.csv"))
    assert (done.json["inserted"], done.json["rejected"]) == (1, {})


def test_a_folder_of_csv_files_with_columns_of_their_own(
    quant_home: Path, command: Command, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("IBM", "MSFT"):
        rows = "\n".join(row.partition(",")[2] for row in GOOD.splitlines() if row.startswith(symbol))
        path = file(rows, f"csv/{symbol}.csv", "Day,O,H,L,C,Vol")
    columns = {"session": "Day", "open": "O", "high": "H", "low": "L", "close": "C", "volume": "Vol"}
    monkeypatch.setenv("QUANT_MARKET_DATA__FILES__COLUMNS", json.dumps(columns))
    done = backfill(command, path.parent)
    assert (done.code, done.json["symbols"], done.json["bars"]) == (0, 2, 5), done.err
    bars = replays.lake_rows(quant_home)["bars"]
    assert bars.filter(pl.col("symbol") == "IBM")["close"].to_list() == [197.51, 199.14, 202.33]


def test_the_path_may_come_from_the_settings(
    quant_home: Path, command: Command, file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_MARKET_DATA__FILES__PATH", str(file(GOOD)))
    assert command("backfill", "--vendor", "files", "--json").json["inserted"] == 5


@pytest.mark.parametrize("path", ["nowhere.csv", ""])
def test_a_path_that_is_not_there_is_wrong_usage(loaded: Path, command: Command, tmp_path: Path, path: str) -> None:
    before = stored(loaded)
    arguments = ["--path", str(tmp_path / path)] if path else []
    refused = command("backfill", "--vendor", "files", *arguments)
    assert refused.code == 2
    assert "market_data.files.path" in refused.err
    assert stored(loaded) == before


@pytest.mark.slow
def test_five_hundred_real_symbols_are_each_decided_once(
    quant_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten real years with their blemishes; a symbol whose data is not good enough is refused, not traded.

    On the last session everything is fit to trade; on 2021-02-25 FERG repeats the bar of the day before.
    """
    data = shared_data("us_daily_yahoo_2014_2024.parquet")
    monkeypatch.setenv("QUANT_FORECASTING__FAMILIES", replays.SHORT_HISTORY["QUANT_FORECASTING__FAMILIES"])
    loaded = backfill(command, data)
    assert loaded.code == 0, loaded.err
    assert loaded.json["symbols"] == 498
    other = quant_home.with_name("other")
    shutil.copytree(quant_home, other)
    for home, day, refused in ((quant_home, "2024-03-08", set()), (other, "2021-02-25", {"FERG"})):
        monkeypatch.setenv("QUANT_HOME", str(home))
        done = command("cycle", "--session", day, "--vendor", "files", "--path", str(data), "--json")
        assert done.code == 0, done.err
        assert sum(done.json["actions"].values()) == 498
        decided = replays.open_ledger(home).frame("decisions")
        assert decided["symbol"].n_unique() == decided.height == 498
        scores = replays.lake_rows(home)["quality"].filter(pl.col("session") == date.fromisoformat(day))
        assert set(scores.filter(pl.col("score") < 0.6)["symbol"]) == refused
        poor = decided.filter(pl.col("reasons").str.contains("data_quality"))
        assert (set(poor["symbol"]), set(poor["action"])) == (refused, {"REJECT"} if refused else set())
        assert command("verify", "ledger").code == 0
        assert command("verify", "audit").code == 0

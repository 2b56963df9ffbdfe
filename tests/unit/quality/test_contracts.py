"""Contracts: real rows keep them; each broken row is named with its table, column and key."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_dagster.errors import ContractError
from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.ingest import build_bars, ingest
from quant_dagster.market_data.universe import load_universe
from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.quality.contracts import check, validate
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES

SESSION = date(2020, 3, 2)
KNOWN = datetime(2020, 3, 2, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    lake, universe = Lake(tmp_path_factory.mktemp("lake") / Path("lake")), load_universe("us20")
    calendar = exchange_calendar(universe.exchange)
    start, end = date(2020, 3, 2), date(2020, 3, 31)
    symbols = universe.symbol_names()
    now = datetime(2024, 1, 2, tzinfo=UTC)
    ingest(lake, EmbeddedVendor(), symbols, start, end, calendar=calendar, now=now, contract=validate)
    build_bars(lake, universe, start, end, contract=validate)
    return lake.read("bars")


FORECAST = {
    "session": SESSION, "symbol": "AAPL", "model": "garch11", "horizon": 1, "status": "fitted",
    "answered_by": "garch11", "fitted_on": SESSION, "mean": 0.001, "std": 0.02,
    "q05": -0.03, "q25": -0.01, "q50": 0.001, "q75": 0.01, "q95": 0.03,
    "diagnostics": "{}", "data_version": 3, "fallback": None, "parameters": '{"omega": 0.1}',
}  # fmt: skip
SIGNAL = {
    "session": SESSION, "symbol": "AAPL", "alpha": "trend", "direction": 1, "strength": 0.5, "confidence": 0.6,
    "risk": 0.3, "priority": 0.8, "enabled": True, "reasons": "trend_up",
}  # fmt: skip
QUALITY = {"symbol": "AAPL", "session": SESSION, "score": 0.65, "issues": "unconfirmed_move", "not_evaluated": "ohlc"}
REJECT = {
    "vendor": "files", "source": "a.csv", "row": 3, "symbol": None, "session": None,
    "reason": "not_a_number", "detail": "close is 'x'", "known_at": KNOWN,
}  # fmt: skip

ACTION = {
    "vendor": "yahoo", "symbol": "AAPL", "session": date(2020, 8, 31), "kind": "split", "ratio": 4.0, "amount": None,
    "origin": "reported", "confirmed_by": "", "known_at": KNOWN,
}  # fmt: skip
BREAK = {
    "symbol": "GM", "session": date(2017, 12, 1), "vendor": "yahoo", "other": "nasdaq", "break_class": "bad_print",
    "wrong": "nasdaq", "field": "close", "value": 42.79, "other_value": 35.55, "detail": "close is 20.4 % off",
}  # fmt: skip
ANOMALY = {
    "symbol": "PCG", "session": date(2019, 1, 14), "detector": "section", "subject": "log_return", "value": -0.74,
    "usual": -0.005, "severity": 74.2, "detail": "log_return -0.7415",
}  # fmt: skip
MINUTE = {
    "vendor": "lean", "symbol": "AAPL", "session": SESSION, "bar_start": datetime(2020, 3, 2, 14, 30, tzinfo=UTC),
    "seconds": 60, "open": 70.6, "high": 70.8, "low": 70.5, "close": 70.7, "volume": 900.0, "known_at": KNOWN,
}  # fmt: skip
QUOTE = {
    **{name: MINUTE[name] for name in ("vendor", "symbol", "session", "bar_start", "seconds", "known_at")},
    **{f"{side}_{name}": 70.6 for side in ("bid", "ask") for name in ("open", "high", "low", "close", "size")},
}  # fmt: skip
TRADE = {
    "vendor": "venue", "symbol": "BTC", "session": SESSION, "trade_id": "7", "price": 8900.5, "size": 0.01,
    "side": "buy", "traded_at": datetime(2020, 3, 2, 1, 2, 3, tzinfo=UTC), "known_at": KNOWN,
}  # fmt: skip


def rows_of(table: str, row: dict[str, object], changes: dict[str, object] | None = None) -> pl.DataFrame:
    return pl.DataFrame([{**row, **(changes or {})}], schema=TABLES[table].schema)


def test_real_bars_keep_the_contract_and_come_back_themselves(bars: pl.DataFrame) -> None:
    assert check("bars", bars).passed
    assert validate("bars", bars) is bars


@pytest.mark.parametrize("table", list(TABLES))
def test_empty_frame_of_every_table_keeps_its_contract(table: str) -> None:
    assert check(table, TABLES[table].empty()).passed


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("forecasts", FORECAST),
        ("signals", SIGNAL),
        ("quality", QUALITY),
        ("rejected_rows", REJECT),
        ("corporate_actions", ACTION),
        ("reconciliation", BREAK),
        ("anomalies", ANOMALY),
        ("intraday_bars", MINUTE),
        ("intraday_quotes", QUOTE),
        ("trades", TRADE),
    ],
)
def test_proper_row_keeps_the_contract(table: str, row: dict[str, object]) -> None:
    assert check(table, rows_of(table, row)).failures == ()


@pytest.mark.parametrize(
    ("table", "row", "changes", "column", "name"),
    [
        ("forecasts", FORECAST, {"std": 0.0}, "std", "above 0"),
        ("forecasts", FORECAST, {"mean": float("inf")}, "mean", "finite"),
        ("forecasts", FORECAST, {"q50": 0.02}, "row", "quantiles rise"),
        ("forecasts", FORECAST, {"horizon": 0}, "horizon", "from 1"),
        ("forecasts", FORECAST, {"mean": None}, "row", "without numbers it is refused, and says why"),
        ("forecasts", FORECAST, {"answered_by": "ewma"}, "row", "a stand-in says why"),
        ("forecasts", FORECAST, {"diagnostics": "none"}, "diagnostics", "JSON object"),
        ("forecasts", FORECAST, {"model": None}, "model", "not null"),
        ("signals", SIGNAL, {"direction": 2}, "direction", "-1, 0 or 1"),
        ("signals", SIGNAL, {"confidence": 1.5}, "confidence", "between 0 and 1"),
        ("signals", SIGNAL, {"strength": None}, "row", "a direction has a strength"),
        ("quality", QUALITY, {"score": 1.01}, "score", "between 0 and 1"),
        ("quality", QUALITY, {"issues": "stale_price,bored"}, "issues", "known codes"),
        ("rejected_rows", REJECT, {"reason": "ugly"}, "reason", "known code"),
        ("rejected_rows", REJECT, {"row": 0}, "row", "from 1"),
        ("corporate_actions", ACTION, {"kind": "bonus"}, "kind", "known code"),
        ("corporate_actions", ACTION, {"ratio": 0.0}, "ratio", "above 0"),
        (
            "corporate_actions",
            ACTION,
            {"kind": "dividend"},
            "row",
            "a split has a ratio, a dividend an amount, a spin-off one of them",
        ),
        ("corporate_actions", ACTION, {"origin": "guessed"}, "origin", "known code"),
        ("reconciliation", BREAK, {"break_class": "odd"}, "break_class", "known code"),
        ("reconciliation", BREAK, {"wrong": "bloomberg"}, "row", "one of the two is wrong, or unknown"),
        ("reconciliation", BREAK, {"other": "yahoo", "wrong": "yahoo"}, "row", "two vendors"),
        ("anomalies", ANOMALY, {"detector": "nose"}, "detector", "known code"),
        ("anomalies", ANOMALY, {"severity": -1.0}, "severity", "not negative"),
        ("intraday_bars", MINUTE, {"seconds": 0}, "seconds", "within a session"),
        ("intraday_bars", MINUTE, {"low": -1.0}, "low", "above 0"),
        ("intraday_bars", MINUTE, {"session": date(2020, 3, 5)}, "row", "starts within a day of its session"),
        ("intraday_quotes", QUOTE, {"ask_close": 0.0}, "ask_close", "above 0"),
        ("intraday_quotes", QUOTE, {"bid_size": -1.0}, "bid_size", "not negative"),
        ("trades", TRADE, {"side": "both"}, "side", "known code"),
        ("trades", TRADE, {"size": 0.0}, "size", "above 0"),
        ("trades", TRADE, {"known_at": datetime(2020, 3, 2, tzinfo=UTC)}, "row", "known after it was made"),
    ],
)
def test_broken_row_is_named(
    table: str, row: dict[str, object], changes: dict[str, object], column: str, name: str
) -> None:
    (failure,) = check(table, rows_of(table, row, changes)).failures
    assert (failure.column, failure.check, failure.count) == (column, name, 1)


@pytest.mark.parametrize(
    ("change", "column", "name"),
    [
        (pl.lit(-1.0).alias("close"), "close", "above 0"),
        (pl.lit(float("inf")).alias("close"), "close", "finite"),
        (pl.lit(-1.0).alias("volume"), "volume", "not negative"),
        (pl.lit("xyz").alias("row_hash"), "row_hash", "16 hex digits"),
        (pl.lit(0.0).alias("level_factor"), "level_factor", "above 0"),
        (pl.lit("guessed").alias("vendor_change"), "vendor_change", "known code"),
        (pl.lit(None, pl.Float64).alias("close"), "close", "not null"),
        ((pl.col("known_at") - pl.duration(days=3)).alias("known_at"), "row", "known on or after its session"),
    ],
)
def test_broken_bars_are_counted_with_three_examples(
    bars: pl.DataFrame, change: pl.Expr, column: str, name: str
) -> None:
    result = check("bars", bars.with_columns(change))
    (failure,) = result.failures
    assert (failure.column, failure.check, failure.count, len(failure.examples)) == (column, name, bars.height, 3)
    assert "AAPL 2020-03-02" in failure.examples[0]


def test_repeated_key_and_wrong_shape_are_named(bars: pl.DataFrame) -> None:
    (failure,) = check("bars", pl.concat([bars, bars.head(1)])).failures
    assert (failure.check, failure.count) == ("key is unique", 2)
    failures = check("bars", bars.drop("close").with_columns(volume=1)).failures
    assert [(one.column, one.check) for one in failures] == [("close", "column exists"), ("volume", "dtype('Float64')")]


def test_validate_lists_every_failing_check(bars: pl.DataFrame) -> None:
    with pytest.raises(ContractError, match="440 rows for table 'bars'") as raised:
        validate("bars", bars.with_columns(close=pl.lit(-1.0), row_hash=pl.lit("?")))
    assert "close: above 0 fails on 440 rows" in str(raised.value)
    assert "row_hash: 16 hex digits fails on 440 rows" in str(raised.value)

"""Corporate actions on small cases: what is stored, what is believed, what a series does with it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_dagster.errors import ConfigurationError, ContractError
from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.corporate_actions.actions import (
    TABLE,
    ActionsReport,
    actions_known,
    load_reported,
)
from quant_dagster.market_data.corporate_actions.adjustment import (
    FLAGGED,
    IMPOSSIBLE,
    NO_CLOSE,
    UNKNOWN_VALUE,
    adjusted,
    treatments,
    unadjusted,
    unadjusted_amounts,
)
from quant_dagster.market_data.corporate_actions.confirmation import confirm, effective
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.market_data.corporate_actions.steps import ratio_steps
from quant_dagster.market_data.vendors.protocol import ACTION_SCHEMA
from quant_dagster.quality import contracts
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import SUPERSEDED, TABLES
from tests.support.vendor_servers.worlds import ACTIONS, LAST, daily, server_of, vendor_at

START = date(2000, 1, 3)
NOW = datetime(2013, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2013, 3, 8, 12, tzinfo=UTC)
SPLIT, EX_DIVIDEND = date(2005, 2, 28), date(2012, 8, 9)


def actions_of(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=ACTION_SCHEMA, orient="row")


def stored_of(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """vendor, symbol, session, kind, ratio, amount, origin."""
    schema = {name: dtype for name, dtype in TABLES[TABLE].schema.items() if name not in ("confirmed_by", "known_at")}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(confirmed_by=pl.lit(""), known_at=pl.lit(NOW).cast(TABLES[TABLE].schema["known_at"]))


def load(lake: Lake, name: str, actions: pl.DataFrame, now: datetime = NOW, fault: str | None = None) -> ActionsReport:
    with server_of(name, actions=actions) as server:
        if fault is not None:
            server.fault = fault
        (report,) = load_reported(
            lake, [vendor_at(name, server)], ["AAPL"], START, LAST, guards={}, now=now, contract=contracts.validate
        )
    return report


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.mark.parametrize("name", ["alpha_vantage", "finnhub"])
def test_reported_actions_are_stored_as_known_from_their_ex_date(lake: Lake, name: str) -> None:
    report = load(lake, name, ACTIONS)
    assert (report.inserted, report.failures, report.none) == (2, {}, ())
    rows = lake.read(TABLE)
    assert rows.select("session", "kind", "ratio", "amount").rows() == [
        (SPLIT, "split", 2.0, None),
        (EX_DIVIDEND, "dividend", None, 2.65),
    ]
    assert rows["known_at"].dt.date().to_list() == [SPLIT, EX_DIVIDEND]
    assert actions_known(lake, known_on=date(2012, 8, 8))["kind"].to_list() == ["split"]


def test_amounts_of_a_vendor_that_restates_them_for_splits_are_stored_as_they_were_paid(lake: Lake) -> None:
    # Yahoo says 0.5 of a dividend of 1.00 paid before a 2-for-1 split.
    load(lake, "yfinance", pl.concat([ACTIONS, actions_of(("AAPL", date(2004, 8, 12), "dividend", None, 0.5))]))
    paid = lake.read(TABLE, where=pl.col("kind") == "dividend")
    assert paid["amount"].to_list() == pytest.approx([1.0, 2.65])


def test_loading_the_same_twice_makes_no_version(lake: Lake) -> None:
    load(lake, "finnhub", ACTIONS)
    version = lake.version(TABLE)
    report = load(lake, "finnhub", ACTIONS, LATER)
    assert (report.inserted, report.changed, report.unchanged) == (0, 0, 2)
    assert lake.version(TABLE) == version


def test_a_changed_amount_is_known_from_the_day_it_was_seen(lake: Lake) -> None:
    load(lake, "finnhub", ACTIONS)
    changed = ACTIONS.with_columns(pl.when(pl.col("kind") == "dividend").then(2.6).alias("amount"))
    assert load(lake, "finnhub", changed, LATER).changed == 1
    dividend = pl.col("kind") == "dividend"
    assert actions_known(lake).filter(dividend)["amount"].to_list() == [2.6]
    assert actions_known(lake, known_on=date(2013, 3, 5)).filter(dividend)["amount"].to_list() == [2.65]


def test_an_action_no_longer_reported_is_withdrawn_and_still_known_of_the_days_before(lake: Lake) -> None:
    load(lake, "finnhub", ACTIONS)
    report = load(lake, "finnhub", ACTIONS.filter(pl.col("kind") == "split"), LATER)
    assert report.withdrawn.select("session", "kind").rows() == [(EX_DIVIDEND, "dividend")]
    assert actions_known(lake)["kind"].to_list() == ["split"]
    assert actions_known(lake, known_on=date(2013, 3, 5))["kind"].to_list() == ["split", "dividend"]
    assert actions_known(lake, known_on=date(2013, 3, 8))["kind"].to_list() == ["split"]
    assert lake.read(TABLE + SUPERSEDED)["kind"].to_list() == ["dividend"]


def test_an_answer_that_drops_many_actions_at_once_is_doubted_and_they_are_kept(lake: Lake) -> None:
    many = [("AAPL", date(2012, month, 9), "dividend", None, 2.65) for month in (5, 8, 11)]
    load(lake, "finnhub", actions_of(*many))
    report = load(lake, "finnhub", actions_of(), LATER)
    assert report.none == ("AAPL",)
    assert (report.withdrawn.height, report.doubted.height) == (0, 3)
    assert lake.read(TABLE).height == 3


def test_an_affirmed_empty_answer_is_no_actions(lake: Lake) -> None:
    report = load(lake, "finnhub", actions_of())
    assert (report.answered, report.none, report.failures) == (("AAPL",), ("AAPL",), {})


class Refusing:
    """A guard whose service is refused: what `ServiceGuard.call` raises then."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def call(self, _operation: str, _work: Any) -> Any:
        raise self.error


def test_a_429_is_never_read_as_no_actions(lake: Lake) -> None:
    from quant_dagster.errors import RateLimitedError

    load(lake, "finnhub", ACTIONS)
    with server_of("finnhub", actions=ACTIONS) as server:
        guard = Refusing(RateLimitedError("finnhub", "429", 30.0))
        (report,) = load_reported(
            lake, [vendor_at("finnhub", server)], ["AAPL"], START, LAST, guards={"finnhub": guard}, now=LATER,
            contract=contracts.validate,
        )  # fmt: skip
    assert report.answered == report.none == ()
    assert report.failures["AAPL"].startswith("RateLimitedError")
    assert report.withdrawn.is_empty()
    assert lake.read(TABLE).height == 2


def test_an_unreachable_vendor_is_a_failure_by_symbol(lake: Lake) -> None:
    with server_of("finnhub", actions=ACTIONS) as server:
        vendor = vendor_at("finnhub", server, timeout_seconds=1.0)
    (report,) = load_reported(
        lake, [vendor], ["AAPL"], START, LAST, guards={}, now=NOW, contract=contracts.validate
    )  # fmt: skip
    assert list(report.failures) == ["AAPL"]
    assert not lake.exists(TABLE)


def test_a_vendor_that_answers_for_another_symbol_is_refused(lake: Lake) -> None:
    with server_of("finnhub", actions=ACTIONS) as server:
        vendor = vendor_at("finnhub", server)
        vendor.corporate_actions = lambda *_: type("Answer", (), {"rows": ACTIONS})  # type: ignore[method-assign,attr-defined]
        with pytest.raises(ContractError, match="AAPL"):
            load_reported(lake, [vendor], ["MSFT"], START, LAST, guards={}, now=NOW, contract=contracts.validate)


BARS = pl.DataFrame(
    {
        "symbol": ["X"] * 5,
        "session": [date(2020, 1, day) for day in (6, 7, 8, 9, 10)],
        "close": [100.0, 100.0, 50.0, 49.0, 44.1],
        "volume": [10.0, 10.0, 20.0, 20.0, 20.0],
    }
)
EVENTS = actions_of(
    ("X", date(2020, 1, 8), "split", 2.0, None),
    ("X", date(2020, 1, 9), "dividend", None, 1.0),
    ("X", date(2020, 1, 10), "spin_off", None, 4.9),
)


def test_total_return_is_flat_where_price_falls_by_just_what_was_paid() -> None:
    found = adjusted(BARS, EVENTS, PriceLevel.TOTAL_RETURN)
    assert found["close"].to_list() == pytest.approx([44.1] * 5)
    assert found["volume"].to_list() == [20.0] * 5


def test_split_adjusted_leaves_dividends_and_spin_offs_in() -> None:
    found = adjusted(BARS, EVENTS, PriceLevel.SPLIT)
    assert found["close"].to_list() == [50.0, 50.0, 50.0, 49.0, 44.1]
    assert found["factor"].to_list() == [0.5, 0.5, 1.0, 1.0, 1.0]


def test_unadjusting_split_adjusted_prices_gives_the_prices_as_traded() -> None:
    split = adjusted(BARS, EVENTS, PriceLevel.SPLIT).drop("factor")
    back = unadjusted(split, EVENTS, PriceLevel.SPLIT)
    assert back.equals(BARS)
    assert adjusted(split, EVENTS, PriceLevel.TOTAL_RETURN, PriceLevel.SPLIT)["close"].to_list() == pytest.approx(
        [44.1] * 5
    )
    with pytest.raises(ConfigurationError, match="total-return"):
        unadjusted(BARS, EVENTS, PriceLevel.TOTAL_RETURN)


def test_an_action_after_the_day_changes_nothing_as_of_that_day() -> None:
    day = date(2020, 1, 8)
    without = EVENTS.filter(pl.col("session") <= day)
    expected = adjusted(BARS.filter(pl.col("session") <= day), without, PriceLevel.TOTAL_RETURN)
    assert adjusted(BARS, EVENTS, PriceLevel.TOTAL_RETURN, as_of=day).equals(expected)
    assert expected["close"].to_list() == [50.0, 50.0, 50.0]


def test_a_spin_off_is_reinvested_and_flagged() -> None:
    said = treatments(BARS, EVENTS).filter(pl.col("kind") == "spin_off")
    assert said["treatment"].to_list() == [FLAGGED]


def test_what_cannot_be_applied_is_named_and_leaves_prices_alone() -> None:
    odd = actions_of(
        ("X", date(2020, 1, 6), "dividend", None, 1.0),
        ("X", date(2020, 1, 9), "dividend", None, 60.0),
        ("X", date(2020, 1, 10), "spin_off", None, None),
    )
    assert treatments(BARS, odd)["treatment"].to_list() == [NO_CLOSE, IMPOSSIBLE, UNKNOWN_VALUE]
    assert adjusted(BARS, odd, PriceLevel.TOTAL_RETURN)["close"].to_list() == BARS["close"].to_list()


def test_amounts_are_restated_by_later_splits_only() -> None:
    events = actions_of(
        ("X", date(2020, 1, 7), "dividend", None, 1.0),
        ("X", date(2020, 1, 8), "split", 4.0, None),
        ("X", date(2020, 1, 8), "dividend", None, 1.0),
        ("Y", date(2020, 1, 7), "dividend", None, 1.0),
    )
    assert unadjusted_amounts(events)["amount"].to_list() == [4.0, None, 1.0, 1.0]


SESSIONS = exchange_calendar("XNYS").sessions(date(2019, 12, 1), date(2020, 2, 1))
FRIDAY, MONDAY, WEDNESDAY = date(2020, 1, 10), date(2020, 1, 13), date(2020, 1, 15)


def test_a_source_one_session_off_confirms_and_two_sessions_off_does_not() -> None:
    rows = stored_of(
        ("a", "X", FRIDAY, "dividend", None, 0.5, "reported"),
        ("b", "X", MONDAY, "dividend", None, 0.5, "reported"),
        ("c", "X", WEDNESDAY, "dividend", None, 0.5, "reported"),
    )
    report = confirm(rows, SESSIONS)
    assert report["status"].to_list() == ["confirmed", "confirmed", "unconfirmed"]
    assert report["confirmed_by"].to_list() == ["b", "a", ""]


def test_nobody_is_a_witness_for_himself() -> None:
    rows = stored_of(
        ("a", "X", FRIDAY, "split", 2.0, None, "reported"),
        ("prices:a/b", "X", FRIDAY, "split", 2.0, None, "inferred"),
    )
    assert set(confirm(rows, SESSIONS)["status"]) == {"unconfirmed"}


def test_another_amount_and_another_kind_contradict() -> None:
    rows = stored_of(
        ("a", "X", FRIDAY, "dividend", None, 0.5, "reported"),
        ("b", "X", FRIDAY, "dividend", None, 0.8, "reported"),
        ("a", "Y", FRIDAY, "split", 1.281, None, "reported"),
        ("prices:b/c", "Y", FRIDAY, "spin_off", None, 20.0, "inferred"),
        ("a", "Z", FRIDAY, "split", 2.0, None, "reported"),
        ("b", "Z", FRIDAY, "dividend", None, 0.5, "reported"),
    )
    report = confirm(rows, SESSIONS)
    assert set(report.filter(pl.col("symbol") != "Z")["status"]) == {"contradicted"}
    assert set(report.filter(pl.col("symbol") == "Z")["status"]) == {"unconfirmed"}


def test_one_event_counts_once_and_a_report_before_an_inference() -> None:
    rows = stored_of(
        ("b", "X", FRIDAY, "dividend", None, 0.5, "reported"),
        ("a", "X", MONDAY, "dividend", None, 0.5, "reported"),
        ("prices:b/c", "X", FRIDAY, "dividend", None, 0.49, "inferred"),
        ("prices:b", "Y", FRIDAY, "split", 2.0, None, "inferred"),
        ("a", "Y", FRIDAY, "dividend", None, 0.1, "reported"),
        ("a", "Z", FRIDAY, "dividend", None, 30.0, "reported"),
        ("prices:b/c", "Z", FRIDAY, "spin_off", None, 30.0, "inferred"),
    )
    kept = effective(rows, ["a", "b"]).select("symbol", "vendor", "kind").rows()
    assert sorted(kept) == [
        ("X", "a", "dividend"),
        ("Y", "a", "dividend"),
        ("Y", "prices:b", "split"),
        ("Z", "a", "dividend"),
    ]
    assert effective(rows, ["b", "a"]).filter(pl.col("symbol") == "X")["vendor"].to_list() == ["b"]


def test_a_single_wrong_print_is_no_step() -> None:
    base = daily().select("symbol", "session", "close").head(60)
    wrong = base.with_columns(
        pl.when(pl.int_range(pl.len()) == 30).then(pl.col("close") * 0.5).otherwise("close").alias("close")
    )
    assert ratio_steps(base, wrong, window=3, smallest=1e-4).is_empty()

"""Orders in a real market, minutes and quotes of IBM in October 2013, measured against what is computed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.execution_quality import (
    cost_facts,
    cost_model,
    estimate_order,
    measure_execution,
    quality_frame,
    quality_rows,
)
from quant_dagster.errors import DataUnavailableError
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentEvent, ParentEventKind, child_order_id
from quant_dagster.execution.orders import OrderEventKind
from quant_dagster.operations.report.execution import (
    ExecutionRecords,
    execution_section,
    execution_tables,
)
from quant_dagster.settings import AlgorithmSettings, load_settings
from quant_dagster.storage.ledger_tables import order_events, orders
from tests.unit.cycle.executed_orders import (
    DECIDED,
    MONDAY,
    NOW,
    TUESDAY,
    WEDNESDAY,
    Executed,
    bps,
    daily,
    desk,
    happens,
    minute_rows,
    minutes,
    new_york,
    only,
    trade,
    verdict,
    with_minutes,
)

__all__ = ["desk", "with_minutes"]

# -- whole orders -----------------------------------------------------------------------------------------------------


def test_an_order_in_a_real_market_is_measured_as_by_hand(with_minutes: TradingContext) -> None:
    """Arrival and spread by the quotes at 10:00, VWAP of the minutes from 10:00 to 10:04, the rest at the close."""
    sent, last = new_york(10, 0), new_york(10, 4)
    trade(
        with_minutes, verdict("o", 1000), [(new_york(10, 1), 300, "180.60"), (last, 400, "180.70")],
        sent_at=sent, arrival="180.50", end=OrderEventKind.CANCELED,
    )  # fmt: skip
    row = only(measure_execution(with_minutes, TUESDAY))

    bars = minutes().filter(pl.col("bar_start").is_between(sent, last))
    assert bars.height == 5
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    vwap = float((typical * bars["volume"]).sum() / bars["volume"].sum())
    quotes = minute_rows("intraday_1min_lean_quotes.parquet", "intraday_quotes", "IBM")
    quote = quotes.filter(pl.col("bar_start") == sent).row(0, named=True)
    half = (quote["ask_open"] - quote["bid_open"]) / 2
    paid = 300 * 180.60 + 400 * 180.70

    assert (row["ordered"], row["filled"], row["algorithm"], row["side"]) == (1000, 700, "whole", "buy")
    assert (row["decision_price"], row["arrival_price"], row["close_price"]) == (182.01, 180.5, 178.72)
    assert row["average_price"] == pytest.approx(paid / 700, abs=1e-6)
    assert row["interval_vwap"] == pytest.approx(vwap, abs=1e-6)
    assert row["participation"] == pytest.approx(700 / bars["volume"].sum())
    assert row["delay_bps"] == pytest.approx(bps(700 * (180.50 - 182.01)))
    assert half > 0 and row["spread_bps"] == pytest.approx(bps(700 * half), rel=1e-4)
    assert row["impact_bps"] == pytest.approx(bps(paid - 700 * 180.50 - 700 * half), rel=1e-4)
    assert row["fees_bps"] == pytest.approx(bps(2.0))
    assert row["opportunity_bps"] == pytest.approx(bps(300 * (178.72 - 182.01)))
    assert row["total_bps"] == pytest.approx(bps(paid - 700 * 182.01 + 300 * (178.72 - 182.01) + 2))
    assert row["vwap_slippage_bps"] == pytest.approx((paid / 700 / vwap - 1) * 1e4, abs=1e-2)
    evidence = row["evidence"]
    assert (evidence["arrival_from"], evidence["spread_from"], evidence["hour"]) == ("order", "quotes", 10)
    assert (evidence["status"], evidence["fills"], evidence["close_bar"]["row_hash"]) == (
        "canceled",
        2,
        f"IBM-{TUESDAY}",
    )
    assert evidence["unknown"] == {"estimated_bps": "not_estimated"}


def test_without_a_price_when_sent_the_minute_says_it(with_minutes: TradingContext) -> None:
    sent = new_york(10, 0)
    trade(with_minutes, verdict("o", 100), [(new_york(10, 1), 100, "180.60")], sent_at=sent)
    row = only(measure_execution(with_minutes, TUESDAY))
    assert row["arrival_price"] == minutes().filter(pl.col("bar_start") == sent)["open"][0]
    assert row["evidence"]["arrival_from"] == "intraday_bar"


def test_what_nobody_knows_is_empty_and_says_why(desk: TradingContext) -> None:
    """No arrival price, no minutes: the total is known, its parts are not."""
    trade(desk, verdict("o", 100), [(new_york(10, 1), 100, "180.60")], sent_at=new_york(10, 0))
    row = only(measure_execution(desk, TUESDAY))
    assert row["total_bps"] == pytest.approx(bps(100 * (180.60 - 182.01) + 1, 100))
    unknown = row["evidence"]["unknown"]
    for name in ("arrival_price", "delay_bps", "spread_bps", "impact_bps"):
        assert row[name] is None and unknown[name] == "no_price_when_sent"
    for name in ("interval_vwap", "vwap_slippage_bps"):
        assert row[name] is None and unknown[name] == "no_intraday_bars"
    assert row["participation"] == pytest.approx(100 / 5410064)
    assert row["evidence"]["participation_from"] == "daily_bar"


def test_without_quotes_the_setting_says_the_spread(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50")
    row = only(measure_execution(desk, TUESDAY))
    half = desk.settings.execution.slippage_bps
    assert row["spread_bps"] == pytest.approx(half * 180.50 / 182.01)
    assert (row["evidence"]["spread_from"], row["evidence"]["half_spread_bps"]) == ("setting", half)


def test_no_order_is_without_a_row(desk: TradingContext) -> None:
    """Filled, expired unfilled, still working, and never sent."""
    trade(desk, verdict("filled", 100), [(None, 100, "181.00")], arrival="180.50")
    trade(desk, verdict("expired", 100, Side.SELL), arrival="180.50", end=OrderEventKind.EXPIRED)
    trade(desk, verdict("working", 100), arrival="180.50", tif="gtc")
    with desk.ledger.write() as connection:
        order_log.create(connection, verdict("held", 100), order_type="market", time_in_force="day", at=NOW)
        happens(connection, "held", OrderEventKind.CANCELED, MONDAY, {})
    rows = {row["order_id"]: row for row in measure_execution(desk, TUESDAY).to_dicts()}
    assert set(rows) == {"filled", "expired", "working", "held"}
    missed = (182.01 - 178.72) / 182.01 * 1e4
    assert rows["expired"]["total_bps"] == pytest.approx(missed)
    assert rows["held"]["total_bps"] == pytest.approx(-missed)
    assert rows["working"]["total_bps"] is None
    unknown = {name: json.loads(row["evidence"])["unknown"] for name, row in rows.items()}
    assert unknown["working"]["total_bps"] == "still_working"
    assert unknown["held"]["arrival_price"] == "not_sent"
    assert all(row["session"] == TUESDAY for row in rows.values())


def test_an_order_of_two_sessions_is_measured_whole_in_the_last(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 60, "181.00")], arrival="180.50", tif="gtc")
    before = only(measure_execution(desk, TUESDAY))
    assert (before["session"], before["filled"], before["total_bps"]) == (TUESDAY, 60, None)
    with desk.ledger.write() as connection:
        fill = Fill("late", "o", WEDNESDAY, "IBM", Side.BUY, Decimal(40), Decimal("180.00"), Decimal(1), DECIDED,
                    DECIDED, {"broker": "ibkr"})  # fmt: skip
        books.book(connection, fill, at=NOW)
        said = {"execution_id": "late", "quantity": 40, "price": "180.00"}
        happens(connection, "o", OrderEventKind.FILLED, WEDNESDAY, said)
    after = only(measure_execution(desk, WEDNESDAY))
    assert (after["session"], after["filled"], after["close_price"]) == (WEDNESDAY, 100, 181.32)
    assert only(measure_execution(desk, TUESDAY)) == after
    assert quality_frame(desk).height == 1


def test_an_order_that_waits_a_session_arrives_in_the_first(desk: TradingContext) -> None:
    """Good till cancelled, on paper: on the book from Tuesday's open, filled on Wednesday."""
    trade(
        desk, verdict("o", 100), [(None, 100, "180.00")], broker="paper", tif="gtc", session=WEDNESDAY,
        provenance={"priced_at": "limit"},
    )  # fmt: skip
    row = only(measure_execution(desk, WEDNESDAY))
    assert (row["session"], row["arrival_price"], row["close_price"]) == (WEDNESDAY, 181.89, 181.32)
    assert row["evidence"]["first_session"] == TUESDAY.isoformat()
    assert row["participation"] is None, "of two sessions' volume, and only one is known to have had it"


def test_a_correction_is_measured_when_it_comes(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50")
    before = only(measure_execution(desk, TUESDAY))
    with desk.ledger.write() as connection:
        (fill,) = books.fills_of(connection)
        books.book(connection, replace(fill, price=Decimal("180.00"), correction=1), at=NOW)
        said = {"execution_id": fill.execution_id, "quantity": 100, "price": "180.00", "previous_quantity": 100,
                "previous_price": "181.00"}  # fmt: skip
        happens(connection, "o", OrderEventKind.RESTATED, WEDNESDAY, said)
    after = only(measure_execution(desk, WEDNESDAY))
    assert (after["session"], after["average_price"]) == (TUESDAY, 180.0)
    assert after["total_bps"] == pytest.approx(before["total_bps"] - bps(100, 100))
    assert quality_frame(desk).height == 1


def test_minutes_in_other_units_are_no_benchmark(desk: TradingContext) -> None:
    """As a vendor has them who divides by a later split."""
    prices = [pl.col(name) / 7 for name in ("open", "high", "low", "close")]
    desk.lake.merge("intraday_bars", minutes().with_columns(prices))
    trade(desk, verdict("o", 100), [(new_york(10, 1), 100, "180.60")], sent_at=new_york(10, 0))
    row = only(measure_execution(desk, TUESDAY))
    assert row["interval_vwap"] is row["vwap_slippage_bps"] is row["arrival_price"] is None
    assert row["evidence"]["unknown"]["interval_vwap"] == "intraday_bars_in_other_units"


def test_an_order_taken_up_from_the_broker_has_no_decision_to_be_measured_by(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100, price=Decimal(0)), [(None, 100, "181.00")], arrival="180.50")
    row = only(measure_execution(desk, TUESDAY))
    assert (row["filled"], row["average_price"], row["total_bps"]) == (100, 181.0, None)
    assert row["evidence"]["unknown"]["total_bps"] == "no_decision_price"
    assert row["arrival_price"] == 180.5 and row["close_price"] == 178.72


def test_measuring_again_changes_nothing_and_forgets_what_is_gone(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50")
    first = measure_execution(desk, TUESDAY)
    assert measure_execution(desk, TUESDAY).equals(first)
    with desk.ledger.write() as connection:
        connection.execute(orders.update().values(symbol="AIG"))
    changed = only(measure_execution(desk, TUESDAY))
    assert (changed["symbol"], changed["close_price"]) == ("AIG", None)
    assert measure_execution(desk, MONDAY).is_empty() and quality_frame(desk).height == 1


def test_a_commission_in_another_currency_is_not_added_to_prices(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50", provenance={"commission_currency": "BNB"})
    row = only(measure_execution(desk, TUESDAY))
    assert row["fees_bps"] is row["total_bps"] is None
    assert row["evidence"]["unknown"]["total_bps"] == "commission_in_BNB"
    assert row["delay_bps"] is not None and row["impact_bps"] is not None


def test_prices_before_and_after_a_split_are_not_compared() -> None:
    """Apple split seven for one on 9 June 2014: decided at 645.57, it closed at 93.70."""
    friday, monday = date(2014, 6, 6), date(2014, 6, 9)
    context = TradingContext(load_settings({"portfolio": {"initial_cash": 1e6}}), clock=lambda: NOW)
    context.lake.merge("bars", daily("AAPL", date(2014, 3, 3), monday))
    context.open_books(friday)
    decided = verdict("o", 100, symbol="AAPL", session=friday, price=Decimal("645.57"))
    trade(context, decided, broker="paper", end=OrderEventKind.EXPIRED, session=monday)
    row = only(measure_execution(context, monday))
    assert row["close_price"] is row["arrival_price"] is row["opportunity_bps"] is row["total_bps"] is None
    assert row["evidence"]["unknown"]["total_bps"] == "close_in_other_units:93.700000"


# -- algorithms -------------------------------------------------------------------------------------------------------


def slice_of(context: TradingContext, number: int, quantity: int, fills: Sequence[Executed], **options: Any) -> None:
    """The next slice of parent ``p``."""
    with context.ledger.write() as connection:
        parent = parent_log.get(connection, "p")
        name = child_order_id(parent, number)
        payload = {"number": number, "client_order_id": name, "quantity": str(quantity),
                   "claimed": str(parent_log.progress(connection, parent).claimed)}  # fmt: skip
        parent_log.record(connection, ParentEvent("p", ParentEventKind.SLICED, payload), actor="t", at=NOW)
    trade(context, verdict(name, quantity), fills, parent_id="p", **options)


def test_slices_are_one_row_under_their_parent(with_minutes: TradingContext) -> None:
    """Worked from 10:00 to 11:00, 900 of 1,000 filled: the VWAP is that of the whole hour."""
    starts, ends = new_york(10, 0), new_york(11, 0)
    with with_minutes.ledger.write() as connection:
        parameters = Parameters.chosen(Algorithm.TWAP, AlgorithmSettings(least_slice_value=0, slices=2), lot=Decimal(1))
        parent_log.create(connection, verdict("p", 1000), algorithm=Algorithm.TWAP, parameters=parameters, at=NOW)
        started = {"starts_at": starts.isoformat(), "ends_at": ends.isoformat(), "arrival_price": "180.50"}
        parent_log.record(connection, ParentEvent("p", ParentEventKind.STARTED, started), actor="t", at=NOW)
    slice_of(with_minutes, 1, 500, [(new_york(10, 2), 500, "180.60")], sent_at=starts, arrival="180.50")
    slice_of(with_minutes, 2, 500, [(new_york(10, 32), 400, "180.20")], sent_at=new_york(10, 30), arrival="180.10",
             end=OrderEventKind.CANCELED)  # fmt: skip
    working = only(measure_execution(with_minutes, TUESDAY))
    assert working["evidence"]["unknown"]["total_bps"] == "still_working"

    with with_minutes.ledger.write() as connection:
        parent_log.record(connection, ParentEvent("p", ParentEventKind.ENDED, {}), actor="t", at=NOW)
    row = only(measure_execution(with_minutes, TUESDAY))
    paid = 500 * 180.60 + 400 * 180.20
    bars = minutes().filter(pl.col("bar_start").is_between(starts, ends))
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3
    assert (row["order_id"], row["algorithm"], row["ordered"], row["filled"]) == ("p", "twap", 1000, 900)
    assert row["arrival_price"] == 180.5, "the parent's, not the slices'"
    assert row["interval_vwap"] == pytest.approx(
        float((typical * bars["volume"]).sum() / bars["volume"].sum()), abs=1e-6
    )
    assert row["participation"] == pytest.approx(900 / bars["volume"].sum())
    assert row["total_bps"] == pytest.approx(bps(paid - 900 * 182.01 + 100 * (178.72 - 182.01) + 2))
    assert row["evidence"]["fills"] == 2


# -- estimates and the model ------------------------------------------------------------------------------------------


def test_the_estimate_of_the_approval_is_kept_beside_the_cost(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50")
    first = order_events.c.sequence == 1
    with desk.ledger.write() as connection:
        said = connection.execute(select(order_events.c.payload).where(first)).scalar_one()
        connection.execute(order_events.update().where(first).values(payload=said | {"estimated_bps": "3.5"}))
    row = only(measure_execution(desk, TUESDAY))
    assert row["estimated_bps"] == 3.5 and "estimated_bps" not in row["evidence"]["unknown"]


def test_the_model_learns_from_what_was_measured(desk: TradingContext) -> None:
    before = estimate_order(desk, "IBM", Side.BUY, Decimal(10_000), MONDAY)
    for number in range(6):
        trade(desk, verdict(f"o{number}", 5000), [(None, 5000, "182.50")], arrival="180.50")
    trade(desk, verdict("simulated", 5000), [(None, 5000, "189.50")], arrival="180.50", broker="paper")
    measure_execution(desk, TUESDAY)
    model = cost_model(desk)
    assert (model.orders, cost_model(desk, MONDAY).orders) == (6, 0), "the broker's own, up to the session"
    after = estimate_order(desk, "IBM", Side.BUY, Decimal(10_000), TUESDAY)
    assert (before.from_fills, after.from_fills) == (0, 6)
    assert before.total_bps is not None and after.total_bps is not None and after.total_bps > before.total_bps

    facts = cost_facts(desk, "IBM", MONDAY)
    bars = daily(last=MONDAY)
    assert facts.price == 182.01
    assert facts.average_volume == pytest.approx(bars["volume"].tail(20).mean())
    assert facts.volatility == pytest.approx(bars["close"].log().diff().tail(60).std())
    with pytest.raises(DataUnavailableError, match="NONE"):
        cost_facts(desk, "NONE", MONDAY)


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_report_shows_every_order_and_where_its_numbers_come_from(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.00")], arrival="180.50")
    trade(desk, verdict("x", 100, Side.SELL), end=OrderEventKind.EXPIRED)
    measure_execution(desk, TUESDAY)
    with desk.ledger.read() as connection:
        rows = quality_rows(connection)
    records = ExecutionRecords(rows, cost_model(desk))
    tables, section = execution_tables(records), execution_section(records)
    assert len(tables["execution_orders"].rows) == 2
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert all(f'data-table="{name}"' in section for name in tables)
    assert f"IBM-{TUESDAY}" in tables["execution_worst"].rows[0]
    json.dumps([table.content() for table in tables.values()], allow_nan=False)
    empty = ExecutionRecords([], records.model)
    assert execution_tables(empty) == {} and "No order was measured" in execution_section(empty)

"""What orders of the paper broker cost: its opens and closes, its charges, and every order of a replay."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.execution_quality import (
    measure_execution,
    quality_frame,
)
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.operations.report.content import read_period
from quant_dagster.operations.report.execution import (
    execution_section,
    execution_tables,
    read_execution,
)
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger_tables import orders
from quant_dagster.storage.tables import TABLES
from tests.support.replays import finished_replay, replayed_home
from tests.unit.cycle.executed_orders import (
    NOW,
    TUESDAY,
    daily,
    desk,
    only,
    trade,
    verdict,
)
from tests.unit.execution.test_desk import approve, desk_of
from tests.unit.execution.test_paper import real_bar

__all__ = ["desk", "finished_replay", "replayed_home"]


def test_on_paper_an_order_arrives_at_the_sessions_open(desk: TradingContext) -> None:
    trade(desk, verdict("o", 100), [(None, 100, "181.93")], broker="paper", provenance={"priced_at": "open"})
    row = only(measure_execution(desk, TUESDAY))
    assert (row["arrival_price"], row["evidence"]["arrival_from"]) == (181.89, "session_open")
    assert row["delay_bps"] == pytest.approx((181.89 - 182.01) / 182.01 * 1e4)
    assert row["spread_bps"] + row["impact_bps"] == pytest.approx((181.93 - 181.89) / 182.01 * 1e4)
    assert row["evidence"]["hour"] == 9


def test_on_paper_with_closes_only_an_order_arrives_at_the_close(desk: TradingContext) -> None:
    nothing = [pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "volume")]
    desk.lake.merge("bars", daily(first=TUESDAY, last=TUESDAY).with_columns(nothing))
    trade(desk, verdict("o", 100), [(None, 100, "178.80")], broker="paper", provenance={"priced_at": "close"})
    row = only(measure_execution(desk, TUESDAY))
    assert row["evidence"]["arrival_from"] == "session_close"
    assert row["arrival_price"] == 182.01, "its reference price"
    assert row["participation"] is None and row["evidence"]["unknown"]["participation"] == "no_volume"


def test_what_the_paper_broker_charges_is_what_is_measured(desk: TradingContext, tmp_path: Path) -> None:
    """From approval to the books on IBM's real bars: half spread, root of the participation, commission."""
    monday, tuesday, costs = date(2013, 2, 25), date(2013, 2, 26), ExecutionSettings()
    bar = real_bar(tuesday)
    row = {
        name: getattr(bar, name) for name in ("symbol", "session", "open", "high", "low", "close", "volume", "vendor")
    }
    schema = TABLES["bars"].schema
    known = row | {"known_at": NOW, "row_hash": bar.row_hash}
    desk.lake.merge("bars", pl.DataFrame([{name: known.get(name) for name in schema}], schema=schema))
    order_id = approve(desk.ledger, session=monday, quantity=100_000)
    venue = desk_of(desk.ledger, PaperBroker(tmp_path / "paper.db", costs, volume_required=True))
    venue.submit(monday)
    assert venue.settle(tuesday, {"IBM": bar}).fills == 1
    row = only(measure_execution(desk, tuesday))
    assert (row["order_id"], row["filled"], row["evidence"]["arrival_from"]) == (order_id, 100_000, "session_open")
    assert bar.open is not None and bar.volume is not None
    level = bar.open / 200
    paid = costs.impact_bps * (100_000 / bar.volume) ** 0.5
    tick = 0.0001 / 200 * 1e4
    assert row["spread_bps"] == pytest.approx(costs.slippage_bps * level)
    assert paid * level <= row["impact_bps"] + 1e-9 <= paid * level + tick, "rounded against us to the tick"
    assert row["fees_bps"] == pytest.approx(100_000 * 0.005 / (100_000 * 200) * 1e4)
    assert row["participation"] == pytest.approx(100_000 / bar.volume)
    assert row["evidence"]["bars"][0]["row_hash"] == bar.row_hash


@pytest.mark.slow
def test_every_order_of_a_replay_is_measured(replayed_home: Path) -> None:
    """The whole of it, in one go, against what the report says of each fill."""
    context = TradingContext()
    with context.ledger.read() as connection:
        known = {row.client_order_id: row for row in connection.execute(select(orders))}
        booked = books.fills_of(connection)
        days = sorted({row.session for row in known.values()} | {fill.session for fill in booked})
    for day in days:
        measure_execution(context, day)
    rows = {row["order_id"]: row for row in quality_frame(context).to_dicts()}
    traded = {fill.client_order_id for fill in booked}
    due = {name for name, row in known.items() if row.session < days[-1]}
    assert traded and traded <= due == set(rows)
    for fill in booked:
        row = rows[fill.client_order_id]
        if row["filled"] == row["ordered"]:
            cost = fill.side.sign * fill.quantity * (fill.price - fill.decision_price) + fill.commission
            assert row["total_bps"] == pytest.approx(float(cost / (fill.quantity * fill.decision_price)) * 1e4)
        assert row["delay_bps"] is not None and row["impact_bps"] is not None
    shown = read_execution(context.ledger, read_period(context.ledger, None), context.settings.execution)
    assert len(execution_tables(shown)["execution_orders"].rows) == len(rows)
    assert "nothing was learned yet" in execution_section(shown), "these closes have no volume"

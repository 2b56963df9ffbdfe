"""Orders executed in a real market, minutes and quotes of IBM in October 2013, and what they cost by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.execution import order_log
from quant_dagster.execution.orders import OrderEvent, OrderEventKind, fill_kind
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES
from tests.support.market_data import shared_data

MONDAY, TUESDAY, WEDNESDAY = date(2013, 10, 7), date(2013, 10, 8), date(2013, 10, 9)
NOW = datetime(2013, 10, 12, tzinfo=UTC)
SETTINGS = {"portfolio": {"initial_cash": 1e6}, "execution": {"broker": "ibkr"}}
DECIDED = Decimal("182.01")
"""IBM's close on Monday."""


def new_york(hour: int, minute: int, day: date = TUESDAY) -> datetime:
    """An instant of October 2013, when New York was four hours behind UTC."""
    return datetime(day.year, day.month, day.day, hour + 4, minute, tzinfo=UTC)


def minutes(symbol: str = "IBM") -> pl.DataFrame:
    """Real one-minute bars of Tuesday."""
    return minute_rows("intraday_1min_lean_trades.parquet", "intraday_bars", symbol)


def minute_rows(file: str, table: str, symbol: str) -> pl.DataFrame:
    start = pl.col("bar_start_ny").dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")
    rows = pl.read_parquet(shared_data(file)).filter(pl.col("symbol") == symbol)
    rows = rows.with_columns(
        vendor=pl.lit("lean"), session=pl.col("bar_start_ny").dt.date(), bar_start=start, seconds=pl.lit(60),
        known_at=start.dt.offset_by("1m"),
    )  # fmt: skip
    return rows.filter(pl.col("session") == TUESDAY).select(TABLES[table].schema.names()).cast(TABLES[table].schema)


def daily(symbol: str = "IBM", first: date = date(2013, 5, 1), last: date = date(2013, 10, 11)) -> pl.DataFrame:
    """Real unadjusted daily bars."""
    schema = TABLES["bars"].schema
    rows = pl.read_parquet(shared_data("us_daily_lean_raw.parquet")).with_columns(
        session=pl.col("date").dt.date(), vendor=pl.lit("lean"), known_at=pl.lit(NOW),
        row_hash=pl.format("{}-{}", "symbol", pl.col("date").dt.date()), level_factor=pl.lit(None),
        vendor_change=pl.lit(None),
    )  # fmt: skip
    rows = rows.filter((pl.col("symbol") == symbol) & pl.col("session").is_between(first, last))
    return rows.select(schema.names()).cast(schema)


@pytest.fixture
def desk() -> TradingContext:
    context = TradingContext(load_settings(SETTINGS), clock=lambda: NOW)
    context.lake.merge("bars", daily())
    context.open_books(MONDAY)
    return context


@pytest.fixture
def with_minutes(desk: TradingContext) -> TradingContext:
    desk.lake.merge("intraday_bars", minutes())
    desk.lake.merge("intraday_quotes", minute_rows("intraday_1min_lean_quotes.parquet", "intraday_quotes", "IBM"))
    return desk


def verdict(
    name: str,
    quantity: int,
    side: Side = Side.BUY,
    *,
    symbol: str = "IBM",
    session: date = MONDAY,
    price: Decimal = DECIDED,
) -> RiskDecision:
    intent = OrderIntent(name, None, "s", session, symbol, side, Decimal(quantity), price)  # type: ignore[arg-type]
    return RiskDecision(intent, Outcome.APPROVED, Decimal(quantity), (), (), reduce_only=False)


Executed = tuple[datetime | None, int, str]
"""When, how many, at what price."""


def trade(
    context: TradingContext,
    decision: RiskDecision,
    fills: Sequence[Executed] = (),
    *,
    sent_at: datetime | None = None,
    arrival: str | None = None,
    broker: str = "ibkr",
    end: OrderEventKind | None = None,
    session: date = TUESDAY,
    parent_id: str | None = None,
    commission: str = "1.00",
    provenance: dict[str, Any] | None = None,
    tif: str = "day",
) -> str:
    """An order that was sent and executed as said."""
    name, side = decision.intent.client_order_id, decision.intent.side
    with context.ledger.write() as connection:
        order = order_log.create(
            connection, decision, order_type="market", time_in_force=tif, at=NOW, parent_id=parent_id
        )
        assert order is not None
        sent: dict[str, Any] = {"broker": broker}
        sent |= {} if sent_at is None else {"sent_at": sent_at.isoformat()}
        sent |= {} if arrival is None else {"arrival_price": arrival}
        order = happens(connection, name, OrderEventKind.SUBMITTING, order.session, sent)
        for number, (at, shares, price) in enumerate(fills):
            execution = f"{name}.{session.day}.{number}"
            fill = Fill(
                execution, name, session, order.symbol, side, Decimal(shares), Decimal(price), Decimal(commission),
                order.decision_price, order.decision_price, {"broker": broker} | (provenance or {}), executed_at=at,
            )  # fmt: skip
            books.book(connection, fill, at=NOW)
            said = {"execution_id": execution, "quantity": shares, "price": price}
            order = happens(connection, name, fill_kind(order, Decimal(shares)), session, said)
        if end is not None:
            happens(connection, name, end, session, {})
    return name


def happens(connection: Any, name: str, kind: OrderEventKind, session: date, payload: dict[str, Any]) -> Any:
    return order_log.record(connection, OrderEvent(name, kind, session, payload), actor="t", at=NOW)


def only(frame: pl.DataFrame) -> dict[str, Any]:
    (row,) = frame.to_dicts()
    return row | {"evidence": json.loads(row["evidence"])}


def bps(cost: float, quantity: int = 1000) -> float:
    """Of the decision's value."""
    return cost / (quantity * float(DECIDED)) * 1e4

"""An account with a million and what is decided for it: signals, facts and states of four symbols.

The market is IBM, MSFT, AAPL and GOOG on 2013-02-27, with 250 sessions of real returns before it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import Mark, value_account
from quant_dagster.cycle.approval import Approval, approve
from quant_dagster.cycle.wishes import ApprovalInputs, SymbolState
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.market_data.panel import Panel
from quant_dagster.risk.gate import MarketFacts
from quant_dagster.settings import ExecutionSettings, Settings, load_settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import cycles, decisions, orders
from quant_dagster.strategies.decisions import REASONS, cycle_id
from quant_dagster.strategies.router import Signal, SignalBundle
from tests.unit.execution import test_desk as one_order
from tests.unit.execution.test_paper import MONDAY, TUESDAY, WEDNESDAY
from tests.unit.features.real_panels import bars

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


@cache
def market() -> Panel:
    window = pl.col("symbol").is_in(SYMBOLS) & pl.col("session").is_between(date(2012, 1, 3), WEDNESDAY)
    return Panel.from_bars(bars().filter(window), SYMBOLS).last(251)


def facts(symbol: str, **changes: Any) -> MarketFacts:
    column = SYMBOLS.index(symbol)
    known = MarketFacts(
        price=float(market().close[-1, column]),
        price_session=WEDNESDAY,
        previous_price=float(market().close[-2, column]),
        average_volume=float(market().volume[-20:, column].mean()),
        sector="technology",
    )
    return replace(known, **changes)


def signal(alpha: str = "trend", direction: int = 1, **changes: Any) -> Signal:
    reason = f"{alpha}_{'long' if direction > 0 else 'short'}"
    base = Signal(alpha, direction, strength=1.0, confidence=0.8, risk=0.2, priority=0.8, enabled=True, reasons=reason)
    return replace(base, **changes)


def state(symbol: str = "IBM", *signals: Signal, **changes: Any) -> SymbolState:
    """A symbol with an edge and a long trend, ready to be bought."""
    views = signals or (signal(),)
    speaking = [view for view in views if view.speaks]
    base = SymbolState(
        symbol=symbol, facts=facts(symbol), quality_score=1.0, quality_issues="", not_evaluated="",
        forecast_mean=0.002, forecast_volatility=0.01, forecast_fallback=None,
        bundle=SignalBundle(symbol, views, speaking[0] if speaking else None, speaking[1] if speaking[1:] else None),
    )  # fmt: skip
    return replace(base, **changes)


def inputs(*states: SymbolState, session: date = WEDNESDAY, **changes: Any) -> ApprovalInputs:
    closes = market().close
    base = ApprovalInputs(
        session=session, states=states, held_facts={}, scenario_returns=closes[1:] / closes[:-1] - 1,
        scenario_symbols=SYMBOLS, sessions_since={session: 0, session - timedelta(days=1): 1}, volume_required=True,
        lake_versions={"bars": 0}, code_version="c",
    )  # fmt: skip
    return replace(base, **changes)


class Desk:
    """An account with a million, on one ledger."""

    def __init__(self, ledger: Ledger, tmp_path: Path) -> None:
        self.ledger = ledger
        self.broker = PaperBroker(tmp_path / "book.db", ExecutionSettings(), volume_required=True)
        self.extra_marks: dict[str, Mark] = {}
        with ledger.write() as connection:
            books.deposit(connection, Decimal(1_000_000), session=MONDAY, at=ledger.now(), reference="opening")

    def hold(self, quantity: int) -> None:
        """Own IBM, bought on Monday's decision at Tuesday's open."""
        one_order.approve(self.ledger, quantity=quantity)
        desk = one_order.desk_of(self.ledger, self.broker)
        desk.submit(MONDAY)
        desk.settle(TUESDAY, one_order.bars(TUESDAY))

    def order_ibm(self) -> None:
        """Have an order for IBM working."""
        one_order.approve(self.ledger, session=TUESDAY)

    def decide(self, given: ApprovalInputs, **settings: Any) -> Approval:
        chosen: Settings = load_settings(settings or None)
        with self.ledger.write() as connection:
            cycle = cycle_id(chosen.strategy, chosen.mode, given.session)
            if not connection.execute(select(cycles).where(cycles.c.cycle_id == cycle)).first():
                connection.execute(
                    cycles.insert().values(
                        cycle_id=cycle, strategy=chosen.strategy, mode=chosen.mode, session=given.session,
                        status="running", settings_hash="", code_version="", inputs={}, started_at=self.ledger.now(),
                    )
                )  # fmt: skip
        marks = {name: Mark(Decimal(str(facts(name).price)), WEDNESDAY) for name in SYMBOLS} | self.extra_marks
        return approve(
            self.ledger, chosen, given, lambda connection: value_account(connection, marks, given.session),
            datetime(2013, 2, 27, 20, 59, 59, tzinfo=UTC),
        )  # fmt: skip

    def decided(self, symbol: str = "IBM") -> Any:
        with self.ledger.read() as connection:
            query = select(decisions).where(decisions.c.symbol == symbol, decisions.c.session == WEDNESDAY)
            (row,) = connection.execute(query).mappings().all()
        assert set(row["reasons"]) <= set(REASONS), "a reason nobody explained"
        assert row["reasons"], "a decision without a reason"
        return row

    def orders(self) -> list[Any]:
        with self.ledger.read() as connection:
            query = select(orders).where(orders.c.session == WEDNESDAY).order_by(orders.c.symbol)
            return list(connection.execute(query).mappings())


SHORT = signal(direction=-1)

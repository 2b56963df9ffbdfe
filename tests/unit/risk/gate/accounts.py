"""Accounts to try the gate on: small invented ones with round numbers, and one on real prices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from quant_dagster.accounting.books import Side
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import MarketFacts, OrderIntent, PortfolioView, RiskDecision, Verdict, WorkingOrder
from quant_dagster.risk.gate.gate import Gate
from quant_dagster.settings import RiskSettings
from tests.unit.risk.gate.reference import Book, ReferenceGate

DAY, BEFORE = date(2023, 1, 4), date(2023, 1, 3)
SYMBOLS = ("A", "B", "C")
LOOSE = RiskSettings(
    max_symbol_weight=1, max_sector_weight=1, max_gross_leverage=3, max_net_leverage=3, venue_leverage_limit=10,
    max_turnover_per_session=10, cvar_limit=1, max_participation=1, price_collar=1, max_concentration=9,
    max_counterparty_exposure=3, max_liquidation_sessions=100, max_drawdown=1, drawdown_scaling_start=1,
)  # fmt: skip
RETURNS = np.random.default_rng(1).normal(0, 0.02, (250, 3))


def facts(price: float = 100.0, **changes: Any) -> MarketFacts:
    known = MarketFacts(price=price, price_session=DAY, previous_price=price, average_volume=1e6, sector="tech")
    return replace(known, **changes)


def gate(limits: RiskSettings = LOOSE, *, market: Mapping[str, MarketFacts] | None = None, **options: Any) -> Gate:
    """A gate over an account with a million in cash, unless told otherwise."""
    view = PortfolioView(
        cash=options.pop("cash", 1e6), equity=options.pop("equity", 1e6), held=options.pop("held", {}),
        working=options.pop("working", ()), **options.pop("view", {}),
    )  # fmt: skip
    return Gate(
        limits=limits, mode=options.pop("mode", ControlMode.NORMAL), session=DAY, sessions_since={DAY: 0, BEFORE: 1},
        facts=dict.fromkeys(SYMBOLS, facts()) if market is None else market, portfolio=view,
        scenario_returns=options.pop("returns", RETURNS), scenario_symbols=SYMBOLS,
        allow_short=options.pop("allow_short", False), volume_required=options.pop("volume_required", True), **options,
    )  # fmt: skip


def intent(
    symbol: str = "A", side: Side = Side.BUY, quantity: float = 1000, order_id: str = "", **changes: Any
) -> OrderIntent:
    made = OrderIntent(
        client_order_id=order_id or f"id-{symbol}-{side}", decision_id="d", strategy="s", session=DAY, symbol=symbol,
        side=side, quantity=Decimal(str(quantity)), decision_price=Decimal(100),
    )  # fmt: skip
    return replace(made, **changes)


def verdicts(decision: RiskDecision) -> dict[str, Verdict]:
    return {check.code: check.verdict for check in decision.checks}


def counterpart(one: Gate, limits: RiskSettings, **options: Any) -> ReferenceGate:
    """The reference over the same account, read off the gate's own description of it."""
    from quant_dagster.risk.gate import checks as at

    exposure = one.exposure
    books = {}
    for symbol, i in exposure.row.items():
        row = exposure.rows[i]
        known = one.facts.get(symbol)
        returns = exposure.returns[i].copy()
        returns[: len(returns) - int(row[at.KNOWN])] = math.nan  # as many as are unknown; they count as no move
        books[symbol] = Book(
            price=row[at.PRICE], previous=row[at.PREVIOUS_PRICE], age=row[at.AGE], volume=row[at.VOLUME],
            sector=known.sector if known else "unknown", counterparty=known.counterparty if known else "unknown",
            lot=row[at.LOT], problem=bool(row[at.PROBLEM]), held=row[at.HELD], buys=row[at.BUYS], sells=row[at.SELLS],
            closing_buys=row[at.CLOSING_BUYS], closing_sells=row[at.CLOSING_SELLS],
            working=int(row[at.WORKING]), ordered=row[at.ORDERED], returns=returns,
        )  # fmt: skip
    account = exposure.account
    return ReferenceGate(
        limits, books, cash=account[at.CASH], equity=account[at.EQUITY], mode=one.mode,
        allow_short=bool(account[at.SHORT_ALLOWED]), volume_required=bool(account[at.VOLUME_REQUIRED]),
        breaker_open=bool(account[at.BREAKER]), orders=int(account[at.ORDERS]), turnover=account[at.TURNOVER],
        **options,
    )  # fmt: skip


__all__ = ["DAY", "BEFORE", "LOOSE", "SYMBOLS", "WorkingOrder", "counterpart", "facts", "gate", "intent", "verdicts"]

"""One row per limit and per reason to refuse: what the account is, what is asked, and what comes out."""

from __future__ import annotations

from datetime import date

import numpy as np

from quant_dagster.accounting.books import Side
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import WorkingOrder
from quant_dagster.settings import RiskSettings
from tests.unit.risk.gate.accounts import BEFORE, LOOSE, SYMBOLS, facts


def with_limits(**limits: float | str) -> RiskSettings:
    return LOOSE.model_copy(update=limits)


APART = {symbol: facts(sector=symbol) for symbol in SYMBOLS}

# One row per check: what the account is, what is asked (1,000 shares at 100 of an account of a million), what comes
# out. The number approved is the most that the limit leaves, and one share more would pass it.
SCENARIOS = {
    "symbol limit": ({"max_symbol_weight": 0.05}, {}, "buy", 500, "symbol_limit"),
    "symbol limit, some held": ({"max_symbol_weight": 0.05}, {"held": {"A": 200}}, "buy", 300, "symbol_limit"),
    "symbol limit, some on order": (
        {"max_symbol_weight": 0.05}, {"working": [WorkingOrder("A", Side.BUY, 200.0)]}, "buy", 0, "duplicate_order"),
    "sector limit": ({"max_sector_weight": 0.05}, {}, "buy", 500, "sector_limit"),
    "sector limit, another name held": ({"max_sector_weight": 0.05}, {"held": {"B": 400}}, "buy", 100, "sector_limit"),
    "sector limit, another name on order": (
        {"max_sector_weight": 0.05}, {"working": [WorkingOrder("B", Side.BUY, 400.0)]}, "buy", 100, "sector_limit"),
    "sector limit, another name being closed still counts": (
        {"max_sector_weight": 0.05},
        {"held": {"B": 400}, "working": [WorkingOrder("B", Side.SELL, 400.0, reduce_only=True)]},
        "buy", 100, "sector_limit"),
    "counterparty limit": ({"max_counterparty_exposure": 0.05}, {"held": {"B": 400}}, "buy", 100, "counterparty_limit"),
    "liquidity limit": (
        {"max_participation": 0.001, "max_liquidation_sessions": 0.7}, {}, "buy", 700, "liquidity_limit"),
    "gross limit": ({"max_gross_leverage": 0.05}, {}, "buy", 500, "gross_limit"),
    "gross limit of the venue": ({"venue_leverage_limit": 0.05}, {}, "buy", 400, "gross_limit"),
    "gross limit, a short held": (
        {"max_gross_leverage": 0.05}, {"held": {"B": -400}, "allow_short": True}, "buy", 100, "gross_limit"),
    "drawdown limit": (
        {"max_gross_leverage": 0.1, "drawdown_scaling_start": 0.1, "max_drawdown": 0.2},
        {"view": {"drawdown": 0.15}}, "buy", 500, "drawdown_limit"),
    "drawdown at its maximum": (
        {"max_gross_leverage": 0.1, "drawdown_scaling_start": 0.1, "max_drawdown": 0.2},
        {"view": {"drawdown": 0.2}}, "buy", 0, "drawdown_limit"),
    "net limit": ({"max_net_leverage": 0.05}, {}, "buy", 500, "net_limit"),
    "net limit, a short held lets more in": (
        {"max_net_leverage": 0.05}, {"held": {"B": -400}, "allow_short": True}, "buy", 900, "net_limit"),
    "net limit, a short on order lets nothing in": (
        {"max_net_leverage": 0.05}, {"working": [WorkingOrder("B", Side.SELL, 400.0)], "allow_short": True}, "buy", 500,
        "net_limit"),
    "net limit on the short side": ({"max_net_leverage": 0.05}, {"allow_short": True}, "sell", 500, "net_limit"),
    "concentration": ({"max_concentration": 0.0025}, {}, "buy", 500, "concentration_limit"),
    "concentration, another name held": (
        {"max_concentration": 0.0025}, {"held": {"B": 300}}, "buy", 400, "concentration_limit"),
    "turnover": ({"max_turnover_per_session": 0.05}, {}, "buy", 500, "turnover_limit"),
    "turnover so far": ({"max_turnover_per_session": 0.05}, {"view": {"turnover": 3e4}}, "buy", 200, "turnover_limit"),
    "turnover passed already": (
        {"max_turnover_per_session": 0.05}, {"view": {"turnover": 6e4}}, "buy", 0, "turnover_limit"),
    "participation": ({"max_participation": 0.0005}, {}, "buy", 500, "participation"),
    "participation so far": (
        {"max_participation": 0.0005}, {"view": {"ordered": {"A": 300.0}}}, "buy", 200, "participation"),
    "participation passed already": (
        {"max_participation": 0.0005}, {"view": {"ordered": {"A": 600.0}}}, "buy", 0, "participation"),
    "buying power": ({}, {"cash": 5e4}, "buy", 500, "buying_power"),
    "buying power, overdrawn": ({}, {"cash": -5e4}, "buy", 0, "buying_power"),
    "buying power, some of it on order": (
        {}, {"cash": 5e4, "working": [WorkingOrder("B", Side.BUY, 300.0)]}, "buy", 200, "buying_power"),
    "margin": (
        {"account_type": "margin", "initial_margin": 0.5}, {"held": {"B": 10_000, "C": 9_500}, "market": APART}, "buy",
        500, "margin_limit"),
    "margin, a short held": (
        {"account_type": "margin", "initial_margin": 0.5},
        {"held": {"B": 10_000, "C": -9_500}, "market": APART, "allow_short": True}, "buy", 500, "margin_limit"),
    "no short": ({}, {"held": {"A": 300}}, "sell", 300, "no_short"),
    "no short at all": ({}, {}, "sell", 0, "no_short"),
}  # fmt: skip

# One row per reason to refuse an order whatever its size: what the account is, and the code it is refused with.
REFUSALS = [
    ({"mode": ControlMode.PAUSE}, "control_pause"),
    ({"mode": ControlMode.REDUCE}, "control_reduce"),
    ({"mode": ControlMode.EMERGENCY}, "control_emergency"),
    ({"breaker_open": True}, "breaker_open"),
    ({"market": {"A": facts(price_session=BEFORE)}}, "stale_data"),
    ({"market": {"A": facts(price_session=date(2022, 1, 3))}}, "stale_data"),
    ({"market": {}}, "stale_data"),
    ({"market": {"A": facts(float("nan"))}}, "stale_data"),
    ({"market": {"A": facts(float("inf"))}}, "stale_data"),
    ({"market": {"A": facts(0.0, previous_price=1.0)}}, "stale_data"),
    ({"market": {"A": facts(-5.0)}}, "stale_data"),
    ({"market": {"A": facts(average_volume=None)}}, "participation"),
    ({"market": {"A": facts(average_volume=0.0)}}, "participation"),
    ({"market": {"A": facts(instrument_problem="in euros")}}, "instrument"),
    ({"market": {"A": facts(previous_price=None)}}, "price_collar"),
    ({"market": {"A": facts(previous_price=0.0)}}, "price_collar"),
    ({"view": {"order_ids": frozenset({"id-A-buy"})}}, "duplicate_order"),
    ({"working": [WorkingOrder("A", Side.BUY, 1.0)]}, "duplicate_order"),
    ({"working": [WorkingOrder("A", Side.SELL, 1.0)], "held": {"A": 5}}, "duplicate_order"),
    ({"view": {"orders_made": 1000}}, "order_limit"),
    ({"held": {"Z": 10}}, "unpriced_position"),
    ({"working": [WorkingOrder("Z", Side.SELL, 10.0)]}, "unpriced_position"),
    ({"market": {"A": facts(), "B": facts(float("nan"))}, "held": {"B": 1}}, "unpriced_position"),
    ({"market": {"A": facts(), "B": facts(float("inf"))}, "held": {"B": 1}}, "unpriced_position"),
    ({"market": {"A": facts(), "B": facts(-1.0)}, "held": {"B": 1}}, "unpriced_position"),
    ({"returns": np.full((250, 3), np.nan)}, "cvar_breach"),
]  # fmt: skip

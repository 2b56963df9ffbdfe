"""The pre-trade gate: each check bites, scaling finds the largest size, and no sequence of orders gets past a limit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.gate import Gate, MarketFacts, OrderIntent, Outcome, PortfolioView, RiskDecision, Verdict
from quant_dagster.settings import RiskSettings
from quant_dagster.strategies.decisions import REASONS

DAY, BEFORE = date(2023, 1, 4), date(2023, 1, 3)
SYMBOLS = ("A", "B", "C")
LOOSE = RiskSettings(
    max_symbol_weight=1, max_sector_weight=1, max_gross_leverage=3, max_net_leverage=3, venue_leverage_limit=10,
    max_turnover_per_session=10, cvar_limit=1, max_participation=1, price_collar=1,
)  # fmt: skip


def facts(price: float = 100.0, **changes) -> MarketFacts:
    known = {"price_session": DAY, "previous_price": price, "average_volume": 1e6, "sector": "tech"}
    return MarketFacts(price=price, **known | changes)


def gate(limits: RiskSettings = LOOSE, *, held=None, market=None, cash=1e6, equity=1e6, **options) -> Gate:
    rng = np.random.default_rng(1)
    return Gate(
        limits=limits,
        mode=options.pop("mode", ControlMode.NORMAL),
        session=DAY,
        sessions_since={DAY: 0, BEFORE: 1},
        facts=market if market is not None else dict.fromkeys(SYMBOLS, facts()),
        portfolio=PortfolioView(cash=cash, equity=equity, quantities=dict(held or {}), **options.pop("view", {})),
        scenario_returns=options.pop("returns", rng.normal(0, 0.02, (250, 3))),
        scenario_symbols=SYMBOLS,
        allow_short=options.pop("allow_short", False),
        volume_required=options.pop("volume_required", True),
    )


def intent(symbol: str = "A", side: Side = Side.BUY, quantity: int = 1000, order_id: str = "") -> OrderIntent:
    return OrderIntent(
        client_order_id=order_id or f"id-{symbol}-{side}",
        decision_id="d",
        strategy="s",
        session=DAY,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        decision_price=Decimal(100),
    )


def verdicts(decision: RiskDecision) -> dict[str, Verdict]:
    return {check.code: check.verdict for check in decision.checks}


def test_an_order_within_every_limit_is_approved_whole() -> None:
    decision = gate().check(intent())
    assert (decision.outcome, decision.approved_quantity, decision.reasons) == (Outcome.APPROVED, 1000, ())
    assert set(verdicts(decision).values()) == {Verdict.PASSED}


@pytest.mark.parametrize(
    ("limits", "code", "approved"),
    [
        ({"max_symbol_weight": 0.05}, "symbol_limit", 500),
        ({"max_sector_weight": 0.05}, "sector_limit", 500),
        ({"max_gross_leverage": 0.05}, "gross_limit", 500),
        ({"max_net_leverage": 0.05}, "net_limit", 500),
        ({"max_turnover_per_session": 0.05}, "turnover_limit", 500),
        ({"max_participation": 0.0005}, "participation", 500),
    ],
)
def test_a_breach_that_scaling_cures_is_scaled(limits: dict[str, float], code: str, approved: int) -> None:
    decision = gate(LOOSE.model_copy(update=limits)).check(intent())
    assert decision.outcome is Outcome.SCALED
    assert decision.approved_quantity == approved
    assert decision.reasons == ("position_scaled", code)


def test_buying_power_counts_only_cash_that_is_there() -> None:
    decision = gate(cash=50_000).check(intent())
    assert (decision.approved_quantity, decision.reasons) == (500, ("position_scaled", "buying_power"))
    selling_first = gate(cash=0, held={"B": 1000})
    assert selling_first.check(intent("B", Side.SELL)).outcome is Outcome.APPROVED
    assert selling_first.check(intent("A")).reasons == ("buying_power",)


def test_cvar_is_scaled_to_the_largest_size_that_passes() -> None:
    limits = LOOSE.model_copy(update={"cvar_limit": 0.002})
    one = gate(limits)
    unit = one._returns[:, 0] * 100.0
    decision = one.check(intent(quantity=5000))
    size = float(decision.approved_quantity)
    assert decision.reasons == ("position_scaled", "cvar_breach")
    assert expected_shortfall(unit * size, 0.95) <= 2000 < expected_shortfall(unit * (size + 1), 0.95)


def test_cvar_that_scaling_cannot_cure_rejects() -> None:
    limits = LOOSE.model_copy(update={"cvar_limit": 1e-6})
    assert gate(limits).check(intent()).reasons == ("cvar_breach",)


def test_too_little_history_is_a_cvar_breach_not_a_pass() -> None:
    returns = np.full((250, 3), np.nan)
    returns[-50:, 0] = 0.001
    assert gate(returns=returns).check(intent()).reasons == ("cvar_breach",)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mode": ControlMode.PAUSE}, "control_pause"),
        ({"mode": ControlMode.REDUCE}, "control_reduce"),
        ({"mode": ControlMode.EMERGENCY}, "control_emergency"),
        ({"market": {"A": facts(price_session=BEFORE)}}, "stale_data"),
        ({"market": {"A": facts(price_session=date(2022, 1, 3))}}, "stale_data"),
        ({"market": {}}, "stale_data"),
        ({"market": {"A": facts(float("nan"))}}, "stale_data"),
        ({"market": {"A": facts(average_volume=None)}}, "participation"),
        ({"view": {"order_ids": {"id-A-buy"}}}, "duplicate_order"),
        ({"view": {"working": {"A"}}}, "duplicate_order"),
        ({"view": {"orders_made": 1000}}, "order_limit"),
        ({"held": {"Z": 10}}, "unpriced_position"),
    ],
)
def test_each_reason_to_refuse(options, reason: str) -> None:
    decision = gate(**options).check(intent())
    assert decision.outcome is Outcome.REJECTED
    assert decision.approved_quantity == 0
    assert reason in decision.reasons
    assert reason in REASONS


def test_a_price_that_jumped_is_not_bought() -> None:
    market = {"A": facts(100.0, previous_price=70.0)}
    limits = LOOSE.model_copy(update={"price_collar": 0.2})
    assert gate(limits, market=market).check(intent()).reasons == ("price_collar",)


def test_unknown_volume_is_reported_where_the_universe_accepts_it() -> None:
    decision = gate(market={"A": facts(average_volume=None)}, volume_required=False).check(intent())
    assert decision.outcome is Outcome.APPROVED
    assert verdicts(decision)["participation"] is Verdict.NOT_EVALUATED


@pytest.mark.parametrize("mode", [ControlMode.REDUCE, ControlMode.EMERGENCY])
def test_leaving_a_position_is_allowed_when_entering_is_not(mode: ControlMode) -> None:
    tight = RiskSettings(max_symbol_weight=0.001, cvar_limit=1e-6)
    decision = gate(tight, held={"A": 1000}, mode=mode).check(intent(side=Side.SELL, quantity=500))
    assert decision.outcome is Outcome.APPROVED
    assert Verdict.EXEMPT in verdicts(decision).values()
    assert gate(held={"A": 1000}, mode=ControlMode.PAUSE).check(intent(side=Side.SELL)).outcome is Outcome.REJECTED


def test_selling_more_than_is_held_is_cut_at_flat_when_shorting_is_off() -> None:
    decision = gate(held={"A": 300}).check(intent(side=Side.SELL))
    assert (decision.approved_quantity, decision.reasons) == (300, ("position_scaled", "no_short"))
    assert gate(held={"A": 300}, allow_short=True).check(intent(side=Side.SELL)).approved_quantity == 1000


def test_an_account_without_equity_answers_nothing() -> None:
    with pytest.raises(RiskError, match="equity"):
        gate(equity=0.0)
    with pytest.raises(RiskError, match="equity"):
        gate(equity=float("nan"))


ORDERS = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(list(Side)), st.integers(1, 20_000)), min_size=1, max_size=12
)


@given(ORDERS, st.booleans())
def test_no_sequence_of_orders_gets_past_a_limit(orders, allow_short: bool) -> None:
    limits = RiskSettings(max_symbol_weight=0.3, max_sector_weight=0.5, max_gross_leverage=0.6, max_net_leverage=0.4,
                          max_turnover_per_session=0.9, cvar_limit=0.02, max_participation=0.01)  # fmt: skip
    one = gate(limits, allow_short=allow_short)
    bought = 0.0
    for number, (symbol, side, quantity) in enumerate(orders):
        one.portfolio.working.clear()
        before = dict(one.portfolio.quantities)
        decision = one.check(intent(symbol, side, quantity, order_id=str(number)))
        assert 0 <= decision.approved_quantity <= quantity
        values = [shares * 100.0 for shares in one.portfolio.quantities.values()]
        if side is Side.BUY:
            bought += float(decision.approved_quantity) * 100
        held = before.get(symbol, 0.0)
        if decision.approved_quantity and not (held * side.sign < 0 and decision.approved_quantity <= abs(held)):
            assert max(map(abs, values)) <= 0.3e6 + 1e-6
            assert sum(map(abs, values)) <= 0.5e6 + 1e-6
            assert abs(sum(values)) <= 0.4e6 + 1e-6
            assert one.portfolio.turnover <= 0.9e6 + 1e-6
            assert expected_shortfall(one._scenario_pnl, 0.95) <= 0.02e6 + 1e-6
        assert bought <= 1e6
        if not allow_short:
            assert min(values, default=0) >= 0

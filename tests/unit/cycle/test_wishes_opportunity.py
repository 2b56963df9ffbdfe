"""Opportunity cost over real wishes: entries that do not pay are refused with the numbers, exits never are."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.cycle.signal_selection import after_opportunity_cost
from quant_dagster.cycle.wishes import SymbolState, Wish, wish_for
from quant_dagster.risk.control import ControlMode
from quant_dagster.settings import Settings, load_settings
from quant_dagster.strategies.decisions import REASONS, Action
from quant_dagster.strategies.router import SignalBundle
from tests.unit.cycle.approval_desk import SHORT, SYMBOLS, facts, inputs, signal, state

EQUITY = 1e6


def weighed(
    *states: SymbolState, held: dict[str, int] | None = None, mode: ControlMode = ControlMode.NORMAL, **changes: Any
) -> tuple[list[Wish], list[Wish]]:
    """Wishes before and after their opportunity cost was looked at."""
    settings: Settings = load_settings(changes or None)
    given_ = inputs(*states)
    quantities = {symbol: Decimal(quantity) for symbol, quantity in (held or {}).items()}
    before = [
        wish_for(settings, given_, one, quantities.get(one.symbol, Decimal(0)), EQUITY, mode, "cycle") for one in states
    ]
    return before, after_opportunity_cost(settings, given_, before, quantities, EQUITY)


def test_an_entry_that_does_not_earn_its_costs_is_rejected_with_the_numbers() -> None:
    """79 shares of IBM near 202: 1 dollar on 15,967 and 2 bp, in and out, are 5.25 bp; it expects 0.05 bp."""
    _, (wish,) = weighed(state(forecast_mean=0.000001, forecast_volatility=0.001))
    decision = wish.decision
    assert (decision.action, wish.side, decision.target_quantity) == (Action.REJECT, None, 0)
    assert decision.reasons[0] == "opportunity_cost_fail" and "trend_long" in decision.reasons
    assert "OPPORTUNITY_COST_FAIL" in REASONS["opportunity_cost_fail"]
    numbers = decision.details["opportunity"]
    assert numbers["alternative"] == "cash" and not numbers["passes"]
    capital = 79 * facts("IBM").price
    assert numbers["net_return"] == pytest.approx(5 * 0.000001 - 2 * (0.0002 + 1 / capital), rel=1e-6)


def test_an_entry_that_pays_is_left_as_it_was_and_says_what_it_was_compared_with() -> None:
    (before,), (after,) = weighed(state())
    assert (after.side, after.quantity, after.decision.reasons) == (
        before.side,
        before.quantity,
        before.decision.reasons,
    )
    assert after.decision.details["opportunity"]["passes"]


def test_the_switch_is_a_setting() -> None:
    poor = state(forecast_mean=0.000001, forecast_volatility=0.001)
    before, after = weighed(poor, signals={"opportunity_cost": False})
    assert after == before and after[0].decision.action is Action.BUY


def test_adding_to_a_position_that_does_not_pay_keeps_what_is_held() -> None:
    _, (wish,) = weighed(state(forecast_mean=0.000001, forecast_volatility=0.001), held={"IBM": 40})
    assert (wish.decision.action, wish.side, wish.decision.target_quantity) == (Action.HOLD, None, 40)
    assert wish.decision.reasons[0] == "opportunity_cost_fail"


@pytest.mark.parametrize("cash_rate", [0.0, 50.0])
def test_exits_and_reductions_are_never_blocked(cash_rate: float) -> None:
    quiet = signal(direction=0, reasons="trend_weak")
    states = [state("AAPL", quiet), state("IBM", forecast_mean=1e-7), state("MSFT", SHORT), state("GOOG", member=False)]
    held = dict.fromkeys(SYMBOLS, 5000)
    before, after = weighed(*states, held=held, signals={"cash_rate": cash_rate})
    assert [wish.reduces for wish in before] == [True] * 4
    assert after == before
    before, after = weighed(*states, held=held, mode=ControlMode.EMERGENCY, signals={"cash_rate": cash_rate})
    assert after == before and all(wish.decision.action is Action.SELL for wish in after)


def test_of_a_trade_through_zero_that_does_not_pay_the_exit_is_left() -> None:
    poor = state("IBM", SHORT, forecast_mean=-0.0000001, forecast_volatility=0.0001)
    (before,), (after,) = weighed(poor, held={"IBM": 50}, portfolio={"allow_short": True})
    assert before.decision.target_quantity < 0 and not before.reduces
    assert (after.decision.target_quantity, after.quantity, after.reduces) == (0, 50, True)
    assert after.decision.action is Action.SELL and after.decision.reasons[0] == "opportunity_cost_fail"


def test_where_capital_is_used_up_the_lower_ranked_must_promise_more() -> None:
    """Turnover for one entry: the first takes it, a poorer one fails against it, a richer one goes to the gate."""
    states = [
        state("AAPL", signal(priority=0.9), forecast_mean=0.002),
        state("GOOG", signal(priority=0.8), forecast_mean=0.001),
        state("MSFT", signal(priority=0.7), forecast_mean=0.004),
    ]  # fmt: skip
    _, wishes = weighed(*states, risk={"max_turnover_per_session": 0.015})
    by_symbol = {wish.decision.symbol: wish for wish in wishes}
    assert by_symbol["AAPL"].side is not None and by_symbol["MSFT"].side is not None
    assert by_symbol["GOOG"].decision.reasons[:2] == ("opportunity_cost_fail", "turnover_limit")
    assert by_symbol["GOOG"].decision.details["opportunity"]["alternative"] == "AAPL"


@given(
    st.lists(
        st.tuples(st.floats(-0.003, 0.003), st.sampled_from([-1, 0, 1]), st.integers(-3000, 3000), st.floats(0, 1)),
        min_size=4, max_size=4,
    )
)  # fmt: skip
def test_every_symbol_keeps_one_decision_and_no_wish_grows(drawn: Sequence[tuple[float, int, int, float]]) -> None:
    states, held = [], {}
    for symbol, (mean, direction, quantity, rank) in zip(SYMBOLS, drawn, strict=True):
        reason = {1: "trend_long", -1: "trend_short", 0: "trend_weak"}[direction]
        view = signal(direction=direction, priority=rank, reasons=reason)
        states.append(state(symbol, view, forecast_mean=mean))
        held[symbol] = quantity
    before, after = weighed(*states, held=held, portfolio={"allow_short": True})
    assert [one.decision.symbol for one in after] == list(SYMBOLS)
    for one, other in zip(before, after, strict=True):
        assert other.quantity <= one.quantity
        assert other.decision.target_quantity in (one.decision.target_quantity, one.decision.current_quantity, 0)
        assert one.decision.decision_id == other.decision.decision_id
        if one.reduces:
            assert other == one
        failed = "opportunity_cost_fail" in other.decision.reasons
        assert failed == (one.side is not None and other != one and not other.decision.details["opportunity"]["passes"])


def test_a_conflict_is_no_position_and_names_both_sides() -> None:
    long, short = signal(priority=0.6), signal("mean_reversion", -1, priority=0.58)
    bundle = SignalBundle("IBM", (long, short), None, None, (long, short))
    (before,), _ = weighed(state(bundle=bundle), held={"IBM": 50})
    assert before.decision.reasons == ("conflict", "trend_long", "mean_reversion_short")
    assert (before.decision.action, before.decision.target_quantity) == (Action.SELL, 0)
    assert before.decision.details["conflict"] == ["trend", "mean_reversion"]


def test_a_dead_source_is_named_and_not_followed() -> None:
    (before,), _ = weighed(state("IBM", signal(priority=0.0)))
    assert before.decision.reasons == ("no_signal", "alpha_dead")


def test_flags_older_than_the_files_are_written_into_every_decision() -> None:
    settings = load_settings()
    (with_problem, without) = (
        wish_for(
            settings, inputs(state(), **changes), state(), Decimal(0), EQUITY, ControlMode.NORMAL, "cycle"
        ).decision
        for changes in ({"flag_problem": "local.yaml is not valid YAML"}, {})
    )
    assert with_problem.details["flag_problem"] == "local.yaml is not valid YAML"
    assert "flag_problem" not in without.details

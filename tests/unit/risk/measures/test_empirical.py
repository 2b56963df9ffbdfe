"""VaR of scenarios and the parts of VaR and ES: order statistics by hand, and the axioms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_dagster.errors import RiskError
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.empirical import scenario_contributions, value_at_risk
from tests.unit.forecasting.real_returns import stock_returns

PNL = arrays(np.float64, 120, elements=st.floats(-1e4, 1e4, allow_nan=False))
CONFIDENCES = st.sampled_from([0.9, 0.95, 0.975, 0.99])


def test_var_is_the_loss_that_just_as_many_scenarios_exceed_as_may() -> None:
    pnl = -np.random.default_rng(1).permutation(np.arange(1.0, 101.0))
    assert value_at_risk(pnl, 0.95) == 95.0  # 96 to 100 exceed it
    assert value_at_risk(pnl, 0.99) == 99.0
    assert value_at_risk(pnl, 0.951) == 96.0  # at most 4.9 may exceed it
    assert value_at_risk(pnl, 0.949) == 95.0


@given(PNL, CONFIDENCES)
def test_no_more_scenarios_exceed_var_than_may_and_with_it_at_least_as_many(pnl: np.ndarray, confidence: float) -> None:
    var = value_at_risk(pnl, confidence)
    may = 120 * (1.0 - confidence)
    assert np.sum(-pnl > var) <= may + 1e-9
    assert np.sum(-pnl >= var) > may - 1e-9


@given(PNL, CONFIDENCES)
def test_es_is_at_least_var(pnl: np.ndarray, confidence: float) -> None:
    assert expected_shortfall(pnl, confidence) >= value_at_risk(pnl, confidence) - 1e-9


@given(PNL, PNL, CONFIDENCES)
def test_es_of_two_portfolios_together_is_at_most_the_sum(
    one: np.ndarray, other: np.ndarray, confidence: float
) -> None:
    apart = expected_shortfall(one, confidence) + expected_shortfall(other, confidence)
    assert expected_shortfall(one + other, confidence) <= apart + 1e-6


@given(PNL, CONFIDENCES, st.floats(0.0, 1e3))
def test_var_and_es_grow_with_the_size_of_the_portfolio(pnl: np.ndarray, confidence: float, size: float) -> None:
    for measured in (value_at_risk, expected_shortfall):
        assert measured(size * pnl, confidence) == pytest.approx(size * measured(pnl, confidence), rel=1e-9, abs=1e-6)


def test_a_tail_of_one_scenario_is_enough_and_of_less_is_not() -> None:
    pnl = -np.arange(1.0, 101.0)
    assert value_at_risk(pnl, 0.99) == 99.0
    with pytest.raises(RiskError) as refused:
        value_at_risk(pnl[:99], 0.99)
    assert str(refused.value) == (
        "VaR at 99.00%: 99 scenarios hold none beyond it; load at least 100 sessions or lower the confidence"
    )
    with pytest.raises(RiskError, match=r"VaR at 99\.90%: 100 scenarios .* at least 1000 sessions"):
        scenario_contributions(pnl[:, None], np.ones(1), 0.999, 1.0, 1.0)


def two_positions() -> tuple[np.ndarray, np.ndarray]:
    """25 scenarios whose order by portfolio loss is that of the rows, worst first, then shuffled."""
    first = np.array([-0.30, -0.10, -0.16, -0.04, -0.09, *np.linspace(0.0, 0.4, 20)])
    second = np.array([-0.05, -0.15, -0.02, -0.10, -0.02, *np.linspace(0.0, 0.2, 20)])
    shuffled = np.random.default_rng(3).permutation(25)
    return np.column_stack([first, second])[shuffled], np.array([100.0, 200.0])


def test_the_parts_are_mean_losses_in_the_tail_and_around_var() -> None:
    returns, values = two_positions()
    pnl = returns @ values  # losses of the worst five: 40, 40, 20, 24, 13 in the rows' order
    assert sorted(-pnl)[::-1][:5] == pytest.approx([40.0, 40.0, 24.0, 20.0, 13.0])
    var, es = value_at_risk(pnl, 0.9), expected_shortfall(pnl, 0.9)
    assert var == pytest.approx(24.0)
    assert es == pytest.approx((40.0 + 40.0 + 0.5 * 24.0) / 2.5)
    parts = scenario_contributions(returns, values, 0.9, var, es)
    tail = np.array([0.30 + 0.10 + 0.5 * 0.04, 0.05 + 0.15 + 0.5 * 0.10]) / 2.5
    np.testing.assert_allclose(parts.marginal_es, tail, rtol=1e-12)
    np.testing.assert_allclose(parts.component_es, tail * values, rtol=1e-12)


def test_var_is_split_by_as_many_scenarios_on_each_side_as_half_of_those_beyond() -> None:
    first = np.array([-0.34, -0.32, -0.30, -0.10, -0.16, -0.04, -0.09, *np.linspace(0.0, 0.4, 33)])
    second = np.array([-0.05, -0.05, -0.05, -0.14, -0.02, -0.07, -0.02, *np.linspace(0.0, 0.2, 33)])
    returns = np.column_stack([first, second])
    values = np.array([100.0, 200.0])
    pnl = returns @ values  # losses 44, 42, 40, 38, 20, 18, 13: at 90 % four lie beyond VaR, which is 20
    var, es = value_at_risk(pnl, 0.9), expected_shortfall(pnl, 0.9)
    assert (var, es) == (pytest.approx(20.0), pytest.approx(41.0))
    parts = scenario_contributions(returns[::-1], values, 0.9, var, es)
    around = -returns[2:7].mean(axis=0)  # two on each side of the fifth
    tail = -returns[:4].mean(axis=0)
    rest = var - around @ values
    np.testing.assert_allclose(parts.marginal_var, around + rest * tail / 41.0, rtol=1e-9)
    np.testing.assert_allclose(parts.component_var, values * (around + rest * tail / 41.0), rtol=1e-9)
    assert parts.component_var.sum() == pytest.approx(20.0)


def test_parts_of_a_models_var_and_es_keep_the_scenarios_proportions() -> None:
    returns, values = two_positions()
    plain = scenario_contributions(returns, values, 0.9, 24.0, 36.8)
    model = scenario_contributions(returns, values, 0.9, 30.0, 73.6)
    np.testing.assert_allclose(model.component_es, 2.0 * plain.component_es, rtol=1e-12)
    np.testing.assert_allclose(model.component_var - plain.component_var, 6.0 * plain.component_es / 36.8, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, 20, elements=st.floats(1.0, 1e4)), CONFIDENCES)
def test_parts_sum_to_the_whole(values: np.ndarray, confidence: float) -> None:
    returns = stock_returns()[-300:]
    pnl = returns @ values
    var, es = value_at_risk(pnl, confidence), expected_shortfall(pnl, confidence)
    parts = scenario_contributions(returns, values, confidence, var, es)
    assert parts.component_var.sum() == pytest.approx(var)
    assert parts.component_es.sum() == pytest.approx(es)
    np.testing.assert_allclose(parts.marginal_es * values, parts.component_es)
    np.testing.assert_allclose(parts.marginal_var * values, parts.component_var)


def test_the_marginal_es_is_the_derivative_of_es() -> None:
    returns = stock_returns()[-300:]
    values = np.linspace(100.0, 1000.0, 20)
    es = expected_shortfall(returns @ values, 0.95)
    parts = scenario_contributions(returns, values, 0.95, value_at_risk(returns @ values, 0.95), es)
    for j in (0, 7, 19):
        more = values.copy()
        more[j] += 1e-4
        derivative = (expected_shortfall(returns @ more, 0.95) - es) / 1e-4
        assert derivative == pytest.approx(parts.marginal_es[j], rel=1e-4)


def test_the_smallest_positions_are_split_as_the_largest() -> None:
    returns, values = two_positions()
    parts = scenario_contributions(returns, 1e-6 * values, 0.9, 24e-6, 36.8e-6)
    expected = scenario_contributions(returns, values, 0.9, 24.0, 36.8)
    np.testing.assert_allclose(parts.marginal_es, expected.marginal_es, rtol=1e-9)


def test_of_scenarios_that_lose_the_same_the_older_counts_first() -> None:
    returns = np.zeros((20, 2))
    returns[[3, 11], 0] = -0.1  # two scenarios tie for the one place in the tail
    returns[[7, 15], 1] = -0.1
    parts = scenario_contributions(returns, np.array([1.0, 1.0]), 0.95, 0.1, 0.1)
    np.testing.assert_allclose(parts.component_es, [0.1, 0.0], atol=1e-12)


def test_a_hedge_has_a_negative_part() -> None:
    returns = stock_returns()[-300:, :2]
    values = np.array([1000.0, -200.0])
    pnl = returns @ values
    parts = scenario_contributions(returns, values, 0.95, value_at_risk(pnl, 0.95), expected_shortfall(pnl, 0.95))
    assert parts.component_es[1] < 0.0 < parts.component_es[0]


def test_a_tail_that_makes_money_cannot_be_split() -> None:
    with pytest.raises(RiskError) as refused:
        scenario_contributions(np.full((40, 1), 0.01), np.ones(1), 0.9, -0.01, -0.01)
    assert str(refused.value) == (
        "risk contributions: the portfolio makes money in its worst 10.00% of 40 scenarios; check the positions and "
        "the history"
    )
    with pytest.raises(RiskError):
        scenario_contributions(np.zeros((40, 1)), np.ones(1), 0.9, 0.0, 0.0)

"""The cost model: what is known is found again, few orders leave the settings in force, nothing is negative."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.execution.costs import commission
from quant_dagster.execution.quality.impact_model import (
    PRIOR_ORDERS,
    CostFacts,
    estimate,
    fit,
    non_negative,
    observations,
)
from quant_dagster.settings import ExecutionSettings

COSTS = ExecutionSettings()
PRIOR = COSTS.impact_bps


def simulated(count: int, *, spread: float = 0.8, impact: float = 0.6, noise: float = 5.0, seed: int = 7) -> list[Any]:
    """Rows of orders that cost what the model says, and noise."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        half_spread, volatility = random.uniform(0.5, 8.0), random.uniform(0.008, 0.04)
        share = random.uniform(1e-4, 0.1)
        cost = spread * half_spread + impact * volatility * 1e4 * share**0.5 + random.normal(0.0, noise)
        side = (Side.BUY, Side.SELL)[number % 2]
        rows.append(row(side, cost, share, volatility, half_spread))
    return rows


def row(side: Side, cost: float, share: float, volatility: float | None, half_spread: float = 2.0) -> dict[str, Any]:
    return {
        "side": side.value,
        "filled": Decimal(repr(share * 1e6)),
        "arrival_price": Decimal(100),
        "average_price": Decimal(repr(100 * (1 + side.sign * cost / 1e4))),
        "evidence": {"volatility": volatility, "average_volume": 1e6, "half_spread_bps": half_spread},
    }


def test_known_coefficients_are_found_again() -> None:
    model = fit(simulated(6000), prior_impact_bps=PRIOR)
    assert model.orders == 6000 and model.prior_weight < 0.006
    assert model.spread_error is not None and model.impact_error is not None
    assert abs(model.spread - 0.8) < 4 * model.spread_error < 0.15
    assert abs(model.impact - 0.6) < 4 * model.impact_error < 0.05
    assert model.residual_bps == pytest.approx(5.0, rel=0.05)
    assert model.r_squared is not None and model.r_squared > 0.8


def test_standard_errors_are_those_of_least_squares_where_the_prior_counts_for_nothing() -> None:
    """Against statsmodels' ordinary least squares without a constant."""
    import statsmodels.api as sm

    rows = simulated(200)
    model = fit(rows, prior_impact_bps=PRIOR, prior_orders=0)
    design, costs = observations(rows)
    known = sm.OLS(costs, design[:, :2]).fit()
    np.testing.assert_allclose([model.spread, model.impact], known.params, rtol=1e-9)
    np.testing.assert_allclose([model.spread_error, model.impact_error], known.bse, rtol=1e-9)


def test_the_errors_cover_the_truth_as_often_as_they_should() -> None:
    covered = 0
    for seed in range(200):
        model = fit(simulated(150, seed=seed), prior_impact_bps=PRIOR, prior_orders=0)
        assert model.impact_error is not None
        covered += abs(model.impact - 0.6) < 1.96 * model.impact_error
    assert 180 <= covered <= 199  # 95 % of 200, give or take three standard deviations of a binomial


@given(st.lists(st.tuples(*[st.integers(-50, 50)] * 3), min_size=3, max_size=12))
def test_least_squares_without_negative_coefficients_are_those_of_scipy(rows: list[tuple[int, int, int]]) -> None:
    from scipy.optimize import nnls

    table = np.array(rows, dtype=float)
    design, target = table[:, :2], table[:, 2]
    found = non_negative(design.T @ design, design.T @ target)
    known, residual = nnls(design, target)
    assert (found >= 0).all()
    assert np.linalg.norm(design @ found - target) == pytest.approx(residual, rel=1e-6, abs=1e-5)
    if np.linalg.cond(design) < 1e3:
        np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-5)


def test_the_prior_is_least_squares_with_imagined_orders() -> None:
    """The same as scipy's nnls on the orders and two rows that stand for the prior's."""
    from scipy.optimize import nnls

    rows = simulated(12, noise=20.0)
    design, costs = observations(rows)
    x, median = design[:, :2], float(np.median(design[:, 2]))
    prior = np.array([1.0, PRIOR / median])
    weights = np.sqrt(PRIOR_ORDERS * np.mean(x**2, axis=0))
    known, _ = nnls(np.vstack([x, np.diag(weights)]), np.concatenate([costs, weights * prior]))
    model = fit(rows, prior_impact_bps=PRIOR)
    np.testing.assert_allclose([model.spread, model.impact], known, rtol=1e-9)


def test_without_orders_the_settings_are_the_model() -> None:
    model = fit([], prior_impact_bps=PRIOR)
    assert (model.orders, model.prior_weight, model.spread, model.impact) == (0, 1.0, 1.0, None)
    done = estimate(model, "IBM", Side.BUY, Decimal(40_000), CostFacts(200.0, None, 4e6), COSTS)
    assert done.spread_bps == COSTS.slippage_bps
    assert done.impact_bps == pytest.approx(COSTS.impact_bps * 0.01**0.5)
    assert done.fees_bps == pytest.approx(float(commission(Decimal(40_000), Decimal(200), COSTS)) / 8e6 * 1e4)
    assert done.total_bps == pytest.approx(done.spread_bps + done.impact_bps + done.fees_bps)
    assert done.from_fills == 0


def test_a_few_orders_move_the_model_a_little_and_many_move_it_all_the_way() -> None:
    dear = [fit(simulated(count, impact=3.0, noise=0.0), prior_impact_bps=PRIOR) for count in (1, 5, 30, 3000)]
    impacts = [model.impact for model in dear]
    assert impacts == sorted(impacts)
    assert dear[0].prior_weight > 0.9 and dear[2].prior_weight == 0.5
    assert impacts[0] < 0.5 and impacts[3] == pytest.approx(3.0, rel=0.03)
    assert dear[0].impact_error is None and dear[0].r_squared is None


def test_orders_that_cost_less_than_nothing_make_no_negative_model() -> None:
    model = fit(simulated(500, spread=-2.0, impact=-1.0), prior_impact_bps=PRIOR)
    assert (model.spread, model.impact) == (0.0, 0.0)
    assert (model.spread_error, model.impact_error) == (None, None)


def test_what_lacks_a_volume_or_a_volatility_teaches_nothing() -> None:
    lacking = [row(Side.BUY, 500.0, 0.01, None), row(Side.BUY, 500.0, 0.01, 0.02)]
    lacking[1]["evidence"]["average_volume"] = None
    whole = simulated(50)
    assert fit(whole + lacking, prior_impact_bps=PRIOR) == fit(whole, prior_impact_bps=PRIOR)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_a_larger_order_never_costs_less_to_trade(one: int, other: int) -> None:
    model = fit(simulated(100), prior_impact_bps=PRIOR)
    facts = CostFacts(50.0, 0.02, 5e6)
    small, large = sorted((one, other))
    costs = [estimate(model, "X", Side.SELL, Decimal(quantity), facts, COSTS) for quantity in (small, large)]
    assert costs[0].impact_bps is not None and costs[1].impact_bps is not None
    assert costs[0].impact_bps <= costs[1].impact_bps
    assert costs[0].spread_bps == costs[1].spread_bps


def test_without_a_volume_the_impact_is_not_known() -> None:
    done = estimate(fit([], prior_impact_bps=PRIOR), "X", Side.BUY, Decimal(10), CostFacts(50.0, 0.02, None), COSTS)
    assert done.impact_bps is done.total_bps is None
    learned = fit(simulated(10), prior_impact_bps=PRIOR)
    assert estimate(learned, "X", Side.BUY, Decimal(10), CostFacts(50.0, None, 1e6), COSTS).impact_bps is None


def test_a_quoted_spread_is_used_in_place_of_the_settings() -> None:
    model = fit(simulated(10), prior_impact_bps=PRIOR)
    done = estimate(model, "X", Side.BUY, Decimal(10), CostFacts(50.0, 0.02, 1e6, half_spread_bps=7.0), COSTS)
    assert done.spread_bps == pytest.approx(7.0 * model.spread)

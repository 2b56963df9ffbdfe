"""Closed forms against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.parametric import (
    deviation,
    normal_multipliers,
    scaled_contributions,
    student_freedom,
    student_multipliers,
)
from tests.unit.forecasting.real_returns import index_returns, stock_returns


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99, 0.999])
def test_normal_var_is_z_and_es_is_the_density_over_the_tail(confidence: float) -> None:
    var, es = normal_multipliers(confidence)
    assert var == pytest.approx(stats.norm.ppf(confidence), rel=1e-12)
    assert es == pytest.approx(stats.norm.pdf(var) / (1.0 - confidence), rel=1e-12)


def test_normal_multipliers_are_the_textbooks() -> None:
    assert normal_multipliers(0.99) == (pytest.approx(2.326, abs=5e-4), pytest.approx(2.665, abs=5e-4))
    assert normal_multipliers(0.975) == (pytest.approx(1.960, abs=5e-4), pytest.approx(2.338, abs=5e-4))


@pytest.mark.parametrize("freedom", [2.5, 4.0, 10.0])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_student_multipliers_are_of_a_loss_with_standard_deviation_one(confidence: float, freedom: float) -> None:
    loss = stats.t(freedom, scale=1.0 / stats.t.std(freedom))
    var, es = student_multipliers(confidence, freedom)
    assert var == pytest.approx(loss.ppf(confidence), rel=1e-9)
    tail, _ = integrate.quad(loss.ppf, confidence, 1.0, limit=400)
    assert es == pytest.approx(tail / (1.0 - confidence), rel=1e-4)


def test_a_student_with_much_freedom_is_normal() -> None:
    assert student_multipliers(0.99, 1e6) == pytest.approx(normal_multipliers(0.99), rel=1e-4)


def test_the_degrees_of_freedom_are_those_of_largest_likelihood() -> None:
    pnl = 250.0 * index_returns("sp500")
    spread = np.sqrt(np.mean(pnl**2))
    candidates = np.linspace(2.2, 8.0, 581)
    heights = [stats.t.logpdf(pnl, nu, scale=spread * np.sqrt((nu - 2.0) / nu)).sum() for nu in candidates]
    assert student_freedom(pnl) == pytest.approx(candidates[int(np.argmax(heights))], abs=0.011)


def test_thin_and_very_fat_tails_end_at_the_bounds() -> None:
    assert student_freedom(np.linspace(-1.0, 1.0, 500)) == pytest.approx(100.0, rel=0.01)
    fat = np.full(500, 1e-3)
    fat[:2] = 1.0
    assert student_freedom(fat) == pytest.approx(2.1, rel=0.01)


def test_the_deviation_is_that_of_the_portfolio_and_its_gradient_the_derivative() -> None:
    returns = stock_returns()[-300:]
    covariance = np.cov(returns.T, bias=True)
    values = np.linspace(-500.0, 1000.0, 20)
    std, gradient = deviation(covariance, values, 1)
    assert std == pytest.approx((returns @ values).std(), rel=1e-9)
    assert gradient @ values == pytest.approx(std, rel=1e-12)
    for j in (0, 9, 19):
        step = np.zeros(20)
        step[j] = 0.01
        numeric = (deviation(covariance, values + step, 1)[0] - deviation(covariance, values - step, 1)[0]) / 0.02
        assert gradient[j] == pytest.approx(numeric, rel=1e-5)


def test_the_deviation_grows_with_the_square_root_of_time() -> None:
    covariance, values = np.array([[4e-4, 1e-4], [1e-4, 1e-4]]), np.array([300.0, -100.0])
    one, gradient = deviation(covariance, values, 1)
    assert one == pytest.approx(np.sqrt(36.0 - 6.0 + 1.0))
    nine, gradient_of_nine = deviation(covariance, values, 9)
    assert nine == pytest.approx(3.0 * one)
    np.testing.assert_allclose(gradient_of_nine, 3.0 * gradient)


def test_a_portfolio_that_does_not_vary_is_refused() -> None:
    with pytest.raises(RiskError) as refused:
        deviation(np.zeros((2, 2)), np.ones(2), 1)
    assert str(refused.value) == (
        "parametric VaR: the portfolio's P&L does not vary; check the positions and the history"
    )


def test_parts_are_the_gradient_times_the_multipliers() -> None:
    parts = scaled_contributions(np.array([0.1, -0.2]), np.array([10.0, 20.0]), 2.0, 3.0)
    np.testing.assert_allclose(parts.marginal_var, [0.2, -0.4])
    np.testing.assert_allclose(parts.marginal_es, [0.3, -0.6])
    np.testing.assert_allclose(parts.component_var, [2.0, -8.0])
    np.testing.assert_allclose(parts.component_es, [3.0, -12.0])

"""Shrinkage against the paper's sums written out, DCC against the panel's, concentration by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.correlations import Correlations, dynamic_correlation, shrunk_correlation
from quant_dagster.risk.measures.heat import heat
from tests.unit.forecasting.real_returns import stock_returns

NAMES = tuple(f"S{j}" for j in range(20))


def ledoit_wolf_in_loops(returns: np.ndarray) -> tuple[np.ndarray, float]:
    """Appendix of "Honey, I shrunk the sample covariance matrix", sum by sum."""
    n, count = returns.shape
    x = returns - returns.mean(axis=0)
    s = np.array([[np.sum(x[:, i] * x[:, j]) / n for j in range(count)] for i in range(count)])
    correlations = [s[i, j] / np.sqrt(s[i, i] * s[j, j]) for i in range(count) for j in range(i + 1, count)]
    mean = sum(correlations) / len(correlations)
    f = np.array(
        [[s[i, i] if i == j else mean * np.sqrt(s[i, i] * s[j, j]) for j in range(count)] for i in range(count)]
    )
    pi = rho = gamma = 0.0
    for i in range(count):
        for j in range(count):
            pi_ij = np.sum((x[:, i] * x[:, j] - s[i, j]) ** 2) / n
            pi += pi_ij
            gamma += (f[i, j] - s[i, j]) ** 2
            if i == j:
                rho += pi_ij
            else:
                theta_i = np.sum((x[:, i] ** 2 - s[i, i]) * (x[:, i] * x[:, j] - s[i, j])) / n
                theta_j = np.sum((x[:, j] ** 2 - s[j, j]) * (x[:, i] * x[:, j] - s[i, j])) / n
                rho += 0.5 * mean * (np.sqrt(s[j, j] / s[i, i]) * theta_i + np.sqrt(s[i, i] / s[j, j]) * theta_j)
    weight = max(0.0, min(1.0, (pi - rho) / gamma / n))
    return weight * f + (1.0 - weight) * s, weight


@pytest.mark.parametrize(("sessions", "count"), [(250, 12), (60, 7), (40, 9)])
def test_the_shrinkage_is_the_papers(sessions: int, count: int) -> None:
    returns = stock_returns()[-sessions:, :count]
    covariance, weight = ledoit_wolf_in_loops(returns)
    found = shrunk_correlation(returns, NAMES[:count])
    assert 0.0 < weight < 1.0
    assert found.shrinkage == pytest.approx(weight, rel=1e-9)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)


def test_the_weight_stays_between_nothing_and_all() -> None:
    unrelated = np.random.default_rng(1).normal(size=(30, 6))
    assert shrunk_correlation(unrelated, NAMES[:6]).shrinkage == ledoit_wolf_in_loops(unrelated)[1] == 1.0
    groups = np.repeat(np.sign(np.random.default_rng(2).normal(size=(400, 2))), 3, axis=1)
    assert shrunk_correlation(groups, NAMES[:6]).shrinkage == pytest.approx(ledoit_wolf_in_loops(groups)[1], rel=1e-9)
    assert 0.0 < shrunk_correlation(groups, NAMES[:6]).shrinkage < 0.01


def test_with_more_symbols_than_sessions_every_portfolio_still_varies() -> None:
    returns = stock_returns()[-15:]
    found = shrunk_correlation(returns, NAMES)
    assert np.linalg.eigvalsh(np.corrcoef(returns.T))[0] < 1e-12
    assert np.linalg.eigvalsh(found.matrix)[0] > 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(5, 200))
def test_the_matrix_is_a_correlation_matrix(count: int, sessions: int) -> None:
    found = shrunk_correlation(stock_returns()[-sessions:, :count], NAMES[:count])
    np.testing.assert_array_equal(np.diag(found.matrix), 1.0)
    np.testing.assert_allclose(found.matrix, found.matrix.T, atol=1e-15)
    assert np.linalg.eigvalsh(found.matrix)[0] > -1e-12
    np.testing.assert_allclose(found.std, stock_returns()[-sessions:, :count].std(axis=0), rtol=1e-12)


def test_one_symbol_and_two_are_their_sample() -> None:
    returns = stock_returns()[-100:]
    one = shrunk_correlation(returns[:, :1], NAMES[:1])
    assert one.matrix.tolist() == [[1.0]]
    two = shrunk_correlation(returns[:, :2], NAMES[:2])
    assert one.shrinkage == two.shrinkage == 0.0
    np.testing.assert_allclose(two.covariance, np.cov(returns[:, :2].T, bias=True), rtol=1e-12)


def test_a_price_that_does_not_move_is_named() -> None:
    returns = np.array(stock_returns()[-100:, :4])
    returns[:, 2] = 0.0
    with pytest.raises(RiskError) as refused:
        shrunk_correlation(returns, NAMES[:4])
    assert str(refused.value) == "correlations: the price of S2 does not move; correct it or leave the symbol out"


def test_dynamic_correlations_are_those_of_the_fitted_residuals() -> None:
    from quant_dagster.forecasting.variance.correlations import fit_dcc
    from quant_dagster.forecasting.variance.garch import fit_garch

    returns = stock_returns()[-150:, :2]
    fits = fit_garch(returns, np.array([150, 150]), steps=1)
    expected = fit_dcc(fits.residuals)
    found = dynamic_correlation(returns, NAMES[:2], 1)
    np.testing.assert_array_equal(found.matrix, expected.correlation)
    np.testing.assert_array_equal(found.std, np.sqrt(fits.step_variance[:, 0]))
    assert found.shrinkage == expected.shrinkage


def test_dynamic_correlations_that_cannot_be_had_are_refused() -> None:
    returns = np.array(stock_returns()[-100:, :2])
    returns[:, 1] = 0.01
    with pytest.raises(RiskError) as refused:
        dynamic_correlation(returns, NAMES[:2], 1)
    assert str(refused.value) == (
        "dynamic correlations of 2 symbols: two are needed, and GARCH could not be fitted to 1 (S1); set "
        "risk.measures.correlation to 'shrinkage'"
    )
    with pytest.raises(RiskError, match=r"of 1 symbols: two are needed, and GARCH could not be fitted to 0 \(\)"):
        dynamic_correlation(returns[:, :1], NAMES[:1], 1)


def test_equal_uncorrelated_positions_are_as_many_bets_as_names() -> None:
    found = heat(Correlations(np.full(4, 0.02), np.eye(4), 0.0), np.full(4, 500.0), 4000.0)
    assert found.herfindahl == pytest.approx(4 * 0.125**2)
    assert found.effective_names == pytest.approx(4.0)
    assert found.average_correlation == found.weighted_correlation == 0.0
    assert found.diversification_ratio == pytest.approx(2.0)
    assert found.effective_bets == pytest.approx(4.0)
    assert found.largest_component == pytest.approx(0.25)
    assert found.volatility == pytest.approx(20.0 / 4000.0)


def test_concentration_by_hand() -> None:
    matrix = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    found = heat(Correlations(np.array([0.01, 0.02, 0.03]), matrix, 0.0), np.array([300.0, 200.0, -100.0]), 1000.0)
    risks = (3.0, 4.0, -3.0)
    variance = 9 + 16 + 9 + 2 * (0.5 * 12 - 0.2 * 9 - 0.1 * 12)
    assert sum(risks) == 4.0
    assert found.herfindahl == pytest.approx(0.09 + 0.04 + 0.01)
    assert found.effective_names == pytest.approx(600.0**2 / 140_000.0)
    assert found.average_correlation == pytest.approx(0.8 / 3)
    assert found.weighted_correlation == pytest.approx((variance - 34.0) / (100.0 - 34.0))
    assert found.diversification_ratio == pytest.approx(10.0 / np.sqrt(variance))
    assert found.effective_bets == pytest.approx(100.0 / variance)
    assert found.largest_component == pytest.approx(np.linalg.eigvalsh(matrix)[-1] / 3)
    assert found.volatility == pytest.approx(np.sqrt(variance) / 1000.0)


def test_positions_that_move_as_one_are_one_bet() -> None:
    found = heat(Correlations(np.array([0.01, 0.03]), np.ones((2, 2)), 0.0), np.array([300.0, 200.0]), 1000.0)
    assert found.weighted_correlation == pytest.approx(1.0)
    assert found.average_correlation == pytest.approx(1.0)
    assert found.effective_bets == pytest.approx(1.0)
    assert found.largest_component == pytest.approx(1.0)


def test_one_position_has_no_pairs() -> None:
    found = heat(Correlations(np.array([0.01]), np.ones((1, 1)), 0.0), np.array([-300.0]), 1000.0)
    assert found.average_correlation == found.weighted_correlation == 0.0
    assert found.effective_names == pytest.approx(1.0)
    assert found.volatility == pytest.approx(0.003)


def test_heat_does_not_depend_on_the_currency() -> None:
    matrix = np.array([[1.0, 0.5], [0.5, 1.0]])
    std, values = np.array([0.01, 0.02]), np.array([300.0, 200.0])
    found = heat(Correlations(std, matrix, 0.0), values, 1000.0)
    cents = heat(Correlations(std, matrix, 0.0), 1e-6 * values, 1e-3)
    assert cents.herfindahl == pytest.approx(found.herfindahl)
    assert cents.volatility == pytest.approx(found.volatility)


@pytest.mark.parametrize(("equity", "shown"), [(0.0, "0.00"), (-2500.0, "-2,500.00")])
def test_no_concentration_without_equity(equity: float, shown: str) -> None:
    with pytest.raises(RiskError) as refused:
        heat(Correlations(np.full(2, 0.01), np.eye(2), 0.0), np.ones(2), equity)
    assert str(refused.value) == f"portfolio heat: equity is {shown}; concentration over it is not defined"


def test_a_perfect_hedge_has_no_heat() -> None:
    with pytest.raises(RiskError) as refused:
        heat(Correlations(np.full(2, 0.01), np.ones((2, 2)), 0.0), np.array([100.0, -100.0]), 1000.0)
    assert str(refused.value) == (
        "portfolio heat: the portfolio's P&L does not vary; check the positions and the history"
    )

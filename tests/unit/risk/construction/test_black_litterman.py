"""He & Litterman's worked example, skfolio's implementation, and the limits of confidence."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.risk.construction.black_litterman import equilibrium, posterior
from tests.unit.risk.construction.portfolios import SYMBOLS, stock_returns

# He & Litterman (1999), "The intuition behind Black-Litterman model portfolios", tables 1 and 2:
# Australia, Canada, France, Germany, Japan, United Kingdom, United States.
CORRELATION = np.array(
    [
        [1.000, 0.488, 0.478, 0.515, 0.439, 0.512, 0.491],
        [0.488, 1.000, 0.664, 0.655, 0.310, 0.608, 0.779],
        [0.478, 0.664, 1.000, 0.861, 0.355, 0.783, 0.668],
        [0.515, 0.655, 0.861, 1.000, 0.354, 0.777, 0.653],
        [0.439, 0.310, 0.355, 0.354, 1.000, 0.405, 0.306],
        [0.512, 0.608, 0.783, 0.777, 0.405, 1.000, 0.652],
        [0.491, 0.779, 0.668, 0.653, 0.306, 0.652, 1.000],
    ]
)
VOLATILITY = np.array([0.160, 0.203, 0.248, 0.271, 0.210, 0.200, 0.187])
MARKET = np.array([0.016, 0.022, 0.052, 0.055, 0.116, 0.124, 0.615])
COVARIANCE = VOLATILITY[:, None] * CORRELATION * VOLATILITY
GERMANY_BEATS_EUROPE = np.array([[0.0, 0.0, -0.295, 1.0, 0.0, -0.705, 0.0]])


def test_the_equilibrium_of_seven_countries_is_the_published_one() -> None:
    prior = equilibrium(COVARIANCE, MARKET, 2.5)
    np.testing.assert_allclose(100 * prior, [3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6], atol=0.051)


def test_germany_beats_europe_by_five_percent_as_published() -> None:
    """Table 4: expected returns, and the weights of an investor without limits."""
    prior = equilibrium(COVARIANCE, MARKET, 2.5)
    mean, covariance = posterior(prior, COVARIANCE, GERMANY_BEATS_EUROPE, np.array([0.05]), np.array([0.5]))
    np.testing.assert_allclose(100 * mean, [4.3, 7.6, 9.3, 11.0, 4.5, 7.0, 8.1], atol=0.051)
    weights = np.linalg.solve(2.5 * covariance, mean)
    np.testing.assert_allclose(100 * weights, [1.5, 2.1, -4.0, 35.4, 11.0, -9.5, 58.6], atol=0.11)


def test_views_and_confidences_give_what_skfolio_gives() -> None:
    from skfolio.prior import BlackLitterman, EmpiricalPrior

    returns = stock_returns(4)
    estimated = EmpiricalPrior().fit(returns).return_distribution_
    model = BlackLitterman(
        views=["a == 0.001", "c == -0.002"],
        groups=[["a", "b", "c", "d"]],
        prior_estimator=EmpiricalPrior(),
        tau=0.05,
        view_confidences=[0.3, 0.8],
    ).fit(returns)
    mean, covariance = posterior(
        estimated.mu, estimated.covariance, np.eye(4)[[0, 2]], np.array([0.001, -0.002]), np.array([0.3, 0.8])
    )
    np.testing.assert_allclose(mean, model.return_distribution_.mu, rtol=1e-9)
    np.testing.assert_allclose(covariance, model.return_distribution_.covariance, rtol=1e-9)
    assert len(SYMBOLS) == 20


def test_a_certain_view_is_met_and_one_without_confidence_is_nothing() -> None:
    prior = equilibrium(COVARIANCE, MARKET, 2.5)
    mean, _ = posterior(prior, COVARIANCE, GERMANY_BEATS_EUROPE, np.array([0.05]), np.array([1.0]))
    assert GERMANY_BEATS_EUROPE[0] @ mean == pytest.approx(0.05)
    mean, covariance = posterior(prior, COVARIANCE, GERMANY_BEATS_EUROPE, np.array([0.05]), np.array([0.0]))
    np.testing.assert_allclose(mean, prior, rtol=1e-7)
    np.testing.assert_allclose(covariance, 1.05 * COVARIANCE, rtol=1e-7)


def test_no_views_leave_the_equilibrium() -> None:
    prior = equilibrium(COVARIANCE, MARKET, 2.5)
    mean, _ = posterior(prior, COVARIANCE, np.empty((0, 7)), np.empty(0), np.empty(0))
    np.testing.assert_array_equal(mean, prior)

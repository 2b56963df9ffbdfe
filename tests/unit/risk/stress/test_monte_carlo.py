"""Simulated returns against closed forms and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.monte_carlo import (
    TCopula,
    fit_t_copula,
    kendall_tau,
    principal_factors,
    simulate_copula,
    simulate_factors,
    simulated_risk,
)
from tests.unit.forecasting.real_returns import stock_panel

Z_99, ES_99 = 2.3263478740408408, 2.6652142203457994


def stocks(sessions: int = 500, count: int = 6) -> np.ndarray:
    closes = stock_panel().close[-sessions - 1 :, :count]
    return closes[1:] / closes[:-1] - 1.0


def correlated(rho: float) -> np.ndarray:
    return np.array([[1.0, rho], [rho, 1.0]])


def test_risk_of_simulated_paths_and_its_errors_to_the_last_digit() -> None:
    returns = -np.arange(1.0, 1001.0)[::-1, None]
    risk = simulated_risk(returns, np.array([2.0]), 0.95)
    assert (risk.var, risk.es, risk.paths) == (1900.0, 1951.0, 1000)
    # sqrt(1000 x 0.95 x 0.05) is 6.9: seven order statistics to each side
    assert risk.var_error == 14.0
    assert risk.es_error == pytest.approx(2 * np.sqrt(((50**2 - 1) / 12 + 0.95 * 25.5**2) / 50))


def test_the_stated_errors_of_normal_paths_are_the_asymptotic_ones() -> None:
    generator = np.random.default_rng(7)
    risks = [simulated_risk(generator.standard_normal((4000, 1)), np.ones(1), 0.95) for _ in range(150)]
    z = 1.6448536269514722
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    es = density / 0.05
    variance_beyond = 1 + z * es - es * es
    assert np.mean([r.var_error for r in risks]) == pytest.approx(np.sqrt(0.05 * 0.95 / 4000) / density, rel=0.03)
    asymptotic = np.sqrt((variance_beyond + 0.95 * (es - z) ** 2) / 200)
    assert np.mean([r.es_error for r in risks]) == pytest.approx(asymptotic, rel=0.03)
    assert np.mean([r.es for r in risks]) == pytest.approx(es, abs=4 * asymptotic / np.sqrt(150))


def test_ten_paths_beyond_var_are_the_fewest() -> None:
    returns = -np.arange(1.0, 201.0)[:, None]
    assert simulated_risk(returns, np.ones(1), 0.95).var == 190.0
    with pytest.raises(
        RiskError, match=r"^simulation: 199 paths leave 9 beyond VaR at 95.00%; raise risk.measures.paths"
    ):
        simulated_risk(returns[:199], np.ones(1), 0.95)


def test_factor_paths_have_the_models_covariance() -> None:
    exposures, covariance, specific = principal_factors(stocks(), 2)
    simulated = simulate_factors(exposures, covariance, specific, 40_000, 11)
    model = exposures @ covariance @ exposures.T + np.diag(specific**2)
    assert simulated.shape == (40_000, 6)
    np.testing.assert_allclose(np.cov(simulated, rowvar=False), model, rtol=0.06)
    values = np.array([100.0, -50.0, 70.0, 20.0, 0.0, 10.0])
    volatility = np.sqrt(values @ model @ values)
    risk = simulated_risk(simulated, values, 0.99)
    assert abs(risk.var - Z_99 * volatility) < 4 * risk.var_error
    assert abs(risk.es - ES_99 * volatility) < 4 * risk.es_error


def test_factors_that_do_not_vary_add_nothing() -> None:
    rounding = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-12]])
    simulated = simulate_factors(np.array([[1.0, -1.0]]), rounding, np.zeros(1), 1000, 3)
    assert np.abs(simulated).max() < 1e-5


def test_a_seed_gives_the_same_paths_to_the_bit() -> None:
    model = (np.ones((2, 1)), np.eye(1), np.ones(2))
    assert (simulate_factors(*model, 50, 3) == simulate_factors(*model, 50, 3)).all()
    assert (simulate_factors(*model, 50, 3) != simulate_factors(*model, 50, 4)).all()
    copula, past = TCopula(correlated(0.5), 4.0, True), stocks(count=2)
    assert (simulate_copula(copula, past, 50, 3) == simulate_copula(copula, past, 50, 3)).all()
    assert (simulate_copula(copula, past, 50, 3) != simulate_copula(copula, past, 50, 4)).any()


def test_all_principal_factors_are_the_covariance_and_fewer_keep_the_variances() -> None:
    returns = stocks()
    sample = np.cov(returns, rowvar=False, bias=True)
    exposures, covariance, specific = principal_factors(returns, 6)
    np.testing.assert_allclose(exposures @ covariance @ exposures.T, sample, atol=1e-12)
    np.testing.assert_allclose(specific, 0.0, atol=1e-8)
    exposures, covariance, specific = principal_factors(returns, 1)
    assert exposures.shape == (6, 1) and covariance[0, 0] == pytest.approx(np.linalg.eigvalsh(sample)[-1])
    np.testing.assert_allclose((exposures**2)[:, 0] * covariance[0, 0] + specific**2, np.diag(sample))


@pytest.mark.parametrize(("exposure", "specific"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0)])
def test_an_unknown_exposure_is_not_riskless(exposure: float, specific: float) -> None:
    with pytest.raises(RiskError, match=r"^simulation: a symbol has no exposures or no specific volatility"):
        simulate_factors(np.array([[exposure]]), np.eye(1), np.array([specific]), 10, 1)


def test_kendalls_tau_is_scipys() -> None:
    from scipy.stats import kendalltau

    returns = stocks(120, 3)
    tau = kendall_tau(returns)
    for i in range(3):
        assert tau[i, i] == 1.0
        for j in range(i):
            expected = kendalltau(returns[:, i], returns[:, j]).statistic
            assert tau[i, j] == tau[j, i] == pytest.approx(expected, abs=2e-4)  # scipy's tau-b corrects for ties


@pytest.mark.parametrize(
    ("freedom", "rho", "published"),
    [(2, -0.5, 0.06), (2, 0.0, 0.18), (2, 0.5, 0.39), (2, 0.9, 0.72), (4, 0.0, 0.08), (4, 0.5, 0.25), (4, 0.9, 0.63),
     (10, 0.5, 0.08), (10, 0.9, 0.46)],
)  # fmt: skip
def test_tail_dependence_is_the_published_table(freedom: float, rho: float, published: float) -> None:
    """McNeil, Frey & Embrechts, "Quantitative Risk Management", the table of coefficients of the t copula."""
    copula = TCopula(correlated(rho), float(freedom), True)
    assert copula.tail_dependence(0, 1) == pytest.approx(published, abs=0.0051)
    assert copula.tail_dependence(0, 0) == 1.0


def test_extremes_of_simulated_pairs_come_together_as_often_as_the_copula_says() -> None:
    from scipy.special import stdtrit
    from scipy.stats import multivariate_t

    nu, rho, paths = 4.0, 0.5, 200_000
    ranks = np.arange(1.0, 10_000.0)[:, None] / 10_000.0 * np.ones(2)  # a past whose quantiles are the probabilities
    copula = TCopula(correlated(rho), nu, True)
    uniform = simulate_copula(copula, ranks, paths, 5)
    for level in (0.01, 0.05):
        quantile = stdtrit(nu, level)
        exact = multivariate_t(shape=correlated(rho), df=nu, seed=1).cdf([quantile, quantile]) / level
        together = np.mean((uniform < level).all(axis=1)) / level
        assert together == pytest.approx(exact, abs=4 * np.sqrt(exact / level / paths))
    rare = np.mean((uniform < 0.002).all(axis=1)) / 0.002
    assert copula.tail_dependence(0, 1) < rare < together
    rare_gains = np.mean((uniform > 0.998).all(axis=1)) / 0.002
    assert rare_gains == pytest.approx(rare, abs=0.08)


def test_simulated_margins_are_the_past() -> None:
    from scipy.stats import ks_2samp

    past = stocks(count=2)
    simulated = simulate_copula(TCopula(correlated(0.3), 3.0, True), past, 20_000, 9)
    assert simulated.shape == (20_000, 2)
    assert (simulated.min(axis=0) == past.min(axis=0)).all() and (simulated.max(axis=0) == past.max(axis=0)).all()
    for j in range(2):
        assert ks_2samp(simulated[:, j], past[:, j]).statistic < 0.012
    from scipy.stats import kendalltau

    tau = kendalltau(simulated[:, 0], simulated[:, 1]).statistic
    assert tau == pytest.approx(2 / np.pi * np.arcsin(0.3), abs=0.02)


def test_fitted_degrees_of_freedom_maximise_another_implementations_likelihood() -> None:
    """statsmodels' StudentTCopula, at the same correlations, over the same ranks."""
    from statsmodels.distributions.copula.api import StudentTCopula

    returns = stocks(400, 2)
    copula = fit_t_copula(returns, 4.0)
    assert copula.estimated
    uniform = (np.argsort(np.argsort(returns, axis=0), axis=0) + 1) / 401

    def likelihood(freedom: float) -> float:
        return float(StudentTCopula(corr=float(copula.correlation[0, 1]), df=freedom).logpdf(uniform).sum())

    best = likelihood(copula.degrees_of_freedom)
    assert 2.0 < copula.degrees_of_freedom < 100.0
    for factor in (0.8, 0.95, 1.05, 1.25):
        assert likelihood(copula.degrees_of_freedom * factor) < best
    assert copula.correlation[0, 1] == pytest.approx(np.sin(np.pi / 2 * kendall_tau(returns)[0, 1]))


def test_the_copula_that_was_simulated_is_found_again() -> None:
    truth = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, 0.4], [0.2, 0.4, 1.0]])
    past = np.sort(np.random.default_rng(1).standard_normal((3000, 3)), axis=0)
    found = fit_t_copula(simulate_copula(TCopula(truth, 3.0, True), past, 3000, 2), 50.0)
    assert found.degrees_of_freedom == pytest.approx(3.0, rel=0.15)
    np.testing.assert_allclose(found.correlation, truth, atol=0.05)


def test_too_many_symbols_for_the_sessions_take_the_degrees_of_freedom_that_are_set() -> None:
    returns = np.random.default_rng(1).standard_normal((100, 51))
    assert fit_t_copula(returns[:, :50], 7.5).estimated
    many = fit_t_copula(returns, 7.5)
    assert not many.estimated and many.degrees_of_freedom == 7.5
    one = fit_t_copula(returns[:, :1], 7.5)
    assert not one.estimated and one.degrees_of_freedom == 7.5
    assert fit_t_copula(returns[:, :2], 7.5).estimated


def test_a_short_or_broken_past_has_no_copula() -> None:
    returns = np.random.default_rng(1).standard_normal((100, 2))
    with pytest.raises(RiskError, match=r"^t copula: 99 sessions; 100 without a missing return are needed"):
        fit_t_copula(returns[1:], 4.0)
    returns[3, 1] = np.nan
    with pytest.raises(RiskError, match=r"^t copula: 100 sessions; 100 without a missing return"):
        fit_t_copula(returns, 4.0)

import warnings

import numpy as np
import pytest
from arch import arch_model
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import jarque_bera

from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.diagnostics import half_life, residual_tests
from quant_dagster.forecasting.variance.garch import fit_garch
from quant_dagster.forecasting.variance.garch_likelihood import evaluate_garch
from quant_dagster.forecasting.variance.search import CONSTANT, FITTED, LARGEST_PERSISTENCE, NOT_TRIED
from tests.unit.forecasting.real_returns import columns, index_returns, stock_returns


def plain_garch(y, mu, omega, alpha, beta, presample):
    """Variances and log-likelihood, one observation at a time."""
    residuals = y - mu
    variances = np.empty(len(y) + 1)
    variances[0] = omega + (alpha + beta) * presample
    for t, e in enumerate(residuals):
        variances[t + 1] = omega + alpha * e**2 + beta * variances[t]
    in_sample = variances[:-1]
    return variances, -0.5 * np.sum(np.log(2 * np.pi) + np.log(in_sample) + residuals**2 / in_sample)


def real_series():
    return [index_returns("sp500"), index_returns("nasdaq"), index_returns("sp500", 500), *stock_returns().T]


def test_the_likelihood_is_at_least_that_of_arch():
    series = real_series()
    returns, counts = columns(*series)
    fits = fit_garch(returns, counts, steps=5, starts=2, backcast=Backcast.ARCH)
    assert (fits.status == FITTED).all()
    for j, y in enumerate(series):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = arch_model(100 * y, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
        theirs = reference.loglikelihood + len(y) * np.log(100)
        assert fits.log_likelihood[j] >= theirs - 1e-3


def test_an_interior_maximum_has_the_parameters_and_forecasts_of_arch():
    y = index_returns("sp500")
    fits = fit_garch(*columns(y), steps=10, backcast=Backcast.ARCH)
    assert not fits.at_bound[0]
    reference = arch_model(100 * y, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(
        disp="off", tol=1e-12, options={"maxiter": 1000}
    )
    ours = [100 * fits.mu[0], 1e4 * fits.omega[0], fits.alpha[0], fits.beta[0]]
    np.testing.assert_allclose(ours, reference.params, rtol=2e-3)
    fixed = arch_model(100 * y, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fix(ours)
    np.testing.assert_allclose(fits.log_likelihood[0], fixed.loglikelihood + len(y) * np.log(100), rtol=1e-10)
    np.testing.assert_allclose(
        1e4 * fits.step_variance[0], fixed.forecast(horizon=10).variance.to_numpy()[-1], rtol=1e-9
    )
    z = (fixed.resid / fixed.conditional_volatility)[None, :]
    np.testing.assert_allclose(fits.residuals, z, rtol=1e-9)
    tests = residual_tests(fits.residuals, np.array([len(y)]), np.array([True]))
    plain, squares = (acorr_ljungbox(values, lags=[10]).iloc[0] for values in (z[0], z[0] ** 2))
    normality = jarque_bera(z[0])
    theirs = [plain.lb_stat, plain.lb_pvalue, squares.lb_stat, squares.lb_pvalue, normality[0], normality[1]]
    np.testing.assert_allclose(list(tests.of(0).values()), theirs, rtol=1e-6)


def test_with_the_sample_variance_before_the_sample_the_plain_recursion_gives_the_same():
    y = index_returns("nasdaq")
    fits = fit_garch(*columns(y), steps=3, backcast=Backcast.SAMPLE_VARIANCE)
    mu, omega, alpha, beta = fits.mu[0], fits.omega[0], fits.alpha[0], fits.beta[0]
    variances, likelihood = plain_garch(y, mu, omega, alpha, beta, np.mean((y - mu) ** 2))
    np.testing.assert_allclose(fits.log_likelihood[0], likelihood, rtol=1e-12)
    np.testing.assert_allclose(fits.step_variance[0, 0], variances[-1], rtol=1e-10)
    np.testing.assert_allclose(fits.step_variance[0, 1], omega + (alpha + beta) * variances[-1], rtol=1e-10)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_gradient_is_that_of_the_likelihood(fixed):
    y = index_returns("sp500", 400)
    z = (y - y.mean()) / y.std()
    none, gradient, scratch = np.empty((0, 0)), np.empty(4), np.empty(4)
    point = np.array([0.1, 0.08, 0.9, 0.15])
    evaluate_garch(z, point, 1.3, fixed, gradient, none)
    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-6
        rise = evaluate_garch(z, point + step, 1.3, fixed, scratch, none) - evaluate_garch(
            z, point - step, 1.3, fixed, scratch, none
        )
        np.testing.assert_allclose(gradient[i], rise / 2e-6, rtol=1e-5)


def test_estimates_respect_the_model_s_constraints_and_no_direction_inside_them_is_better():
    returns, counts = columns(*real_series())
    fits = fit_garch(returns, counts, steps=1, starts=4)
    assert (fits.omega > 0).all()
    assert (fits.alpha >= 0).all()
    assert (fits.beta >= 0).all()
    assert (fits.alpha + fits.beta < 1).all()
    for j, count in enumerate(counts):
        y = returns[:count, j]
        here = fits.mu[j], fits.omega[j], fits.alpha[j], fits.beta[j]
        for factors in np.vstack([np.eye(4) * 1e-3, -np.eye(4) * 1e-3]):
            mu, omega, alpha, beta = np.array(here) * (1 + factors)
            if alpha + beta < LARGEST_PERSISTENCE:
                presample = np.mean((y - mu) ** 2)
                assert plain_garch(y, mu, omega, alpha, beta, presample)[1] <= fits.log_likelihood[j] + 1e-5


def test_more_starts_never_lower_the_likelihood():
    returns, counts = columns(*real_series())
    likelihoods = [fit_garch(returns, counts, steps=1, starts=starts).log_likelihood for starts in (1, 2, 3, 4)]
    assert (np.diff(likelihoods, axis=0) >= 0).all()


def test_the_estimates_follow_the_units_of_the_returns():
    y = index_returns("sp500")
    plain, percent = (fit_garch(*columns(unit * y), steps=2) for unit in (1.0, 100.0))
    np.testing.assert_allclose(percent.alpha, plain.alpha, rtol=1e-4)
    np.testing.assert_allclose(percent.step_variance, 1e4 * plain.step_variance, rtol=1e-4)


def test_the_number_of_threads_does_not_change_a_bit():
    returns, counts = columns(*real_series())
    one, three = (fit_garch(returns, counts, steps=5, workers=workers) for workers in (1, 3))
    for name in ("mu", "omega", "alpha", "beta", "log_likelihood", "step_variance", "residuals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_a_series_that_does_not_vary_is_refused_and_its_neighbour_fitted():
    returns, counts = columns(np.zeros(300), index_returns("sp500"), np.array([0.01, 0.02]))
    fits = fit_garch(returns, counts, steps=2)
    assert fits.status.tolist() == [CONSTANT, FITTED, NOT_TRIED]
    assert np.isnan(fits.step_variance[0]).all()
    assert np.isfinite(fits.step_variance[1]).all()


def test_half_of_a_shock_is_gone_after_the_half_life():
    np.testing.assert_allclose(0.97 ** half_life(0.97), 0.5, rtol=1e-12)
    assert half_life(0.0) == 0.0
    assert half_life(1.0) == np.inf

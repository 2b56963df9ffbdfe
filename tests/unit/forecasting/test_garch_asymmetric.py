import warnings

import numpy as np
import pytest
from arch import arch_model

from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.garch import fit_garch
from quant_dagster.forecasting.variance.garch_likelihood import evaluate_garch
from quant_dagster.forecasting.variance.gjr_likelihood import evaluate_gjr
from quant_dagster.forecasting.variance.search import CONSTANT, FITTED, NOT_TRIED
from tests.support.market_data import shared_data
from tests.unit.forecasting.real_returns import columns, index_returns, panel_of, stock_returns


def real_series():
    return [index_returns("sp500"), index_returns("nasdaq"), index_returns("sp500", 500), *stock_returns().T]


def gjr_of_arch(y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return arch_model(100 * y, mean="Constant", vol="GARCH", p=1, o=1, q=1, rescale=False).fit(disp="off")


def plain_gjr(y, mu, omega, alpha, gamma, beta, presample):
    """Variances and log-likelihood, one observation at a time."""
    e = y - mu
    h = np.empty(len(y) + 1)
    h[0] = omega + (alpha + 0.5 * gamma + beta) * presample
    for t in range(len(y)):
        h[t + 1] = omega + (alpha + gamma * (e[t] < 0)) * e[t] ** 2 + beta * h[t]
    return h, -0.5 * np.sum(np.log(2 * np.pi * h[:-1]) + e**2 / h[:-1])


def test_the_likelihood_is_at_least_that_of_arch():
    series = real_series()
    fits = fit_garch(*columns(*series), steps=5, asymmetric=True, starts=4, backcast=Backcast.ARCH)
    assert (fits.status == FITTED).all()
    for j, y in enumerate(series):
        assert fits.log_likelihood[j] >= gjr_of_arch(y).loglikelihood + len(y) * np.log(100) - 1e-3


@pytest.mark.slow
def test_on_498_stocks_no_fit_fails_and_the_sampled_likelihoods_are_those_of_arch():
    import polars as pl

    bars = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet"), columns=["symbol", "date", "close"])
    closes = bars.pivot(on="symbol", index="date", values="close").sort("date").drop("date").to_numpy()
    history = return_history(panel_of(closes), 2520, 5)
    fits = fit_garch(
        history.returns, history.counts, steps=1, asymmetric=True, starts=4, backcast=Backcast.ARCH, workers=2
    )
    assert (fits.status == FITTED).all()
    sampled = range(0, closes.shape[1], 25)
    gains = []
    for j in sampled:
        y = history.returns[: history.counts[j], j]
        gains.append(fits.log_likelihood[j] - gjr_of_arch(y).loglikelihood - len(y) * np.log(100))
    assert np.mean(np.array(gains) >= -1e-3) >= 0.95


def test_given_the_parameters_variances_and_forecasts_are_those_of_arch():
    y = index_returns("nasdaq")
    fits = fit_garch(*columns(y), steps=10, asymmetric=True, backcast=Backcast.ARCH)
    ours = [100 * fits.mu[0], 1e4 * fits.omega[0], fits.alpha[0], fits.gamma[0], fits.beta[0]]
    fixed = arch_model(100 * y, mean="Constant", vol="GARCH", p=1, o=1, q=1, rescale=False).fix(ours)
    np.testing.assert_allclose(fits.log_likelihood[0], fixed.loglikelihood + len(y) * np.log(100), rtol=1e-10)
    theirs = fixed.forecast(horizon=10).variance.to_numpy()[-1]
    np.testing.assert_allclose(1e4 * fits.step_variance[0], theirs, rtol=1e-8)
    np.testing.assert_allclose(fits.residuals[0], fixed.std_resid, rtol=1e-9)


def test_with_the_sample_variance_before_the_sample_the_plain_recursion_gives_the_same():
    y = index_returns("sp500")
    fits = fit_garch(*columns(y), steps=1, asymmetric=True, backcast=Backcast.SAMPLE_VARIANCE)
    mu, omega, alpha, gamma, beta = (x[0] for x in (fits.mu, fits.omega, fits.alpha, fits.gamma, fits.beta))
    variances, likelihood = plain_gjr(y, mu, omega, alpha, gamma, beta, np.mean((y - mu) ** 2))
    np.testing.assert_allclose(fits.log_likelihood[0], likelihood, rtol=1e-12)
    np.testing.assert_allclose(fits.step_variance[0, 0], variances[-1], rtol=1e-10)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_gradient_is_that_of_the_likelihood(fixed):
    y = index_returns("sp500", 400)
    z = (y - y.mean()) / y.std()
    none, gradient, scratch = np.empty((0, 0)), np.empty(5), np.empty(5)
    point = np.array([0.1, 0.08, 0.9, 0.15, 0.7])
    evaluate_gjr(z, point, 1.3, fixed, gradient, none)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        rise = evaluate_gjr(z, point + step, 1.3, fixed, scratch, none) - evaluate_gjr(
            z, point - step, 1.3, fixed, scratch, none
        )
        np.testing.assert_allclose(gradient[i], rise / 2e-6, rtol=1e-5)


def test_shocks_split_evenly_are_those_of_garch():
    y = index_returns("sp500", 400)
    z = (y - y.mean()) / y.std()
    point, none = np.array([0.1, 0.08, 0.9, 0.15, 0.5]), np.empty((0, 0))
    np.testing.assert_allclose(
        evaluate_gjr(z, point, 1.0, False, np.empty(5), none),
        evaluate_garch(z, point[:4], 1.0, False, np.empty(4), none),
        rtol=1e-12,
    )


def test_asymmetry_never_lowers_the_likelihood_and_bad_news_counts_for_more_in_the_index():
    returns, counts = columns(*real_series())
    symmetric, asymmetric = (fit_garch(returns, counts, steps=1, starts=4, asymmetric=by) for by in (False, True))
    assert (asymmetric.log_likelihood >= symmetric.log_likelihood - 1e-6).all()
    assert (asymmetric.gamma[:2] > 0.05).all()
    assert (asymmetric.alpha >= 0).all()
    assert (asymmetric.alpha + asymmetric.gamma >= 0).all()
    assert (asymmetric.beta >= 0).all()
    assert (asymmetric.persistence < 1).all()


def test_the_number_of_threads_does_not_change_a_bit():
    returns, counts = columns(*real_series())
    one, three = (fit_garch(returns, counts, steps=5, asymmetric=True, workers=workers) for workers in (1, 3))
    for name in ("mu", "omega", "alpha", "gamma", "beta", "log_likelihood", "step_variance", "residuals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_a_series_that_does_not_vary_is_refused_and_its_neighbour_fitted():
    returns, counts = columns(np.zeros(300), index_returns("sp500"), np.array([0.01, 0.02]))
    fits = fit_garch(returns, counts, steps=2, asymmetric=True)
    assert fits.status.tolist() == [CONSTANT, FITTED, NOT_TRIED]
    assert np.isnan(fits.step_variance[0]).all()
    assert np.isfinite(fits.step_variance[1]).all()

"""Known answers of published fits, then statsmodels' SARIMAX on real returns."""

import warnings

import numpy as np
import pytest
from statsmodels.tsa.statespace.sarimax import SARIMAX

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.arma.candidates import FITTED
from quant_dagster.forecasting.arma.likelihood import concentrated_likelihood
from quant_dagster.forecasting.arma.sarimax import (
    CONSTANT,
    NOT_TRIED,
    ArmaParameters,
    Criterion,
    candidate_orders,
    fit_arma,
    forecast_arma,
)
from tests.unit.forecasting.real_returns import columns, index_returns, stock_returns

# R's data sets ``lh`` (Diggle 1990, table A.1, series 3) and ``LakeHuron`` (Brockwell & Davis 1991, series A).
# fmt: off
LH = np.array([
    2.4, 2.4, 2.4, 2.2, 2.1, 1.5, 2.3, 2.3, 2.5, 2.0, 1.9, 1.7, 2.2, 1.8, 3.2, 3.2, 2.7, 2.2, 2.2, 1.9, 1.9, 1.8, 2.7,
    3.0, 2.3, 2.0, 2.0, 2.9, 2.9, 2.7, 2.7, 2.3, 2.6, 2.4, 1.8, 1.7, 1.5, 1.4, 2.1, 3.3, 3.5, 3.5, 3.1, 2.6, 2.1, 3.4,
    3.0, 2.9,
])
HURON = 570.0 + np.array([
    10.38, 11.86, 10.97, 10.80, 9.79, 10.39, 10.42, 10.82, 11.40, 11.32, 11.44, 11.68, 11.17, 10.53, 10.01, 9.91,
    9.14, 9.16, 9.55, 9.67, 8.44, 8.24, 9.10, 9.09, 9.35, 8.82, 9.32, 9.01, 9.00, 9.80, 9.83, 9.72, 9.89, 10.01, 9.37,
    8.69, 8.19, 8.67, 9.55, 8.92, 8.09, 9.37, 10.13, 10.14, 9.51, 9.24, 8.66, 8.86, 8.05, 7.79, 6.75, 6.75, 7.82,
    8.64, 10.58, 9.48, 7.38, 6.90, 6.94, 6.24, 6.84, 6.85, 6.90, 7.79, 8.18, 7.51, 7.23, 8.42, 9.61, 9.05, 9.26, 9.22,
    9.38, 9.10, 7.95, 8.12, 9.75, 10.85, 10.41, 9.96, 9.61, 8.76, 8.18, 7.21, 7.13, 9.10, 8.25, 7.91, 6.89, 5.96,
    6.80, 7.68, 8.38, 8.52, 9.74, 9.31, 9.89, 9.96,
])
# fmt: on
SEASONAL = 5


def fit_one(y, order, **options):
    return fit_arma(*columns(y), orders=[order], **options)


@pytest.mark.parametrize(
    ("order", "published"),
    [
        # R, example(arima): arima(lh, order = c(1,0,0)), arima(lh, order = c(3,0,0))
        ((1, 0, 0, 0), {"terms": [0.5739], "mean": 2.4133, "sigma2": 0.1975, "likelihood": -29.38}),
        ((3, 0, 0, 0), {"terms": [0.6448, -0.0634, -0.2198], "mean": 2.3931, "sigma2": 0.1787, "likelihood": -27.09}),
    ],
)
def test_the_hormone_series_has_the_fits_r_prints(order, published):
    fits = fit_one(LH, order)
    np.testing.assert_allclose(fits.parameters.coefficients[0], published["terms"], atol=2e-4)
    np.testing.assert_allclose(fits.parameters.beta[0], [published["mean"]], atol=2e-4)
    np.testing.assert_allclose(fits.parameters.sigma2[0], published["sigma2"], atol=5.1e-5)
    np.testing.assert_allclose(fits.log_likelihoods[0, 0], published["likelihood"], atol=5.1e-3)


def test_lake_huron_with_a_trend_has_the_fit_r_prints():
    """arima(LakeHuron, order = c(2,0,0), xreg = time(LakeHuron) - 1920), R's example."""
    trend = np.arange(1875.0, 1973.0) - 1920
    fits = fit_one(HURON, (2, 0, 0, 0), regressors=trend[None, None])
    np.testing.assert_allclose(fits.parameters.coefficients[0], [1.0048, -0.2913], atol=2e-4)
    np.testing.assert_allclose(fits.parameters.beta[0], [579.0993, -0.0216], atol=2e-4)
    np.testing.assert_allclose(fits.parameters.sigma2[0], 0.4566, atol=5.1e-5)
    np.testing.assert_allclose(fits.log_likelihoods[0, 0], -101.2, atol=5.1e-2)


@pytest.mark.parametrize(
    "order", [(0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (2, 2, 0, 0, 0), (0, 2, 0, 1, 5), (2, 1, 1, 1, 5), (1, 0, 1, 0, 5)]
)
@pytest.mark.parametrize("wildness", [0.3, 1.2, 1.5])
def test_the_likelihood_is_that_of_statsmodels_filter_also_near_unit_roots(order, wildness):
    y = index_returns("sp500", 300)
    data = np.vstack([(y - y.mean()) / y.std(), np.ones(300)])
    p, q, seasonal_p, seasonal_q, period = order
    terms, lags = sum(order[:4]), max(2, p + period * seasonal_p, q + period * seasonal_q + 1)
    point = wildness * np.where(np.arange(terms) % 2, -1.0, 1.0)
    beta, phi, theta = np.empty(2 + terms), np.empty(lags), np.empty(lags)
    value = concentrated_likelihood(
        data, np.array(order), point, phi, theta, np.empty((2, 300)), np.empty((5, lags)), np.empty((6, 2)), beta
    )
    model = SARIMAX(
        data[0] - beta[0],
        order=(p, 0, q),
        seasonal_order=(seasonal_p, 0, seasonal_q, period),
    )
    model.ssm.tolerance = 0
    expected = model.loglike(np.append(beta[2:], beta[1] / 300))
    np.testing.assert_allclose(-value - 150 * (1 + np.log(2 * np.pi)), expected, rtol=1e-6, atol=1e-6)


def reference_fit(y, order, start=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SARIMAX(100 * y, order=(order[0], 0, order[1]), seasonal_order=(order[2], 0, order[3], 5), trend="c")
        return model.fit(start_params=start, disp=False, maxiter=200)


@pytest.mark.parametrize("order", [(1, 1, 0, 0), (0, 1, 1, 0)])
def test_no_fit_of_twenty_stocks_is_less_likely_than_that_of_statsmodels(order):
    returns = np.asfortranarray(stock_returns()[-500:])
    fits = fit_arma(returns, np.full(20, 500), orders=[order], period=SEASONAL, workers=2)
    assert (fits.status == FITTED).all()
    for j in range(0, 20, 2):
        reference = reference_fit(returns[:, j], order)
        likelihood = reference.llf + 500 * np.log(100)
        assert fits.log_likelihoods[j, 0] >= likelihood - 1e-3
        if fits.log_likelihoods[j, 0] < likelihood + 1e-3:  # the same maximum
            np.testing.assert_allclose(fits.parameters.coefficients[j, :2], reference.params[1:3], atol=2e-2)


def test_a_larger_order_is_never_less_likely_than_the_best_smaller_one_it_contains():
    returns, counts = columns(index_returns("sp500", 600), index_returns("nasdaq", 600))
    orders = candidate_orders(2, seasonal=True)
    likelihoods = fit_arma(returns, counts, orders=orders, period=SEASONAL, workers=2).log_likelihoods
    for i, larger in enumerate(orders):
        for k, smaller in enumerate(orders):
            if sum(larger) == sum(smaller) + 1 and all(a >= b for a, b in zip(larger, smaller, strict=True)):
                contained = likelihoods[:, k]
                best = max(
                    (likelihoods[0, m], m)
                    for m, other in enumerate(orders)
                    if sum(other) == sum(smaller) and all(a >= b for a, b in zip(larger, other, strict=True))
                )[1]
                if k == best and np.isfinite(likelihoods[0, i]):
                    assert likelihoods[0, i] >= contained[0] - 1e-6


@pytest.mark.parametrize("criterion", list(Criterion))
def test_the_order_chosen_has_the_least_criterion_by_statsmodels_count_of_parameters(criterion):
    y = index_returns("sp500", 500)
    fits = fit_arma(*columns(y), orders=candidate_orders(1), criterion=criterion)
    references = [reference_fit(y, order) for order in candidate_orders(1)]
    shift = 2 * 500 * np.log(100)
    expected = [getattr(one, criterion.value) - shift for one in references]
    assert (fits.criteria[0] <= np.array(expected) + 2e-3).all()
    np.testing.assert_allclose(fits.criteria[0, [0, 1, 2]], np.array(expected)[[0, 1, 2]], atol=2e-3)
    assert fits.chosen[0] == np.argmin(fits.criteria[0])
    assert tuple(fits.parameters.orders[0]) == candidate_orders(1)[fits.chosen[0]]


@pytest.mark.parametrize("order", [(1, 1, 0, 0), (2, 0, 0, 1), (0, 1, 1, 0)])
def test_bringing_a_fit_forward_is_statsmodels_append_without_a_new_fit(order):
    y = index_returns("nasdaq", 540)
    before = fit_one(y[:500], order, period=SEASONAL).parameters
    ours = forecast_arma(*columns(y), before, steps=5)
    level, estimates = before.beta[0, 0], np.append(before.coefficients[0], before.sigma2[0])
    options = {"order": (order[0], 0, order[1]), "seasonal_order": (order[2], 0, order[3], SEASONAL)}
    appended = SARIMAX(y[:500] - level, **options).filter(estimates).append(y[500:] - level, refit=False)
    ahead = appended.get_forecast(5)  # its filter takes its gain for settled earlier than ours
    np.testing.assert_allclose(ours.step_mean[0] - level, ahead.predicted_mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ours.step_std[0], ahead.se_mean, rtol=1e-5)
    model = SARIMAX(y - level, **options)
    model.ssm.tolerance = 0
    later = model.filter(estimates)
    ahead = later.get_forecast(5)
    np.testing.assert_allclose(ours.step_mean[0] - level, ahead.predicted_mean, rtol=1e-6, atol=1e-11)
    np.testing.assert_allclose(ours.step_std[0], ahead.se_mean, rtol=1e-8)
    np.testing.assert_allclose(ours.log_likelihood[0], later.llf, rtol=1e-9)
    np.testing.assert_allclose(ours.innovations[0], later.standardized_forecasts_error[0], atol=1e-6)
    impulse = np.cumsum(np.asarray(later.impulse_responses(4)).ravel())
    np.testing.assert_allclose(ours.total_std[0], np.sqrt(before.sigma2[0] * np.cumsum(impulse**2)), rtol=1e-7)


def test_forecast_errors_are_exact_where_the_filter_has_not_settled():
    """A moving average with a root on the unit circle, 30 observations: the gain is still falling."""
    y = index_returns("sp500", 30)
    parameters = ArmaParameters(
        np.array([[1, 1, 0, 0]]), 0, np.array([[0.5, -1.0]]), np.array([[0.0]]), np.array([y.var()])
    )
    model = SARIMAX(y, order=(1, 0, 1), enforce_invertibility=False)
    model.ssm.tolerance = 0
    ahead = model.filter([0.5, -1.0, y.var()]).get_forecast(4)
    ours = forecast_arma(*columns(y), parameters, steps=4)
    np.testing.assert_allclose(ours.step_mean[0], ahead.predicted_mean, rtol=1e-9)
    np.testing.assert_allclose(ours.step_std[0], ahead.se_mean, rtol=1e-9)


def test_what_comes_after_does_not_change_what_was_said_before():
    y = index_returns("sp500", 600)
    parameters = fit_one(y[:500], (1, 1, 0, 0)).parameters
    whole, part = (forecast_arma(*columns(values), parameters, steps=2) for values in (y, y[:550]))
    np.testing.assert_array_equal(whole.innovations[0, :550], part.innovations[0])


def test_the_number_of_threads_does_not_change_a_bit():
    returns = np.asfortranarray(stock_returns()[-300:])
    one, three = (
        fit_arma(returns, np.full(20, 300), orders=candidate_orders(2), workers=workers) for workers in (1, 3)
    )
    np.testing.assert_array_equal(one.log_likelihoods, three.log_likelihoods)
    np.testing.assert_array_equal(one.parameters.coefficients, three.parameters.coefficients)


def test_pathological_series_are_refused_and_the_others_fitted():
    returns, counts = columns(np.zeros(300), np.array([0.01, -0.02]), index_returns("sp500", 300))
    fits = fit_arma(returns, counts, orders=candidate_orders(1))
    assert fits.status.tolist() == [CONSTANT, NOT_TRIED, FITTED]
    assert np.isnan(fits.parameters.sigma2[:2]).all()


@pytest.mark.parametrize(("orders", "period"), [([], 0), ([(1, 0, 1, 0)], 1), ([(-1, 0, 0, 0)], 0)])
def test_orders_that_are_no_model_are_refused(orders, period):
    with pytest.raises(ForecastError, match="ARMA"):
        fit_arma(*columns(index_returns("sp500", 300)), orders=orders, period=period)

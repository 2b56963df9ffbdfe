import numpy as np
import pytest
from scipy.optimize import minimize

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.sarimax import SarimaxModel, forecast_sarimax
from tests.unit.forecasting.real_returns import index_returns

AR_1 = (1, 0, 0)


def exact_ar_1_likelihood(y, mean, phi, variance):
    """Hamilton (1994), equation 5.2.9: the first value from the stationary distribution, the rest from the last."""
    deviations = y - mean
    errors = deviations[1:] - phi * deviations[:-1]
    first = variance / (1 - phi**2)
    return (
        -0.5 * len(y) * np.log(2 * np.pi)
        - 0.5 * np.log(first)
        - deviations[0] ** 2 / (2 * first)
        - 0.5 * (len(y) - 1) * np.log(variance)
        - np.sum(errors**2) / (2 * variance)
    )


def test_an_ar_1_maximises_the_exact_likelihood():
    y = index_returns("sp500", 600)
    forecast = SarimaxModel(y, order=AR_1).forecast(5)
    phi, variance = forecast.parameters["ar.L1"], forecast.parameters["sigma2"]
    mean = forecast.parameters["intercept"] / (1 - phi)
    assert forecast.converged
    np.testing.assert_allclose(forecast.log_likelihood, exact_ar_1_likelihood(y, mean, phi, variance), rtol=1e-10)
    best = minimize(
        lambda x: -exact_ar_1_likelihood(100 * y, x[0], np.tanh(x[1]), np.exp(x[2])),
        [0.0, 0.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 5000},
    )
    np.testing.assert_allclose(phi, np.tanh(best.x[1]), atol=2e-4)
    np.testing.assert_allclose(1e4 * variance, np.exp(best.x[2]), rtol=1e-3)


def test_an_ar_1_forecasts_by_the_closed_form():
    y = index_returns("sp500", 600)
    forecast = SarimaxModel(y, order=AR_1).forecast(5)
    phi, variance = forecast.parameters["ar.L1"], forecast.parameters["sigma2"]
    mean = forecast.parameters["intercept"] / (1 - phi)
    ahead = np.arange(1, 6)
    step_mean = mean + phi**ahead * (y[-1] - mean)
    np.testing.assert_allclose(forecast.step_mean, step_mean, rtol=1e-8)
    np.testing.assert_allclose(forecast.step_std**2, variance * np.cumsum(phi ** (2 * (ahead - 1))), rtol=1e-8)
    weights = np.cumsum(phi ** (ahead - 1.0))
    np.testing.assert_allclose(forecast.total_mean, np.cumsum(step_mean), rtol=1e-8)
    np.testing.assert_allclose(forecast.total_std**2, variance * np.cumsum(weights**2), rtol=1e-8)


@pytest.mark.parametrize(
    ("order", "seasonal_order"), [((1, 0, 1), (0, 0, 0, 0)), ((0, 1, 1), (0, 0, 0, 0)), ((1, 0, 0), (1, 0, 0, 5))]
)
def test_the_step_errors_follow_from_the_same_impulse_responses_as_the_total(order, seasonal_order):
    """Differenced and seasonal too: the steps' errors follow from the increments of the total's variance."""
    forecast = SarimaxModel(index_returns("nasdaq", 500), order=order, seasonal_order=seasonal_order).forecast(6)
    variance = forecast.parameters["sigma2"]
    weights = np.sqrt(np.diff(forecast.total_std**2, prepend=0.0) / variance)  # psi_0 + … + psi_k, positive here
    psi = np.diff(weights, prepend=0.0)
    np.testing.assert_allclose(forecast.step_std, np.sqrt(variance * np.cumsum(psi**2)), rtol=1e-4)


def test_bringing_a_model_forward_is_filtering_the_longer_series_with_the_old_estimates():
    y = index_returns("sp500", 520)
    model = SarimaxModel(y[:500], order=(1, 0, 1))
    estimates = model.parameters
    model.append(y[500:])
    again = SarimaxModel(y, order=(1, 0, 1), parameters=estimates)
    assert model.parameters == pytest.approx(estimates)
    ours, theirs = model.forecast(5), again.forecast(5)
    np.testing.assert_allclose(ours.step_mean, theirs.step_mean, rtol=1e-8)
    np.testing.assert_allclose(ours.step_std, theirs.step_std, rtol=1e-8)
    assert not np.allclose(ours.step_mean, SarimaxModel(y[:500], order=(1, 0, 1)).forecast(5).step_mean)


def test_warnings_of_the_fit_are_kept_with_the_forecast():
    """US consumer prices, a level that grows: statsmodels warns that its starting values are not stationary."""
    from statsmodels.datasets import macrodata

    level = macrodata.load_pandas().data["cpi"].to_numpy()[:90]
    forecast = SarimaxModel(level / 100, order=(2, 0, 0)).forecast(2)
    assert any("Non-stationary starting autoregressive parameters" in text for text in forecast.warnings)


@pytest.mark.slow
def test_the_number_of_processes_does_not_change_a_bit():
    series = [index_returns("sp500", 300), index_returns("nasdaq", 300), index_returns("sp500", 200)]
    one, two = (
        forecast_sarimax(series, order=AR_1, seasonal_order=(0, 0, 0, 0), steps=3, workers=workers)
        for workers in (1, 2)
    )
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(ours.total_mean, theirs.total_mean)
        np.testing.assert_array_equal(ours.total_std, theirs.total_std)


def test_a_series_that_cannot_be_fitted_gives_its_reason_and_the_others_their_forecasts():
    y = index_returns("sp500", 300)
    answers = forecast_sarimax([y, np.array([]), y[:200]], order=AR_1, seasonal_order=(0, 0, 0, 0), steps=2, workers=1)
    assert isinstance(answers[1], str)
    assert "could not be fitted" in answers[1]
    np.testing.assert_array_equal(answers[0].step_mean, SarimaxModel(y, order=AR_1).forecast(2).step_mean)
    np.testing.assert_array_equal(answers[2].step_mean, SarimaxModel(y[:200], order=AR_1).forecast(2).step_mean)


def test_an_impossible_order_says_what_was_being_fitted():
    with pytest.raises(ForecastError, match=r"SARIMAX\(1, 0, 0\).*on 300 returns"):
        SarimaxModel(index_returns("sp500", 300), order=AR_1, seasonal_order=(1, 0, 0, 1))

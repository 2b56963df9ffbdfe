import warnings
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from arch import arch_model

from quant_dagster.forecasting.families.conditional_variance import egarch_family
from quant_dagster.forecasting.families.protocol import Answer, EarlierFit, Request
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import Backcast, ForecastParameters
from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.variance.egarch import RAREST_SHOCK, expected_variances, fit_egarch, student_t_quantiles
from quant_dagster.forecasting.variance.egarch_likelihood import _digamma, evaluate_egarch
from quant_dagster.forecasting.variance.search import CONSTANT, FITTED, NOT_TRIED
from tests.unit.forecasting.real_returns import columns, index_returns, stock_panel, stock_returns

NAMES = ("mu", "omega", "alpha", "gamma", "beta", "nu")


def egarch_of_arch(y):
    return arch_model(100 * y, mean="Constant", vol="EGARCH", p=1, o=1, q=1, dist="t", rescale=False)


def in_percent(fits, j):
    """Our estimates of column j as arch has them, of returns in percent."""
    omega = fits.omega[j] + (1 - fits.beta[j]) * 2 * np.log(100)
    return [100 * fits.mu[j], omega, fits.alpha[j], fits.gamma[j], fits.beta[j], fits.nu[j]]


def test_the_likelihood_is_at_least_that_of_arch():
    series = [index_returns("sp500"), index_returns("nasdaq"), index_returns("sp500", 500), *stock_returns().T]
    fits = fit_egarch(*columns(*series), steps=1, starts=4, backcast=Backcast.ARCH)
    assert (fits.status == FITTED).all()
    for j, y in enumerate(series):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = egarch_of_arch(y).fit(disp="off").loglikelihood + len(y) * np.log(100)
        assert fits.log_likelihood[j] >= theirs - 1e-3


def test_given_the_parameters_likelihood_residuals_and_next_variance_are_those_of_arch():
    y = index_returns("sp500")
    fits = fit_egarch(*columns(y), steps=1, backcast=Backcast.ARCH)
    fixed = egarch_of_arch(y).fix(in_percent(fits, 0))
    np.testing.assert_allclose(fits.log_likelihood[0], fixed.loglikelihood + len(y) * np.log(100), rtol=1e-10)
    np.testing.assert_allclose(fits.residuals[0], fixed.std_resid, rtol=1e-8)
    np.testing.assert_allclose(
        1e4 * fits.step_variance[0, 0], fixed.forecast(horizon=1).variance.iloc[-1, 0], rtol=1e-8
    )


def test_further_variances_are_those_arch_simulates_within_its_error():
    # with shocks no rarer than the forecast reacts to: those of a Student-t have no expected variance to compare with
    y = index_returns("sp500")
    fits = fit_egarch(*columns(y), steps=20, backcast=Backcast.ARCH)
    widest = student_t_quantiles(np.array([1 - RAREST_SHOCK]), fits.nu)[0, 0]
    generator = np.random.default_rng(7)

    def shocks(size):
        draws = generator.standard_t(fits.nu[0], size) * np.sqrt(1 - 2 / fits.nu[0])
        return np.clip(draws, -widest, widest)

    paths = (
        egarch_of_arch(y)
        .fix(in_percent(fits, 0))
        .forecast(horizon=20, method="simulation", simulations=20_000, rng=shocks)
        .simulations.residual_variances[-1]
    )
    error = paths.std(axis=0) / np.sqrt(len(paths))
    difference = np.abs(1e4 * fits.step_variance[0] - paths.mean(axis=0))
    assert (difference <= 4 * error + 1e-9 * paths.mean(axis=0)).all()
    assert error[-1] < 0.01 * paths[:, -1].mean()  # the comparison means something


def test_forecasts_hardly_depend_on_where_shocks_count_as_too_rare(monkeypatch):
    y = index_returns("sp500")
    usual = fit_egarch(*columns(y), steps=20).step_variance[0]
    monkeypatch.setattr("quant_dagster.forecasting.variance.egarch.RAREST_SHOCK", 1e-5)
    rarer = fit_egarch(*columns(y), steps=20).step_variance[0]
    assert (rarer >= usual).all()
    np.testing.assert_allclose(rarer, usual, rtol=1e-2)


def test_without_reaction_to_size_and_news_the_variance_decays_by_the_recursion():
    zero, first = np.zeros(1), np.array([2.0])
    path = expected_variances(first, np.array([0.1]), zero, zero, np.array([0.9]), np.array([5.0]), steps=4)[0]
    logs = [np.log(2.0)]
    for _ in range(3):
        logs.append(0.1 + 0.9 * logs[-1])
    np.testing.assert_allclose(np.log(path), logs, rtol=1e-12)


def test_near_the_normal_case_the_expected_reaction_is_the_closed_form():
    # E exp(a |u| + g u) of a standard normal u is exp((g + a)^2 / 2) Phi(g + a) + exp((g - a)^2 / 2) Phi(a - g)
    from scipy.special import ndtr

    a, g, one = 0.25, -0.1, np.ones(1)
    ours = expected_variances(one, 0.0 * one, a * one, g * one, 0.5 * one, 1e7 * one, steps=2)[0, 1]
    expectation = np.exp((g + a) ** 2 / 2) * ndtr(g + a) + np.exp((g - a) ** 2 / 2) * ndtr(a - g)
    np.testing.assert_allclose(ours, np.exp(-a * np.sqrt(2 / np.pi)) * expectation, rtol=1e-4)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_gradient_is_that_of_the_likelihood(fixed):
    y = index_returns("sp500", 400)
    z = (y - y.mean()) / y.std()
    none, gradient, scratch = np.empty((0, 0)), np.empty(6), np.empty(6)
    point = np.array([0.1013, -0.02, 0.15, -0.08, 0.93, 0.15])
    evaluate_egarch(z, point, 1.3, fixed, gradient, none)
    for i in range(6):
        step = np.eye(6)[i] * 1e-6
        rise = evaluate_egarch(z, point + step, 1.3, fixed, scratch, none) - evaluate_egarch(
            z, point - step, 1.3, fixed, scratch, none
        )
        np.testing.assert_allclose(gradient[i], rise / 2e-6, rtol=1e-4)


def test_digamma_is_that_of_scipy():
    from scipy.special import digamma

    x = np.array([0.3, 1.025, 2.5, 7.9, 8.1, 250.0])
    np.testing.assert_allclose([_digamma(value) for value in x], digamma(x), rtol=1e-9)


def test_student_t_quantiles_have_unit_variance():
    from scipy.stats import t

    ours = student_t_quantiles(np.array(LEVELS), np.array([3.0, 12.0]))
    np.testing.assert_allclose(ours[0], t.ppf(LEVELS, 3, scale=np.sqrt(1 / 3)), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(ours[1], t.ppf(LEVELS, 12, scale=np.sqrt(10 / 12)), rtol=1e-10, atol=1e-15)


def test_parameters_carried_forward_give_the_likelihood_and_variances_they_were_estimated_with():
    returns, counts = columns(index_returns("sp500"), index_returns("nasdaq"))
    fitted = fit_egarch(returns, counts, steps=5)
    known = np.column_stack([getattr(fitted, name) for name in NAMES])
    known[1] = np.nan  # to be estimated
    carried = fit_egarch(returns, counts, steps=5, known=known)
    for name in (*NAMES, "log_likelihood", "step_variance"):
        np.testing.assert_allclose(getattr(carried, name), getattr(fitted, name), rtol=1e-9)
    assert carried.iterations[0] == 0
    assert carried.iterations[1] == fitted.iterations[1]


def test_the_number_of_threads_does_not_change_a_bit():
    returns, counts = columns(*stock_returns().T)
    one, three = (fit_egarch(returns, counts, steps=5, workers=workers) for workers in (1, 3))
    for name in (*NAMES, "log_likelihood", "step_variance", "residuals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_a_series_that_does_not_vary_is_refused_and_its_neighbour_fitted():
    returns, counts = columns(np.zeros(300), index_returns("sp500"), np.array([0.01, 0.02]))
    fits = fit_egarch(returns, counts, steps=2)
    assert fits.status.tolist() == [CONSTANT, FITTED, NOT_TRIED]
    assert np.isnan(fits.step_variance[0]).all()
    assert np.isfinite(fits.step_variance[1]).all()


def request(sessions=None):
    panel = stock_panel() if sessions is None else stock_panel().rows(0, sessions)
    settings = ForecastParameters()
    history = return_history(panel, settings.window, settings.longest_gap)
    return Request(history, (1, 5), settings, 2, np.ones(len(panel.symbols), np.bool_), panel)


def test_a_fit_not_due_is_filtered_with_its_earlier_parameters_and_says_since_when():
    before = egarch_family(request(1190))
    assert all(isinstance(answer, Answer) for answer in before)
    then, today = date(2020, 6, 15), request()
    earlier = {j: EarlierFit(then, 10, answer.parameters) for j, answer in enumerate(before)}
    due = np.zeros(len(before), np.bool_)
    due[0] = True
    answers = egarch_family(replace(today, earlier=earlier, refit=due))
    anew = egarch_family(today)
    assert answers[0].fitted_on is None
    assert answers[0].parameters == anew[0].parameters
    for was, now, fresh in zip(before[1:], answers[1:], anew[1:], strict=True):
        assert now.fitted_on == then
        np.testing.assert_allclose([now.parameters[name] for name in NAMES], [was.parameters[name] for name in NAMES])
        assert now.diagnostics["log_likelihood"] <= fresh.diagnostics["log_likelihood"] + 1e-6
        assert now.std[0] != was.std[0]  # filtered up to today


def test_quantiles_are_student_t_around_the_mean_and_the_diagnostics_are_complete():
    for answer in egarch_family(request()):
        assert answer.parameters["distribution"] == "student t"
        unit = student_t_quantiles(np.array(LEVELS), np.array([answer.parameters["nu"]]))[0]
        np.testing.assert_allclose(answer.quantiles, answer.mean[:, None] + answer.std[:, None] * unit)
        assert {"persistence", "half_life", "at_bound", "ljung_box_p", "ljung_box_squares_p", "jarque_bera_p"} <= set(
            answer.diagnostics
        )

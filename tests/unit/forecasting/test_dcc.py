from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.families.conditional_variance import dcc_family, garch_family
from quant_dagster.forecasting.families.protocol import Answer, Request
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.variance.correlations import (
    _pair_likelihoods,
    aligned_residuals,
    correlate,
    covered,
    fit_dcc,
    market_correlation,
    shrunk_correlation,
)
from quant_dagster.forecasting.variance.garch import fit_garch
from tests.unit.forecasting.real_returns import columns, index_returns, panel_of, stock_panel

SETTINGS = ForecastParameters()


def index_residuals():
    return fit_garch(*columns(index_returns("sp500"), index_returns("nasdaq")), steps=1).residuals


def stock_residuals():
    panel = stock_panel()
    history = return_history(panel, SETTINGS.window, SETTINGS.longest_gap)
    fits = fit_garch(history.returns, history.counts, steps=1)
    return fits.residuals


def dcc_correlation(panel, settings, workers=1):
    history = return_history(panel, settings.window, settings.longest_gap)
    ready = (history.counts >= settings.min_observations) & (history.stale == 0)
    fits = fit_garch(history.returns, history.counts, steps=1, tried=ready, workers=workers)
    return correlate(panel, history, fits, workers)


def plain_dcc(z, a, b, target):
    """Engle (2002) with matrices, one session at a time: correlations 1 to T + 1 and the correlation part's value."""
    quasi, total, path = target.copy(), 0.0, []
    for shocks in z.T:
        scale = np.sqrt(np.diag(quasi))
        correlation = quasi / np.outer(scale, scale)
        path.append(correlation)
        form = shocks @ np.linalg.solve(correlation, shocks)
        total += -0.5 * (np.linalg.slogdet(correlation)[1] + form - shocks @ shocks)
        quasi = (1 - a - b) * target + a * np.outer(shocks, shocks) + b * quasi
    scale = np.sqrt(np.diag(quasi))
    path.append(quasi / np.outer(scale, scale))
    return path, total


def unit(residuals):
    return residuals / np.sqrt(np.mean(residuals**2, axis=1))[:, None]


def simulated(a, b, target, sessions, seed):
    """Residuals of a DCC process."""
    rng, quasi, rows = np.random.default_rng(seed), target.copy(), []
    for _ in range(sessions):
        scale = np.sqrt(np.diag(quasi))
        z = np.linalg.cholesky(quasi / np.outer(scale, scale)) @ rng.standard_normal(len(target))
        rows.append(z)
        quasi = (1 - a - b) * target + a * np.outer(z, z) + b * quasi
    return np.ascontiguousarray(np.array(rows).T)


def test_of_two_series_the_composite_likelihood_is_engle_s_and_so_is_its_maximum():
    z = unit(index_residuals()[:, -700:])
    target = z @ z.T / z.shape[1]

    def negative(point):
        a, b = point
        return 1e6 if min(a, b) < 0 or a + b >= 1 else -plain_dcc(z, a, b, target)[1]

    best = minimize(negative, [0.03, 0.93], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
    fit = fit_dcc(z)
    assert fit.converged
    assert not fit.at_bound
    np.testing.assert_allclose([fit.a, fit.b], best.x, rtol=2e-3)
    np.testing.assert_allclose(fit.composite_log_likelihood, -best.fun, atol=1e-5)


def test_the_likelihood_of_pairs_is_the_sum_of_what_the_matrix_recursion_gives_for_each():
    z = unit(stock_residuals()[:5])
    results = np.empty((4, 3))
    _pair_likelihoods(0, 4, z, 0.03, 0.9, results)
    for i in range(4):
        pair = z[i : i + 2]
        expected = plain_dcc(pair, 0.03, 0.9, pair @ pair.T / pair.shape[1])[1]
        np.testing.assert_allclose(results[i, 0], expected, rtol=1e-10)


def test_the_gradient_is_that_of_the_likelihood():
    z = unit(stock_residuals()[:3]).copy()
    z[1, 40:43] = np.nan
    results, ahead, behind = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    _pair_likelihoods(0, 2, z, 0.03, 0.9, results)
    for column, step in ((1, (1e-6, 0.0)), (2, (0.0, 1e-6))):
        _pair_likelihoods(0, 2, z, 0.03 + step[0], 0.9 + step[1], ahead)
        _pair_likelihoods(0, 2, z, 0.03 - step[0], 0.9 - step[1], behind)
        np.testing.assert_allclose(results[:, column], (ahead - behind)[:, 0] / 2e-6, rtol=1e-5)


def test_the_next_correlation_is_that_of_the_matrix_recursion():
    residuals = stock_residuals()
    fit = fit_dcc(residuals)
    z = unit(residuals)
    target, _ = shrunk_correlation(z)
    path, _ = plain_dcc(z, fit.a, fit.b, target)
    np.testing.assert_allclose(fit.correlation, path[-1], rtol=1e-9, atol=1e-12)


def test_the_dynamics_a_process_was_simulated_with_are_found_again():
    target = 0.4 + 0.6 * np.eye(10)
    fit = fit_dcc(simulated(0.04, 0.93, target, 4000, 11))
    assert fit.a == pytest.approx(0.04, abs=0.008)
    assert fit.b == pytest.approx(0.93, abs=0.02)


def test_constant_correlations_are_not_given_dynamics():
    shocks = np.linalg.cholesky(0.4 + 0.6 * np.eye(10)) @ np.random.default_rng(5).standard_normal((10, 3000))
    assert fit_dcc(shocks).a < 0.005


def test_the_shrinkage_is_that_of_ledoit_and_wolf():
    z = unit(stock_residuals()[:, :60])
    ours, shrinkage = shrunk_correlation(z)
    theirs, expected = ledoit_wolf(z.T, assume_centered=True)
    assert 0.01 < expected < 1
    np.testing.assert_allclose(shrinkage, expected, rtol=1e-9)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_matrix_is_positive_definite_with_more_symbols_than_sessions_and_missing_residuals():
    residuals = np.concatenate([stock_residuals(), -stock_residuals()[:, ::-1]])[:, -30:]
    residuals = np.ascontiguousarray(residuals)
    residuals[3, 4:6] = np.nan
    correlation = fit_dcc(residuals).correlation
    assert np.linalg.eigvalsh(correlation)[0] > 1e-4
    assert (np.diag(correlation) == 1.0).all()
    np.testing.assert_array_equal(correlation, correlation.T)
    assert (np.abs(correlation[~np.eye(40, dtype=bool)]) < 1).all()


def test_residuals_lie_on_the_sessions_they_belong_to():
    closes = stock_panel().close[-400:, :3].copy()
    closes[100, 1] = np.nan  # a missed session
    closes[:150, 2] = np.nan  # a late start
    panel = panel_of(closes)
    history = return_history(panel, 300, 5)
    aligned = aligned_residuals(panel, history, np.ascontiguousarray(history.returns.T), np.ones(3, np.bool_))
    expected = np.diff(np.log(closes), axis=0)[-300:]
    np.testing.assert_allclose(aligned[:, 0], expected[:, 0])
    missed = 100 - (len(closes) - 300)  # row of the missed session
    assert np.isnan(aligned[missed, 1])
    np.testing.assert_allclose(aligned[missed + 1, 1], np.log(closes[101, 1] / closes[99, 1]))
    np.testing.assert_allclose(aligned[missed + 2 :, 1], np.diff(np.log(closes[:, 1]))[-(300 - missed - 2) :])
    np.testing.assert_allclose(aligned[:, 2], expected[:, 2])
    assert covered(aligned).tolist() == [True, True, False]


def test_the_market_is_the_mean_of_all_returns():
    rng = np.random.default_rng(3)
    factors = rng.standard_normal((6, 6))
    covariance = factors @ factors.T + np.eye(6)
    std = np.sqrt(np.diag(covariance))
    ours = market_correlation(covariance / np.outer(std, std), std)
    draws = np.linalg.cholesky(covariance) @ rng.standard_normal((6, 200_000))
    np.testing.assert_allclose(ours, [np.corrcoef(row, draws.mean(axis=0))[0, 1] for row in draws], atol=0.01)


def test_the_number_of_threads_does_not_change_a_bit():
    one, three = (dcc_correlation(stock_panel(), SETTINGS, workers) for workers in (1, 3))
    assert (one.dynamics.a, one.dynamics.b) == (three.dynamics.a, three.dynamics.b)
    np.testing.assert_array_equal(one.matrix, three.matrix)
    np.testing.assert_array_equal(one.market_correlation, three.market_correlation)


def test_the_covariance_has_the_variances_of_garch():
    found = dcc_correlation(stock_panel(), SETTINGS)
    history = return_history(stock_panel(), SETTINGS.window, SETTINGS.longest_gap)
    fits = fit_garch(history.returns, history.counts, steps=1)
    assert found.symbols == stock_panel().symbols
    np.testing.assert_allclose(np.diag(found.covariance), fits.step_variance[:, 0], rtol=1e-12)


def asked(closes):
    panel = replace(stock_panel(), close=closes)
    history = return_history(panel, SETTINGS.window, SETTINGS.longest_gap)
    tried = history.counts >= SETTINGS.min_observations
    return Request(history, (1, 5), SETTINGS, 2, tried, panel)


def test_a_symbol_with_little_history_gets_a_reason_and_the_others_their_market_correlation():
    closes = stock_panel().close.copy()
    closes[:-400, 4] = np.nan
    request = asked(closes)
    answers, variances = dcc_family(request), garch_family(request)
    assert answers[4] == "residuals on 399 of the 1000 sessions, correlations need 95% and the last"
    for j, answer in enumerate(answers):
        if j == 4:
            continue
        assert isinstance(answer, Answer)
        np.testing.assert_array_equal(answer.std, variances[j].std)
        assert 0.1 < answer.diagnostics["market_correlation"] < 1
        assert answer.diagnostics["dcc_symbols"] == 19
        assert 0 < answer.parameters["dcc_a"] + answer.parameters["dcc_b"] < 1


def test_one_symbol_has_no_correlations_and_is_told_so():
    closes = np.full_like(stock_panel().close, np.nan)
    closes[:, 0] = stock_panel().close[:, 0]
    assert "1 symbols have residuals" in dcc_family(asked(closes))[0]
    with pytest.raises(ForecastError, match="two are needed"):
        dcc_correlation(replace(stock_panel(), close=closes), SETTINGS)

import itertools

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from scipy.optimize import brentq
from scipy.stats import norm

from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.regimes.baum_welch import expectation_maximisation, forward_pass
from quant_dagster.forecasting.regimes.hidden_markov import (
    CONSTANT,
    DEGENERATE,
    FITTED,
    NOT_CONVERGED,
    NOT_TRIED,
    fit_regimes,
)
from quant_dagster.forecasting.regimes.mixture import mixture_moments, mixture_quantiles, occupation_mixture
from tests.unit.forecasting.real_returns import columns, index_returns, stock_returns

HORIZONS = (1, 5)
START = {
    2: (np.array([0.1, -0.2]), np.array([0.3, 2.0]), np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.2, 0.8]])),
    3: (
        np.array([0.1, 0.0, -0.2]),
        np.array([0.2, 0.8, 3.0]),
        np.array([0.5, 0.3, 0.2]),
        np.array([[0.9, 0.06, 0.04], [0.05, 0.9, 0.05], [0.02, 0.08, 0.9]]),
    ),
}


def standard(y):
    return np.ascontiguousarray((y - y.mean()) / y.std())


def reference_model(states, iterations, tolerance):
    """hmmlearn's model with the same start and no priors: then it maximises the likelihood, as we do."""
    mean, variance, initial, moves = START[states]
    model = GaussianHMM(
        n_components=states,
        n_iter=iterations,
        tol=tolerance,
        init_params="",
        covars_prior=0.0,
        covars_weight=1.0,
        min_covar=0.0,
    )
    model.startprob_, model.transmat_ = initial.copy(), moves.copy()
    model.means_, model.covars_ = mean[:, None].copy(), variance[:, None].copy()
    return model


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_estimates_iterations_and_likelihood_are_those_of_hmmlearn(states, name):
    z = standard(index_returns(name))
    model = reference_model(states, 300, 1e-4).fit(z[:, None])
    mean, variance, initial, moves = (array.copy() for array in START[states])
    filtered, occupation = np.empty(states), np.empty(states)
    value, steps, converged = expectation_maximisation(
        z, 300, 1e-4, mean, variance, initial, moves, filtered, occupation
    )
    assert steps == model.monitor_.iter
    assert converged
    np.testing.assert_allclose(value, model.score(z[:, None]), rtol=1e-10)
    np.testing.assert_allclose(mean, model.means_[:, 0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(variance, model.covars_[:, 0, 0], rtol=1e-7)
    np.testing.assert_allclose(moves, model.transmat_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(initial, model.startprob_, rtol=1e-6, atol=1e-12)
    # at the last observation filtered and smoothed are the same
    np.testing.assert_allclose(filtered, model.predict_proba(z[:, None])[-1], rtol=1e-7)


def test_filtered_probabilities_do_not_know_what_comes_after():
    z = standard(index_returns("sp500"))
    mean, variance, initial, moves = START[2]
    n = len(z)
    whole, part = np.empty((n, 2)), np.empty((1500, 2))
    forward_pass(z, mean, variance, initial, moves, whole, np.empty((n, 2)), np.empty(n))
    forward_pass(z[:1500], mean, variance, initial, moves, part, np.empty((1500, 2)), np.empty(1500))
    np.testing.assert_array_equal(whole[:1500], part)
    smoothed = reference_model(2, 1, 1.0).predict_proba(z[:, None])
    assert np.abs(whole[:-1] - smoothed[:-1]).max() > 0.1


def test_an_observation_far_from_every_state_does_not_underflow():
    z = standard(np.append(index_returns("sp500"), 40.0))
    z[-1] = 1e4
    mean, variance, initial, moves = START[2]
    n = len(z)
    forward = np.empty((n, 2))
    value = forward_pass(z, mean, variance, initial, moves, forward, np.empty((n, 2)), np.empty(n))
    assert np.isfinite(value)
    np.testing.assert_allclose(forward[-1], [0.0, 1.0], atol=1e-12)


def fitted(states=2, **options):
    returns, counts = columns(index_returns("sp500"), index_returns("nasdaq"), *stock_returns().T[:4])
    return fit_regimes(returns, counts, states=states, horizons=HORIZONS, probabilities=LEVELS, **options)


@pytest.mark.parametrize("states", [2, 3])
def test_states_go_from_calm_to_wild_and_probabilities_add_up(states):
    fits = fitted(states)
    good = fits.status == FITTED
    assert good.sum() >= 5
    assert (np.diff(fits.stds[good], axis=1) > 0).all()
    np.testing.assert_allclose(fits.filtered[good].sum(axis=1), 1.0)
    np.testing.assert_allclose(fits.transition[good].sum(axis=2), 1.0)
    np.testing.assert_allclose(fits.occupation[good].sum(axis=1), [2000, 2000, 1200, 1200, 1200, 1200][: good.sum()])


def test_the_wild_state_of_the_s_and_p_500_is_where_the_market_was_in_2008():
    """Two regimes of 1999-2018 cut in the panic of October 2008: the filter is sure of the wild one."""
    from arch.data import sp500

    close = sp500.load()["Adj Close"].loc[:"2008-10-15"].to_numpy()
    fits = fit_regimes(*columns(np.diff(np.log(close))), states=2, horizons=HORIZONS, probabilities=LEVELS)
    assert fits.filtered[0, 1] > 0.99
    assert fits.stds[0, 1] > 2 * fits.stds[0, 0]


@pytest.mark.parametrize(("states", "horizon"), [(2, 1), (2, 4), (3, 1), (3, 4)])
def test_the_mixture_is_that_of_all_paths_of_states(states, horizon):
    _, variance, filtered, moves = START[states]
    means, stds = START[states][0] * 0.01, 0.01 * np.sqrt(variance)
    mixture = occupation_mixture(filtered[None], moves[None], means[None], stds[None], horizon)
    np.testing.assert_allclose(mixture[0].sum(), 1.0)

    def paths_below(x):
        total = 0.0
        for path in itertools.product(range(states), repeat=horizon):
            chance = filtered @ moves[:, path[0]] * np.prod([moves[a, b] for a, b in itertools.pairwise(path)])
            chosen = list(path)
            total += chance * norm.cdf(x, means[chosen].sum(), np.sqrt((stds[chosen] ** 2).sum()))
        return total

    quantiles = mixture_quantiles(*mixture, np.array(LEVELS))[0]
    expected = [brentq(lambda x, level=level: paths_below(x) - level, -1, 1, xtol=1e-14) for level in LEVELS]
    np.testing.assert_allclose(quantiles, expected, rtol=1e-9, atol=1e-13)
    mean, std = mixture_moments(*mixture)
    grid = np.linspace(-0.6, 0.6, 40001)
    below = np.array([paths_below(x) for x in grid[::100]])
    middle = 0.5 * (grid[::100][1:] + grid[::100][:-1])
    np.testing.assert_allclose(mean[0], np.sum(middle * np.diff(below)), atol=2e-5)
    np.testing.assert_allclose(std[0], np.sqrt(np.sum((middle - mean[0]) ** 2 * np.diff(below))), rtol=2e-2)


def test_one_session_ahead_has_the_moments_of_the_next_state():
    fits = fitted()
    following = np.einsum("mi,mik->mk", fits.filtered, fits.transition)
    mean = np.sum(following * fits.means, axis=1)
    second = np.sum(following * (fits.means**2 + fits.stds**2), axis=1)
    np.testing.assert_allclose(fits.total_mean[:, 0], mean, rtol=1e-9)
    np.testing.assert_allclose(fits.total_std[:, 0], np.sqrt(second - mean**2), rtol=1e-9)


def test_pathological_series_are_refused_and_the_others_fitted():
    crash = index_returns("sp500").copy()
    crash[700] = 9.0
    returns, counts = columns(np.zeros(300), crash, np.array([0.01, -0.02]), index_returns("sp500"))
    fits = fit_regimes(returns, counts, states=2, horizons=HORIZONS, probabilities=LEVELS)
    assert fits.status.tolist() == [CONSTANT, DEGENERATE, NOT_TRIED, FITTED]
    assert np.isnan(fits.total_std[:3]).all()
    assert np.isnan(fits.filtered[:3]).all()


def test_running_out_of_iterations_is_reported():
    assert (fitted(iterations=2).status == NOT_CONVERGED).all()


def test_the_number_of_threads_does_not_change_a_bit():
    one, three = fitted(workers=1), fitted(workers=3)
    for name in ("means", "stds", "transition", "filtered", "log_likelihood", "total_mean", "total_std", "quantiles"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))

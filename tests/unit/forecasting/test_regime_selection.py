"""How many regimes, and whether they stay what they are from one fit to the next."""

import ast
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.regimes.estimation import RegimeParameters
from quant_dagster.forecasting.regimes.hidden_markov import FITTED, filter_regimes, fit_regimes
from quant_dagster.forecasting.regimes.selection import choose_regimes
from tests.unit.forecasting.real_returns import columns, index_returns, stock_returns

OPTIONS = {"horizons": (1,), "probabilities": LEVELS}


def published(name):
    """Hamilton's data as statsmodels' own tests hold it; importing them would need their pytest configuration."""
    folder = Path(find_spec("statsmodels.tsa.regime_switching").origin).parent
    source = ast.parse((folder / "tests" / "test_markov_autoregression.py").read_text())
    (found,) = [node.value for node in source.body if isinstance(node, ast.Assign) and node.targets[0].id == name]
    return np.array(ast.literal_eval(found))


def parameters_of(fits):
    return RegimeParameters(fits.means, fits.stds, fits.transition, fits.initial)


def test_bic_is_that_of_hmmlearn_with_the_same_parameters():
    y = index_returns("sp500")
    choice = choose_regimes(*columns(y), most_states=3, **OPTIONS)
    for states, fits in choice.fits.items():
        model = GaussianHMM(states)
        model.startprob_, model.transmat_ = fits.initial[0], fits.transition[0]
        model.n_features = 1
        model.means_, model.covars_ = fits.means[0][:, None], fits.stds[0][:, None] ** 2
        np.testing.assert_allclose(choice.bic[0, states - 1], model.bic(y[:, None]), rtol=1e-10)
    assert choice.states[0] == 2 + np.argmin(choice.bic[0, 1:])
    assert choice.bic[0, 0] > choice.bic[0, 1]  # one regime is worse: volatility clusters


def test_gross_national_product_has_the_regimes_statsmodels_finds():
    """Hamilton's series (1989, US real GNP growth 1951-1984), as mean and variance switching without AR terms.

    At our parameters its filter, which starts from the stationary distribution, says what ours says from there.
    """
    y = published("rgnp")
    fits = fit_regimes(*columns(y), states=2, tolerance=1e-9, iterations=5000, **OPTIONS)
    moves = fits.transition[0]
    stationary = np.array([[moves[1, 0], moves[0, 1]]]) / (moves[1, 0] + moves[0, 1])
    ours = filter_regimes(*columns(y), RegimeParameters(fits.means, fits.stds, fits.transition, stationary), **OPTIONS)
    model = MarkovRegression(y, k_regimes=2, switching_variance=True)
    reference = model.filter([moves[0, 0], moves[1, 0], *fits.means[0], *fits.stds[0] ** 2])
    np.testing.assert_allclose(ours.filtered[0], np.asarray(reference.filtered_marginal_probabilities)[-1], rtol=1e-8)
    np.testing.assert_allclose(ours.log_likelihood[0], reference.llf, rtol=1e-10)
    own = MarkovRegression(y, k_regimes=2, switching_variance=True).fit(disp=False)
    assert fits.log_likelihood[0] >= own.llf - 1e-3


def test_the_series_is_hamilton_s_because_his_model_finds_his_recessions():
    """statsmodels' MarkovAutoregression on it has the published estimates (Hamilton 1989, table I; Stata manual)."""
    from statsmodels.tsa.regime_switching.markov_autoregression import MarkovAutoregression

    fit = MarkovAutoregression(published("rgnp"), k_regimes=2, order=4, switching_ar=False).fit(disp=False)
    table = [0.7547, 0.0959, -0.3588, 1.1635, 0.5914, 0.0135, -0.0575, -0.2470, -0.2129]  # the fifth is 0.769 ** 2
    np.testing.assert_allclose(fit.params, table, atol=1e-3)
    recession = fit.smoothed_marginal_probabilities[:, 0] > 0.5
    assert np.mean(recession == published("rec")[4:].astype(bool)) > 0.9


@pytest.mark.parametrize("states", [2, 3])
def test_bringing_a_fit_forward_gives_the_probabilities_hmmlearn_gives(states):
    y = index_returns("nasdaq", 1040)
    parameters = parameters_of(fit_regimes(*columns(y[:1000]), states=states, **OPTIONS))
    ours = filter_regimes(*columns(y), parameters, **OPTIONS)
    model = GaussianHMM(states)
    model.startprob_, model.transmat_ = parameters.initial[0], parameters.transition[0]
    model.n_features = 1
    model.means_, model.covars_ = parameters.means[0][:, None], parameters.stds[0][:, None] ** 2
    np.testing.assert_allclose(ours.filtered[0], model.predict_proba(y[:, None])[-1], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.log_likelihood[0], model.score(y[:, None]), rtol=1e-10)
    part = filter_regimes(*columns(y[:1020]), parameters, **OPTIONS)
    assert not np.allclose(part.filtered, ours.filtered)


@pytest.mark.slow
def test_the_wild_state_is_the_same_state_in_250_daily_refits():
    """Two stocks and the S&P 500: yesterday's model and today's agree on which state today is in."""
    series = [index_returns("sp500", 1000), *stock_returns()[-1000:, :2].T]
    window, earlier, numbers, apart = 750, None, [], []
    for day in range(250):
        returns, counts = columns(*(y[day : day + window] for y in series))
        choice = choose_regimes(returns, counts, most_states=3, earlier=earlier, tolerance=1e-2, **OPTIONS)
        if earlier is not None:
            for states, before in earlier.items():
                same = (choice.states == states) & np.isfinite(before.stds[:, 0])
                old = filter_regimes(returns, counts, before, **OPTIONS)
                new = choice.fits[states]
                assert (np.diff(new.stds[same], axis=1) > 0).all()
                apart.extend(np.abs(old.filtered[same, -1] - new.filtered[same, -1]))
        numbers.append(choice.states)
        earlier = {}
        for states, fits in choice.fits.items():
            kept = (choice.states == states) & (fits.status == FITTED)
            values = [np.where(kept[:, None], v, np.nan) for v in (fits.means, fits.stds, fits.initial)]
            moves = np.where(kept[:, None, None], fits.transition, np.nan)
            earlier[states] = RegimeParameters(values[0], values[1], moves, values[2])
    changes = np.sum(np.diff(np.array(numbers), axis=0) != 0, axis=0)
    assert len(apart) > 700
    assert np.quantile(apart, 0.99) < 0.1
    assert np.max(apart) < 0.5  # at a flip it would be near 1
    assert (changes <= 6).all()

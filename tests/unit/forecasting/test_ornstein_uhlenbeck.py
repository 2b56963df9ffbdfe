"""Ornstein-Uhlenbeck fits against a published example, least squares and statsmodels' Dickey-Fuller test."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.forecasting.families.protocol import Answer, Refusal, Request
from quant_dagster.forecasting.families.reversion import ou_family
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.ornstein_uhlenbeck import (
    ALTERNATES,
    CONSTANT,
    EXPLODES,
    FITTED,
    TOO_SHORT,
    fit_ornstein_uhlenbeck,
)
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.market_data.panel import Panel
from tests.unit.forecasting.real_returns import columns, panel_of, stock_panel

# van den Berg, "Calibrating the Ornstein-Uhlenbeck (Vasicek) model", table 1 (time step 0.25).
PUBLISHED = np.array(
    [
        *(3.0000, 1.7600, 1.2693, 1.1960, 0.9468, 0.9532, 0.6252, 0.8604, 1.0984, 1.4310, 1.3019),
        *(1.4005, 1.2686, 0.7147, 0.9237, 0.7297, 0.7105, 0.8683, 0.7406, 0.7314, 0.6232),
    ]
)


def request_of(panel: Panel, horizons: tuple[int, ...] = (1, 5, 21)) -> Request:
    settings = ForecastParameters()
    history = return_history(panel, settings.window, settings.longest_gap)
    return Request(history, horizons, settings, 1, history.counts >= settings.min_observations, panel.last(1001))


def test_the_published_example_is_reproduced() -> None:
    fits = fit_ornstein_uhlenbeck(*columns(PUBLISHED), interval=0.25)
    assert fits.level[0] == pytest.approx(0.9074, abs=1e-4)
    assert fits.theta[0] == pytest.approx(3.1288, abs=1e-4)
    # Published for least squares is 0.5831, whose residual variance has n - 2 degrees of freedom and not n.
    assert fits.sigma[0] * np.sqrt(20 / 18) == pytest.approx(0.5831, abs=1e-4)


def test_the_published_numbers_are_those_of_a_regression() -> None:
    slope, constant = np.polyfit(PUBLISHED[:-1], PUBLISHED[1:], 1)
    residual = PUBLISHED[1:] - constant - slope * PUBLISHED[:-1]
    speed = -np.log(slope) / 0.25
    assert [constant / (1 - slope), speed] == pytest.approx([0.9074, 3.1288], abs=1e-4)
    variance = residual @ residual / 18
    assert np.sqrt(variance * 2 * speed / (1 - slope**2)) == pytest.approx(0.5831, abs=1e-4)


def test_the_dickey_fuller_statistic_and_its_critical_value_are_those_of_statsmodels() -> None:
    from statsmodels.tsa.stattools import adfuller

    path = np.log(stock_panel().close)
    fits = fit_ornstein_uhlenbeck(path, np.full(20, len(path)))
    for j in range(20):
        statistic, _, _, _, critical = adfuller(path[:, j], maxlag=0, regression="c", autolag=None)[:5]
        assert fits.dickey_fuller[j] == pytest.approx(statistic, rel=1e-8)
        assert fits.critical[j] == pytest.approx(critical["5%"], abs=1e-6)


def test_columns_of_different_length_are_fitted_as_if_alone() -> None:
    path = np.log(stock_panel().close)
    together = fit_ornstein_uhlenbeck(*columns(path[:, 0], path[-300:, 1]))
    for j, alone in enumerate((path[:, 0], path[-300:, 1])):
        fit = fit_ornstein_uhlenbeck(*columns(alone))
        for name in ("coefficient", "theta", "level", "sigma", "half_life_low", "dickey_fuller", "last"):
            np.testing.assert_allclose(getattr(together, name)[j], getattr(fit, name)[0], rtol=1e-10)


def test_the_forecast_is_that_of_the_recursion() -> None:
    fits = fit_ornstein_uhlenbeck(*columns(PUBLISHED), interval=0.25)
    mean, std = fits.forecast((1, 2, 7))
    slope = fits.coefficient[0]
    shock = fits.sigma[0] ** 2 * (1 - slope**2) / (2 * fits.theta[0])
    value, variance, found = PUBLISHED[-1], 0.0, []
    for _ in range(7):
        value, variance = fits.level[0] * (1 - slope) + slope * value, slope**2 * variance + shock
        found.append((value - PUBLISHED[-1], np.sqrt(variance)))
    np.testing.assert_allclose(np.column_stack([mean[0], std[0]]), np.array(found)[[0, 1, 6]], rtol=1e-12)


def test_the_interval_of_the_half_life_ends_where_the_likelihood_ratio_is_the_five_percent_point() -> None:
    from scipy.stats import chi2

    rng = np.random.default_rng(5)
    path = np.zeros(1000)
    for t in range(1, 1000):
        path[t] = 0.9 * path[t - 1] + rng.normal()
    fits = fit_ornstein_uhlenbeck(*columns(path))

    def squares(half_life: float) -> float:
        slope = 0.5 ** (1 / half_life)
        rest = path[1:] - slope * path[:-1]
        return float(((rest - rest.mean()) ** 2).sum())

    for end in (fits.half_life_low[0], fits.half_life_high[0]):
        assert 999 * np.log(squares(end) / squares(fits.half_life[0])) == pytest.approx(chi2.ppf(0.95, 1), rel=1e-9)
    assert fits.half_life_low[0] < np.log(2) / -np.log(0.9) < fits.half_life_high[0]
    assert fits.reverts[0]


def test_the_interval_covers_the_true_half_life_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    path = np.zeros((500, 1000))
    for t in range(1, 500):
        path[t] = 0.8 * path[t - 1] + rng.normal(size=1000)
    fits = fit_ornstein_uhlenbeck(path, np.full(1000, 500))
    true = np.log(2) / -np.log(0.8)
    assert 0.93 < np.mean((fits.half_life_low < true) & (true < fits.half_life_high)) < 0.97


def test_a_random_walk_is_seldom_said_to_revert() -> None:
    path = np.cumsum(np.random.default_rng(7).normal(size=(250, 2000)), axis=0)
    fits = fit_ornstein_uhlenbeck(path, np.full(2000, 250))
    assert 0.035 < fits.reverts.mean() < 0.065


def test_what_has_no_process_is_named() -> None:
    n = np.arange(60)
    fits = fit_ornstein_uhlenbeck(
        *columns(1.05**n, (-1.0) ** n + 0.01 * n, np.full(60, 3.0), PUBLISHED[:10], np.sin(n))
    )
    assert fits.status.tolist() == [EXPLODES, ALTERNATES, CONSTANT, TOO_SHORT, FITTED]
    assert np.isnan(fits.theta[:4]).all() and np.isnan(fits.half_life_high[:4]).all()


def test_the_family_gives_level_and_distance_of_real_log_prices() -> None:
    panel = stock_panel()
    replies = ou_family(request_of(panel))
    answers = {j: reply for j, reply in enumerate(replies) if isinstance(reply, Answer)}
    assert len(answers) > 10
    for j, answer in answers.items():
        path = np.log(panel.close[-251:, j])
        fit = fit_ornstein_uhlenbeck(*columns(path))
        assert answer.parameters["level"] == pytest.approx(fit.level[0], rel=1e-9)
        assert answer.diagnostics["z"] == pytest.approx((path[-1] - fit.level[0]) / fit.stationary_std[0], rel=1e-7)
        assert np.all(np.sign(answer.mean) == -np.sign(answer.diagnostics["z"]))


def test_the_family_says_where_there_is_no_mean_reversion() -> None:
    steady = np.exp(np.cumsum(np.linspace(0.0, 0.01, 400)))
    (reply,) = ou_family(request_of(panel_of(steady[:, None])))
    assert isinstance(reply, Refusal)
    assert reply.reason.startswith("no mean reversion: ")


def test_a_later_session_changes_nothing() -> None:
    panel = stock_panel()
    full = ou_family(request_of(panel.rows(0, 1100)))
    cut = ou_family(request_of(panel_of(panel.close[:1100], panel.symbols, panel.sessions[:1100])))
    for a, b in zip(full, cut, strict=True):
        assert isinstance(a, Answer) == isinstance(b, Answer)
        if isinstance(a, Answer) and isinstance(b, Answer):
            assert a.mean.tolist() == b.mean.tolist() and a.parameters == b.parameters

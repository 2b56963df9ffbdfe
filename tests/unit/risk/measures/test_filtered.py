"""Volatilities of the filter against the compiled fit's residuals and the arch library."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.forecasting.variance.search import CONSTANT, FITTED
from quant_dagster.risk.measures.filtered import Volatility, conditional_volatility
from tests.unit.forecasting.real_returns import index_returns


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return np.column_stack([1e4 * index_returns("sp500", 300), index_returns("nasdaq", 300), np.full(300, 0.01)])


@pytest.fixture(scope="module")
def found(series: np.ndarray) -> Volatility:
    return conditional_volatility(series, 3, 1)


def test_residuals_times_volatility_are_the_series_again(found: Volatility, series: np.ndarray) -> None:
    again = found.fits.mu + found.past * found.fits.residuals.T
    np.testing.assert_allclose(again[:, :2], series[:, :2], rtol=1e-9, atol=1e-9)


def test_the_volatility_ahead_is_of_the_sum_over_the_horizon(found: Volatility, series: np.ndarray) -> None:
    fits, last = found.fits, found.past[-1] ** 2
    one = fits.omega + fits.alpha * (series[-1] - fits.mu) ** 2 + fits.beta * last
    two = fits.omega + (fits.alpha + fits.beta) * one
    three = fits.omega + (fits.alpha + fits.beta) * two
    np.testing.assert_allclose(found.ahead[:2], np.sqrt(one + two + three)[:2], rtol=1e-9)


def test_a_series_that_does_not_vary_has_no_volatility(found: Volatility) -> None:
    assert found.fits.status.tolist() == [FITTED, FITTED, CONSTANT]
    assert np.isnan(found.past[:, 2]).all()
    assert np.isnan(found.ahead[2])
    assert np.isfinite(found.past[:, :2]).all()


def test_volatilities_are_those_of_the_arch_library(found: Volatility, series: np.ndarray) -> None:
    from arch import arch_model

    y = 100.0 * series[:, 1]
    fit = arch_model(y, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(
        disp="off", backcast=float(np.mean((y - 100.0 * found.fits.mu[1]) ** 2))
    )
    np.testing.assert_allclose(100.0 * found.past[50:, 1], fit.conditional_volatility[50:], rtol=0.01)


def test_the_searches_start_from_two_points(series: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from quant_dagster.risk.measures import filtered

    asked = {}
    real = filtered.fit_garch

    def recorded(*arguments, **options):
        asked.update(options)
        return real(*arguments, **options)

    monkeypatch.setattr(filtered, "fit_garch", recorded)
    filtered.conditional_volatility(series[:60, 2:], 4, 2)
    assert asked == {"steps": 4, "starts": 2, "workers": 2}

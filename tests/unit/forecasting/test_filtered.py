"""Forecasts of the mean from denoised returns."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.features.filters import Wavelet, wavelet_filter
from quant_dagster.forecasting.families.filtered import fourier_family, wavelet_family
from quant_dagster.forecasting.families.protocol import Answer, Request
from quant_dagster.forecasting.filtered import (
    FITTED,
    HARMONICS_WINDOW,
    LEVELS,
    NOT_TRIED,
    SINGULAR,
    fit_harmonics,
    fit_wavelet_scales,
)
from quant_dagster.forecasting.history import return_history
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.market_data.panel import Panel
from tests.unit.forecasting.real_returns import index_returns, panel_of, stock_panel

FITS = (fit_wavelet_scales, fit_harmonics)
FAMILIES = (wavelet_family, fourier_family)


def packed(*series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(values) for values in series])
    returns = np.full((counts.max(), len(series)), np.nan, order="F")
    for j, values in enumerate(series):
        returns[: len(values), j] = values
    return returns, counts


def request_of(panel: Panel, horizons: tuple[int, ...] = (1, 5, 21)) -> Request:
    settings = ForecastParameters()
    history = return_history(panel, settings.window, settings.longest_gap)
    tried = history.counts >= settings.min_observations
    return Request(history=history, horizons=horizons, settings=settings, workers=1, tried=tried, panel=panel)


def assert_same_answers(one: list[Answer | str], other: list[Answer | str]) -> None:
    for a, b in zip(one, other, strict=True):
        assert isinstance(a, Answer) and isinstance(b, Answer)
        np.testing.assert_array_equal(a.mean, b.mean)
        np.testing.assert_array_equal(a.std, b.std)
        assert a.parameters == b.parameters


def test_wavelet_scales_agree_with_least_squares_of_statsmodels() -> None:
    """The same regression written with statsmodels, all candidates compared by its own BIC."""
    import statsmodels.api as sm

    choices = set()
    series = [index_returns("sp500", 1000), index_returns("nasdaq", 800)]
    # a slow component strong enough to be found: returns summed over a moving fortnight
    slow = np.convolve(index_returns("sp500", 900), np.ones(10) / 10, mode="valid")
    series.append(slow + 0.3 * slow.std() * index_returns("nasdaq", len(slow)) / index_returns("nasdaq").std())
    for returns in series:
        fits = fit_wavelet_scales(*packed(returns), steps=3)
        assert fits.status.tolist() == [FITTED]
        reach = 2**LEVELS
        parts = wavelet_filter(returns[:, None], Wavelet.HAAR, LEVELS)
        scales = np.column_stack([parts.smooth, *(parts.details[level] for level in range(LEVELS - 1, -1, -1))])
        target, design = returns[reach:], scales[reach - 1 : -1]
        models = [sm.OLS(target, sm.add_constant(design[:, :k]) if k else np.ones((len(target), 1))) for k in range(5)]
        results = [model.fit() for model in models]
        best = int(np.argmin([result.bic for result in results]))
        choices.add(best)
        assert fits.kept[0] == best
        newest = np.concatenate([[1.0], scales[-1, :best]])
        np.testing.assert_allclose(fits.total_mean[0, 0], newest @ results[best].params, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(fits.residual_variance[0], results[best].mse_resid, rtol=1e-9)
        np.testing.assert_allclose(fits.total_std[0, 0], np.sqrt(results[best].mse_resid), rtol=1e-9)
    assert len(choices) > 1  # the noise of an index leaves the mean, a slow component does not


def test_wavelet_forecasts_of_several_sessions_follow_the_recursion() -> None:
    slow = np.convolve(index_returns("sp500", 900), np.ones(10) / 10, mode="valid")
    fits = fit_wavelet_scales(*packed(slow), steps=5)
    assert fits.kept[0] >= 1
    history = slow.tolist()
    total = 0.0
    for step in range(5):
        value = fits.constant[0] + sum(c * y for c, y in zip(fits.coefficients[0], reversed(history), strict=False))
        history.append(value)
        total += value
        assert fits.total_mean[0, step] == pytest.approx(total, rel=1e-9)


def test_harmonics_are_those_of_a_regression_on_sines() -> None:
    """A cycle of 64 sessions in real noise is found; its continuation is that of least squares."""
    import statsmodels.api as sm

    noise = index_returns("sp500", HARMONICS_WINDOW)
    time = np.arange(HARMONICS_WINDOW + 10)
    wave = 0.8 * noise.std() * np.sin(2 * np.pi * time / 64 + 0.5)
    returns = noise + wave[:HARMONICS_WINDOW]
    fits = fit_harmonics(*packed(returns), steps=10)
    kept = int(fits.kept[0])
    cycles = fits.coefficients[0, : 3 * kept : 3]
    assert 8.0 in cycles
    columns = [f(2 * np.pi * k * time / HARMONICS_WINDOW) for k in cycles for f in (np.cos, np.sin)]
    design = sm.add_constant(np.column_stack(columns))
    result = sm.OLS(returns, design[:HARMONICS_WINDOW]).fit()
    ahead = design[HARMONICS_WINDOW:] @ result.params
    np.testing.assert_allclose(fits.total_mean[0], np.cumsum(ahead), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(fits.residual_variance[0], result.mse_resid, rtol=1e-9)
    np.testing.assert_allclose(fits.total_std[0], np.sqrt(result.mse_resid * np.arange(1, 11)), rtol=1e-9)
    found = np.corrcoef(np.diff(fits.total_mean[0]), wave[HARMONICS_WINDOW + 1 :])[0, 1]
    assert found > 0.9


def test_shuffled_returns_seldom_have_a_harmonic_or_a_scale() -> None:
    """At a level of 1 % over all harmonics; real returns in random order have none."""
    random = np.random.default_rng(7)
    returns = index_returns("sp500", 512)
    shuffled = packed(*(random.permutation(returns) for _ in range(400)))
    assert (fit_harmonics(*shuffled, steps=1).kept > 0).mean() < 0.03
    assert (fit_wavelet_scales(*shuffled, steps=1).kept > 0).mean() < 0.10


@pytest.mark.parametrize("fit", FITS)
def test_a_column_does_not_depend_on_the_others_or_on_what_lies_beyond_its_count(fit) -> None:  # type: ignore[no-untyped-def]
    panel = stock_panel()
    history = return_history(panel, 1000, 5)
    together = fit(history.returns, history.counts, steps=5)
    assert (together.status == FITTED).all()
    for j in (0, 7, 19):
        alone = fit(history.returns[:, [j]], history.counts[[j]], steps=5)
        np.testing.assert_allclose(alone.total_mean[0], together.total_mean[j], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(alone.total_std[0], together.total_std[j], rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_forecast_knows_what_comes_after_its_session(family) -> None:  # type: ignore[no-untyped-def]
    panel = stock_panel()
    before = family(request_of(panel.rows(0, 1100)))
    changed = panel.close.copy(order="F")
    changed[1100:] *= 1.5
    tampered = panel_of(changed, panel.symbols, panel.sessions)
    assert_same_answers(before, family(request_of(tampered.rows(0, 1100))))
    assert_same_answers(before, family(request_of(panel.until(panel.sessions[1099].astype(object)))))
    changed[1099] *= 1.0 + 0.01 * np.arange(1, len(panel.symbols) + 1)
    after = family(request_of(panel_of(changed, panel.symbols, panel.sessions).rows(0, 1100)))
    assert all((a.mean != b.mean).all() for a, b in zip(before, after, strict=True))  # today does reach it


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_for_every_horizon_and_says_what_it_kept(family) -> None:  # type: ignore[no-untyped-def]
    answers = family(request_of(stock_panel()))
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.mean.shape == answer.std.shape == (3,)
        assert (np.diff(answer.std) > 0).all()
        assert answer.parameters["distribution"] == "normal"
        used = answer.parameters["scales" if family is wavelet_family else "harmonics"]
        width = 8 if family is wavelet_family else 3 * used
        assert len(answer.parameters["coefficients"]) == width


@pytest.mark.parametrize("fit", FITS)
def test_what_does_not_vary_or_was_not_asked_for_has_no_forecast(fit) -> None:  # type: ignore[no-untyped-def]
    returns, counts = packed(np.zeros(400), index_returns("sp500", 400), index_returns("nasdaq", 400))
    fits = fit(returns, counts, steps=2, tried=np.array([True, True, False]))
    assert fits.status.tolist() == [SINGULAR, FITTED, NOT_TRIED]
    assert np.isnan(fits.total_mean[[0, 2]]).all()
    few = fit(*packed(index_returns("sp500", 10)), steps=2)
    assert few.status.tolist() == [NOT_TRIED]

"""Every feature that pandas can express agrees with pandas on real prices, with and without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from quant_dagster.features.compute import compute
from quant_dagster.features.definitions import FEATURES, View
from tests.unit.features.pandas_reference import grid, reference_features
from tests.unit.features.polars_reference import polars_features, polars_grid
from tests.unit.features.real_panels import mixed_panel, with_gaps


@pytest.mark.parametrize("share", [0.0, 0.01], ids=["complete", "gaps"])
def test_features_agree_with_pandas_groupby(share: float) -> None:
    panel = with_gaps(mixed_panel(), share, seed=3)
    features = compute(panel)
    expected = reference_features(grid(panel))
    assert len(expected) >= 68
    for name, series in expected.items():
        reference = series.to_numpy().reshape(len(panel.symbols), -1).T
        actual = features[name]
        # pandas answers for windows of equal values (skew 0, rounding noise); here they are absent
        both = np.isfinite(reference) & np.isfinite(actual)
        assert both.sum() > 0, name
        assert (np.isnan(actual) & np.isfinite(reference)).sum() <= 0.002 * both.sum(), name
        assert not (np.isfinite(actual) & ~np.isfinite(reference)).any(), name
        np.testing.assert_allclose(actual[both], reference[both], rtol=1e-6, atol=1e-8, err_msg=name)


def test_features_agree_with_polars_over_symbols() -> None:
    panel = with_gaps(mixed_panel(), 0.01, seed=3)
    features = compute(panel)
    found = polars_features(polars_grid(panel))
    names = [name for name in FEATURES if name in found.columns]
    assert len(names) >= 60
    for name in names:
        expected = found[name].to_numpy().reshape(len(panel.symbols), -1).T
        actual = features[name]
        both = np.isfinite(expected) & np.isfinite(actual)
        assert both.sum() > 0.99 * np.isfinite(actual).sum() > 0, name
        # polars' running sums drift: a few values of long flat windows are further off
        close = np.isclose(actual[both], expected[both], rtol=1e-6, atol=1e-8)
        assert close.mean() > 0.9995, name


def test_moments_agree_with_scipy_to_rounding() -> None:
    """pandas' running sums drift; scipy on every window by itself does not."""
    from scipy import stats

    panel = mixed_panel()
    features = compute(panel)
    windows = sliding_window_view(np.diff(np.log(panel.close), axis=0), 20, axis=0)
    usable = np.isfinite(windows).all(axis=-1) & (windows.std(axis=-1) > 0)
    expected = {
        "return_mean_20": windows.mean(axis=-1),
        "volatility_20": windows.std(axis=-1, ddof=1) * np.sqrt(252.0),
        "return_skew_20": stats.skew(windows, axis=-1, bias=False),
        "return_kurtosis_20": stats.kurtosis(windows, axis=-1, bias=False),
    }
    for name, reference in expected.items():
        np.testing.assert_allclose(features[name][20:][usable], reference[usable], rtol=1e-9, atol=1e-12, err_msg=name)


def test_beta_and_residual_volatility_agree_with_statsmodels() -> None:
    import statsmodels.api as sm

    panel = mixed_panel()
    features = compute(panel)
    returns = np.diff(np.log(panel.close), axis=0)
    market = np.nanmean(returns, axis=1)
    for column, row in ((0, 100), (3, 400), (10, 555)):
        window = slice(row - 59, row + 1)
        fit = sm.OLS(returns[window, column], sm.add_constant(market[window])).fit()
        np.testing.assert_allclose(features["beta_60"][row + 1, column], fit.params[1], rtol=1e-10)
        expected = np.sqrt(fit.mse_resid * 252.0)
        np.testing.assert_allclose(features["residual_volatility_60"][row + 1, column], expected, rtol=1e-10)


def test_autocorrelation_agrees_with_numpy() -> None:
    panel = mixed_panel()
    features = compute(panel)
    returns = np.diff(np.log(panel.close), axis=0)
    for column, row in ((0, 50), (3, 400), (10, 555)):
        now, before = returns[row - 19 : row + 1, column], returns[row - 20 : row, column]
        expected = np.corrcoef(now, before)[0, 1]
        np.testing.assert_allclose(features["autocorrelation_20"][row + 1, column], expected, rtol=1e-10)


def test_recursions_skip_gaps_as_if_the_series_had_none() -> None:
    panel = with_gaps(mixed_panel(), 0.03, seed=8)
    features = compute(panel)
    recursive = [
        "rsi_14",
        "adx_14",
        "plus_di_14",
        "macd",
        "macd_signal",
        "ewma_trend_50",
        "ewmac_8_32",
        "volatility_ewma",
    ]
    for column in (0, 1, 5):
        kept = ~np.isnan(panel.close[:, column])
        assert (~kept).sum() > 5
        shorter = type(panel)(
            sessions=panel.sessions[kept],
            symbols=(panel.symbols[column],),
            **{
                f: np.asfortranarray(getattr(panel, f)[kept][:, [column]])
                for f in ("open", "high", "low", "close", "volume")
            },
        )
        alone = compute(shorter)
        for name in recursive:
            assert np.isnan(features[name][~kept, column]).all(), name
            np.testing.assert_array_equal(features[name][kept, column], alone[name][:, 0], err_msg=name)


def test_every_price_feature_has_a_reference() -> None:
    """What pandas does not cover is covered by the tests named here; a new feature must join one of them."""
    elsewhere = {"rsi_14", "atr_14", "volatility_ewma", "autocorrelation_20", "residual_volatility_60"}
    elsewhere |= {"plus_di_14", "minus_di_14", "adx_14", "cci_20"}  # test_indicators
    elsewhere |= {"trend_slope_60", "trend_distance_60", "seasonal_residual"}  # test_decomposition
    elsewhere |= {"fractional_difference", "wavelet_distance", "wavelet_noise_share", "fourier_slope"}  # test_filters
    covered = set(reference_features(grid(mixed_panel().last(300)))) | elsewhere
    calendar = {name for name, feature in FEATURES.items() if feature.view is View.CALENDAR}
    assert set(FEATURES) == covered | calendar

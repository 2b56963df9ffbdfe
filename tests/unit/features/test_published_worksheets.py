"""Known answers: published worksheets and hand-made cases."""

from __future__ import annotations

import numpy as np

from quant_dagster.features.compute import compute
from tests.unit.features.real_panels import mixed_panel, one_symbol

# StockCharts ChartSchool, "Relative Strength Index (RSI)", spreadsheet example: QQQQ, 14 December 2009 on
RSI_CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931, 46.0328,
    45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521, 45.7137, 46.4515,
    45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
RSI_PUBLISHED = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87, 45.46,
    37.30, 33.08, 37.77,
]  # fmt: skip

# StockCharts ChartSchool, "Average True Range (ATR)", spreadsheet example: QQQQ, 1 April 2010 on
ATR_HIGHS = [
    48.70, 48.72, 48.90, 48.87, 48.82, 49.05, 49.20, 49.35, 49.92, 50.19, 50.12, 49.66, 49.88, 50.19, 50.36, 50.57,
    50.65, 50.43, 49.63, 50.33, 50.29, 50.17, 49.32, 48.50, 48.3201, 46.80, 47.80, 48.39, 48.66, 48.79,
]  # fmt: skip
ATR_LOWS = [
    47.79, 48.14, 48.39, 48.37, 48.24, 48.64, 48.94, 48.86, 49.50, 49.87, 49.20, 48.90, 49.43, 49.73, 49.26, 50.09,
    50.30, 49.21, 48.98, 49.61, 49.20, 49.43, 48.08, 47.64, 41.55, 44.2833, 47.31, 47.20, 47.90, 47.7301,
]  # fmt: skip
ATR_CLOSES = [
    48.16, 48.61, 48.75, 48.63, 48.74, 49.03, 49.07, 49.32, 49.91, 50.13, 49.53, 49.50, 49.75, 50.03, 50.31, 50.52,
    50.41, 49.34, 49.37, 50.23, 49.2375, 49.93, 48.43, 48.18, 46.57, 45.41, 47.77, 47.72, 48.62, 47.85,
]  # fmt: skip
ATR_PUBLISHED = [
    0.56, 0.59, 0.59, 0.57, 0.62, 0.62, 0.64, 0.67, 0.69, 0.78, 0.78, 1.21, 1.30, 1.38, 1.37, 1.34, 1.32,
]  # fmt: skip


def test_rsi_matches_the_published_worksheet() -> None:
    rsi = compute(one_symbol(close=RSI_CLOSES))["rsi_14"][:, 0]
    assert np.isnan(rsi[:14]).all()
    np.testing.assert_allclose(rsi[14:], RSI_PUBLISHED, atol=0.006)


def test_atr_matches_the_published_worksheet() -> None:
    atr = compute(one_symbol(high=ATR_HIGHS, low=ATR_LOWS, close=ATR_CLOSES))["atr_14"][:, 0]
    assert np.isnan(atr[:13]).all()
    np.testing.assert_allclose((atr * ATR_CLOSES)[13:], ATR_PUBLISHED, atol=0.006)


def test_riskmetrics_volatility_follows_its_recursion() -> None:
    panel = mixed_panel()
    actual = compute(panel)["volatility_ewma"][:, 0]
    squares = np.diff(np.log(panel.close[:, 0])) ** 2
    variance = squares[:20].mean()
    expected = [variance]
    for square in squares[20:]:
        variance = 0.94 * variance + 0.06 * square
        expected.append(variance)
    np.testing.assert_allclose(actual[20:], np.sqrt(np.array(expected) * 252.0), rtol=1e-12)


def test_a_price_that_never_moves_has_no_volatility_and_no_direction() -> None:
    features = compute(one_symbol(close=[50.1] * 80))
    assert features["volatility_20"][-1, 0] == 0.0
    assert features["rsi_14"][-1, 0] == 50.0
    for name in ("return_skew_20", "return_kurtosis_60", "return_z_20", "bollinger_position", "autocorrelation_20"):
        assert np.isnan(features[name][-1, 0]), name


def test_a_price_that_is_not_positive_is_absent() -> None:
    prices = RSI_CLOSES.copy()
    prices[20] = -1.0
    features = compute(one_symbol(close=prices))
    assert not features.present[20, 0]
    assert np.isnan(features["return_1"][20:22, 0]).all()
    assert np.isfinite(features["return_1"][22, 0])

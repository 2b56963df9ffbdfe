"""The causal filters beside PyWavelets and NumPy's FFT, and their features."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
from numpy.lib.stride_tricks import sliding_window_view

from quant_dagster.errors import ConfigurationError
from quant_dagster.features.compute import compute
from quant_dagster.features.filters import (
    Wavelet,
    fourier_slope_weights,
    fractional_weights,
    wavelet_detail_weights,
    wavelet_filter,
    wavelet_weights,
)
from tests.unit.features.real_panels import mixed_panel, with_gaps

PYWT = {Wavelet.HAAR: "haar", Wavelet.D4: "db2"}


def log_closes() -> np.ndarray:
    panel = mixed_panel().rows(0, 512)
    return np.log(panel.close[:, [panel.symbols.index(name) for name in ("IBM", "AAPL", "MSFT")]])


@pytest.mark.parametrize("wavelet", list(Wavelet))
def test_scaling_weights_are_those_of_pywavelets(wavelet: Wavelet) -> None:
    expected = np.array(pywt.Wavelet(PYWT[wavelet]).rec_lo) / np.sqrt(2.0)
    np.testing.assert_allclose(wavelet_weights(wavelet, 1), expected, rtol=1e-10)


@pytest.mark.parametrize("wavelet", list(Wavelet))
@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_smooths_are_those_of_the_stationary_transform_away_from_its_edges(wavelet: Wavelet, level: int) -> None:
    """pywt.swt wraps around and centres its filters: on the reversed series, moved, it is the one-sided filter."""
    x = log_closes()[:, 0]
    ours = wavelet_filter(x[:, None], wavelet, level).smooth[:, 0]
    reach = len(wavelet_weights(wavelet, level)) - 1
    theirs = [pywt.swt(y, PYWT[wavelet], level=level, norm=True, trim_approx=True)[0] for y in (x, x[::-1])]
    both = [theirs[0], theirs[1][::-1]]
    equal = [
        (side, shift)
        for side in (0, 1)
        for shift in range(-reach, reach + 1)
        if np.allclose(np.roll(both[side], shift)[reach:], ours[reach:], rtol=0, atol=1e-11)
    ]
    assert len(equal) >= 1
    assert np.isnan(ours[:reach]).all()


@pytest.mark.parametrize("wavelet", list(Wavelet))
def test_details_and_smooth_add_up_and_agree_with_the_single_filters(wavelet: Wavelet) -> None:
    x = log_closes()
    parts = wavelet_filter(x, wavelet, 5)
    full = ~np.isnan(parts.smooth)
    np.testing.assert_allclose((parts.details.sum(axis=0) + parts.smooth)[full], x[full], rtol=1e-13)
    for level in range(1, 6):
        weights = wavelet_detail_weights(wavelet, level)
        windows = sliding_window_view(x, len(weights), axis=0)
        expected = np.sum(windows[..., ::-1] * weights, axis=-1)
        np.testing.assert_allclose(parts.details[level - 1][len(weights) - 1 :], expected, atol=1e-12)
        assert np.isnan(parts.details[level - 1][: len(weights) - 1]).all()


@pytest.mark.parametrize(("window", "cycles"), [(64, 3), (128, 5), (64, 0)])
def test_the_fourier_slope_is_that_of_the_fft_of_each_detrended_window(window: int, cycles: int) -> None:
    x = log_closes()
    time = np.arange(window)
    for row in (window - 1, 200, 511):
        for column in range(x.shape[1]):
            part = x[row - window + 1 : row + 1, column]
            line = np.polyval(np.polyfit(time, part, 1), time)
            spectrum = np.fft.rfft(part - line)
            spectrum[cycles + 1 :] = 0.0
            finer = np.arange(window - 1 - 1e-4, window - 1 + 2e-4, 1e-4)[:3]
            wave = sum(
                (1 if k == 0 else 2) / window * np.real(spectrum[k] * np.exp(2j * np.pi * k * finer / window))
                for k in range(cycles + 1)
            )
            smooth = np.polyval(np.polyfit(time, part, 1), finer) + wave
            slope = (smooth[2] - smooth[0]) / 2e-4
            ours = float(np.sum(fourier_slope_weights(window, cycles) * part[::-1]))
            np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("cut", [63, 64, 100, 300, 511])
def test_no_filter_changes_its_past_when_a_session_arrives(cut: int) -> None:
    x = log_closes()
    changed = x.copy()
    changed[cut:] *= 1.5
    for before, after in (
        (wavelet_filter(x).smooth, wavelet_filter(changed).smooth),
        (wavelet_filter(x).details[0], wavelet_filter(changed).details[0]),
    ):
        np.testing.assert_array_equal(before[:cut], after[:cut])
        assert (before[cut] != after[cut]).any()
    np.testing.assert_array_equal(wavelet_filter(x[:cut]).smooth, wavelet_filter(x).smooth[:cut])


def test_a_filtered_price_is_smoother() -> None:
    x = log_closes()
    rough = np.nanstd(np.diff(x, axis=0))
    assert np.nanstd(np.diff(wavelet_filter(x, Wavelet.D4, 4).smooth, axis=0)) < 0.5 * rough


def test_fractional_weights_are_the_published_ones() -> None:
    """López de Prado (2018), section 5.4.2: order 1 is the difference, 0 the value; else binomial coefficients."""
    from scipy.special import binom

    np.testing.assert_allclose(fractional_weights(1.0, 5), [1.0, -1.0, 0.0, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(fractional_weights(0.0, 4), [1.0, 0.0, 0.0, 0.0], atol=1e-15)
    k = np.arange(60)
    np.testing.assert_allclose(fractional_weights(0.4, 60), (-1.0) ** k * binom(0.4, k), rtol=1e-10)


def test_filter_features_agree_with_their_definitions() -> None:
    panel = with_gaps(mixed_panel(), 0.005, seed=9)
    features = compute(panel)
    logs = np.log(panel.close)
    returns = np.diff(logs, axis=0, prepend=np.nan)
    np.testing.assert_allclose(
        features["wavelet_distance"], logs - wavelet_filter(logs, Wavelet.D4, 4).smooth, atol=1e-12
    )
    details = wavelet_filter(returns, Wavelet.HAAR, 4).details
    energy = sliding_window_view(details**2, 60, axis=1).sum(axis=-1)
    expected = energy[0] / energy.sum(axis=0)
    np.testing.assert_allclose(features["wavelet_noise_share"][59:], expected, rtol=1e-9)
    windows = sliding_window_view(logs, 60, axis=0)[..., ::-1]
    expected = np.sum(windows * fractional_weights(0.4, 60), axis=-1)
    np.testing.assert_allclose(features["fractional_difference"][59:], expected, rtol=1e-10)
    windows = sliding_window_view(logs, 64, axis=0)[..., ::-1]
    expected = np.sum(windows * fourier_slope_weights(64, 3), axis=-1)
    np.testing.assert_allclose(features["fourier_slope"][63:], expected, rtol=1e-8, atol=1e-12)


def test_settings_that_make_no_filter_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="levels are 0"):
        wavelet_filter(log_closes(), Wavelet.HAAR, 0)
    with pytest.raises(ConfigurationError, match="cannot keep 32 cycles"):
        fourier_slope_weights(64, 32)

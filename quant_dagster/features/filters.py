"""Causal filters: what a price series looks like without its noise, as far as the past can tell.

Every filter here is a weighted sum of the newest values and nothing else, so the value at a session never changes
when the next one arrives. (Filtering a whole history at once with a wavelet transform or an FFT is not causal: both
wrap around or look ahead at the edge, which is where one trades.)

Weights are given newest first, as ``rolling.rolling_weighted`` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import ConfigurationError
from quant_dagster.features.definitions import (
    ENERGY_LEVELS,
    FOURIER_CYCLES,
    FOURIER_WINDOW,
    FRACTIONAL_ORDER,
    FRACTIONAL_WINDOW,
    TREND_WINDOW,
    WAVELET_LEVEL,
)

FloatArray = NDArray[np.float64]


class Wavelet(StrEnum):
    """Daubechies' orthogonal wavelets with two and four coefficients."""

    HAAR = "haar"
    D4 = "d4"


_ROOT = np.sqrt(3.0)
_SCALING = {
    Wavelet.HAAR: (0.5, 0.5),
    Wavelet.D4: ((1.0 + _ROOT) / 8.0, (3.0 + _ROOT) / 8.0, (3.0 - _ROOT) / 8.0, (1.0 - _ROOT) / 8.0),
}
"""Scaling filters of the maximal-overlap transform, adding up to 1 (Percival and Walden 2000, chapters 4 and 5)."""


@dataclass(frozen=True)
class WaveletParts:
    """A panel taken apart by scale; at every session ``details.sum(axis=0) + smooth`` is the panel.

    Attributes
    ----------
    details
        Shape (levels, n, m): level j holds movements of about 2**j to 2**(j+1) sessions.
    smooth
        Shape (n, m): what is slower than all details.
    """

    details: FloatArray
    smooth: FloatArray


def wavelet_filter(panel: FloatArray, wavelet: Wavelet = Wavelet.D4, levels: int = 4) -> WaveletParts:
    """The à trous transform with one-sided filters, for every symbol and session.

    The smooth of level j is the smooth of level j - 1 filtered with the scaling coefficients 2**(j-1) sessions apart;
    the detail is what that takes away. For the Haar wavelet these are the coefficients of the maximal-overlap
    transform. The boundary trails: a level is NaN until its filter is full, and where a value under it is.

    Parameters
    ----------
    panel
        Shape (n, m).
    levels
        1 to 10.
    """
    _require_levels(levels)
    smooth = np.ascontiguousarray(panel.T, dtype=np.float64)
    details = np.empty((levels, *smooth.shape))
    for level in range(levels):
        coarser = _spaced(smooth, np.array(_SCALING[wavelet]), 2**level)
        np.subtract(smooth, coarser, out=details[level])
        smooth = coarser
    return WaveletParts(details=details.transpose(0, 2, 1), smooth=smooth.T)


@lru_cache
def wavelet_weights(wavelet: Wavelet, level: int) -> FloatArray:
    """The smooth of one level as a single filter of (2**level - 1)(L - 1) + 1 weights, L those of the wavelet."""
    _require_levels(level)
    weights = np.ones(1)
    for j in range(level):
        scaling = _SCALING[wavelet]
        spaced = np.zeros(2**j * (len(scaling) - 1) + 1)
        spaced[:: 2**j] = scaling
        weights = np.convolve(weights, spaced)
    return _fixed(weights)


@lru_cache
def wavelet_detail_weights(wavelet: Wavelet, level: int) -> FloatArray:
    """The detail of one level as a single filter: the smooth one level finer less this one."""
    coarse = wavelet_weights(wavelet, level)
    fine = wavelet_weights(wavelet, level - 1) if level > 1 else np.ones(1)
    return _fixed(np.pad(fine, (0, len(coarse) - len(fine))) - coarse)


@lru_cache
def fourier_slope_weights(window: int, cycles: int) -> FloatArray:
    """Weights of the slope, per session, of the trailing low-pass at its last point: line plus slowest harmonics.

    A least-squares line is taken out first, because the transform takes a window for periodic and would draw the end
    of a trend towards its beginning; harmonics of up to ``cycles`` cycles a window are kept; the line is put back.
    """
    if not 0 <= cycles < window / 2:
        raise ConfigurationError(f"a Fourier filter over {window} sessions cannot keep {cycles} cycles: 0 to window/2")
    age = np.arange(window, dtype=np.float64)
    angle = 2.0 * np.pi * np.arange(1, cycles + 1)[:, None] * age / window
    speed = -2.0 * np.sum(2.0 * np.pi * np.arange(1, cycles + 1)[:, None] / window * np.sin(angle), axis=0) / window
    slope = trend_slope_weights(window)
    centred = (window - 1) / 2.0 - age
    line = 1.0 / window + centred[:, None] * slope  # the line at each age, from the values
    return _fixed(slope + speed - np.sum(speed[:, None] * line, axis=0))


@lru_cache
def trend_slope_weights(window: int) -> FloatArray:
    """Weights of the slope, per session, of the least-squares line through the window."""
    centred = (window - 1) / 2.0 - np.arange(window)
    return _fixed(centred / np.sum(centred**2))


@lru_cache
def trend_distance_weights(window: int) -> FloatArray:
    """Weights of the newest value less the least-squares line through the window at its end."""
    weights = -(1.0 / window + trend_slope_weights(window) * (window - 1) / 2.0)
    weights[0] += 1.0
    return _fixed(weights)


@lru_cache
def fractional_weights(order: float, window: int) -> FloatArray:
    """Weights of the fractional difference (1 - B)**order cut after ``window`` terms.

    López de Prado, Advances in Financial Machine Learning (2018), chapter 5: w_0 = 1,
    w_k = -w_(k-1) (order - k + 1) / k. With a fixed width every value has the same weights.
    """
    k = np.arange(1, window)
    return _fixed(np.cumprod(np.concatenate([[1.0], -(order - k + 1.0) / k])))


def _spaced(x: FloatArray, weights: FloatArray, spacing: int) -> FloatArray:
    """Weighted sums of values ``spacing`` sessions apart along the rows of ``x``; NaN until there are enough."""
    result = np.full_like(x, np.nan)
    reach = spacing * (len(weights) - 1)
    if x.shape[1] > reach:
        size = x.shape[1] - reach
        result[:, reach:] = 0.0
        for i, weight in enumerate(weights.tolist()):
            result[:, reach:] += weight * x[:, reach - i * spacing : reach - i * spacing + size]
    return result


def _require_levels(levels: int) -> None:
    if not 1 <= levels <= 10:
        raise ConfigurationError(f"wavelet levels are {levels}; allowed are 1 to 10")


def _fixed(weights: FloatArray) -> FloatArray:
    """A copy of its own, so that nobody changes what is cached."""
    return np.array(weights, dtype=np.float64)


WAVELET_SMOOTH = "wavelet_smooth"
OF_LOG_CLOSE = {
    f"trend_slope_{TREND_WINDOW}": trend_slope_weights(TREND_WINDOW),
    f"trend_distance_{TREND_WINDOW}": trend_distance_weights(TREND_WINDOW),
    "fractional_difference": fractional_weights(FRACTIONAL_ORDER, FRACTIONAL_WINDOW),
    "fourier_slope": fourier_slope_weights(FOURIER_WINDOW, FOURIER_CYCLES),
    WAVELET_SMOOTH: wavelet_weights(Wavelet.D4, WAVELET_LEVEL),
}
"""The filters of the log close that features are made of: features by their names, and the smooth one is taken from."""
OF_RETURNS = tuple(wavelet_detail_weights(Wavelet.HAAR, level) for level in range(1, ENERGY_LEVELS + 1))
"""The filters of the returns: details by scale, finest first."""

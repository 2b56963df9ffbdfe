"""First digits of volumes against Benford's law: a weak sign that figures were made up, or cut to round numbers.

One stock's volumes stay within a factor of ten or so, so their first digits follow the law only roughly: the
deviation of a symbol that is marked is far beyond what real ones show.

References
----------
F. Benford (1938), "The law of anomalous numbers"; M. Nigrini (2012), "Benford's Law", for the mean absolute deviation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.market_data.panel import FloatArray, Panel
from quant_dagster.quality.detectors import BoolArray, DetectorSettings

LAW: FloatArray = np.log10(1.0 + 1.0 / np.arange(1, 10))
"""Share of each first digit, 1 to 9."""


def unlikely_digits(panel: Panel, settings: DetectorSettings) -> BoolArray:
    """The first digits of the volumes of the sessions up to this one, this one included, are far from the law."""
    return np.asarray(trailing_deviation(panel, settings) > settings.digits_deviation)


def trailing_deviation(panel: Panel, settings: DetectorSettings) -> FloatArray:
    """Mean absolute deviation of digit shares from the law over ``digits_window`` sessions; NaN where too few."""
    digits = first_digits(panel.volume)
    counts = np.zeros(digits.shape, dtype=np.int32, order="F")
    total = np.zeros(digits.shape, order="F")
    known = _within(digits > 0, settings.digits_window)
    counts += known
    with np.errstate(invalid="ignore", divide="ignore"):
        for digit in range(1, 10):
            total += np.abs(_within(digits == digit, settings.digits_window) / counts - LAW[digit - 1])
    return np.asarray(np.where(counts >= settings.digits_minimum, total / 9.0, np.nan))


def first_digits(values: FloatArray) -> NDArray[np.int8]:
    """First decimal digit, 1 to 9; 0 for what is absent, zero or negative."""
    digits = np.zeros(values.shape, dtype=np.int8, order="F")
    positive = values > 0
    kept = values[positive]
    power = np.floor(np.log10(kept))
    # The quotient of a power of ten may come out a rounding below or above it.
    digits[positive] = np.clip(np.floor(kept / 10.0**power + 1e-9), 1, 9).astype(np.int8)
    return digits


def _within(mask: BoolArray, window: int) -> NDArray[np.int32]:
    """How often in the ``window`` rows that end with each row."""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1]), dtype=np.int32, order="F")
    np.cumsum(mask, axis=0, out=total[1:])
    start = np.maximum(np.arange(1, mask.shape[0] + 1) - window, 0)
    return np.asarray(total[1:] - total[start])

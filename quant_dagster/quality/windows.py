"""Trailing means over many columns, exact: the mean over a window is the same whatever came before the window.

A running sum of floats keeps the rounding of everything it ever held, so a session scored from a short panel would
differ in the last bits from the same session scored from a long one. Sums here run over integers (fixed point), and
are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.market_data.panel import FloatArray

_SCALE = float(2**30)


def trailing_mean(values: FloatArray, window: int, minimum: int) -> FloatArray:
    """Mean of the ``window`` rows before each row (the row itself excluded).

    Parameters
    ----------
    values
        Shape (n, m); NaN counts as absent. Magnitude below 1e5, resolution 1e-9.
    minimum
        Fewer values than this in the window give NaN.
    """
    present = np.isfinite(values)
    fixed = np.where(present, np.rint(np.where(present, values, 0.0) * _SCALE), 0.0).astype(np.int64)
    counts = _before(present.astype(np.int64), window)
    sums = _before(fixed, window)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / (counts * _SCALE)
    means[counts < minimum] = np.nan
    return np.asarray(means, dtype=np.float64)


def shifted(values: FloatArray, rows: int) -> FloatArray:
    """Each value ``rows`` rows earlier; NaN before the first."""
    moved = np.full(values.shape, np.nan, order="F")
    if rows < values.shape[0]:
        moved[rows:] = values[: values.shape[0] - rows]
    return moved


def _before(values: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    total = np.zeros((values.shape[0] + 1, values.shape[1]), dtype=np.int64, order="F")
    np.cumsum(values, axis=0, out=total[1:])
    start = np.maximum(np.arange(values.shape[0]) - window, 0)
    return total[:-1] - total[start]

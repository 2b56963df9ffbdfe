"""The places of the compiled pass over one session: of series in the ring, of results in the rows, of windows in both.

Belongs here: positions and tables. Does not: arithmetic (``one_session``).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features import decomposition, recursive
from quant_dagster.features.definitions import ENERGY_WINDOW, FEATURES
from quant_dagster.features.filters import OF_LOG_CLOSE, OF_RETURNS, WAVELET_SMOOTH

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DEPTH = 256
"""Sessions kept; the longest look back is 253 sessions (momentum_12_1)."""
_SERIES = (
    "close", "returns", "high", "low", "volume", "market", "typical", "overnight", "body",
    "log_close", "dollars", "impact", "signed", "squared_range", "garman_klass", "rogers_satchell",
    "stochastic", "noise", "energy",
)  # fmt: skip
SERIES = len(_SERIES)
EQUALS = 10
"""Runs of equal values are counted of the first nine series, and of the returns as they were a session ago."""
PRESENTS = 4
"""Runs of present values are counted of the first four series."""
_Series = namedtuple("_Series", _SERIES)  # type: ignore[misc]
_Row = namedtuple("_Row", tuple(FEATURES))  # type: ignore[misc]
S: Any = _Series(*range(SERIES))
ROW: Any = _Row(*range(len(FEATURES)))
EARLIER_RETURNS = 9

_EXTRA = (
    "mean_20", "std_20", "mean_50", "mean_200", "lowest_252", "highest_252", "typical", "typical_spread", "smooth",
    "noise", "energy", "rogers_satchell", "overnight", "body", "volume", "volume_std", "signed", "market", "unused",
    "x_mean", "y_mean", "sxx", "syy",
)  # fmt: skip
WORK_ROWS = len(FEATURES) + len(_EXTRA)
"""Rows of the array that ``take_session`` fills: the features, then what it needs on the way."""
_Extra = namedtuple("_Extra", _EXTRA)  # type: ignore[misc]
X: Any = _Extra(*range(len(FEATURES), WORK_ROWS))

# What is asked of the windows, as tables: each statistic is compiled once and not once for each use.
MEANS = np.array(
    [
        (S.close, 50, X.mean_50),
        (S.close, 200, X.mean_200),
        (S.typical, 20, X.typical),
        (S.stochastic, 3, ROW.stochastic_d_14),
        (S.noise, ENERGY_WINDOW, X.noise),
        (S.energy, ENERGY_WINDOW, X.energy),
        (S.squared_range, 20, ROW.parkinson_20),
        (S.garman_klass, 20, ROW.garman_klass_20),
        (S.rogers_satchell, 20, X.rogers_satchell),
        (S.signed, 20, X.signed),
        (S.dollars, 20, ROW.dollar_volume_20),
        (S.impact, 20, ROW.amihud_20),
        (S.market, 20, X.market),
    ]
)
MOMENTS = np.array(
    [
        (S.returns, 5, ROW.return_mean_5, ROW.volatility_5),
        (S.returns, 10, ROW.return_mean_10, ROW.volatility_10),
        (S.returns, 20, ROW.return_mean_20, ROW.volatility_20),
        (S.returns, 60, ROW.return_mean_60, ROW.volatility_60),
        (S.close, 20, X.mean_20, X.std_20),
        (S.volume, 20, X.volume, X.volume_std),
        (S.overnight, 20, X.unused, X.overnight),
        (S.body, 20, X.unused, X.body),
    ]
)
EXTREMES = np.array(
    [
        (S.returns, 20, ROW.return_min_20, ROW.return_max_20),
        (S.returns, 60, ROW.return_min_60, ROW.return_max_60),
        (S.close, 252, X.lowest_252, X.highest_252),
    ]
)
SHAPES = np.array(
    [
        (20, ROW.return_mean_20, ROW.volatility_20, ROW.return_skew_20),
        (60, ROW.return_mean_60, ROW.volatility_60, ROW.return_skew_60),
    ]
)
"""Window, mean, deviation, and the first of six rows: skewness, kurtosis, least, most, z, position of the close."""
_LOG_ROWS = {**ROW._asdict(), WAVELET_SMOOTH: X.smooth}
LOG_FILTERS = np.array([_LOG_ROWS[name] for name in OF_LOG_CLOSE])
RECURSIVE = np.array([list(FEATURES).index(name) for name in recursive.RESULTS])
SEASONAL = np.array([list(FEATURES).index(name) for name in decomposition.RESULTS])
RANKS = np.array([i for i, name in enumerate(FEATURES) if name.startswith("rank_")])


def _table(filters: Iterable[FloatArray]) -> tuple[FloatArray, IntArray]:
    """Filters as the rows of one array, and their lengths."""
    each = tuple(filters)
    sizes = np.array([len(weights) for weights in each])
    table = np.zeros((len(each), int(sizes.max())))
    for row, weights in zip(table, each, strict=True):
        row[: len(weights)] = weights
    return table, sizes


LOG_WEIGHTS, LOG_SIZES = _table(OF_LOG_CLOSE.values())
DETAIL_WEIGHTS, DETAIL_SIZES = _table(OF_RETURNS)

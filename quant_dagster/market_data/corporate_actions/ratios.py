"""Ratios that splits come in, and how far a number is from the nearest of them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_FRACTIONS = tuple(Fraction(*pair) for pair in ((3, 2), (5, 2), (7, 2), (4, 3), (5, 3), (5, 4)))
_COMMON_WHOLE = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100)

COMMON: NDArray[np.float64] = np.array(
    sorted({float(one) for one in (*_FRACTIONS, *_COMMON_WHOLE)} | {1.0 / count for count in _COMMON_WHOLE})
)
"""New shares per old share, ascending: forward splits that are usual, and reverse splits of 1 for 2 to 1 for 100.
Sparse on purpose: prices around an ex-date tell 10 from 15, not 19 from 20."""

POSSIBLE: NDArray[np.float64] = np.array(
    sorted(
        {float(one) for one in _FRACTIONS}
        | {float(count) for count in range(2, 101)}
        | {1.0 / count for count in range(2, 1001)}
        | {6 / 5, 11 / 10, 21 / 20}
    )
)
"""Every ratio taken for a split where the ratio is known exactly, stock dividends of 5 % and 10 % among them."""


def nearest(ratios: NDArray[np.float64], candidates: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The candidate nearest to each ratio in logarithms, and the distance ``|log(ratio / candidate)|``.

    Parameters
    ----------
    ratios
        Shape (n,), above 0; NaN gives NaN.
    candidates
        Ascending, above 0.
    """
    logs, marks = np.log(ratios), np.log(candidates)
    right = np.clip(np.searchsorted(marks, logs), 1, len(marks) - 1)
    left_nearer = np.abs(logs - marks[right - 1]) <= np.abs(logs - marks[right])
    chosen = np.where(left_nearer, right - 1, right)
    distance = np.abs(logs - marks[chosen])
    return np.where(np.isnan(ratios), np.nan, candidates[chosen]), distance

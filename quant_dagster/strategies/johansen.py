"""Johansen's cointegration test of one system of any number of variables: the plain form of the panel's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Johansen:
    """Eigenvalues, largest first, and the statistics against rank 0, 1, ...: trace and largest eigenvalue."""

    eigenvalues: FloatArray
    trace: FloatArray
    maximum: FloatArray


def johansen(levels: FloatArray, lags: int = 1, *, restricted_constant: bool = False, seasons: int = 0) -> Johansen:
    """Reduced-rank regression of differences on levels.

    Parameters
    ----------
    levels
        Shape (n, k).
    lags
        Lagged differences in the regression (one less than the order of the vector autoregression).
    restricted_constant
        The constant lies in the cointegrating relation only (Johansen & Juselius 1990, H1*); else in the differences.
    seasons
        Centred seasonal dummies of this period; 0: none.
    """
    differences = np.diff(levels, axis=0)
    change = differences[lags:]
    used, size = change.shape
    level = levels[lags:-1]
    others = [differences[lags - k : len(differences) - k] for k in range(1, lags + 1)]
    if seasons:
        phase = np.arange(used) % seasons
        others += [np.where(phase == k, 1.0, 0.0)[:, None] - 1.0 / seasons for k in range(seasons - 1)]
    if restricted_constant:
        level = np.column_stack([level, np.ones(used)])
    else:
        others.append(np.ones((used, 1)))
    if others:
        regressors = np.column_stack(others)
        change = change - regressors @ np.linalg.lstsq(regressors, change, rcond=None)[0]
        level = level - regressors @ np.linalg.lstsq(regressors, level, rcond=None)[0]
    s00, s10, s11 = change.T @ change / used, level.T @ change / used, level.T @ level / used
    product = np.linalg.solve(s11, s10) @ np.linalg.solve(s00, s10.T)
    eigenvalues = np.sort(np.linalg.eigvals(product).real)[::-1][:size]
    maximum = -used * np.log(1.0 - eigenvalues)
    return Johansen(eigenvalues, np.cumsum(maximum[::-1])[::-1], maximum)

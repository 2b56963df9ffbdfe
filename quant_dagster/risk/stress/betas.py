"""Betas to a market proxy, for symbols whose own move in a stress is unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FEWEST_SESSIONS = 120
"""Sessions with a return of the symbol and of the market, below which a beta is a guess."""


def market_betas(closes: FloatArray, market: FloatArray) -> FloatArray:
    """Least-squares beta of each symbol, shape (m,); NaN with fewer than 120 common sessions or a market at rest.

    Parameters
    ----------
    closes
        Adjusted closes, shape (n, m), oldest first; NaN is absent.
    market
        Closes of the market proxy, shape (n,).
    """
    returns, moves = closes[1:] / closes[:-1] - 1.0, (market[1:] / market[:-1] - 1.0)[:, None]
    known = np.isfinite(returns) & np.isfinite(moves)
    count = known.sum(axis=0)
    own, common = np.where(known, returns, 0.0), np.where(known, moves, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = np.where(known, common - common.sum(axis=0) / count, 0.0)
        betas = (centred * own).sum(axis=0) / (centred * centred).sum(axis=0)
    return np.where((count >= FEWEST_SESSIONS) & np.isfinite(betas), betas, np.nan)

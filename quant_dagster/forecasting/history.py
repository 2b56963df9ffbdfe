"""The returns the models are fitted to: each symbol's newest unbroken history, packed from the top of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.market_data.panel import Panel


@dataclass(frozen=True)
class ReturnHistory:
    """Daily log returns of many symbols at one session.

    Attributes
    ----------
    returns
        float64, shape (window, m), Fortran order. Column j holds the returns of symbol j, oldest first, in its first
        ``counts[j]`` rows; the rest is NaN. A return after missed sessions spans them.
    counts
        int64, shape (m,): returns of each symbol.
    stale
        int64, shape (m,): sessions since the symbol's last close; 0 when it has a bar on the last session, -1 when
        it has no close in the window at all.
    mean, variance
        float64, shape (m,): sample moments of the returns (division by the count); NaN without returns.
    """

    returns: FloatArray
    counts: IntArray
    stale: IntArray
    mean: FloatArray
    variance: FloatArray


def return_history(panel: Panel, window: int, longest_gap: int) -> ReturnHistory:
    """Log returns of the newest ``window`` sessions of ``panel``, per symbol.

    Sessions without a close (NaN, or not above zero, which has no logarithm) are dropped. Only what follows the
    newest gap of more than ``longest_gap`` missed sessions is used.
    """
    close = np.ascontiguousarray(panel.close[-(window + 1) :].T)
    symbols, sessions = close.shape
    valid = (close > 0.0) & np.isfinite(close)
    closes = valid.sum(axis=1)
    rows = np.argsort(~valid, axis=1, kind="stable")  # valid sessions first, in order
    place = np.arange(sessions)
    stale = np.where(closes > 0, sessions - 1 - np.take_along_axis(rows, (closes - 1)[:, None], axis=1)[:, 0], -1)
    gap = (np.diff(rows, axis=1) > longest_gap + 1) & (place[1:] < closes[:, None])
    start = (gap * place[1:]).max(axis=1, initial=0)  # place of the first close after the newest long gap
    counts = np.maximum(closes - 1 - start, 0)
    source = np.minimum(start[:, None] + place, sessions - 1)
    packed = np.take_along_axis(close, np.take_along_axis(rows, source, axis=1), axis=1)
    logs = np.log(np.where(place <= counts[:, None], packed, 1.0))
    returns = np.full((symbols, window), np.nan)
    known = place[:-1] < counts[:, None]
    returns[:, : sessions - 1][known] = (logs[:, 1:] - logs[:, :-1])[known]
    size = np.where(counts > 0, counts, np.nan)
    inside = np.arange(window) < counts[:, None]
    mean = np.sum(np.where(inside, returns, 0.0), axis=1) / size
    variance = np.sum(np.where(inside, returns - mean[:, None], 0.0) ** 2, axis=1) / size
    return ReturnHistory(returns.T, counts.astype(np.int64), stale.astype(np.int64), mean, variance)

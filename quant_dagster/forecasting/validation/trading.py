"""What trading a forecast would have earned by one simple rule: a yardstick, not a strategy."""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.validation.evaluation import Evaluation

SESSIONS_PER_YEAR = 252


def positions(evaluation: Evaluation) -> FloatArray:
    """Position in each symbol, -1 to 1, shape (M, H, T, m): the annualised Sharpe ratio forecast, cut off at one.

    ``sqrt(252 / h) mean / std``; 0 where there is no forecast.
    """
    scale = np.sqrt(SESSIONS_PER_YEAR / np.array(evaluation.horizons, np.float64))
    promised = scale[:, None, None] * evaluation.mean / evaluation.std
    return np.clip(np.nan_to_num(promised, nan=0.0), -1.0, 1.0)


def traded_returns(evaluation: Evaluation, cost_bps: float) -> FloatArray:
    """Simple return of each origin, shape (M, H, T): positions held over the next session, after costs.

    The mean over all symbols with a return. A unit of position that is bought or sold costs ``cost_bps``; where
    origins do not follow each other session by session, each position is opened and closed again.
    """
    held = positions(evaluation)
    before = np.zeros_like(held)
    traded = 2.0 * np.abs(held)
    if evaluation.step == 1:
        follows = np.flatnonzero(np.diff(evaluation.segments) == 0) + 1
        before[:, :, follows] = held[:, :, follows - 1]
        traded = np.abs(held - before)
    known = np.isfinite(evaluation.next_return)
    net = held * np.where(known, evaluation.next_return, 0.0) - cost_bps * 1e-4 * traded
    number = np.maximum(known.sum(axis=-1), 1)
    result: FloatArray = np.where(known, net, 0.0).sum(axis=-1) / number
    return result

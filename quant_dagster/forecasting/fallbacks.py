"""What is forecast when a model cannot be fitted: moments of the past, which always exist."""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.columns import FloatArray, IntArray

RISKMETRICS_DECAY = 0.94


def ewma_variance(returns: FloatArray, counts: IntArray, decay: float = RISKMETRICS_DECAY) -> FloatArray:
    """Variance of the next return by exponential weights, shape (m,), NaN for a column without returns.

    ``h_(t+1) = decay h_t + (1 - decay) y_t ** 2`` with mean zero (RiskMetrics Technical Document 1996, section 5.2),
    started from the mean square of the column. It is the same for every session ahead.
    """
    squares = np.ascontiguousarray(returns.T) ** 2
    variance = np.nansum(squares, axis=1) / np.where(counts > 0, counts, np.nan)
    for t in range(len(returns)):  # over sessions; each step is all symbols at once
        variance = np.where(t < counts, decay * variance + (1.0 - decay) * squares[:, t], variance)
    return np.asarray(variance, dtype=np.float64)

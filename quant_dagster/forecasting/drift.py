"""Has a model changed for the worse? Tests on the losses of forecasts whose outcome is known.

Everything is measured against the naive forecast of the same outcomes, so that a wild market is not taken for a broken
model. Belongs here: the tests. Which losses are compared, and what follows, is ``cycle.model_watch``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant_dagster.forecasting.columns import FloatArray

FEWEST = 20
"""Observations on each side below which nothing is tested."""
_LAGS = 5


@dataclass(frozen=True)
class DriftTest:
    """One test's result; ``p_value`` is the chance of as much if nothing had changed."""

    detector: str
    statistic: float
    p_value: float
    detail: str


def drift_tests(reference: FloatArray, recent: FloatArray, squares: FloatArray) -> list[DriftTest]:
    """Every drift test of one model; none where either side has fewer than ``FEWEST`` observations.

    Parameters
    ----------
    reference, recent
        Loss of the model less that of the naive forecast, one value a session, oldest first; ``recent`` follows
        ``reference``.
    squares
        Recent means of squared error over forecast variance, one a session: 1 for an honest variance.
    """
    if min(len(reference), len(recent)) < FEWEST:
        return []
    tests = [loss_shift(reference, recent), loss_cusum(reference, recent)]
    if len(squares) >= FEWEST:
        tests.append(calibration(squares))
    return tests


def loss_shift(reference: FloatArray, recent: FloatArray) -> DriftTest:
    """Is the mean loss larger than it was? One-sided Welch test with Newey-West variances (5 lags)."""
    before, after = float(np.mean(reference)), float(np.mean(recent))
    variance = long_run_variance(reference) / len(reference) + long_run_variance(recent) / len(recent)
    statistic = (after - before) / math.sqrt(variance) if variance > 0.0 else 0.0
    detail = f"loss over naive {after:+.3g} in {len(recent)} sessions, {before:+.3g} in the {len(reference)} before"
    return DriftTest("loss_shift", statistic, _above(statistic), detail)


def loss_cusum(reference: FloatArray, recent: FloatArray) -> DriftTest:
    """Do losses add up to more than they did? Supremum of the cumulative sum of recent losses less the reference mean.

    Under no change the scaled sum is a Brownian motion; the chance that it exceeds c is ``2 (1 - Phi(c))`` (reflection
    principle), one-sided. The reference mean is taken as known, which the variance's factor ``1 + n / m`` makes up for.
    """
    n, m = len(recent), len(reference)
    scale = math.sqrt(long_run_variance(reference) * n * (1.0 + n / m))
    sums = np.cumsum(recent - np.mean(reference))
    at = int(np.argmax(sums))
    statistic = float(sums[at]) / scale if scale > 0.0 else 0.0
    p_value = min(1.0, 2.0 * _above(max(statistic, 0.0)))
    return DriftTest("loss_cusum", statistic, p_value, f"losses add up most {n - 1 - at} sessions ago")


def calibration(squares: FloatArray) -> DriftTest:
    """Is the variance honest? Two-sided Newey-West t test that squared error over forecast variance is 1 on average."""
    mean = float(np.mean(squares))
    error = math.sqrt(long_run_variance(squares) / len(squares))
    statistic = (mean - 1.0) / error if error > 0.0 else 0.0
    detail = f"squared errors are {mean:.2f} times the variance forecast, over {len(squares)} sessions"
    return DriftTest("calibration", statistic, 2.0 * _above(abs(statistic)), detail)


def long_run_variance(values: FloatArray, lags: int = _LAGS) -> float:
    """Newey & West (1987): ``g_0 + 2 sum_k (1 - k / (lags + 1)) g_k`` of autocovariances ``g_k`` (divisor n)."""
    deviations = values - np.mean(values)
    n = len(values)
    total = float(deviations @ deviations) / n
    for k in range(1, min(lags, n - 1) + 1):
        total += 2.0 * (1.0 - k / (lags + 1.0)) * float(deviations[k:] @ deviations[:-k]) / n
    return max(total, 0.0)


def _above(statistic: float) -> float:
    """Chance that a standard normal value is above ``statistic``."""
    return 0.5 * math.erfc(statistic / math.sqrt(2.0))

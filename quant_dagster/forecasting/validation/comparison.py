"""Whether one forecast is better than another by more than chance: losses compared origin by origin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant_dagster.forecasting.columns import FloatArray

_REPLICATIONS = 1000
_SEED = 20121
_INCOMPARABLE = 1e6


@dataclass(frozen=True)
class TestResult:
    """A statistic, negative where the first forecast has the smaller loss, and its two-sided p-value.

    Both are None where the losses do not differ, or are too few for the horizon: nothing can be told then.
    """

    __test__ = False  # not a pytest class

    statistic: float | None
    p_value: float | None


_NOTHING = TestResult(None, None)


def diebold_mariano(loss: FloatArray, other: FloatArray, horizon: int = 1) -> TestResult:
    """Diebold & Mariano's (1995) test of equal predictive accuracy, corrected by Harvey, Leybourne & Newbold (1997).

    The long-run variance of the difference has ``horizon - 1`` autocovariances of equal weight; where that is not
    positive, Bartlett's weights are taken, with which it cannot be negative. Compared with Student's t with n - 1
    degrees of freedom.

    Parameters
    ----------
    loss, other
        Shape (n,): losses of the two forecasts at the same origins, oldest first.
    horizon
        Neighbouring outcomes that overlap, counting the first: the horizon in units of the origins' distance.
    """
    from scipy.special import stdtr

    difference = np.asarray(loss, np.float64) - np.asarray(other, np.float64)
    n = len(difference)
    correction = n + 1 - 2 * horizon + horizon * (horizon - 1) / n if n else 0.0
    if n < 3 or correction <= 0.0:
        return _NOTHING
    mean = float(difference.mean())
    centred = difference - mean
    covariances = np.array([float(centred[lag:] @ centred[: n - lag]) / n for lag in range(horizon)])
    if not _varies(float(covariances[0]), difference):
        return _NOTHING
    variance = float(covariances[0] + 2.0 * covariances[1:].sum())
    if variance <= 0.0:
        weights = 1.0 - np.arange(1, horizon) / horizon
        variance = float(covariances[0] + 2.0 * (weights * covariances[1:]).sum())
    if variance <= 0.0:
        return _NOTHING
    statistic = mean / math.sqrt(variance / n) * math.sqrt(correction / n)
    return TestResult(statistic, 2.0 * float(stdtr(n - 1, -abs(statistic))))


def paired_t(loss: FloatArray, other: FloatArray) -> TestResult:
    """Student's paired t test: as if losses at different origins were independent."""
    from scipy.special import stdtr

    difference = np.asarray(loss, np.float64) - np.asarray(other, np.float64)
    n = len(difference)
    if n < 3:
        return _NOTHING
    variance = float(difference.var(ddof=1))
    if not _varies(variance, difference):
        return _NOTHING
    statistic = float(difference.mean()) / math.sqrt(variance / n)
    return TestResult(statistic, 2.0 * float(stdtr(n - 1, -abs(statistic))))


def confidence_set(losses: FloatArray, significance: float, horizon: int = 1) -> list[bool]:
    """Which forecasts are in Hansen, Lunde & Nason's (2011) model confidence set: no worse than the best but by chance.

    ``arch.bootstrap.MCS`` with the range statistic and a seeded stationary bootstrap of blocks of ``n ** (1/3)``
    origins, at least the horizon. Forecasts with equal losses at every origin are in or out together. One whose mean
    loss is a million times further from the best than the best's losses are large is out without a test: beside it
    the others could not be told apart in floating point.

    Parameters
    ----------
    losses
        Shape (n, k), finite.
    """
    from arch.bootstrap import MCS

    means = losses.mean(axis=0)
    scale = float(np.abs(losses[:, int(means.argmin())]).mean()) or 1.0
    tested = np.flatnonzero(means - means.min() <= _INCOMPARABLE * scale)
    distinct, places = np.unique(np.round(losses[:, tested] / scale, 12), axis=1, return_inverse=True)
    included = {0}
    if distinct.shape[1] > 1:
        block = max(horizon, math.ceil(len(losses) ** (1.0 / 3.0)))
        mcs = MCS(distinct, size=significance, reps=_REPLICATIONS, block_size=block, method="R", seed=_SEED)
        mcs.compute()
        included = {int(str(place)) for place in mcs.included}
    found = {int(model): int(place) in included for model, place in zip(tested, places.reshape(-1), strict=True)}
    return [found.get(model, False) for model in range(losses.shape[1])]


def _varies(variance: float, difference: FloatArray) -> bool:
    """Equal differences leave a rounding error, not a variance."""
    return variance > (1e-14 * float(np.abs(difference).max())) ** 2

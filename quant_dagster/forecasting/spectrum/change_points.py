"""Change points by singular spectrum analysis: when a series leaves the span of its own recent past.

Moskvina & Zhigljavsky (2003), "An algorithm based on singular spectrum analysis for change-point detection",
*Communications in Statistics: Simulation and Computation* 32(2). The leading components of a base window span what the
series did; the squared distance of later lagged vectors from that span, averaged and divided by the same in the base,
is the statistic S; a CUSUM of its increments says when it has risen more than noise can. Everything at a session
depends on the data up to it, bit for bit.

Here the base is found anew every ``REFRESH`` sessions and not every session, with the increments never taken across two
bases; and the threshold, which holds for normal noise, is widened by the kurtosis the base has. What is done about a
change belongs in ``intervention``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray

BASE = 252  # values the components are found in
LAG = 16  # M: length of the lagged vectors
COMPONENTS = 2
TESTED = 16  # Q: newest lagged vectors the distance is averaged over
REFRESH = 63  # sessions a base is used for
LEVEL = 1e-3  # share of sessions without a change on which a threshold for one session would be passed
FEWEST = BASE + LAG + TESTED - 1  # values before the first that is judged
_SLACK = 1.0 / (3.0 * math.sqrt(LAG * TESTED))  # kappa
_LARGEST_KURTOSIS = 30.0  # a base with one extreme day has any


@dataclass(frozen=True)
class ChangePoints:
    """Changes of m series, packed as the series are: shape (n, m), row t from the data up to row t.

    Attributes
    ----------
    statistic
        The CUSUM over its threshold: a change is declared where it passes 1. NaN before ``FEWEST`` values.
    distance
        S: mean squared distance from the base's span over that in the base; about 1 without a change.
    declared
        bool: a change is declared at this row.
    onset
        int64: the row at which the CUSUM that declared the newest change began to rise; -1 before any.
    since
        int64: rows since the newest change was declared, 0 on the row; -1 before any.
    """

    statistic: FloatArray
    distance: FloatArray
    declared: BoolArray
    onset: IntArray
    since: IntArray


def threshold(level: float = LEVEL, lag: int = LAG, tested: int = TESTED) -> float:
    """The CUSUM's threshold for normal noise: ``2 t / (M Q) sqrt(Q (3 M Q - Q ** 2 + 1) / 3)``, Q at most M.

    t is the normal quantile at ``1 - level``. The root is of the sum of the squared weights with which M + Q - 1
    squared values enter the average, so that this is the quantile of the difference of two separate averages.
    """
    return 2.0 * NormalDist().inv_cdf(1.0 - level) / (lag * tested) * math.sqrt(sum_of_squared_weights(lag, tested))


def sum_of_squared_weights(lag: int, tested: int) -> float:
    """Sum of the squares of the times that a value is in ``tested`` lagged vectors of length ``lag >= tested``."""
    return tested * (3 * lag * tested - tested**2 + 1) / 3


def detect_changes(series: FloatArray, counts: IntArray, *, level: float = LEVEL) -> ChangePoints:
    """Judge every value of every column from the data up to it.

    Parameters
    ----------
    series
        float64, shape (n, m): column j holds ``counts[j]`` values, oldest first, from the top. Values about a level, as
        returns are: a path that wanders leaves its past all the time.
    level
        See ``LEVEL``.
    """
    n, m = series.shape
    x = np.ascontiguousarray(np.where(np.arange(n) < counts[:, None], series.T, 0.0))
    distance, before, kurtosis = _distances(x)
    limit = threshold(level) * np.sqrt(np.maximum(kurtosis - 1.0, 2.0) / 2.0)
    statistic = np.full((m, n), np.nan)
    declared, onset = np.zeros((m, n), np.bool_), np.full((m, n), -1)
    cusum, normal, rise = np.zeros(m), np.ones(m), np.zeros(m, np.int64)
    newest_onset, quiet = np.full(m, -1), np.zeros(m, np.int64)
    for t in range(FEWEST, n):
        resting = cusum == 0.0
        normal = np.where(resting, np.maximum(before[:, t], 1.0), normal)  # the newest distance without a change
        cusum = np.maximum(cusum + (distance[:, t] - before[:, t]) / normal - _SLACK, 0.0)
        rise = np.where(resting & (cusum > 0.0), t, rise)
        over = cusum / limit[:, t]
        statistic[:, t] = over
        found = (over > 1.0) & (t >= quiet)
        declared[:, t] = found
        newest_onset = np.where(found, rise, newest_onset)
        onset[:, t] = newest_onset
        quiet = np.where(found, t + LAG + TESTED, quiet)  # the vectors tested still hold values from before
        cusum = np.where(t < quiet, 0.0, cusum)
    beyond = np.arange(n) >= counts[:, None]
    statistic[beyond], distance[beyond], declared[beyond] = np.nan, np.nan, False
    place = np.arange(n)
    newest = np.maximum.accumulate(np.where(declared, place, -1), axis=1)
    since = np.where(newest >= 0, place - newest, -1)
    return ChangePoints(statistic.T, distance.T, declared.T, onset.T, since.T)


def _distances(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """S at each value and at the one before by the same base, and the base's kurtosis; each of shape (m, n)."""
    m, n = x.shape
    distance, before, kurtosis = np.full((m, n), np.nan), np.full((m, n), np.nan), np.full((m, n), 3.0)
    starts = np.arange(0, n - FEWEST, REFRESH)  # of the bases
    if len(starts) == 0:
        return distance, before, kurtosis
    rows = BASE - LAG + 1  # K
    covariance = np.empty((m, len(starts), LAG, LAG))
    place = np.arange(LAG)
    for lag in range(LAG):
        products = np.zeros((m, n + 1 - lag))
        np.cumsum(x[:, : n - lag] * x[:, lag:], axis=1, out=products[:, 1:])
        i = place[: LAG - lag]
        from_row = starts[:, None] + i
        diagonal = products[:, from_row + rows] - products[:, from_row]
        covariance[:, :, i, i + lag] = diagonal
        covariance[:, :, i + lag, i] = diagonal
    values, vectors = np.linalg.eigh(covariance)
    noise = values[:, :, : LAG - COMPONENTS].sum(axis=2) / (LAG * rows)
    towards = np.swapaxes(vectors[:, :, :, LAG - COMPONENTS :], 2, 3)
    squares, fourth = np.zeros((m, n + 1)), np.zeros((m, n + 1))
    np.cumsum(x**2, axis=1, out=squares[:, 1:])
    np.cumsum(x**4, axis=1, out=fourth[:, 1:])
    padded = np.concatenate([x, np.zeros((m, REFRESH + LAG + TESTED))], axis=1)
    columns = np.arange(REFRESH + TESTED)
    for b, start in enumerate(starts.tolist()):
        stop = start + BASE
        lagged = padded[:, stop + place[:, None] + columns]
        inside = towards[:, b] @ lagged
        distances = (lagged**2).sum(axis=1) - (inside**2).sum(axis=1)
        total = np.zeros((m, len(columns) + 1))
        np.cumsum(distances, axis=1, out=total[:, 1:])
        mean = (total[:, TESTED:] - total[:, :-TESTED]) / (LAG * TESTED)
        varies = noise[:, b] > 0.0
        mean = np.where(varies[:, None], mean / np.where(varies, noise[:, b], 1.0)[:, None], 1.0)
        first = start + FEWEST  # the first value judged by this base
        width = min(REFRESH, n - first)
        distance[:, first : first + width] = mean[:, 1 : width + 1]
        before[:, first : first + width] = mean[:, :width]
        second = (squares[:, stop] - squares[:, start]) / BASE
        peaks = (fourth[:, stop] - fourth[:, start]) / BASE / np.where(second > 0.0, second, 1.0) ** 2
        kurtosis[:, first : first + width] = np.minimum(peaks, _LARGEST_KURTOSIS)[:, None]
    return distance, before, kurtosis

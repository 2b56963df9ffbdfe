"""Expectation maximisation for the hidden Markov models of many symbols: where it starts, and what counts as a regime.

Belongs here: parameters in standard units and in no order. Does not: the algorithm for one series (``baum_welch``),
ordered states and forecasts (``regimes``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns, standardise
from quant_dagster.forecasting.regimes.baum_welch import expectation_maximisation, forward_pass

SMALLEST_OCCUPATION = 0.01  # expected share of the observations in a regime, and
FEWEST_IN_REGIME = 10.0  # expected observations
SMALLEST_VARIANCE = 1e-4  # of a regime, as a share of the sample variance


@dataclass(frozen=True)
class RegimeParameters:
    """Hidden Markov models of m symbols with K states each, NaN where there is none.

    Attributes
    ----------
    means, stds, initial
        Shape (m, K); means and standard deviations in the units of the returns.
    transition
        Shape (m, K, K).
    """

    means: FloatArray
    stds: FloatArray
    transition: FloatArray
    initial: FloatArray


@dataclass(frozen=True)
class Estimates:
    """Parameters in standard units, states in no order; start values before, estimates after."""

    mean: FloatArray
    variance: FloatArray
    initial: FloatArray
    transition: FloatArray
    filtered: FloatArray
    occupation: FloatArray
    log_likelihood: FloatArray
    moments: FloatArray
    taken: IntArray
    converged: BoolArray

    @classmethod
    def starting(cls, mean: FloatArray, variance: FloatArray, initial: FloatArray, transition: FloatArray) -> Estimates:
        columns = len(mean)
        return cls(
            mean,
            variance,
            initial,
            transition,
            np.zeros_like(mean),
            np.zeros_like(mean),
            np.zeros(columns),
            np.full((columns, 2), np.nan),
            np.zeros(columns, np.int64),
            np.zeros(columns, np.bool_),
        )

    def sound(self, counts: IntArray) -> BoolArray:
        """Whether every state varies and is visited often enough to be a regime."""
        fewest = np.maximum(SMALLEST_OCCUPATION * counts, FEWEST_IN_REGIME)[:, None]
        varies = np.isfinite(self.log_likelihood) & np.all(self.variance > SMALLEST_VARIANCE, axis=1)
        return np.asarray(varies & np.all(self.occupation >= fewest, axis=1))


def estimates(
    series: FloatArray,
    counts: IntArray,
    wanted: BoolArray,
    start: Estimates,
    iterations: int,
    tolerance: float,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Estimates:
    """Expectation maximisation of the wanted columns, in place of the start values."""

    def kernel(first: int, stop: int) -> None:
        _fit_columns(
            first,
            stop,
            series,
            counts,
            wanted,
            iterations,
            tolerance,
            start.taken,
            start.converged,
            start.log_likelihood,
            start.mean,
            start.variance,
            start.initial,
            start.transition,
            start.filtered,
            start.occupation,
            start.moments,
        )

    over_columns(kernel, len(counts), workers, progress)
    return start


def cold_start(series: FloatArray, counts: IntArray, states: int) -> Estimates:
    columns = len(counts)
    return Estimates.starting(
        np.zeros((columns, states)),
        _start_variances(series, counts, states),
        np.full((columns, states), 1.0 / states),
        np.tile(np.where(np.eye(states) > 0, 0.95, 0.05 / (states - 1)), (columns, 1, 1)),
    )


def warm_start(series: FloatArray, counts: IntArray, earlier: RegimeParameters) -> Estimates:
    """Earlier parameters in the units the new returns are standardised to.

    No chance is left at zero: expectation maximisation could not raise it again.
    """
    inside = np.arange(series.shape[1]) < counts[:, None]
    size = np.maximum(counts, 1)[:, None]
    centre = np.sum(np.where(inside, series, 0.0), axis=1, keepdims=True) / size
    scale = np.sqrt(np.sum(np.where(inside, series - centre, 0.0) ** 2, axis=1, keepdims=True) / size)
    scale = np.where(scale > 0.0, scale, 1.0)
    floor = 1e-3
    moves, initial = np.maximum(earlier.transition, floor), np.maximum(earlier.initial, floor)
    return Estimates.starting(
        (earlier.means - centre) / scale,
        np.maximum((earlier.stds / scale) ** 2, floor),
        initial / initial.sum(axis=1, keepdims=True),
        moves / moves.sum(axis=2, keepdims=True),
    )


def _start_variances(series: FloatArray, counts: IntArray, states: int) -> FloatArray:
    """Mean squares of each row in ``states`` equal groups by distance from the row's mean, in units of its variance."""
    inside = np.arange(series.shape[1]) < counts[:, None]
    mean = np.sum(np.where(inside, series, 0.0), axis=1) / np.maximum(counts, 1)
    squares = np.sort(np.where(inside, (series - mean[:, None]) ** 2, np.inf), axis=1)  # absent ones last
    sums = np.cumsum(np.where(inside, squares, 0.0), axis=1)
    sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
    edges = np.arange(states + 1) * counts[:, None] // states
    variances = np.diff(np.take_along_axis(sums, edges, axis=1), axis=1) / np.maximum(np.diff(edges, axis=1), 1)
    overall = sums[:, -1] / np.maximum(counts, 1)
    return np.maximum(variances / np.where(overall > 0.0, overall, 1.0)[:, None], 1e-3)


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_columns(
    first: int,
    stop: int,
    series: FloatArray,
    counts: IntArray,
    wanted: BoolArray,
    iterations: int,
    tolerance: float,
    taken: IntArray,
    converged: BoolArray,
    log_likelihood: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    initial: FloatArray,
    transition: FloatArray,
    filtered: FloatArray,
    occupation: FloatArray,
    moments: FloatArray,
) -> None:
    z = np.empty(series.shape[1])
    for j in range(first, stop):
        n = counts[j]
        if not wanted[j]:
            continue
        moments[j, 0], moments[j, 1] = standardise(series[j, :n], z[:n])
        if moments[j, 1] > 0.0:
            log_likelihood[j], taken[j], converged[j] = expectation_maximisation(
                z[:n],
                iterations,
                tolerance,
                mean[j],
                variance[j],
                initial[j],
                transition[j],
                filtered[j],
                occupation[j],
            )


@njit(cache=True, nogil=True, error_model="numpy")
def filter_columns(
    first: int,
    stop: int,
    series: FloatArray,
    counts: IntArray,
    wanted: BoolArray,
    mean: FloatArray,
    variance: FloatArray,
    initial: FloatArray,
    transition: FloatArray,
    filtered: FloatArray,
    log_likelihood: FloatArray,
) -> None:
    states = mean.shape[1]
    for j in range(first, stop):
        n = counts[j]
        if wanted[j]:
            forward, density, inverse = np.empty((n, states)), np.empty((n, states)), np.empty(n)
            log_likelihood[j] = forward_pass(
                series[j, :n], mean[j], variance[j], initial[j], transition[j], forward, density, inverse
            )
            filtered[j] = forward[n - 1]

"""Market regimes: a Gaussian hidden Markov model of the log returns of every symbol, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.forecasting.baum_welch import expectation_maximisation
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns, standardise
from quant_dagster.forecasting.regime_mixture import mixture_moments, mixture_quantiles, occupation_mixture

FITTED, NOT_TRIED, CONSTANT, NOT_CONVERGED, DEGENERATE = 0, 1, 2, 3, 4
REASONS = {
    NOT_TRIED: "not fitted",
    CONSTANT: "the returns do not vary",
    NOT_CONVERGED: "expectation maximisation did not converge",
    DEGENERATE: "a regime holds too few observations or hardly varies",
}
SMALLEST_OCCUPATION = 0.01  # expected share of the observations in a regime, and
FEWEST_IN_REGIME = 10.0  # expected observations
SMALLEST_VARIANCE = 1e-4  # of a regime, as a share of the sample variance


@dataclass(frozen=True)
class RegimeFits:
    """Hidden Markov models of m symbols, K states each, ordered from the calmest (0) to the wildest (K - 1).

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS`` (the other entries are then NaN or 0).
    means, stds
        float64, shape (m, K): of a session's log return in each state.
    transition
        Shape (m, K, K): row i holds the chances of going from state i to each state.
    initial
        Shape (m, K): state of the first observation.
    filtered
        Shape (m, K): chance of each state at the last observation, given the observations up to it and none after;
        the smoothed probabilities of the past, which know the future, are not given out.
    occupation
        Shape (m, K): expected observations in each state.
    log_likelihood
        Shape (m,): Gaussian, of the estimates, constants included.
    iterations
        int64, shape (m,).
    total_mean, total_std
        Shape (m, h): exact moments of the log return over the next ``horizons`` sessions.
    quantiles
        Shape (m, h, q): of the exact predictive distribution, a mixture of normals over the sessions spent in
        each state.
    """

    status: NDArray[np.int8]
    means: FloatArray
    stds: FloatArray
    transition: FloatArray
    initial: FloatArray
    filtered: FloatArray
    occupation: FloatArray
    log_likelihood: FloatArray
    iterations: IntArray
    total_mean: FloatArray
    total_std: FloatArray
    quantiles: FloatArray


def fit_regimes(
    returns: FloatArray,
    counts: IntArray,
    *,
    states: int,
    horizons: tuple[int, ...],
    probabilities: tuple[float, ...],
    iterations: int = 500,
    tolerance: float = 1e-3,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> RegimeFits:
    """Fit a Gaussian HMM to every column by Baum & Welch's algorithm and forecast the coming sessions.

    The start is deterministic: state k has the mean of all returns and the variance of the k-th of ``states`` equal
    groups of returns by distance from it, and stays for 20 sessions on average.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    states
        2 or 3.
    horizons, probabilities
        Sessions ahead, and the quantiles wanted of each total return.
    iterations, tolerance
        EM ends when an iteration gains less log-likelihood than ``tolerance``, and fails after ``iterations``.
    tried
        Columns to fit; None is all.
    """
    columns = returns.shape[1]
    wanted = counts >= 20
    status = np.full(columns, NOT_TRIED, np.int8)
    if tried is not None:
        wanted &= tried
    series = np.ascontiguousarray(returns.T)
    taken, converged, log_likelihood = np.zeros(columns, np.int64), np.zeros(columns, np.bool_), np.zeros(columns)
    variance = _start_variances(series, counts, states)
    mean, initial = np.zeros((columns, states)), np.full((columns, states), 1.0 / states)
    transition = np.tile(np.where(np.eye(states) > 0, 0.95, 0.05 / (states - 1)), (columns, 1, 1))
    filtered, occupation = np.zeros((columns, states)), np.zeros((columns, states))
    moments = np.full((columns, 2), np.nan)

    def kernel(first: int, stop: int) -> None:
        _fit_columns(
            first,
            stop,
            series,
            counts,
            wanted,
            iterations,
            tolerance,
            taken,
            converged,
            log_likelihood,
            mean,
            variance,
            initial,
            transition,
            filtered,
            occupation,
            moments,
        )

    over_columns(kernel, columns, workers, progress)
    centre, scale = moments.T
    sound = np.isfinite(log_likelihood) & np.all(variance > SMALLEST_VARIANCE, axis=1)
    sound &= np.all(occupation >= np.maximum(SMALLEST_OCCUPATION * counts, FEWEST_IN_REGIME)[:, None], axis=1)
    status[wanted] = np.where(sound, np.where(converged, FITTED, NOT_CONVERGED), DEGENERATE)[wanted]
    status[wanted & ~(scale > 0.0)] = CONSTANT
    fitted = status == FITTED

    def kept(values: FloatArray) -> FloatArray:
        values[~fitted] = np.nan
        return values

    rank = np.argsort(variance, axis=1, kind="stable")
    by_rank = {
        name: kept(np.take_along_axis(values, rank, axis=1))
        for name, values in {
            "means": centre[:, None] + scale[:, None] * mean,
            "stds": scale[:, None] * np.sqrt(variance),
            "initial": initial,
            "filtered": filtered,
            "occupation": occupation,
        }.items()
    }
    moves = np.take_along_axis(transition, rank[:, :, None], axis=1)
    moves = kept(np.take_along_axis(moves, rank[:, None, :], axis=2))
    ahead = len(horizons)
    totals, quantiles = np.full((2, columns, ahead), np.nan), np.full((columns, ahead, len(probabilities)), np.nan)
    for a, horizon in enumerate(horizons):
        mixture = occupation_mixture(
            by_rank["filtered"][fitted], moves[fitted], by_rank["means"][fitted], by_rank["stds"][fitted], horizon
        )
        totals[:, fitted, a] = mixture_moments(*mixture)
        quantiles[fitted, a] = mixture_quantiles(*mixture, np.array(probabilities))
    return RegimeFits(
        status=status,
        transition=moves,
        log_likelihood=kept(log_likelihood - counts * np.log(np.where(scale > 0.0, scale, np.nan))),
        iterations=taken,
        total_mean=totals[0],
        total_std=totals[1],
        quantiles=quantiles,
        **by_rank,
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

"""Market regimes: a Gaussian hidden Markov model of the log returns of every symbol, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns
from quant_dagster.forecasting.regimes.estimation import (
    Estimates,
    RegimeParameters,
    cold_start,
    estimates,
    filter_columns,
    warm_start,
)
from quant_dagster.forecasting.regimes.mixture import mixture_moments, mixture_quantiles, occupation_mixture

FITTED, NOT_TRIED, CONSTANT, NOT_CONVERGED, DEGENERATE = 0, 1, 2, 3, 4
REASONS = {
    NOT_TRIED: "not fitted",
    CONSTANT: "the returns do not vary",
    NOT_CONVERGED: "expectation maximisation did not converge",
    DEGENERATE: "a regime holds too few observations or hardly varies",
}
AS_GOOD = 0.01  # log-likelihood by which a fit from the earlier parameters may be lower and still be kept


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
    earlier: RegimeParameters | None = None,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> RegimeFits:
    """Fit a Gaussian HMM to every column by Baum & Welch's algorithm and forecast the coming sessions.

    The start is deterministic: state k has the mean of all returns and the variance of the k-th of ``states`` equal
    groups of returns by distance from it, and stays for 20 sessions on average. Where there are earlier parameters
    they are a second start, and win a draw, so that regimes stay what they are from one fit to the next.

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
    earlier
        Parameters of an earlier fit with as many states, NaN for a column without one.
    tried
        Columns to fit; None is all.
    """
    columns = returns.shape[1]
    wanted = counts >= 20
    status = np.full(columns, NOT_TRIED, np.int8)
    if tried is not None:
        wanted &= tried
    series = np.ascontiguousarray(returns.T)
    found = estimates(
        series, counts, wanted, cold_start(series, counts, states), iterations, tolerance, workers, progress
    )
    if earlier is not None:
        known = wanted & np.all(np.isfinite(earlier.means), axis=1)
        again = estimates(series, counts, known, warm_start(series, counts, earlier), iterations, tolerance, workers)
        better = known & again.sound(counts)
        better &= ~found.sound(counts) | (again.log_likelihood >= found.log_likelihood - AS_GOOD)
        for name in Estimates.__dataclass_fields__:
            getattr(found, name)[better] = getattr(again, name)[better]
    centre, scale = found.moments.T
    sound = found.sound(counts)
    status[wanted] = np.where(sound, np.where(found.converged, FITTED, NOT_CONVERGED), DEGENERATE)[wanted]
    status[wanted & ~(scale > 0.0)] = CONSTANT
    rank = np.argsort(found.variance, axis=1, kind="stable")
    moves = np.take_along_axis(found.transition, rank[:, :, None], axis=1)
    moves = np.take_along_axis(moves, rank[:, None, :], axis=2)

    def ranked(values: FloatArray) -> FloatArray:
        return np.asarray(np.take_along_axis(values, rank, axis=1))

    return _with_forecasts(
        status,
        RegimeParameters(
            means=ranked(centre[:, None] + scale[:, None] * found.mean),
            stds=ranked(scale[:, None] * np.sqrt(found.variance)),
            transition=moves,
            initial=ranked(found.initial),
        ),
        ranked(found.filtered),
        ranked(found.occupation),
        found.log_likelihood - counts * np.log(np.where(scale > 0.0, scale, np.nan)),
        found.taken,
        horizons,
        probabilities,
    )


def filter_regimes(
    returns: FloatArray,
    counts: IntArray,
    parameters: RegimeParameters,
    *,
    horizons: tuple[int, ...],
    probabilities: tuple[float, ...],
    tried: BoolArray | None = None,
    workers: int = 1,
) -> RegimeFits:
    """Bring earlier parameters forward: filter the returns with them, estimate nothing.

    Arguments as of :func:`fit_regimes`; ``occupation`` is NaN and ``iterations`` 0 in what is returned.
    """
    wanted = (counts > 0) & np.all(np.isfinite(parameters.means), axis=1)
    if tried is not None:
        wanted &= tried
    series, likelihood = np.ascontiguousarray(returns.T), np.full(len(counts), np.nan)
    filtered, variance = np.full(parameters.means.shape, np.nan), parameters.stds**2

    def kernel(first: int, stop: int) -> None:
        filter_columns(
            first,
            stop,
            series,
            counts,
            wanted,
            parameters.means,
            variance,
            parameters.initial,
            parameters.transition,
            filtered,
            likelihood,
        )

    over_columns(kernel, len(counts), workers)
    status = np.where(wanted, np.where(np.isfinite(likelihood), FITTED, DEGENERATE), NOT_TRIED).astype(np.int8)
    nothing = np.full(parameters.means.shape, np.nan)
    taken = np.zeros(len(counts), np.int64)
    return _with_forecasts(status, parameters, filtered, nothing, likelihood, taken, horizons, probabilities)


def _with_forecasts(
    status: NDArray[np.int8],
    parameters: RegimeParameters,
    filtered: FloatArray,
    occupation: FloatArray,
    log_likelihood: FloatArray,
    taken: IntArray,
    horizons: tuple[int, ...],
    probabilities: tuple[float, ...],
) -> RegimeFits:
    """What the models expect; the numbers of columns that are not fitted are set to NaN."""
    fitted, columns, ahead = status == FITTED, len(status), len(horizons)

    def kept(values: FloatArray) -> FloatArray:
        return np.where(fitted.reshape((-1,) + (1,) * (values.ndim - 1)), values, np.nan)

    totals, quantiles = np.full((2, columns, ahead), np.nan), np.full((columns, ahead, len(probabilities)), np.nan)
    for a, horizon in enumerate(horizons):
        mixture = occupation_mixture(
            filtered[fitted], parameters.transition[fitted], parameters.means[fitted], parameters.stds[fitted], horizon
        )
        totals[:, fitted, a] = mixture_moments(*mixture)
        quantiles[fitted, a] = mixture_quantiles(*mixture, np.array(probabilities))
    return RegimeFits(
        status=status,
        means=kept(parameters.means),
        stds=kept(parameters.stds),
        transition=kept(parameters.transition),
        initial=kept(parameters.initial),
        filtered=kept(filtered),
        occupation=kept(occupation),
        log_likelihood=kept(log_likelihood),
        iterations=taken,
        total_mean=totals[0],
        total_std=totals[1],
        quantiles=quantiles,
    )

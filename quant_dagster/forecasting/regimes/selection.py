"""How many regimes a symbol has: hidden Markov models with 2 to K states, and none, compared by BIC.

Belongs here: the choice. Does not: the fits (``regimes``), what is stored of them (``families.regime``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray
from quant_dagster.forecasting.regimes.estimation import RegimeParameters
from quant_dagster.forecasting.regimes.hidden_markov import FITTED, RegimeFits, fit_regimes

STRONG = 6.0  # difference of BIC from which evidence is strong (Kass & Raftery 1995): less does not change the number


@dataclass(frozen=True)
class RegimeChoice:
    """Fits of m symbols with 2, …, K states, and the number chosen for each.

    Attributes
    ----------
    fits
        By number of states.
    bic
        Shape (m, K): ``k log n - 2 L`` of 1, …, K states, where ``k = K ** 2 + 2 K - 1`` as in hmmlearn; infinite
        where a model could not be fitted.
    states
        int64, shape (m,): of least BIC from 2 on; 2 where none could be fitted.
    """

    fits: Mapping[int, RegimeFits]
    bic: FloatArray
    states: IntArray


def choose_regimes(
    returns: FloatArray,
    counts: IntArray,
    *,
    most_states: int,
    horizons: tuple[int, ...],
    probabilities: tuple[float, ...],
    iterations: int = 500,
    tolerance: float = 1e-3,
    earlier: Mapping[int, RegimeParameters] | None = None,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> RegimeChoice:
    """Fit 2 to ``most_states`` regimes to every column and choose.

    One state is compared but never chosen: a single regime is a fallback's answer. A symbol keeps the number of
    states of its earlier fit unless another number is better by ``STRONG``; "the wildest state" would otherwise mean
    another thing every few sessions.

    Parameters
    ----------
    earlier
        By number of states, parameters of earlier fits, NaN for the columns that had another number.

    Other arguments as of :func:`quant_dagster.forecasting.regimes.hidden_markov.fit_regimes`.
    """
    before = earlier or {}
    fits = {
        states: fit_regimes(
            returns,
            counts,
            states=states,
            horizons=horizons,
            probabilities=probabilities,
            iterations=iterations,
            tolerance=tolerance,
            earlier=before.get(states),
            tried=tried,
            workers=workers,
            progress=progress if states == most_states else None,
        )
        for states in range(2, most_states + 1)
    }
    size = np.where(counts > 0, counts, np.nan).astype(np.float64)
    bic = np.full((len(counts), most_states), np.inf)
    bic[:, 0] = _bic(_single_regime_likelihood(returns, size), 1, size)
    for states, fit in fits.items():
        bic[:, states - 1] = np.where(fit.status == FITTED, _bic(fit.log_likelihood, states, size), np.inf)
    handicap = bic[:, 1:].copy()
    for states, parameters in before.items():
        if states <= most_states:
            handicap[np.isfinite(parameters.stds[:, 0]), states - 2] -= STRONG
    return RegimeChoice(fits, bic, np.argmin(handicap, axis=1).astype(np.int64) + 2)


def _bic(log_likelihood: FloatArray, states: int, size: FloatArray) -> FloatArray:
    value = (states**2 + 2 * states - 1) * np.log(size) - 2.0 * log_likelihood
    return np.asarray(np.where(np.isfinite(value), value, np.inf), dtype=np.float64)


def _single_regime_likelihood(returns: FloatArray, size: FloatArray) -> FloatArray:
    """Of independent normal returns with their sample mean and variance."""
    inside: NDArray[np.bool_] = np.arange(len(returns))[:, None] < np.nan_to_num(size)
    # Summed along contiguous rows: the same bits however many symbols are asked about at once.
    mean = np.sum(np.ascontiguousarray(np.where(inside, returns, 0.0).T), axis=1) / size
    variance = np.sum(np.ascontiguousarray(np.where(inside, returns - mean, 0.0).T) ** 2, axis=1) / size
    positive = np.where(variance > 0.0, variance, np.nan)
    return np.asarray(-0.5 * size * (1.0 + np.log(2.0 * np.pi * positive)), dtype=np.float64)

"""Where a hidden Markov model expects the return of the next sessions to fall: an exact mixture of normals.

Given how many of the next h sessions are spent in each state, their total return is normal; those counts have a
distribution that follows from the transition matrix by a recursion over sessions. All symbols go through together.
"""

from __future__ import annotations

import numpy as np

from quant_dagster.forecasting.columns import FloatArray

_BISECTIONS = 60  # from 12 standard deviations on either side to the last bits of a double


def occupation_mixture(
    filtered: FloatArray, transition: FloatArray, means: FloatArray, stds: FloatArray, horizon: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, means and standard deviations, each (m, c), of the mixture the next ``horizon`` returns' total follows.

    Parameters
    ----------
    filtered
        State probabilities now, shape (m, K), K being 2 or 3.
    transition, means, stds
        Of the models, shapes (m, K, K), (m, K), (m, K).
    """
    symbols, states = filtered.shape
    last = horizon + 1 if states == 3 else 1
    chance = np.zeros((symbols, states, horizon + 1, last))  # state now, sessions so far in state 1, in state 2
    chance[:, :, 0, 0] = filtered
    for _ in range(horizon):
        arrived = np.einsum("miab,mik->mkab", chance, transition)
        chance = np.zeros_like(chance)
        chance[:, 0] = arrived[:, 0]
        chance[:, 1, 1:] = arrived[:, 1, :-1]
        if states == 3:
            chance[:, 2, :, 1:] = arrived[:, 2, :, :-1]
    first, second = np.divmod(np.arange((horizon + 1) * last), last)
    possible = first + second <= horizon
    sessions = np.stack([horizon - first - second, first, second])[:states, possible].astype(np.float64)
    weights = chance.sum(axis=1).reshape(symbols, (horizon + 1) * last)[:, possible]
    located = np.einsum("mk,kc->mc", means, sessions)
    spread = np.sqrt(np.einsum("mk,kc->mc", stds**2, sessions))
    return weights, located, spread


def mixture_moments(weights: FloatArray, means: FloatArray, stds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation, each (m,), of mixtures of normals given by arrays (m, c)."""
    mean = np.sum(weights * means, axis=1)
    variance = np.sum(weights * (stds**2 + (means - mean[:, None]) ** 2), axis=1)
    return mean, np.sqrt(variance)


def mixture_quantiles(weights: FloatArray, means: FloatArray, stds: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles (m, q) of mixtures of normals given by arrays (m, c) at increasing ``levels``, by bisection."""
    from scipy.special import ndtr

    shape = (len(weights), len(levels))
    low = np.broadcast_to(np.min(means - 12.0 * stds, axis=1, keepdims=True), shape)
    high = np.broadcast_to(np.max(means + 12.0 * stds, axis=1, keepdims=True), shape)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        distance = (middle[:, :, None] - means[:, None, :]) / stds[:, None, :]
        below = np.sum(weights[:, None, :] * ndtr(distance), axis=2) < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.maximum.accumulate(0.5 * (low + high), axis=1)

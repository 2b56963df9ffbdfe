"""Baum & Welch's algorithm for one series under a hidden Markov model with normal observations.

The scaled recursions are Rabiner's (1989, "A tutorial on hidden Markov models", section V.A); each observation's
densities are divided by their largest, so that one far from every state does not underflow.
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray

_VARIANCE_FLOOR = 1e-8


@njit(cache=True, nogil=True, error_model="numpy")
def expectation_maximisation(
    z: FloatArray,
    iterations: int,
    tolerance: float,
    mean: FloatArray,
    variance: FloatArray,
    initial: FloatArray,
    moves: FloatArray,
    filtered: FloatArray,
    occupation: FloatArray,
) -> tuple[float, int, bool]:
    """Improve the parameters in place until an iteration gains less than ``tolerance`` in log-likelihood.

    As in hmmlearn, the likelihood compared is that of the parameters before each update, so the parameters left
    behind are one update ahead of the last value compared.

    Parameters
    ----------
    z
        Observations, shape (n,).
    mean, variance, initial, moves
        Parameters of K states, the last of shape (K, K); start values in, estimates out.
    filtered, occupation
        Written: state probabilities at the last observation under the estimates, and expected observations per
        state in the last expectation step.

    Returns
    -------
    tuple
        Log-likelihood of the estimates, expectation steps taken, whether the gain fell below the tolerance.
    """
    n, states = len(z), len(mean)
    forward, density, inverse = np.empty((n, states)), np.empty((n, states)), np.empty(n)
    backward, weighted, posterior = np.empty(states), np.empty(states), np.empty(states)
    first, squares, visits = np.empty(states), np.empty(states), np.empty((states, states))
    previous, converged, step = -np.inf, False, 0
    while step < iterations and not converged:
        value = forward_pass(z, mean, variance, initial, moves, forward, density, inverse)
        step += 1
        converged = step > 1 and value - previous < tolerance
        previous = value

        for k in range(states):
            for i in range(states):
                visits[k, i] = 0.0
            backward[k] = 1.0
            posterior[k] = forward[n - 1, k]
            occupation[k] = posterior[k]
            first[k] = posterior[k] * z[n - 1]
            squares[k] = posterior[k] * z[n - 1] * z[n - 1]
        for t in range(n - 2, -1, -1):
            for k in range(states):
                weighted[k] = density[t + 1, k] * backward[k] * inverse[t + 1]
            for i in range(states):
                total = 0.0
                for k in range(states):
                    step_chance = moves[i, k] * weighted[k]
                    total += step_chance
                    visits[i, k] += forward[t, i] * step_chance
                backward[i] = total
                posterior[i] = forward[t, i] * total
                occupation[i] += posterior[i]
                first[i] += posterior[i] * z[t]
                squares[i] += posterior[i] * z[t] * z[t]

        for i in range(states):
            initial[i] = posterior[i]
            leaving = 0.0
            for k in range(states):
                leaving += visits[i, k]
            if leaving > 0.0:
                for k in range(states):
                    moves[i, k] = visits[i, k] / leaving
            if occupation[i] > 0.0:
                mean[i] = first[i] / occupation[i]
                variance[i] = max(squares[i] / occupation[i] - mean[i] * mean[i], _VARIANCE_FLOOR)
    value = forward_pass(z, mean, variance, initial, moves, forward, density, inverse)
    for k in range(states):
        filtered[k] = forward[n - 1, k]
    return value, step, converged


@njit(cache=True, nogil=True, error_model="numpy")
def forward_pass(
    z: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    initial: FloatArray,
    moves: FloatArray,
    forward: FloatArray,
    density: FloatArray,
    inverse: FloatArray,
) -> float:
    """Filtered state probabilities into ``forward`` (n, K), scaled densities and inverse scales beside.

    Returns the log-likelihood; minus infinity when an observation is impossible.
    """
    n, states = len(z), len(mean)
    precision, height = np.empty(states), np.empty(states)
    for k in range(states):
        precision[k] = 0.5 / variance[k]
        height[k] = -0.5 * math.log(variance[k])
    logs, product = 0.0, 1.0
    for t in range(n):
        top, highest = -np.inf, 0
        for k in range(states):
            density[t, k] = height[k] - precision[k] * (z[t] - mean[k]) * (z[t] - mean[k])
            if density[t, k] > top:
                top, highest = density[t, k], k
        total = 0.0
        for k in range(states):
            density[t, k] = 1.0 if k == highest else math.exp(density[t, k] - top)
            if t == 0:
                chance = initial[k]
            else:
                chance = 0.0
                for i in range(states):
                    chance += forward[t - 1, i] * moves[i, k]
            forward[t, k] = chance * density[t, k]
            total += forward[t, k]
        if not total > 0.0:
            return -np.inf
        inverse[t] = 1.0 / total
        for k in range(states):
            forward[t, k] *= inverse[t]
        logs += top
        product *= total  # one logarithm for many factors
        if product < 1e-100:
            logs += math.log(product)
            product = 1.0
    return logs + math.log(product) - 0.5 * n * math.log(2.0 * np.pi)

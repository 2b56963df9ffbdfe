"""Compiled loops over symbols: fit every candidate ARMA order to each column, and forecast from known parameters.

Belongs here: what one column goes through. Does not: the likelihood and its search (``likelihood``, ``search``),
what the numbers mean (``sarimax``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.forecasting.arma.likelihood import innovations, multiply_out, total_spread
from quant_dagster.forecasting.arma.search import maximise_likelihood, near_cancellation
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, standardise

FITTED, EXPLOSIVE = 0, 4
_RIDGE = 3  # starting points beside cancellation


@njit(cache=True, nogil=True, error_model="numpy")
def fit_columns(
    first: int,
    stop: int,
    series: FloatArray,
    counts: IntArray,
    wanted: BoolArray,
    design: FloatArray,
    table: IntArray,
    smaller: IntArray,
    points: FloatArray,
    outcomes: FloatArray,
    taken: IntArray,
    moments: FloatArray,
) -> None:
    regressors, size = design.shape[1], points.shape[2]
    starts, beside = np.empty((1 + _RIDGE, size)), np.empty((_RIDGE, 2))
    for j in range(first, stop):
        n = counts[j]
        if not wanted[j] or n < 20 or n <= 2 * (size + regressors):
            continue
        data = np.empty((1 + regressors, n))
        moments[j, 0], moments[j, 1] = standardise(series[j, :n], data[0])
        if not moments[j, 1] > 0.0:
            continue
        data[1:] = design[j if len(design) > 1 else 0, :, :n]
        ridges = near_cancellation(data[0], beside)
        for c in range(len(table)):
            order = table[c]
            terms = order[0] + order[1] + order[2] + order[3]
            lags = max(2, order[0] + order[4] * order[2], order[1] + order[4] * order[3] + 1)
            phi, theta, beta = np.empty(lags), np.empty(lags), np.zeros(regressors + 1 + terms)
            outcomes[j, c, 0] = np.inf
            for s in range(_starting_points(order, smaller[c], points[j], outcomes[j, :, 0], beside[:ridges], starts)):
                point = starts[s, :terms]
                value, iterations, converged = maximise_likelihood(data, order, point, phi, theta, beta)
                if converged and value < outcomes[j, c, 0]:
                    outcomes[j, c, 0], outcomes[j, c, 1], taken[j, c] = value, beta[regressors], iterations
                    points[j, c, :terms] = point
                    outcomes[j, c, 2 : 2 + terms] = beta[regressors + 1 :]
                    outcomes[j, c, 2 + size :] = beta[:regressors]


@njit(cache=True, nogil=True, error_model="numpy")
def forecast_columns(
    first: int,
    stop: int,
    series: FloatArray,
    counts: IntArray,
    design: FloatArray,
    future: FloatArray,
    orders: IntArray,
    coefficients: FloatArray,
    beta: FloatArray,
    sigma2: FloatArray,
    status: NDArray[np.int8],
    whitened: FloatArray,
    likelihood: FloatArray,
    numbers: FloatArray,
) -> None:
    steps = len(future)
    for j in range(first, stop):
        if status[j] != FITTED:
            continue
        n, order, own = counts[j], orders[j], coefficients[j]
        p, q, seasonal_p = order[0], order[1], order[2]
        terms, regular = p + q + seasonal_p + order[3], p + q
        lags = max(2, p + order[4] * seasonal_p, q + order[4] * order[3] + 1)
        phi, theta = np.empty(lags), np.empty(lags)
        multiply_out(own[:p], own[regular : regular + seasonal_p], order[4], -1.0, phi)
        multiply_out(own[p:regular], own[regular + seasonal_p : terms], order[4], 1.0, theta)
        sigma = np.sqrt(sigma2[j])
        deviations, state = np.empty((1, n)), np.empty((4, lags))
        for t in range(n):
            expected = 0.0
            for k in range(design.shape[1]):
                expected += beta[j, k] * design[j if len(design) > 1 else 0, k, t]
            deviations[0, t] = (series[j, t] - expected) / sigma
        errors = whitened[j : j + 1, :n]
        logs = innovations(deviations, phi, theta, errors, state)
        if not np.isfinite(logs) or not state[3, 0] > 0.0:
            status[j] = EXPLOSIVE
            continue
        squares = 0.0
        for t in range(n):
            squares += errors[0, t] * errors[0, t]
        likelihood[j] = -0.5 * (n * np.log(2.0 * np.pi * sigma2[j]) + logs + squares)
        for k in range(steps):
            expected = sigma * state[0, 0]
            for i in range(future.shape[1]):
                expected += beta[j, i] * future[k, i]
            numbers[0, j, k] = expected
            here = state[0, 0]
            for i in range(lags):
                state[0, i] = phi[i] * here + (state[0, i + 1] if i < lags - 1 else 0.0)
        total_spread(phi, state, 1, numbers[1, j], numbers[2, j])
        for k in range(steps):
            numbers[1, j, k] *= sigma2[j]
            numbers[2, j, k] *= sigma2[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _starting_points(
    order: IntArray,
    smaller: IntArray,
    found: FloatArray,
    values: FloatArray,
    beside: FloatArray,
    starts: FloatArray,
) -> int:
    """Where to search: from the best fit one term smaller, beside cancellation, or zero. Returns how many."""
    terms, count, after, lowest = order[0] + order[1] + order[2] + order[3], 0, 0, np.inf
    for kind in range(4):
        after += order[kind]  # the term that is new is the last of its kind
        less = smaller[kind]
        if terms > 1 and less >= 0 and values[less] < lowest:
            starts[0, : after - 1] = found[less, : after - 1]
            starts[0, after - 1] = 0.0
            starts[0, after:terms] = found[less, after - 1 : terms - 1]
            count, lowest = 1, values[less]
    mixed = order[0] > 0 and order[1] > 0
    if mixed and (order[0] + order[1] == 2 or count == 0):
        for b in range(len(beside)):
            starts[count, :terms] = 0.0
            starts[count, 0], starts[count, order[0]] = beside[b, 0], beside[b, 1]
            count += 1
    if count == 0:
        starts[0, :terms] = 0.0
        if order[2] > 0 and order[3] > 0:  # zero is on the line of cancellation: leave it
            starts[0, order[0] + order[1]], starts[0, terms - 1] = 0.3, 0.1
        count = 1
    return count

"""The exact Gaussian likelihood of a (seasonal) ARMA process with regressors, one series at a time, and its maximum.

``phi(B) Phi(B^s) (y_t - x_t' beta) = theta(B) Theta(B^s) e_t`` in Harvey's state space form (Harvey 1993, section
4.4.3), whose first state is the observation. The filter starts from the stationary distribution; its covariance is
never formed, because it only changes by matrices of rank one (Morf, Sidhu & Kailath 1974; for ARMA likelihoods
Pearlman 1980, Mélard 1984, algorithm AS 197). Once the gain has settled, innovations follow from a plain recursion.

Regressors and innovation variance are concentrated out: what remains to be searched are partial autocorrelations
(Monahan 1984), each the sine of a number without bounds. The sine reaches a unit root, on which the likelihood of a
moving average often has its maximum, at a finite point, and the likelihood is smooth there.

Belongs here: compiled functions of one series. Does not: orders and their choice, units, forecasts (``arma``).
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.linear_algebra import solve_positive_definite

_SETTLED = 1e-13  # change of the state covariance, in innovation variances


@njit(cache=True, nogil=True, error_model="numpy")
def concentrated_likelihood(
    data: FloatArray,
    order: IntArray,
    point: FloatArray,
    phi: FloatArray,
    theta: FloatArray,
    whitened: FloatArray,
    state: FloatArray,
    products: FloatArray,
    beta: FloatArray,
) -> float:
    """Negative log-likelihood at ``point``, up to ``n / 2 (1 + log 2 pi)``: half of ``n log(S / n) + sum log F_t``.

    S is the weighted sum of squares that the regressors leave.

    Parameters
    ----------
    data
        Shape (1 + k, n): the series, then k regressors (a constant among them).
    order
        ``(p, q, P, Q, s)``.
    point
        Search parameters in the order AR, MA, seasonal AR, seasonal MA.
    phi, theta
        Written, shape (r,), ``r = max(2, p + s P, q + s Q + 1)``: coefficients as of :func:`innovations`.
    whitened, state
        Written, as by :func:`innovations`.
    products
        Scratch, shape (3 k + 3, k + 1).
    beta
        Written: k regression coefficients, S, then the coefficients of the four factors.
    """
    expand(order, point, beta[len(data) :], phi, theta)
    logs = innovations(data, phi, theta, whitened, state)
    regressors, n = len(data) - 1, data.shape[1]
    moments, factor = products[regressors + 1], products[regressors + 2 :]
    for a in range(regressors):
        for b in range(a + 1):
            products[a, b] = _dot(whitened[a + 1], whitened[b + 1])
        moments[a] = _dot(whitened[a + 1], whitened[0])
    left = _dot(whitened[0], whitened[0])
    if regressors > 0:
        if not solve_positive_definite(products, moments[:regressors], factor, beta):
            return np.inf
        for a in range(regressors):
            left -= beta[a] * moments[a]
    beta[regressors] = left
    value = 0.5 * (n * math.log(left / n) + logs) if left > 0.0 else np.inf
    return float(value) if math.isfinite(value) else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def innovations(data: FloatArray, phi: FloatArray, theta: FloatArray, whitened: FloatArray, state: FloatArray) -> float:
    """Standardised innovations of every row of ``data`` under one process with innovation variance 1.

    Parameters
    ----------
    data
        Shape (rows, n), deviations from zero.
    phi, theta
        Coefficients at lags 1 to r, with ``y_t = sum phi_i y_(t-i) + e_t + sum theta_i e_(t-i)``; r is at least 2
        and ``theta[r - 1]`` is 0.
    whitened
        Written, the shape of ``data``.
    state
        Written, shape (rows + 3, r), what continues the filter after the last observation: predicted state of each
        row; gain times innovation variance; Y of the next change ``-Y Y' / F`` of the covariance; F, the innovation
        variance (in the first place).

    Returns
    -------
    float
        Sum of the logarithms of the innovation variances.
    """
    rows, n = data.shape
    r = len(phi)
    gain, change = state[rows], state[rows + 1]
    spread = _stationary_gain(phi, theta, gain)
    for c in range(rows):
        for i in range(r):
            state[c, i] = 0.0
    for i in range(r):
        change[i] = gain[i]
    logs, product, settled, t = 0.0, 1.0, 0, 0
    while t < n and (settled <= r or t < 5):
        inverse, root = 1.0 / spread, 1.0 / math.sqrt(spread)
        for c in range(rows):
            first = state[c, 0]
            error = data[c, t] - first
            whitened[c, t] = error * root
            error *= inverse
            for i in range(r - 1):
                state[c, i] = phi[i] * first + state[c, i + 1] + gain[i] * error
            state[c, r - 1] = phi[r - 1] * first + gain[r - 1] * error
        product *= spread
        if product > 1e100 or product < 1e-100:
            logs += math.log(product)
            product = 1.0
        spread, moving = _advance(phi, gain, change, spread, inverse)
        settled = settled + 1 if moving < _SETTLED else 0
        t += 1
    if t < n:
        for c in range(rows):
            _settled_recursion(data[c], phi, theta, whitened[c], t)
            for i in range(r):
                total = 0.0
                for k in range(i, r):
                    total += phi[k] * data[c, n + i - k - 1] + theta[k] * whitened[c, n + i - k - 1]
                state[c, i] = total
    state[rows + 2, 0] = spread
    return logs + math.log(product)


@njit(cache=True, nogil=True, error_model="numpy")
def total_spread(
    phi: FloatArray, state: FloatArray, rows: int, step_variance: FloatArray, total_variance: FloatArray
) -> None:
    """Variances of the errors of the next forecasts and of their running total, the filter being where it stopped.

    The innovations to come are independent, with the variances and gains the recursion goes on to give, so that
    both are exact also where the filter has not settled. ``state`` is used up.
    """
    r, steps = len(phi), len(step_variance)
    gain, change, spread, effect = state[rows], state[rows + 1], state[rows + 2, 0], np.empty(r)
    for k in range(steps):
        step_variance[k], total_variance[k] = 0.0, 0.0
    for j in range(steps):
        for i in range(r):
            effect[i] = gain[i] / spread
        weight, total = 1.0, 0.0
        for k in range(j, steps):
            total += weight
            step_variance[k] += weight * weight * spread
            total_variance[k] += total * total * spread
            weight = effect[0]
            for i in range(r - 1):
                effect[i] = phi[i] * weight + effect[i + 1]
            effect[r - 1] = phi[r - 1] * weight
        spread, _ = _advance(phi, gain, change, spread, 1.0 / spread)


@njit(cache=True, nogil=True, error_model="numpy")
def expand(order: IntArray, point: FloatArray, separate: FloatArray, phi: FloatArray, theta: FloatArray) -> None:
    """Coefficients of the four factors into ``separate``, of their products into ``phi`` and ``theta``."""
    p, q, seasonal_p, period = order[0], order[1], order[2], order[4]
    at = 0
    for part in range(4):
        _from_partial(point[at : at + order[part]], separate[at : at + order[part]])
        if part % 2 == 1:
            for i in range(at, at + order[part]):
                separate[i] = -separate[i]
        at += order[part]
    multiply_out(separate[:p], separate[p + q : p + q + seasonal_p], period, -1.0, phi)
    multiply_out(separate[p : p + q], separate[p + q + seasonal_p : at], period, 1.0, theta)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply_out(short: FloatArray, seasonal: FloatArray, period: int, sign: float, product: FloatArray) -> None:
    """Lag coefficients of ``(1 + sign short(B)) (1 + sign seasonal(B^period)) = 1 + sign product(B)``."""
    for k in range(len(product)):
        product[k] = 0.0
    for i in range(len(short)):
        product[i] += short[i]
    for k in range(len(seasonal)):
        at = (k + 1) * period
        product[at - 1] += seasonal[k]
        for i in range(len(short)):
            product[at + i] += sign * short[i] * seasonal[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _dot(a: FloatArray, b: FloatArray) -> float:
    """Inner product in four partial sums, which do not wait for one another."""
    n = len(a)
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    whole = n - n % 4
    for t in range(0, whole, 4):
        s0 += a[t] * b[t]
        s1 += a[t + 1] * b[t + 1]
        s2 += a[t + 2] * b[t + 2]
        s3 += a[t + 3] * b[t + 3]
    for t in range(whole, n):
        s0 += a[t] * b[t]
    return (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(
    phi: FloatArray, gain: FloatArray, change: FloatArray, spread: float, inverse: float
) -> tuple[float, float]:
    """One step of the rank-one recursion for ``gain`` and ``change``.

    The covariance changes by ``M Y Y'``; ``M F`` stays what it is at first, -1, so that M needs no recursion. Returns
    the next innovation variance F and how much the covariance is still changing.
    """
    r = len(phi)
    first, largest = change[0], 0.0
    share = first * inverse
    for i in range(r):
        shifted = phi[i] * first + (change[i + 1] if i < r - 1 else 0.0)
        change[i] = shifted - share * gain[i]
        gain[i] -= share * shifted
        largest = max(largest, abs(change[i]))
    return spread - share * first, inverse * largest * largest


@njit(cache=True, nogil=True, error_model="numpy")
def _settled_recursion(y: FloatArray, phi: FloatArray, theta: FloatArray, e: FloatArray, start: int) -> None:
    """``e_t = y_t - sum phi_i y_(t-i) - sum theta_i e_(t-i)`` from ``start`` on; at least five are known before it.

    Loops run over views that start at their first element, or they would not be vectorised.
    """
    n, r = len(y), len(phi)
    rest = e[start:]
    rest[:] = y[start:]
    for k in range(r):
        if phi[k] != 0.0:
            _add(rest, -phi[k], y[start - k - 1 : n - k - 1])
    used, lag = 0, 0
    for k in range(r):
        if theta[k] != 0.0:
            used, lag = used + 1, k + 1
    if used == 1 and lag == 1 and n > start + 3:
        # 1 / (1 + w B) = (1 - w B) (1 + w^2 B^2) / (1 - w^4 B^4): four recursions that do not wait for one another
        weight = theta[0]
        square = weight * weight
        before, half = rest.copy(), rest.copy()
        for i in range(3):
            rest[i] -= weight * e[start + i - 1]
        _add(half[1:], -weight, before[: n - start - 1])
        rest[3:] = half[3:]
        _add(rest[3:], square, half[1 : n - start - 2])
        _add(rest[3:], square * square, e[start - 1 : n - 4])
    elif used > 0:
        for t in range(start, n):
            total = e[t]
            for k in range(lag - 1, -1, -1):  # the newest, which has only just been known, last
                if theta[k] != 0.0:
                    total -= theta[k] * e[t - k - 1]
            e[t] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _add(values: FloatArray, weight: float, others: FloatArray) -> None:
    """``values += weight * others``, from the first on: ``others`` may be ``values`` some places before."""
    for i in range(len(values)):
        values[i] += weight * others[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _stationary_gain(phi: FloatArray, theta: FloatArray, gain: FloatArray) -> float:
    """Variance of the process for innovation variance 1; the first gain times it into ``gain``.

    Autocovariances are those of the autoregressive side (by Levinson's recursion from its partial autocorrelations)
    passed through the moving average.
    """
    r = len(phi)
    p, q = r, r
    while p > 0 and phi[p - 1] == 0.0:
        p -= 1
    while q > 0 and theta[q - 1] == 0.0:
        q -= 1
    steps = np.zeros((p + 1, p))
    plain = np.empty(r + q + 2)
    plain[0] = 1.0
    for i in range(p):
        steps[p, i] = phi[i]
    for m in range(p, 0, -1):
        last = steps[m, m - 1]
        inside = 1.0 - last * last
        plain[0] /= inside
        for i in range(m - 1):
            steps[m - 1, i] = (steps[m, i] + last * steps[m, m - 2 - i]) / inside
    for h in range(1, len(plain)):
        plain[h] = 0.0
        m = min(h, p)
        for i in range(m):
            plain[h] += steps[m, i] * plain[h - 1 - i]
    covariance, psi, overlap = np.empty(r + 1), np.empty(r + 1), np.empty(q + 1)
    for k in range(q + 1):
        overlap[k] = theta[k - 1] if k > 0 else 1.0
        for i in range(1, q + 1 - k):
            overlap[k] += theta[i - 1] * theta[i + k - 1]
    for h in range(r + 1):
        covariance[h] = overlap[0] * plain[h]
        for k in range(1, q + 1):
            covariance[h] += overlap[k] * (plain[h + k] + plain[abs(h - k)])
        psi[h] = 1.0 if h == 0 else theta[h - 1]
        for i in range(min(h, p)):
            psi[h] += phi[i] * psi[h - 1 - i]
    for i in range(r):
        gain[i] = phi[i] * covariance[0]  # T times the first column of the stationary covariance
        for k in range(i + 1, r):
            gain[i] += phi[k] * covariance[k - i]
        for k in range(i, r):
            gain[i] += theta[k] * psi[k - i]
    return float(covariance[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _from_partial(point: FloatArray, coefficients: FloatArray) -> None:
    """Durbin and Levinson's recursion from partial autocorrelations."""
    for m in range(len(point)):
        last = math.sin(point[m])
        low, high = 0, m - 1
        while low < high:
            a, b = coefficients[low], coefficients[high]
            coefficients[low], coefficients[high] = a - last * b, b - last * a
            low += 1
            high -= 1
        if low == high:
            coefficients[low] -= last * coefficients[low]
        coefficients[m] = last

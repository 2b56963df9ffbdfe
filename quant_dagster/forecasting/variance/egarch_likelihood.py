"""The EGARCH(1,1) likelihood of one standardised series with Student-t errors, and its analytic gradient.

Nelson (1991), as the ``arch`` package writes it: with ``u_t = e_t / sqrt(h_t)``,

    log h_t = omega + alpha (|u_(t-1)| - sqrt(2 / pi)) + gamma u_(t-1) + beta log h_(t-1),

u of unit variance and t distributed with nu degrees of freedom. The parameters are
``(mu, omega, alpha, gamma, beta, 1 / nu)``: the likelihood hardly changes with nu where nu is large, and near the
normal case its reciprocal is the better behaved.
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.linear_algebra import fill_upper

MEAN_ABSOLUTE_NORMAL = math.sqrt(2.0 / math.pi)
_WIDEST = 60.0  # a log-variance beyond it, either way, is of a recursion that has run away


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_egarch(
    z: FloatArray,
    point: FloatArray,
    presample: float,
    fixed_presample: bool,
    gradient: FloatArray,
    information: FloatArray,
) -> float:
    """Negative log-likelihood, constants included; its gradient in place.

    Unless ``information`` is empty, the sum of the outer products of the scores goes into it. Infinite where the
    recursion runs away. ``|u|`` has no derivative at zero: the likelihood has a kink in mu at every observation, and
    a deep one at a return that many sessions share (an unchanged price).
    """
    mu, omega, alpha, gamma, beta, inverse_nu = point[0], point[1], point[2], point[3], point[4], point[5]
    nu = 1.0 / inverse_nu
    before = presample if fixed_presample else 1.0 + mu * mu
    log_h = omega + beta * math.log(before)
    of_mu = 0.0 if fixed_presample else beta * 2.0 * mu / before  # derivatives of log h
    of_omega, of_alpha, of_gamma, of_beta = 1.0, 0.0, 0.0, math.log(before)
    to_mu, to_omega, to_alpha, to_gamma, to_beta, to_nu = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    log_hs, logs, product = 0.0, 0.0, 1.0
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(math.pi * (nu - 2.0))
    constant_by_nu = 0.5 * (_digamma(0.5 * (nu + 1.0)) - _digamma(0.5 * nu) - 1.0 / (nu - 2.0))
    score = np.empty(6)
    with_information = len(information) > 0
    information[:] = 0.0
    for t in range(len(z)):
        if not abs(log_h) < _WIDEST:
            return np.inf
        inverse = math.exp(-0.5 * log_h)
        u = (z[t] - mu) * inverse
        share = u * u / (nu - 2.0)
        factor = 1.0 + share
        pull = 0.5 * (nu + 1.0) / factor
        weight = 0.5 - pull * share  # of the derivatives of log h in those of the negative log-likelihood
        direct = -2.0 * pull * u * inverse / (nu - 2.0)
        log_hs += log_h
        product *= factor  # one logarithm for many factors
        if product > 1e100:
            logs += math.log(product)
            product = 1.0
        # what is left of the score for nu needs log(factor) of each observation only where scores are wanted
        to_mu += weight * of_mu + direct
        to_omega += weight * of_omega
        to_alpha += weight * of_alpha
        to_gamma += weight * of_gamma
        to_beta += weight * of_beta
        to_nu -= pull * share / (nu - 2.0)
        if with_information:
            score[0], score[1], score[2] = weight * of_mu + direct, weight * of_omega, weight * of_alpha
            score[3], score[4] = weight * of_gamma, weight * of_beta
            by_nu = 0.5 * math.log(factor) - constant_by_nu - pull * share / (nu - 2.0)
            score[5] = -nu * nu * by_nu
            for i in range(6):
                for k in range(i + 1):
                    information[i, k] += score[i] * score[k]
        size = abs(u)
        slope = gamma + (alpha if u >= 0.0 else -alpha)
        keep = beta - 0.5 * u * slope
        of_mu = keep * of_mu - slope * inverse
        of_omega = 1.0 + keep * of_omega
        of_alpha = size - MEAN_ABSOLUTE_NORMAL + keep * of_alpha
        of_gamma = u + keep * of_gamma
        of_beta = log_h + keep * of_beta
        log_h = omega + alpha * (size - MEAN_ABSOLUTE_NORMAL) + gamma * u + beta * log_h
    n = len(z)
    logs += math.log(product)
    gradient[0], gradient[1], gradient[2], gradient[3], gradient[4] = to_mu, to_omega, to_alpha, to_gamma, to_beta
    gradient[5] = -nu * nu * (to_nu + 0.5 * logs - n * constant_by_nu)
    fill_upper(information)
    value = 0.5 * log_hs + 0.5 * (nu + 1.0) * logs - n * constant
    for i in range(6):
        if not abs(gradient[i]) < 1e12:
            return np.inf
    return float(value)


@njit(cache=True, nogil=True, error_model="numpy")
def egarch_path(
    z: FloatArray, point: FloatArray, presample: float, fixed_presample: bool, residuals: FloatArray
) -> float:
    """Standardised residuals into ``residuals``; the variance of the observation after the last is returned."""
    mu, omega, alpha, gamma, beta = point[0], point[1], point[2], point[3], point[4]
    log_h = omega + beta * math.log(presample if fixed_presample else 1.0 + mu * mu)
    for t in range(len(z)):
        u = (z[t] - mu) * math.exp(-0.5 * log_h)
        residuals[t] = u
        log_h = omega + alpha * (abs(u) - MEAN_ABSOLUTE_NORMAL) + gamma * u + beta * log_h
    return math.exp(log_h)


@njit(cache=True, nogil=True, error_model="numpy")
def _digamma(x: float) -> float:
    """Derivative of log gamma, x > 0: recurrence up to 8, then the asymptotic series (Abramowitz & Stegun 6.3.18)."""
    total = 0.0
    while x < 8.0:
        total -= 1.0 / x
        x += 1.0
    inverse = 1.0 / (x * x)
    series = inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse * (1.0 / 252.0 - inverse * (1.0 / 240.0))))
    return total + math.log(x) - 0.5 / x - series

"""The GJR-GARCH(1,1) likelihood of one standardised series, and its analytic gradient.

Glosten, Jagannathan & Runkle (1993): ``h_t = omega + (alpha + gamma [e_(t-1) < 0]) e_(t-1) ** 2 + beta h_(t-1)``.

The parameters are ``(mu, omega, p, a, s)``: persistence ``p = alpha + gamma / 2 + beta``, the share ``a`` of it that
answers to shocks, and the share ``s`` of that which falls on negative ones, so that ``alpha = 2 p a (1 - s)`` and
``alpha + gamma = 2 p a s``. Every constraint of the model (``omega > 0``; ``alpha, alpha + gamma, beta >= 0``;
``p < 1``) is then a bound on one of them, and ``s = 1 / 2`` is GARCH(1,1).
"""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.linear_algebra import fill_upper
from quant_dagster.forecasting.variance.garch_likelihood import observe


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_gjr(
    z: FloatArray,
    point: FloatArray,
    presample: float,
    fixed_presample: bool,
    gradient: FloatArray,
    information: FloatArray,
) -> float:
    """Negative log-likelihood without its constant; its gradient in place, and the expected information unless empty.

    As :func:`~quant_dagster.forecasting.variance.garch_likelihood.evaluate_garch`. Before the sample, half of the
    squared residual counts as that of a negative one.
    """
    mu, omega, persistence, share, negative = point[0], point[1], point[2], point[3], point[4]
    up, down = 2.0 * persistence * share * (1.0 - negative), 2.0 * persistence * share * negative
    beta = persistence * (1.0 - share)
    before = presample if fixed_presample else 1.0 + mu * mu
    h = omega + persistence * before
    of_mu = 0.0 if fixed_presample else persistence * 2.0 * mu  # derivatives of h
    of_omega, of_up, of_down, of_beta = 1.0, 0.5 * before, 0.5 * before, before
    to_mu, to_omega, to_up, to_down, to_beta = 0.0, 0.0, 0.0, 0.0, 0.0
    logs, product, ratios = 0.0, 1.0, 0.0
    by = np.empty(5)
    with_information = len(information) > 0
    information[:] = 0.0
    for t in range(len(z)):
        e = z[t] - mu
        square, inverse, weight, ratios, logs, product = observe(e, h, ratios, logs, product)
        to_mu += weight * of_mu - e * inverse
        to_omega += weight * of_omega
        to_up += weight * of_up
        to_down += weight * of_down
        to_beta += weight * of_beta
        if with_information:
            shocks = 2.0 * ((1.0 - negative) * of_up + negative * of_down)
            by[0], by[1] = of_mu, of_omega
            by[2] = share * shocks + (1.0 - share) * of_beta
            by[3] = persistence * (shocks - of_beta)
            by[4] = 2.0 * persistence * share * (of_down - of_up)
            information[0, 0] += inverse
            for i in range(5):
                for k in range(i + 1):
                    information[i, k] += 0.5 * inverse * inverse * by[i] * by[k]
        # without a branch, which a sign that is drawn anew each day would mispredict half of the time
        falls = 1.0 if e < 0.0 else 0.0
        response = up + falls * (down - up)
        of_mu = beta * of_mu - 2.0 * response * e
        of_omega = 1.0 + beta * of_omega
        of_up = (1.0 - falls) * square + beta * of_up
        of_down = falls * square + beta * of_down
        of_beta = h + beta * of_beta
        h = omega + response * square + beta * h
    shocks = 2.0 * ((1.0 - negative) * to_up + negative * to_down)
    gradient[0], gradient[1] = to_mu, to_omega
    gradient[2] = share * shocks + (1.0 - share) * to_beta
    gradient[3] = persistence * (shocks - to_beta)
    gradient[4] = 2.0 * persistence * share * (to_down - to_up)
    fill_upper(information)
    return float(0.5 * (logs + math.log(product) + ratios))


@njit(cache=True, nogil=True, error_model="numpy")
def gjr_path(z: FloatArray, point: FloatArray, presample: float, fixed_presample: bool, residuals: FloatArray) -> float:
    """Standardised residuals into ``residuals``; the variance of the observation after the last is returned."""
    mu, omega, persistence, share, negative = point[0], point[1], point[2], point[3], point[4]
    up, down = 2.0 * persistence * share * (1.0 - negative), 2.0 * persistence * share * negative
    beta = persistence * (1.0 - share)
    before = presample if fixed_presample else 1.0 + mu * mu
    variance = omega + persistence * before
    for t in range(len(z)):
        e = z[t] - mu
        residuals[t] = e / math.sqrt(variance)
        variance = omega + (down if e < 0.0 else up) * e * e + beta * variance
    return float(variance)

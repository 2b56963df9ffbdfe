"""The GARCH(1,1) likelihood of one standardised series, and its analytic gradient.

The parameters are ``(mu, omega, p, a)`` with persistence ``p = alpha + beta`` and share ``a = alpha / p``: every
constraint of the model (``omega > 0``, ``alpha, beta >= 0``, ``alpha + beta < 1``) is then a bound on one of them.
Where the likelihood is largest is found by ``search``.
"""

from __future__ import annotations

import math

from quant_dagster.compiled import njit
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.linear_algebra import fill_upper


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_garch(
    z: FloatArray,
    point: FloatArray,
    presample: float,
    fixed_presample: bool,
    gradient: FloatArray,
    information: FloatArray,
) -> float:
    """Negative log-likelihood without its constant; its gradient in place, and the expected information unless empty.

    ``z`` has mean 0 and variance 1, so that the mean squared residual before the sample is ``1 + mu ** 2``.
    """
    mu, omega, persistence, share = point[0], point[1], point[2], point[3]
    alpha, beta = persistence * share, persistence * (1.0 - share)
    before = presample if fixed_presample else 1.0 + mu * mu
    h = omega + persistence * before
    of_mu = 0.0 if fixed_presample else persistence * 2.0 * mu  # derivatives of h
    of_omega, of_alpha, of_beta = 1.0, before, before
    to_mu, to_omega, to_alpha, to_beta = 0.0, 0.0, 0.0, 0.0
    logs, product, ratios = 0.0, 1.0, 0.0
    with_information = len(information) > 0
    information[:] = 0.0
    for t in range(len(z)):
        e = z[t] - mu
        square, inverse, weight, ratios, logs, product = observe(e, h, ratios, logs, product)
        to_mu += weight * of_mu - e * inverse
        to_omega += weight * of_omega
        to_alpha += weight * of_alpha
        to_beta += weight * of_beta
        if with_information:
            by_p, by_a = share * of_alpha + (1.0 - share) * of_beta, persistence * (of_alpha - of_beta)
            half = 0.5 * inverse * inverse
            information[0, 0] += inverse + half * of_mu * of_mu
            information[1, 1] += half * of_omega * of_omega
            information[2, 1] += half * by_p * of_omega
            information[2, 2] += half * by_p * by_p
            information[3, 1] += half * by_a * of_omega
            information[3, 2] += half * by_a * by_p
            information[3, 3] += half * by_a * by_a
        of_mu = beta * of_mu - 2.0 * alpha * e
        of_omega = 1.0 + beta * of_omega
        of_alpha = square + beta * of_alpha
        of_beta = h + beta * of_beta
        h = omega + alpha * square + beta * h
    gradient[0], gradient[1] = to_mu, to_omega
    gradient[2] = share * to_alpha + (1.0 - share) * to_beta
    gradient[3] = persistence * (to_alpha - to_beta)
    fill_upper(information)
    return float(0.5 * (logs + math.log(product) + ratios))


@njit(cache=True, nogil=True, error_model="numpy")
def observe(
    e: float, h: float, ratios: float, logs: float, product: float
) -> tuple[float, float, float, float, float, float]:
    """What a residual of variance ``h`` adds to a Gaussian likelihood: the sums behind ``h``, moved on.

    Returns
    -------
    tuple
        The squared residual; ``1 / h``; the weight of the derivatives of h in those of the negative log-likelihood;
        and, this observation with them, the sum of the squared standardised residuals, the logarithms of the
        variances, and the product of those whose logarithm is not taken yet (one for many factors).
    """
    square = e * e
    inverse = 1.0 / h
    ratio = square * inverse
    product *= h
    if product > 1e100 or product < 1e-100:
        logs += math.log(product)
        product = 1.0
    return square, inverse, 0.5 * inverse * (1.0 - ratio), ratios + ratio, logs, product


@njit(cache=True, nogil=True, error_model="numpy")
def garch_path(
    z: FloatArray, point: FloatArray, presample: float, fixed_presample: bool, residuals: FloatArray
) -> float:
    """Standardised residuals into ``residuals``; the variance of the observation after the last is returned."""
    mu, omega, alpha, beta = point[0], point[1], point[2] * point[3], point[2] * (1.0 - point[3])
    before = presample if fixed_presample else 1.0 + mu * mu
    variance = omega + (alpha + beta) * before
    for t in range(len(z)):
        e = z[t] - mu
        residuals[t] = e / math.sqrt(variance)
        variance = omega + alpha * e * e + beta * variance
    return float(variance)

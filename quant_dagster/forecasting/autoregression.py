"""Autoregressive means: AR(p) on log returns by least squares, the order chosen by BIC, for all symbols at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import SMALLEST_VARIATION, BoolArray, FloatArray, IntArray
from quant_dagster.forecasting.residuals import LJUNG_BOX_LAGS, chi_squared_p_value, jarque_bera, ljung_box

FITTED, NOT_TRIED, SINGULAR, EXPLOSIVE = 0, 1, 2, 3
REASONS = {
    NOT_TRIED: "not fitted",
    SINGULAR: "the lagged returns are collinear",
    EXPLOSIVE: "the estimated autoregression is not stationary",
}


@dataclass(frozen=True)
class Autoregressions:
    """AR(p) fits of m symbols, ``y_t = constant + sum_i coefficients_i y_(t-i) + e_t``, and their forecasts.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS`` (the other entries are then NaN).
    order, constant, coefficients, residual_variance
        Shapes (m,), (m,), (m, max_order) padded with zeros, (m,). The variance is the sum of squares over the
        number of residuals, as in statsmodels' ``AutoReg``.
    ljung_box, ljung_box_p, jarque_bera, jarque_bera_p
        Shape (m,): of the residuals; Ljung-Box at lag 10 with ``10 - order`` degrees of freedom.
    step_mean, step_std
        Shape (m, steps): of the return 1, 2, … sessions ahead, parameters taken as known.
    total_mean, total_std
        Shape (m, steps): of the log return over the next 1, 2, … sessions together.
    """

    status: NDArray[np.int8]
    order: IntArray
    constant: FloatArray
    coefficients: FloatArray
    residual_variance: FloatArray
    ljung_box: FloatArray
    ljung_box_p: FloatArray
    jarque_bera: FloatArray
    jarque_bera_p: FloatArray
    step_mean: FloatArray
    step_std: FloatArray
    total_mean: FloatArray
    total_std: FloatArray


def fit_autoregressions(
    returns: FloatArray,
    counts: IntArray,
    *,
    max_order: int,
    steps: int,
    tried: BoolArray | None = None,
) -> Autoregressions:
    """Fit AR(0) … AR(``max_order``) to every column, keep the order of least BIC, forecast ``steps`` sessions.

    The orders are compared on the same observations (those after the first ``max_order``); the chosen one is then
    estimated on all it can use. Forecast errors follow from the psi weights (Brockwell & Davis 1991, section 5.4):
    the variance k steps ahead is ``s2 sum_(j<k) psi_j ** 2``, that of the total is
    ``s2 sum_(j<k) (psi_0 + … + psi_j) ** 2``.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    tried
        Columns to fit; None is all.
    """
    columns = returns.shape[1]
    status = np.full(columns, NOT_TRIED, np.int8)
    orders = np.zeros(columns, np.int64)
    coefficients = np.full((columns, max_order), np.nan)
    constant, variance = np.full(columns, np.nan), np.full(columns, np.nan)
    residuals = np.full(returns.shape[::-1], np.nan)
    forecasts = np.full((4, columns, steps), np.nan)

    wanted = counts > 2 * max_order + 3
    asked = np.flatnonzero(wanted if tried is None else wanted & tried)
    if len(asked):
        series, centre, scale = _standardised(np.ascontiguousarray(returns.T)[asked], counts[asked])
        varies = scale > 0.0
        status[asked[~varies]] = SINGULAR
        asked, series, centre, scale = asked[varies], series[varies], centre[varies], scale[varies]
        orders[asked] = _orders_by_bic(series, counts[asked], max_order)
    for p in np.unique(orders[asked]).tolist():
        chosen = orders[asked] == p
        here, z, middle, unit = asked[chosen], series[chosen], centre[chosen], scale[chosen]
        design, target = _lagged(z, counts[here], p, p)
        estimates, _, sound = least_squares(design, target, p)
        lags = estimates[:, 1:]
        errors = target - np.einsum("mti,mi->mt", design, estimates)
        squares = np.sum(errors**2, axis=1)
        sound &= squares > 1e-12 * counts[here]
        stationary = is_stationary(lags)
        status[here] = np.where(sound, np.where(stationary, FITTED, EXPLOSIVE), SINGULAR)
        kept = sound & stationary
        here, lags, unit, squares = here[kept], lags[kept], unit[kept], squares[kept]
        coefficients[here] = np.pad(lags, ((0, 0), (0, max_order - p)))
        constant[here] = estimates[kept, 0] * unit + middle[kept] * (1.0 - lags.sum(axis=1))
        variance[here] = squares / (counts[here] - p) * unit**2
        residuals[here, : returns.shape[0] - p] = errors[kept]
        last = returns[counts[here, None] - 1 - np.arange(p), here[:, None]]  # newest first
        forecasts[:, here] = forecast_totals(constant[here], lags, variance[here], last, steps)
    orders[status != FITTED] = 0
    fitted_counts = np.where(status == FITTED, counts - orders, 0)
    box, bera = ljung_box(residuals, fitted_counts), jarque_bera(residuals, fitted_counts)
    return Autoregressions(
        status=status,
        order=orders,
        constant=constant,
        coefficients=coefficients,
        residual_variance=variance,
        ljung_box=box,
        ljung_box_p=chi_squared_p_value(box, (LJUNG_BOX_LAGS - orders).astype(np.float64)),
        jarque_bera=bera,
        jarque_bera_p=chi_squared_p_value(bera, 2.0),
        step_mean=forecasts[0],
        step_std=forecasts[1],
        total_mean=forecasts[2],
        total_std=forecasts[3],
    )


def _standardised(series: FloatArray, counts: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows less their mean over their standard deviation (zero beyond the count), the means, the deviations."""
    inside = np.arange(series.shape[1]) < counts[:, None]
    centre = np.sum(np.where(inside, series, 0.0), axis=1) / counts
    deviations = np.where(inside, series - centre[:, None], 0.0)
    scale = np.sqrt(np.sum(deviations**2, axis=1) / counts)
    scale = np.where(scale > SMALLEST_VARIATION * np.abs(centre), scale, 0.0)
    return deviations / np.where(scale > 0.0, scale, 1.0)[:, None], centre, scale


def _lagged(z: FloatArray, counts: IntArray, lags: int, start: int) -> tuple[FloatArray, FloatArray]:
    """Regressors (1, z[t-1], …, z[t-lags]) and targets z[t] for t from ``start``, all zero beyond the count."""
    symbols, n = z.shape
    inside = np.arange(start, n) < counts[:, None]
    design = np.empty((symbols, n - start, lags + 1))
    design[:, :, 0] = inside
    for i in range(1, lags + 1):
        design[:, :, i] = np.where(inside, z[:, start - i : n - i], 0.0)
    return design, np.where(inside, z[:, start:], 0.0)


def least_squares(design: FloatArray, target: FloatArray, order: int) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Least squares of many series at once, by Cholesky's method on the cross products.

    Returns
    -------
    tuple
        Estimates (m, order + 1); the part of the target's sum of squares that each further regressor explains, of
        the same shape, NaN from the first collinear one on; whether none is collinear, (m,).
    """
    products = np.einsum("mti,mtj->mij", design, design)
    moments = np.einsum("mti,mt->mi", design, target)
    size = order + 1
    factor, half = np.zeros_like(products), np.zeros_like(moments)
    for i in range(size):
        for j in range(i + 1):
            rest = products[:, i, j] - np.sum(factor[:, i, :j] * factor[:, j, :j], axis=1)
            if i == j:
                factor[:, i, i] = np.sqrt(np.where(rest > 1e-12 * products[:, i, i], rest, np.nan))
            else:
                factor[:, i, j] = rest / factor[:, j, j]
        half[:, i] = (moments[:, i] - np.sum(factor[:, i, :i] * half[:, :i], axis=1)) / factor[:, i, i]
    estimates = np.zeros_like(half)
    for i in range(size - 1, -1, -1):
        above = np.sum(factor[:, i + 1 :, i] * estimates[:, i + 1 :], axis=1)
        estimates[:, i] = (half[:, i] - above) / factor[:, i, i]
    return estimates, half**2, np.all(np.isfinite(half), axis=1)


def _orders_by_bic(z: FloatArray, counts: IntArray, max_order: int) -> IntArray:
    """The order of least BIC of each series; one factorisation gives the residual squares of all orders."""
    design, target = _lagged(z, counts, max_order, max_order)
    explained = least_squares(design, target, max_order)[1]
    total = np.sum(target**2, axis=1)
    used = (counts - max_order).astype(np.float64)
    squares = np.maximum(total[:, None] - np.cumsum(explained, axis=1), 1e-300)
    criterion = used[:, None] * np.log(squares / used[:, None]) + np.arange(max_order + 1) * np.log(used)[:, None]
    return np.asarray(np.argmin(np.where(np.isfinite(criterion), criterion, np.inf), axis=1), dtype=np.int64)


def is_stationary(coefficients: FloatArray) -> BoolArray:
    """Whether all partial autocorrelations of each row lie inside (-1, 1), by the step-down recursion."""
    stationary = np.ones(len(coefficients), np.bool_)
    work = coefficients
    while work.shape[1]:
        last = work[:, -1:]
        stationary &= np.abs(last[:, 0]) < 1.0
        inside = np.where(np.abs(last) < 1.0, 1.0 - last**2, np.nan)
        work = (work[:, :-1] + last * work[:, -2::-1]) / inside
    return stationary


def forecast_totals(
    constant: FloatArray, coefficients: FloatArray, variance: FloatArray, last: FloatArray, steps: int
) -> FloatArray:
    """Step mean, step std, total mean and total std, shape (4, m, steps), from the ``last`` values, newest first."""
    symbols, order = coefficients.shape
    mean, psi = np.empty((symbols, steps)), np.zeros((symbols, steps))
    for k in range(steps):
        mean[:, k] = constant
        psi[:, k] = 1.0 if k == 0 else 0.0
        for i in range(1, order + 1):
            before = mean[:, k - i] if i <= k else last[:, i - k - 1]
            mean[:, k] += coefficients[:, i - 1] * before
            if i <= k:
                psi[:, k] += coefficients[:, i - 1] * psi[:, k - i]
    spread = variance[:, None] * np.cumsum(psi**2, axis=1)
    total_spread = variance[:, None] * np.cumsum(np.cumsum(psi, axis=1) ** 2, axis=1)
    return np.stack([mean, np.sqrt(spread), np.cumsum(mean, axis=1), np.sqrt(total_spread)])

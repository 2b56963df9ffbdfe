"""ARMA means: seasonal ARMA with regressors by exact maximum likelihood for every symbol, the order chosen by BIC.

Log returns are the differences of log prices, so nothing is differenced here: fitted to them, an ARMA(p, q) is an
ARIMA(p, 1, q) of the log price. Belongs here: fitting all columns, bringing earlier fits forward, forecasts. Does not:
the likelihood (``likelihood``), which regressors there are and what is stored (``families.seasonal``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.arma.candidates import EXPLOSIVE, FITTED, fit_columns, forecast_columns
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns

NOT_TRIED, CONSTANT, NOT_CONVERGED = 1, 2, 3
REASONS = {
    NOT_TRIED: "not fitted",
    CONSTANT: "the returns do not vary",
    NOT_CONVERGED: "the likelihood could not be maximised",
    EXPLOSIVE: "the earlier parameters are not those of a stationary process",
}
Order = tuple[int, int, int, int]
"""Numbers of terms ``(p, q, P, Q)``: AR, MA, and both at the period."""


class Criterion(StrEnum):
    """What the order is chosen by; ``k`` counts all parameters, the innovation variance among them.

    ``BIC`` is ``k log n - 2 L`` (Schwarz 1978); ``AICC`` is ``2 k n / (n - k - 1) - 2 L`` (Hurvich & Tsai 1989).
    """

    BIC = "bic"
    AICC = "aicc"


@dataclass(frozen=True)
class ArmaParameters:
    """Seasonal ARMA processes of m symbols, NaN where there is none.

    Attributes
    ----------
    orders
        int64, shape (m, 4): ``(p, q, P, Q)`` of each.
    period
        Sessions between seasonal terms.
    coefficients
        Shape (m, k): AR, MA, seasonal AR, seasonal MA terms of each symbol, one after the other.
    beta
        Shape (m, K): of the regressors, the mean first, in the units of the returns.
    sigma2
        Shape (m,): innovation variance.
    """

    orders: IntArray
    period: int
    coefficients: FloatArray
    beta: FloatArray
    sigma2: FloatArray


@dataclass(frozen=True)
class ArmaFits:
    """Fits of m symbols over c candidate orders; of a column that is not fitted the entries are NaN.

    Attributes
    ----------
    status
        int8, shape (m,): 0 fitted, else a key of ``REASONS``.
    parameters
        Of the chosen order.
    log_likelihoods, criteria
        Shape (m, c): Gaussian and exact, constants included; minus infinity and infinity where the search failed.
    chosen
        int64, shape (m,): the candidate of least criterion.
    iterations, at_bound
        Shape (m,): of the chosen fit; whether a root lies on the unit circle but for 1e-4.
    """

    status: NDArray[np.int8]
    parameters: ArmaParameters
    log_likelihoods: FloatArray
    criteria: FloatArray
    chosen: IntArray
    iterations: IntArray
    at_bound: BoolArray


@dataclass(frozen=True)
class ArmaForecasts:
    """What processes with known parameters say of m symbols.

    Attributes
    ----------
    status
        int8, shape (m,): 0 or a key of ``REASONS``.
    log_likelihood
        Shape (m,): exact, constants included.
    innovations
        Shape (m, n): standardised one-step errors of each symbol in its first places, NaN after.
    step_mean, step_std, total_mean, total_std
        Shape (m, steps): of the return 1, 2, … sessions ahead, and of the next 1, 2, … returns together.
    """

    status: NDArray[np.int8]
    log_likelihood: FloatArray
    innovations: FloatArray
    step_mean: FloatArray
    step_std: FloatArray
    total_mean: FloatArray
    total_std: FloatArray


def candidate_orders(largest: int, seasonal: bool = False) -> tuple[Order, ...]:
    """All ``(p, q)`` up to ``largest`` each; with ``seasonal``, each also with one seasonal AR or MA term."""
    plain = range(largest + 1)
    extra = ((0, 0), (1, 0), (0, 1)) if seasonal else ((0, 0),)
    return tuple((p, q, sp, sq) for sp, sq in extra for p in plain for q in plain)


def fit_arma(
    returns: FloatArray,
    counts: IntArray,
    *,
    orders: Sequence[Order],
    period: int = 0,
    regressors: FloatArray | None = None,
    criterion: Criterion = Criterion.BIC,
    tried: BoolArray | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> ArmaFits:
    """Fit every order to every column by exact maximum likelihood and keep the one of least criterion.

    Each order is searched from the best fit of an order one term smaller; ARMA(1, 1), whose likelihood has several
    maxima, also from the likeliest points beside the line on which its two sides cancel.

    Parameters
    ----------
    returns, counts
        As in :class:`quant_dagster.forecasting.history.ReturnHistory`.
    orders
        Candidates, a smaller one before a larger one that contains it.
    period
        Of the seasonal terms; at least 2 where there are any.
    regressors
        Shape (m, K, n), C order, packed as the returns are, without a constant (which is always there), or None.
    tried
        Columns to fit; None is all.

    Raises
    ------
    ForecastError
        For orders that are not a model.
    """
    table = _checked(orders, period)
    columns, n = returns.shape[1], returns.shape[0]
    wanted = np.ones(columns, np.bool_) if tried is None else tried
    design = _with_constant(regressors, n)
    terms, size = table[:, :4].sum(axis=1), int(table[:, :4].sum(axis=1).max())
    status, chosen = np.full(columns, NOT_TRIED, np.int8), np.zeros(columns, np.int64)
    points = np.full((columns, len(table), size), np.nan)
    outcomes = np.full((columns, len(table), 2 + size + design.shape[1]), np.nan)  # value, S, coefficients, beta
    taken, moments = np.zeros((columns, len(table)), np.int64), np.full((columns, 2), np.nan)
    series, smaller = np.ascontiguousarray(returns.T), _one_term_smaller(table)

    def kernel(first: int, stop: int) -> None:
        fit_columns(first, stop, series, counts, wanted, design, table, smaller, points, outcomes, taken, moments)

    over_columns(kernel, columns, workers, progress)
    size_of = np.where(counts > 0, counts, np.nan)[:, None].astype(np.float64)
    scale = moments[:, 1:]
    values = np.where(np.isfinite(outcomes[:, :, 0]), outcomes[:, :, 0], np.inf)
    likelihoods = -values - size_of * (0.5 + 0.5 * np.log(2.0 * np.pi) + np.log(np.where(scale > 0.0, scale, np.nan)))
    parameters = terms + design.shape[1] + 1.0
    if criterion is Criterion.BIC:
        penalty = parameters * np.log(size_of)
    else:
        room = size_of - parameters - 1.0
        penalty = np.where(room > 0.0, 2.0 * parameters * size_of / np.where(room > 0.0, room, 1.0), np.inf)
    criteria = penalty - 2.0 * likelihoods
    known = np.where(np.isfinite(criteria), criteria, np.inf)
    chosen = np.asarray(np.argmin(known, axis=1), np.int64)
    rows = np.arange(columns)
    tested = np.isfinite(moments[:, 0])
    status[tested] = NOT_CONVERGED
    status[tested & ~(moments[:, 1] > 0.0)] = CONSTANT
    fitted = tested & np.isfinite(known[rows, chosen])
    status[fitted] = FITTED
    best = np.where(fitted[:, None], outcomes[rows, chosen], np.nan)
    beta = best[:, 2 + size :] * scale
    beta[:, 0] += moments[:, 0]
    bound = np.abs(np.sin(np.where(np.isfinite(points[rows, chosen]), points[rows, chosen], 0.0))) > 1.0 - 1e-4
    return ArmaFits(
        status=status,
        parameters=ArmaParameters(
            np.where(fitted[:, None], table[chosen, :4], 0),
            period,
            best[:, 2 : 2 + size],
            beta,
            best[:, 1] / size_of[:, 0] * scale[:, 0] ** 2,
        ),
        log_likelihoods=likelihoods,
        criteria=criteria,
        chosen=chosen,
        iterations=taken[rows, chosen],
        at_bound=np.any(bound, axis=1),
    )


def forecast_arma(
    returns: FloatArray,
    counts: IntArray,
    parameters: ArmaParameters,
    *,
    steps: int,
    regressors: FloatArray | None = None,
    ahead: FloatArray | None = None,
    tried: BoolArray | None = None,
    workers: int = 1,
) -> ArmaForecasts:
    """Run the filter with given parameters over the returns and forecast the next ``steps``; nothing is estimated.

    Parameters
    ----------
    returns, counts, regressors
        As in :func:`fit_arma`; the history may have grown since.
    ahead
        Shape (steps, K): the regressors' values of the sessions to come, without the constant.
    tried
        Columns to forecast; None is all.
    """
    columns, n = returns.shape[1], returns.shape[0]
    sound = np.isfinite(parameters.sigma2) & (parameters.sigma2 > 0.0) & (counts > 0)
    wanted = sound if tried is None else sound & tried
    design = _with_constant(regressors, n)
    future = np.ones((steps, 1)) if ahead is None else np.column_stack([np.ones(steps), ahead])
    status = np.where(wanted, FITTED, NOT_TRIED).astype(np.int8)
    series, orders = np.ascontiguousarray(returns.T), np.column_stack([parameters.orders, np.zeros(columns, np.int64)])
    orders[:, 4] = parameters.period
    order_table = np.ascontiguousarray(orders, np.int64)
    whitened = np.full(series.shape, np.nan)
    numbers, likelihood = np.full((3, columns, steps), np.nan), np.full(columns, np.nan)

    def kernel(first: int, stop: int) -> None:
        forecast_columns(
            first,
            stop,
            series,
            counts,
            design,
            future,
            order_table,
            np.ascontiguousarray(parameters.coefficients),
            np.ascontiguousarray(parameters.beta),
            parameters.sigma2,
            status,
            whitened,
            likelihood,
            numbers,
        )

    over_columns(kernel, columns, workers)
    mean, step_variance, total_variance = numbers
    return ArmaForecasts(
        status=status,
        log_likelihood=likelihood,
        innovations=whitened,
        step_mean=mean,
        step_std=np.sqrt(step_variance),
        total_mean=np.cumsum(mean, axis=1),
        total_std=np.sqrt(total_variance),
    )


def _with_constant(regressors: FloatArray | None, n: int) -> FloatArray:
    """Regressors with a constant first; one set for all columns, shape (1, 1, n), where there is nothing else."""
    if regressors is None:
        return np.ones((1, 1, n))
    return np.ascontiguousarray(np.concatenate([np.ones((len(regressors), 1, n)), regressors], axis=1))


def _checked(orders: Sequence[Order], period: int) -> IntArray:
    table = np.array([(*order, period) for order in orders], np.int64).reshape(-1, 5)
    if len(table) == 0 or (table < 0).any():
        raise ForecastError(f"ARMA: orders are {list(orders)}; give at least one, of numbers from 0")
    if table[:, 2:4].any() and period < 2:
        raise ForecastError(f"ARMA: seasonal terms need a period of 2 or more, it is {period}")
    return table


def _one_term_smaller(table: IntArray) -> IntArray:
    """Row of the candidate with one term less of each kind, shape (c, 4); -1 where it is not among those before."""
    rows = {tuple(order): i for i, order in enumerate(table[:, :4].tolist())}
    smaller = np.full((len(table), 4), -1, np.int64)
    for i, order in enumerate(table[:, :4].tolist()):
        for kind in range(4):
            less = tuple(terms - (kind == k) for k, terms in enumerate(order))
            if rows.get(less, i) < i:
                smaller[i, kind] = rows[less]
    return smaller

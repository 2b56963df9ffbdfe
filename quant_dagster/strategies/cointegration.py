"""Cointegration of every pair of a panel at once: Engle-Granger and Johansen from a handful of matrix products.

Both tests are functions of second moments of levels and differences, so that all pairs of m symbols cost a few
products of (n, m) matrices and arithmetic on (m, m) arrays; nothing is screened out beforehand. One lagged difference
is in both regressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_SMALLEST, _CHANGE, _LARGEST = -18.86, -2.62, 0.92
_LOWER = (2.92, 1.5012, 0.039796)
_UPPER = (2.1945, 0.64695, -0.29198, -0.042377)
"""Response surface of the p-value for two variables and a constant: MacKinnon (1994), tables 3 and 4."""
LEVELS = (0.01, 0.05, 0.10)
TRACE_CRITICAL = (19.9349, 15.4943, 13.4294)
MAXIMUM_CRITICAL = (18.5200, 14.2639, 12.2971)
"""Of two variables against no cointegration, with a constant: MacKinnon, Haug & Michelis (1999), at ``LEVELS``."""


@dataclass(frozen=True)
class PairTests:
    """Tests of every ordered pair (i, j) of m symbols: i regressed on j; arrays of shape (m, m), NaN on the diagonal.

    Attributes
    ----------
    hedge_ratio, intercept
        Of the least-squares regression of level i on level j.
    statistic, p_value
        Augmented Dickey-Fuller t of its residual, one lagged difference; p-value of Engle and Granger's test.
    persistence
        First-order autoregression of the residual.
    spread_std
        Standard deviation of the residual (division by n).
    trace, second_trace, maximum
        Johansen's trace statistics against rank 0 and rank 1, and his largest-eigenvalue statistic against rank 0;
        symmetric.
    """

    hedge_ratio: FloatArray
    intercept: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    persistence: FloatArray
    spread_std: FloatArray
    trace: FloatArray
    second_trace: FloatArray
    maximum: FloatArray

    @property
    def half_life(self) -> FloatArray:
        """Sessions in which a deviation halves, ``-ln 2 / ln(persistence)``; 0 below, infinite where it does not."""
        inside = np.clip(self.persistence, 1e-12, 1.0 - 1e-12)
        lives = np.where(self.persistence <= 0.0, 0.0, -np.log(2.0) / np.log(inside))
        return np.where(self.persistence < 1.0, lives, np.inf)


def cointegration_tests(levels: FloatArray) -> PairTests:
    """Engle-Granger and Johansen tests of every pair of columns.

    Parameters
    ----------
    levels
        Log prices, shape (n, m), all finite, n at least 20.

    Notes
    -----
    Engle & Granger (1987): the residual of a regression with a constant, tested without one. Johansen (1991), a
    constant in the differences, one lagged difference: the case ``det_order=0, k_ar_diff=1`` of statsmodels.
    """
    n, _ = levels.shape
    if n < 20 or not bool(np.isfinite(levels).all()):
        raise ValueError(f"cointegration needs at least 20 sessions of finite levels; given {levels.shape}")
    means = levels.mean(axis=0)
    centred = levels - means
    differences = np.diff(centred, axis=0)
    level, change, lagged = centred[1:-1], differences[1:], differences[:-1]
    used = n - 2
    with np.errstate(all="ignore"):
        gram = centred.T @ centred
        hedge = gram / np.diag(gram)[None, :]

        def of_residual(moment: FloatArray) -> FloatArray:
            own = np.diag(moment)
            return np.asarray(own[:, None] - hedge * (moment + moment.T) + hedge**2 * own[None, :])

        ll, lg, gg = level.T @ level, level.T @ lagged, lagged.T @ lagged
        lc, gc, cc = level.T @ change, lagged.T @ change, change.T @ change
        a, b, c = of_residual(ll), of_residual(lg), of_residual(gg)
        d, e, f = of_residual(lc), of_residual(gc), of_residual(cc)
        determinant = a * c - b * b
        slope = (c * d - b * e) / determinant
        squares = f - slope * d - (a * e - b * d) / determinant * e
        statistic = slope / np.sqrt(squares / (used - 2) * c / determinant)
        trace, second, maximum = _johansen_pairs(level, change, lagged, (ll, lg, gg, lc, gc, cc))
        vanishing = of_residual(gram) <= 1e-12 * np.diag(gram)[:, None]
        statistic = np.where(vanishing | ~np.isfinite(statistic), np.nan, statistic)
        spread = np.sqrt(np.maximum(of_residual(gram), 0.0) / n)
        persistence = 1.0 + d / a
    nothing = np.isnan(statistic)
    np.fill_diagonal(nothing, True)

    def known(values: FloatArray) -> FloatArray:
        return np.where(nothing, np.nan, values)

    return PairTests(
        hedge_ratio=known(hedge),
        intercept=known(means[:, None] - hedge * means[None, :]),
        statistic=known(statistic),
        p_value=known(engle_granger_p(statistic)),
        persistence=known(persistence),
        spread_std=known(spread),
        trace=known(trace),
        second_trace=known(second),
        maximum=known(maximum),
    )


def engle_granger_p(statistic: ArrayLike) -> FloatArray:
    """Approximate p-value of the Engle-Granger statistic of two variables with a constant (MacKinnon 1994)."""
    from scipy.special import ndtr

    t = np.asarray(statistic, dtype=np.float64)
    inner = np.clip(t, _SMALLEST, _LARGEST)
    lower = _LOWER[0] + _LOWER[1] * inner + _LOWER[2] * inner**2
    upper = _UPPER[0] + _UPPER[1] * inner + _UPPER[2] * inner**2 + _UPPER[3] * inner**3
    p: FloatArray = ndtr(np.where(inner <= _CHANGE, lower, upper))
    return np.asarray(np.where(t > _LARGEST, 1.0, np.where(t < _SMALLEST, 0.0, p)))


def critical_values(significance: float) -> tuple[float, float]:
    """Critical trace and largest-eigenvalue statistics at the tabled level at or below ``significance``.

    Levels below the strictest tabled one (1 %) are tested at that one.
    """
    at = max((k for k, level in enumerate(LEVELS) if level <= significance), default=0)
    return TRACE_CRITICAL[at], MAXIMUM_CRITICAL[at]


def _johansen_pairs(
    level: FloatArray, change: FloatArray, lagged: FloatArray, moments: tuple[FloatArray, ...]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Trace statistics against rank 0 and 1, and the largest-eigenvalue statistic, shape (m, m) each.

    The eigenvalues of a 2 x 2 matrix follow from its trace and determinant.
    """
    used = len(level)
    l_mean, c_mean, g_mean = level.mean(axis=0), change.mean(axis=0), lagged.mean(axis=0)
    ll, lg, gg, lc, gc, cc = moments
    ll = _blocks(ll - used * np.outer(l_mean, l_mean))
    lg = _blocks(lg - used * np.outer(l_mean, g_mean))
    gg = _blocks(gg - used * np.outer(g_mean, g_mean))
    lc = _blocks(lc - used * np.outer(l_mean, c_mean))
    gc = _blocks(gc - used * np.outer(g_mean, c_mean))
    cc = _blocks(cc - used * np.outer(c_mean, c_mean))
    inverse = _inverse(gg)
    s00 = cc - _turned(gc) @ inverse @ gc
    s10 = lc - lg @ inverse @ gc
    s11 = ll - lg @ inverse @ _turned(lg)
    product = _inverse(s11) @ s10 @ _inverse(s00) @ _turned(s10)
    total = product[..., 0, 0] + product[..., 1, 1]
    determinant = product[..., 0, 0] * product[..., 1, 1] - product[..., 0, 1] * product[..., 1, 0]
    root = np.sqrt(np.maximum(total**2 / 4.0 - determinant, 0.0))
    first, second = total / 2.0 + root, total / 2.0 - root
    largest, rest = -used * np.log(1.0 - first), -used * np.log(1.0 - second)
    return _square(largest + rest, level.shape[1]), _square(rest, level.shape[1]), _square(largest, level.shape[1])


def _blocks(moment: FloatArray) -> FloatArray:
    """The 2 x 2 block of every pair i < j, shape (pairs, 2, 2)."""
    i, j = np.triu_indices(len(moment), 1)
    return np.stack([moment[i, i], moment[i, j], moment[j, i], moment[j, j]], axis=-1).reshape(-1, 2, 2)


def _turned(blocks: FloatArray) -> FloatArray:
    return np.swapaxes(blocks, 1, 2)


def _inverse(blocks: FloatArray) -> FloatArray:
    a, b, c, d = blocks[:, 0, 0], blocks[:, 0, 1], blocks[:, 1, 0], blocks[:, 1, 1]
    inverse = np.stack([d, -b, -c, a], axis=-1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]
    return np.asarray(inverse)


def _square(values: FloatArray, m: int) -> FloatArray:
    square = np.full((m, m), np.nan)
    upper = np.triu_indices(m, 1)
    square[upper] = values
    square.T[upper] = values
    return square

"""Conditional correlations: DCC(1,1) over all symbols of a panel, on the standardised residuals of GARCH(1,1).

Engle (2002): ``Q_(t+1) = (1 - a - b) S + a z_t z_t' + b Q_t`` and ``R_t`` is Q_t scaled to a unit diagonal. S is the
correlation of the residuals (targeting), so that a and b are all there is to estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quant_dagster.compiled import njit
from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import BoolArray, FloatArray, IntArray, over_columns
from quant_dagster.forecasting.history import ReturnHistory
from quant_dagster.forecasting.variance.garch import GarchFits
from quant_dagster.forecasting.variance.search import FITTED
from quant_dagster.market_data.panel import Panel

SMALLEST_COVERAGE = 0.95  # of the sessions a symbol must have a residual on
LARGEST_PERSISTENCE = 1.0 - 1e-4
_STARTS = ((0.97, 0.03), (0.80, 0.05), (0.995, 0.01))  # (a + b, a / (a + b))


@dataclass(frozen=True)
class DynamicCorrelations:
    """DCC(1,1) over m symbols, and their correlations over the session after the last.

    Attributes
    ----------
    a, b
        Weights of the newest cross products and of the past; ``a + b`` below 1.
    correlation
        Shape (m, m): one session ahead, positive definite, its diagonal 1 exactly.
    shrinkage
        Share of the identity in the target S (Ledoit & Wolf 2004).
    composite_log_likelihood
        Sum over contiguous pairs of symbols of their correlation part, without its constant.
    at_bound
        a or b is zero, or their sum at its largest.
    converged
        The likelihood's search ended at a maximum.
    """

    a: float
    b: float
    correlation: FloatArray
    shrinkage: float
    composite_log_likelihood: float
    at_bound: bool
    converged: bool


@dataclass(frozen=True)
class PanelCorrelation:
    """Correlations of the symbols of a panel, one session ahead.

    Attributes
    ----------
    symbols, columns
        The symbols that take part and their columns in the panel.
    std
        Shape (m,): their GARCH(1,1) standard deviations over the next session.
    market_correlation
        Shape (m,): of each with the mean of all their returns, one session ahead.
    dynamics
        The fit; ``dynamics.correlation`` has the order of ``symbols``.
    """

    symbols: tuple[str, ...]
    columns: IntArray
    std: FloatArray
    market_correlation: FloatArray
    dynamics: DynamicCorrelations

    @property
    def matrix(self) -> FloatArray:
        """Correlation, shape (m, m)."""
        return self.dynamics.correlation

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the next session's log returns, shape (m, m)."""
        return np.asarray(self.std[:, None] * self.dynamics.correlation * self.std[None, :])


def correlate(panel: Panel, history: ReturnHistory, fits: GarchFits, workers: int = 1) -> PanelCorrelation:
    """Correlations over the session after the panel's last, of every symbol whose variances ``fits`` has.

    Raises
    ------
    ForecastError
        When fewer than two symbols have enough history.
    """
    aligned = aligned_residuals(panel, history, fits.residuals, fits.status == FITTED)
    columns = np.flatnonzero(covered(aligned))
    if len(columns) < 2:
        raise ForecastError(
            f"correlations to {panel.last_session}: {len(columns)} symbols have residuals on "
            f"{SMALLEST_COVERAGE:.0%} of {len(aligned)} sessions, two are needed; load more history or shorten "
            "the window"
        )
    dynamics = fit_dcc(np.ascontiguousarray(aligned[:, columns].T), workers=workers)
    std = np.sqrt(fits.step_variance[columns, 0])
    return PanelCorrelation(
        symbols=tuple(panel.symbols[j] for j in columns.tolist()),
        columns=columns.astype(np.int64),
        std=std,
        market_correlation=market_correlation(dynamics.correlation, std),
        dynamics=dynamics,
    )


def aligned_residuals(panel: Panel, history: ReturnHistory, residuals: FloatArray, fitted: BoolArray) -> FloatArray:
    """Residuals on the sessions they belong to, shape (window or fewer, m); NaN where there is none.

    Parameters
    ----------
    residuals
        Shape (m, window), packed as in ``history``.
    """
    sessions = min(len(history.returns), len(panel.sessions) - 1)
    close = panel.close[-sessions:]
    valid = (close > 0.0) & np.isfinite(close)
    later = np.cumsum(valid[::-1], axis=0)[::-1]  # closes from here on, this one included
    place = history.counts[None, :] - later
    known = valid & (place >= 0) & fitted[None, :]
    columns = np.broadcast_to(np.arange(close.shape[1]), close.shape)
    aligned = np.full(close.shape, np.nan)
    aligned[known] = residuals[columns[known], place[known]]
    return aligned


def covered(aligned: FloatArray) -> BoolArray:
    """Symbols with residuals on at least ``SMALLEST_COVERAGE`` of the sessions, the last one among them."""
    present = np.isfinite(aligned)
    return np.asarray((present.mean(axis=0) >= SMALLEST_COVERAGE) & present[-1])


def market_correlation(correlation: FloatArray, std: FloatArray) -> FloatArray:
    """Correlation of each return with the mean of all, shape (m,)."""
    with_market = correlation @ std
    return np.asarray(with_market / np.sqrt(std @ with_market))


def fit_dcc(
    residuals: FloatArray, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> DynamicCorrelations:
    """Fit a and b by composite likelihood and give the correlations after the last session.

    The likelihood is the sum over the pairs of neighbouring rows of the Gaussian likelihood of the pair (Engle,
    Shephard & Sheppard 2008): consistent, where the full likelihood of hundreds of series is biased towards constant
    correlations, and linear in their number. With two rows it is Engle's likelihood itself. The target of the matrix
    is shrunk towards the identity as much as its own sampling error asks for (Ledoit & Wolf 2004; Engle, Ledoit &
    Wolf 2019 do so, nonlinearly), which keeps it positive definite with more symbols than sessions.

    Parameters
    ----------
    residuals
        Standardised, shape (m, n), C order; NaN is a missing one. A session that a symbol misses leaves its
        correlations as if it had brought a residual unrelated to all others.
    """
    symbols, sessions = residuals.shape
    scale = np.sqrt(np.nanmean(residuals**2, axis=1))
    z = np.ascontiguousarray(residuals / scale[:, None])
    pairs = symbols - 1

    def negative(point: FloatArray) -> tuple[float, FloatArray]:
        results = np.empty((pairs, 3))
        a, b = point[0] * point[1], point[0] * (1.0 - point[1])
        over_columns(lambda first, stop: _pair_likelihoods(first, stop, z, a, b, results), pairs, workers, progress)
        value, by_a, by_b = results.sum(axis=0) / pairs
        slope = np.array([point[1] * by_a + (1.0 - point[1]) * by_b, point[0] * (by_a - by_b)])
        return -float(value), -slope

    best = _maximise(negative)
    (persistence, share), value, converged = best
    a, b = float(persistence * share), float(persistence * (1.0 - share))
    present = np.isfinite(z)
    filled = np.where(present, z, 0.0)
    target, shrinkage = shrunk_correlation(filled)
    weights = a * b ** np.arange(sessions - 1, -1, -1.0)
    # Q is linear in the cross products: the recursion from Q_1 = S, summed
    remaining = b**sessions + (1.0 - a - b) * (1.0 - b**sessions) / (1.0 - b)
    quasi = remaining * target + (filled * weights) @ filled.T
    quasi[np.diag_indices(symbols)] += (~present * weights).sum(axis=1)
    deviation = np.sqrt(np.diag(quasi))
    correlation = quasi / deviation[:, None] / deviation[None, :]
    correlation = 0.5 * (correlation + correlation.T)
    np.fill_diagonal(correlation, 1.0)
    return DynamicCorrelations(
        a=a,
        b=b,
        correlation=correlation,
        shrinkage=shrinkage,
        composite_log_likelihood=-value * pairs,
        at_bound=bool(a <= 0.0 or b <= 0.0 or persistence >= LARGEST_PERSISTENCE),
        converged=converged,
    )


def shrunk_correlation(z: FloatArray) -> tuple[FloatArray, float]:
    """Correlation of rows with mean zero, shrunk towards the identity by Ledoit & Wolf (2004), and by how much."""
    symbols, sessions = z.shape
    sample = z @ z.T / sessions
    deviation = np.sqrt(np.diag(sample))
    z = z / deviation[:, None]
    sample = sample / deviation[:, None] / deviation[None, :]
    distance = float(np.sum(sample**2)) / symbols - 1.0  # per symbol, from the identity, which has the same trace
    squares = z * z
    error = (float(np.sum(squares.sum(axis=0) ** 2)) / sessions - float(np.sum(sample**2))) / symbols / sessions
    shrinkage = min(1.0, max(0.0, error / distance)) if distance > 0.0 else 1.0
    shrunk = (1.0 - shrinkage) * sample
    np.fill_diagonal(shrunk, 1.0)
    return shrunk, shrinkage


def _maximise(
    negative: Callable[[FloatArray], tuple[float, FloatArray]],
) -> tuple[FloatArray, float, bool]:
    from scipy.optimize import minimize

    best: tuple[FloatArray, float, bool] | None = None
    for start in _STARTS:
        found = minimize(
            negative,
            np.array(start),
            jac=True,
            method="L-BFGS-B",
            bounds=((0.0, LARGEST_PERSISTENCE), (0.0, 1.0)),
            options={"ftol": 1e-12, "gtol": 1e-7},
        )
        if best is None or found.fun < best[1]:
            best = np.asarray(found.x), float(found.fun), bool(found.success)
    assert best is not None  # there is more than one starting point
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _pair_likelihoods(first: int, stop: int, z: FloatArray, a: float, b: float, results: FloatArray) -> None:
    """Log-likelihood of rows i and i + 1 without its constant, and its derivatives by a and b, for each i."""
    n = z.shape[1]
    for i in range(first, stop):
        x, y = z[i], z[i + 1]
        cross, squares_x, squares_y = 0.0, 0.0, 0.0
        for t in range(n):
            if np.isfinite(x[t]) and np.isfinite(y[t]):
                cross += x[t] * y[t]
                squares_x += x[t] * x[t]
                squares_y += y[t] * y[t]
        target = cross / np.sqrt(squares_x * squares_y) if squares_x * squares_y > 0.0 else 0.0
        rest = 1.0 - a - b
        qx, qy, qxy = 1.0, 1.0, target
        ax, ay, axy, bx, by, bxy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0  # derivatives of q by a and by b
        total, by_a, by_b = 0.0, 0.0, 0.0
        for t in range(n):
            has_x, has_y = np.isfinite(x[t]), np.isfinite(y[t])
            u = x[t] if has_x else 0.0
            v = y[t] if has_y else 0.0
            if has_x and has_y:
                inverse = 1.0 / np.sqrt(qx * qy)
                rho = qxy * inverse
                room = 1.0 - rho * rho
                sizes = u * u + v * v
                form = (sizes - 2.0 * rho * u * v) / room
                total += -0.5 * (np.log(room) + form - sizes)
                by_rho = (rho * (1.0 - form) + u * v) / room
                by_a += by_rho * (axy * inverse - 0.5 * rho * (ax / qx + ay / qy))
                by_b += by_rho * (bxy * inverse - 0.5 * rho * (bx / qx + by / qy))
            xx = u * u if has_x else 1.0
            yy = v * v if has_y else 1.0
            ax, ay, axy = xx - 1.0 + b * ax, yy - 1.0 + b * ay, u * v - target + b * axy
            bx, by, bxy = qx - 1.0 + b * bx, qy - 1.0 + b * by, qxy - target + b * bxy
            qx, qy, qxy = rest + a * xx + b * qx, rest + a * yy + b * qy, rest * target + a * u * v + b * qxy
        results[i, 0], results[i, 1], results[i, 2] = total, by_a, by_b

"""Covariance of many symbols from few sessions: Ledoit-Wolf shrinkage to constant correlation, or DCC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.forecasting.variance.correlations import fit_dcc
from quant_dagster.forecasting.variance.garch import fit_garch
from quant_dagster.forecasting.variance.search import FITTED

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Correlations:
    """Of m symbols, for one session.

    Attributes
    ----------
    std
        Shape (m,): standard deviations of the returns.
    matrix
        Shape (m, m): positive semi-definite, its diagonal 1.
    shrinkage
        Weight of the target, 0 to 1.
    """

    std: FloatArray
    matrix: FloatArray
    shrinkage: float

    @property
    def covariance(self) -> FloatArray:
        """Shape (m, m)."""
        return np.asarray(self.std[:, None] * self.matrix * self.std)


def shrunk_correlation(returns: FloatArray, symbols: Sequence[str]) -> Correlations:
    """Sample correlations drawn towards their mean, as far as their sampling error asks for.

    Ledoit & Wolf (2004), "Honey, I shrunk the sample covariance matrix", appendix: the weight of the target that
    minimises the expected squared distance to the true covariance matrix. Sample and target have the same variances
    (divided by n), and both are positive semi-definite, so the result is.

    Parameters
    ----------
    returns
        Shape (n, m), none missing.

    Raises
    ------
    RiskError
        A symbol whose price does not move.
    """
    sessions, count = returns.shape
    x = returns - returns.mean(axis=0)
    sample = x.T @ x / sessions
    variance = np.diag(sample).copy()
    if not np.all(variance > 0.0):
        name = symbols[int(np.argmin(variance))]
        raise RiskError(f"correlations: the price of {name} does not move; correct it or leave the symbol out")
    std = np.sqrt(variance)
    correlation = sample / std[:, None] / std
    if count < 3:  # the target is the sample itself
        np.fill_diagonal(correlation, 1.0)
        return Correlations(std, correlation, 0.0)
    mean = (float(correlation.sum()) - count) / (count * (count - 1))
    target = mean * std[:, None] * std
    np.fill_diagonal(target, variance)
    squares = x * x
    error = squares.T @ squares / sessions - sample * sample  # pi: of each covariance, times n
    with_variances = (squares * x).T @ x / sessions - variance[:, None] * sample  # theta: with the row's variance
    np.fill_diagonal(with_variances, 0.0)
    with_target = float(np.trace(error)) + mean * float(np.sum(with_variances * (std / std[:, None])))
    distance = float(np.sum((sample - target) ** 2))
    shrinkage = min(1.0, max(0.0, (float(error.sum()) - with_target) / distance / sessions))
    matrix = (1.0 - shrinkage) * correlation + shrinkage * mean
    np.fill_diagonal(matrix, 1.0)
    return Correlations(std, matrix, shrinkage)


def dynamic_correlation(returns: FloatArray, symbols: Sequence[str], workers: int) -> Correlations:
    """One-session-ahead GARCH(1,1) volatilities and DCC(1,1) correlations of two or more symbols.

    Raises
    ------
    RiskError
        A symbol whose GARCH cannot be fitted, or fewer than two symbols.
    """
    sessions, count = returns.shape
    fits = fit_garch(returns, np.full(count, sessions), steps=1, workers=workers)
    failed = np.flatnonzero(fits.status != FITTED)
    if len(failed) or count < 2:
        names = ", ".join(symbols[j] for j in failed[:10])
        raise RiskError(
            f"dynamic correlations of {count} symbols: two are needed, and GARCH could not be fitted to "
            f"{len(failed)} ({names}); set risk.measures.correlation to 'shrinkage'"
        )
    dynamics = fit_dcc(fits.residuals, workers=workers)
    return Correlations(np.sqrt(fits.step_variance[:, 0]), dynamics.correlation, dynamics.shrinkage)

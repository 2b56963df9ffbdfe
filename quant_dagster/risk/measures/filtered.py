"""Filtered historical scenarios: past P&L brought to tomorrow's volatility.

The P&L that today's positions would have made goes through one GARCH(1,1); each session's P&L is then multiplied by
tomorrow's volatility over that session's. Hull & White (1998), "Incorporating volatility updating into the historical
simulation method for value-at-risk"; Barone-Adesi, Giannopoulos & Vosper (1999), "VaR without correlations for
portfolios of derivative securities". The filter is the portfolio's, so that a scenario keeps its symbols' returns of
one real session, all scaled by one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.variance.garch import GarchFits, fit_garch

FloatArray = NDArray[np.float64]

_STARTS = 2  # as the desk's forecasts


@dataclass(frozen=True)
class Volatility:
    """Conditional standard deviations of k series, in their units; NaN where the model could not be fitted.

    Attributes
    ----------
    past
        Shape (n, k): of each session as known before it, with the parameters of the whole series.
    ahead
        Shape (k,): of the sum over the horizon after the last session.
    fits
        The models.
    """

    past: FloatArray
    ahead: FloatArray
    fits: GarchFits


def conditional_volatility(series: FloatArray, horizon: int, workers: int) -> Volatility:
    """GARCH(1,1) volatilities of each column of ``series``, shape (n, k).

    The recursion here is plain and runs over all columns at once; the fits' compiled one gives the same residuals.
    """
    sessions, columns = series.shape
    fits = fit_garch(series, np.full(columns, sessions), steps=horizon, starts=_STARTS, workers=workers)
    squares = (series - fits.mu) ** 2
    variance = np.empty_like(series)
    before = squares.mean(axis=0)
    variance[0] = fits.omega + (fits.alpha + fits.beta) * before
    for t in range(1, sessions):
        variance[t] = fits.omega + fits.alpha * squares[t - 1] + fits.beta * variance[t - 1]
    return Volatility(np.sqrt(variance), np.sqrt(fits.step_variance.sum(axis=1)), fits)

"""Peaks over threshold: a generalised Pareto tail fitted to the largest losses by maximum likelihood.

McNeil & Frey (2000), "Estimation of tail-related risk measures for heteroscedastic financial time series": with k
of n losses beyond threshold u, their excesses generalised Pareto with shape xi and scale beta,
``VaR = u + beta / xi ((n (1 - c) / k) ** -xi - 1)`` and ``ES = (VaR + beta - xi u) / (1 - xi)``.
On scenarios filtered by GARCH it is their conditional method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError

FloatArray = NDArray[np.float64]

FEWEST_EXCEEDANCES = 10
LOWEST_SHAPE = -0.5  # below it the estimate's errors are not normal, and below -1 the likelihood has no bound
_GRID = np.arange(-8.0, 16.1, 0.5)  # of log(1 + xi / beta x largest excess)
_BISECTIONS = 50


@dataclass(frozen=True)
class ParetoTail:
    """Tails of the losses of k series.

    Attributes
    ----------
    threshold, shape, scale
        Shape (k,): u, xi and beta. The threshold is the largest loss that is not an exceedance.
    excesses
        Shape (k, exceedances): losses beyond the threshold less the threshold, descending.
    observations
        Losses the threshold was taken from.
    """

    threshold: FloatArray
    shape: FloatArray
    scale: FloatArray
    excesses: FloatArray
    observations: int

    @property
    def exceedances(self) -> int:
        """Losses beyond the threshold, of each series."""
        return int(self.excesses.shape[1])

    def value_at_risk(self, confidence: float) -> FloatArray:
        """Shape (k,).

        Raises
        ------
        RiskError
            When the confidence lies below the threshold, where the tail says nothing.
        """
        beyond = self.observations * (1.0 - confidence)
        if beyond > self.exceedances + 1e-9:
            raise RiskError(
                f"extreme-value VaR at {confidence:.2%}: the tail begins at the worst {self.exceedances} of "
                f"{self.observations} losses; raise tail_share above {1.0 - confidence:.2%} or the confidence"
            )
        rarity = np.log(self.exceedances / beyond)
        return np.asarray(self.threshold + self.scale * np.expm1(self.shape * rarity) / self.shape)

    def expected_shortfall(self, confidence: float) -> FloatArray:
        """Shape (k,); infinite where the shape is 1 or more, for such a tail has no mean."""
        var = self.value_at_risk(confidence)
        finite = self.shape < 1.0
        room = np.where(finite, 1.0 - self.shape, np.nan)
        return np.where(finite, (var + self.scale - self.shape * self.threshold) / room, np.inf)


def fit_tail(pnl: FloatArray, tail_share: float) -> ParetoTail:
    """Fit the worst ``tail_share`` of each row.

    Parameters
    ----------
    pnl
        Profit and loss, shape (k, n).

    Raises
    ------
    RiskError
        Fewer than 10 exceedances.
    """
    observations = pnl.shape[1]
    count = int(observations * tail_share + 1e-9)
    if count < FEWEST_EXCEEDANCES:
        raise RiskError(
            f"extreme-value VaR: {count} of {observations} losses lie beyond the threshold, {FEWEST_EXCEEDANCES} are "
            "needed; load more history or raise tail_share"
        )
    losses = -np.sort(np.partition(pnl, count)[:, : count + 1])
    threshold = losses[:, count]
    excesses = losses[:, :count] - threshold[:, None]
    if not np.all(excesses[:, 0] > 0.0):
        raise RiskError("extreme-value VaR: the largest losses are all the same; check the positions and the history")
    shape, scale = fit_pareto(excesses)
    return ParetoTail(threshold, shape, scale, excesses, observations)


def fit_pareto(excesses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shape and scale of largest likelihood for each row of ``excesses``, shape (k, count), the largest positive.

    Grimshaw (1993), "Computing maximum likelihood estimates for the generalized Pareto distribution": with
    ``theta = xi / beta`` the shape is ``mean log(1 + theta x)``, which leaves a search over theta. A grid finds the
    highest hill with a shape above -0.5, bisection on the slope its top. Where the likelihood still rises at -0.5
    the shape found is between that and the next grid point below.
    """
    x = excesses / excesses.max(axis=1, keepdims=True)
    thetas = np.expm1(_GRID + 1e-3)  # no grid point at 0, where the shape over theta is 0 / 0
    heights = np.stack([_height(x, theta) for theta in thetas])
    top = np.clip(np.argmax(heights, axis=0), 1, len(thetas) - 2)
    low, high = thetas[top - 1], thetas[top + 1]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        rising = _slope(x, middle) > 0.0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    theta = 0.5 * (low + high)
    shape = np.log1p(theta[:, None] * x).mean(axis=1)
    return shape, shape / theta * excesses.max(axis=1)


def _height(x: FloatArray, theta: float) -> FloatArray:
    """Log-likelihood of an observation with the best scale for ``theta``, less a constant."""
    shape = np.log1p(theta * x).mean(axis=1)
    return np.where(shape > LOWEST_SHAPE, -np.log(shape / theta) - shape, -np.inf)


def _slope(x: FloatArray, theta: FloatArray) -> FloatArray:
    shape = np.log1p(theta[:, None] * x).mean(axis=1)
    by_theta = (x / (1.0 + theta[:, None] * x)).mean(axis=1)
    return np.asarray(1.0 / theta - by_theta / shape - by_theta)

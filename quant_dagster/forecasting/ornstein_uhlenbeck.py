"""Ornstein-Uhlenbeck processes: mean reversion of many series, by exact maximum likelihood in closed form.

``dx = theta (level - x) dt + sigma dW``, observed every ``interval``, is exactly the autoregression ``x' = a + b x +
e`` with ``b = exp(-theta interval)``, ``a = level (1 - b)`` and ``Var e = sigma ** 2 (1 - b ** 2) / (2 theta)``:
maximum likelihood given the first value is least squares (van den Berg 2011, "Calibrating the Ornstein-Uhlenbeck
(Vasicek) model"). Discrete autoregressions of returns belong in ``autoregression``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting.columns import SMALLEST_VARIATION, BoolArray, FloatArray, IntArray

FITTED, NOT_TRIED, TOO_SHORT, CONSTANT, EXPLODES, ALTERNATES = 0, 1, 2, 3, 4, 5
REASONS = {
    NOT_TRIED: "not asked",
    TOO_SHORT: "too short",
    CONSTANT: "the series does not vary",
    EXPLODES: "no mean reversion: the autoregressive coefficient is 1 or more",
    ALTERNATES: "no mean reversion: the autoregressive coefficient is 0 or less",
}
FEWEST = 20
_CHI_SQUARED_95 = 3.8414588206941236  # one degree of freedom
_MACKINNON_5 = (-2.86154, -2.8903, -4.234, -40.04)  # MacKinnon (2010), one variable, constant, 5 %


@dataclass(frozen=True)
class OrnsteinUhlenbeckFits:
    """Fits of m series; arrays of shape (m,), in units of the series and of ``interval``.

    Attributes
    ----------
    status
        int8: 0 fitted, else a key of ``REASONS``. Where the coefficient is not in (0, 1) the process does not exist:
        ``coefficient`` and ``dickey_fuller`` are known, the rest is NaN.
    coefficient
        b, the regression of a value on the one before.
    theta, level, sigma
        Speed of reversion, mean, and volatility (maximum likelihood: residual variance divided by the count).
    half_life, half_life_low, half_life_high
        ``ln 2 / theta`` and its 95 % interval by profile likelihood of b, infinite where that reaches 1.
    dickey_fuller, critical
        t statistic of ``b - 1``, and its 5 % critical value under a unit root (MacKinnon 2010).
    last
        The newest value.
    interval
        Time between two values.
    """

    status: NDArray[np.int8]
    coefficient: FloatArray
    theta: FloatArray
    level: FloatArray
    sigma: FloatArray
    half_life: FloatArray
    half_life_low: FloatArray
    half_life_high: FloatArray
    dickey_fuller: FloatArray
    critical: FloatArray
    last: FloatArray
    interval: float

    @property
    def stationary_std(self) -> FloatArray:
        """Standard deviation of the process about its level, ``sigma / sqrt(2 theta)``."""
        return np.asarray(self.sigma / np.sqrt(2.0 * self.theta))

    @property
    def reverts(self) -> BoolArray:
        """Where the unit root is rejected at 5 %."""
        return np.asarray((self.status == FITTED) & (self.dickey_fuller < self.critical))

    def forecast(self, horizons: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """Exact conditional mean and standard deviation of the change over each horizon, shape (m, horizons).

        ``(level - x) (1 - exp(-theta h))`` and ``sigma ** 2 (1 - exp(-2 theta h)) / (2 theta)``.
        """
        times = np.array(horizons, np.float64) * self.interval
        decay = self.theta[:, None] * times
        mean = -np.expm1(-decay) * (self.level - self.last)[:, None]
        return mean, self.stationary_std[:, None] * np.sqrt(-np.expm1(-2.0 * decay))


def fit_ornstein_uhlenbeck(
    series: FloatArray, counts: IntArray, *, interval: float = 1.0, tried: BoolArray | None = None
) -> OrnsteinUhlenbeckFits:
    """Fit every column in one pass.

    Parameters
    ----------
    series
        float64, shape (n, m): column j holds ``counts[j]`` values, oldest first, from the top; the rest is not read.
    interval
        Time between two values.
    """
    n, m = series.shape
    inside = np.arange(n)[:, None] < counts
    pairs = inside[1:]
    size = np.maximum(counts - 1, 1).astype(np.float64)
    values = np.where(inside, series, 0.0)
    centre = values.sum(axis=0) / np.maximum(counts, 1)
    values = np.where(inside, values - centre, 0.0)  # off the level, whose square would drown what varies
    x, y = np.where(pairs, values[:-1], 0.0), values[1:]
    mean_x, mean_y = x.sum(axis=0) / size, y.sum(axis=0) / size
    x, y = np.where(pairs, x - mean_x, 0.0), np.where(pairs, y - mean_y, 0.0)
    xx, xy = (x * x).sum(axis=0), (x * y).sum(axis=0)
    status = np.full(m, FITTED, np.int8)
    status[~(np.sqrt(xx / size) > SMALLEST_VARIATION * np.maximum(np.abs(centre), 1.0))] = CONSTANT
    status[counts < FEWEST] = TOO_SHORT
    if tried is not None:
        status[~tried] = NOT_TRIED
    xx = np.where(status == FITTED, xx, np.nan)
    b = xy / xx
    residual = ((y - b * x) ** 2).sum(axis=0)
    error = np.sqrt(residual / np.maximum(size - 2.0, 1.0) / xx)
    dickey_fuller = (b - 1.0) / np.where(error > 0.0, error, np.nan)
    status[(status == FITTED) & (b >= 1.0)] = EXPLODES
    status[(status == FITTED) & ~(b > 0.0)] = ALTERNATES
    b_inside = np.where(status == FITTED, b, np.nan)
    theta = -np.log(b_inside) / interval
    level = centre + (mean_y - b_inside * mean_x) / (1.0 - b_inside)
    sigma = np.sqrt(residual / size * 2.0 * theta / (1.0 - b_inside**2))
    # The profile likelihood of b is -n/2 log SSR(b), SSR(b) = SSR + (b - b_hat)**2 Sxx, so its interval is closed.
    reach = np.sqrt(residual / xx * np.expm1(_CHI_SQUARED_95 / size))
    return OrnsteinUhlenbeckFits(
        status=status,
        coefficient=b,
        theta=theta,
        level=level,
        sigma=sigma,
        half_life=math.log(2.0) / theta,
        half_life_low=_half_life(b_inside - reach, interval),
        half_life_high=_half_life(b_inside + reach, interval),
        dickey_fuller=dickey_fuller,
        critical=_critical(size),
        last=np.where(counts > 0, series[np.maximum(counts - 1, 0), np.arange(m)], np.nan),
        interval=interval,
    )


def _half_life(b: FloatArray, interval: float) -> FloatArray:
    """Half-life of a coefficient: infinite from 1 on, 0 from 0 down."""
    inside = np.where((b > 0.0) & (b < 1.0), b, 0.5)
    found = -math.log(2.0) * interval / np.log(inside)
    return np.asarray(np.where(np.isnan(b), np.nan, np.where(b >= 1.0, np.inf, np.where(b <= 0.0, 0.0, found))))


def _critical(size: FloatArray) -> FloatArray:
    """The Dickey-Fuller t statistic's 5 % point with a constant, by MacKinnon's response surface."""
    asymptotic, first, second, third = _MACKINNON_5
    return np.asarray(asymptotic + first / size + second / size**2 + third / size**3)

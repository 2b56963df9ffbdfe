"""How much a Sharpe ratio can be believed: its standard error, and the luck of having looked at many.

All ratios here are per observation, not annualised, and in excess of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from quant_dagster.forecasting.columns import FloatArray

_EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True)
class SharpeMoments:
    """What the inference on a Sharpe ratio needs: ``kurtosis`` is 3 for a normal distribution."""

    ratio: float
    observations: int
    skewness: float
    kurtosis: float

    @classmethod
    def of(cls, returns: FloatArray) -> SharpeMoments | None:
        """Of returns per session; None when there are fewer than three or they do not vary."""
        if len(returns) < 3:
            return None
        centred = returns - returns.mean()
        second = float((centred**2).mean())
        if second <= (1e-14 * float(np.abs(returns).max())) ** 2:
            return None
        return cls(
            ratio=float(returns.mean()) / float(returns.std(ddof=1)),
            observations=len(returns),
            skewness=float((centred**3).mean()) / second**1.5,
            kurtosis=float((centred**4).mean()) / second**2,
        )


def standard_error(moments: SharpeMoments) -> float:
    """Of independent returns of any distribution: ``sqrt((1 - g3 S + (g4 - 1) / 4 S**2) / n)`` (Mertens 2002).

    With a normal distribution's moments it is Lo's (2002) ``sqrt((1 + S**2 / 2) / n)``.
    """
    return math.sqrt(_spread(moments) / moments.observations)


def probabilistic_sharpe(moments: SharpeMoments, benchmark: float = 0.0) -> float:
    """Chance that the true ratio is above ``benchmark`` (Bailey & Lopez de Prado 2012, equation 11)."""
    z = (moments.ratio - benchmark) * math.sqrt(moments.observations - 1) / math.sqrt(_spread(moments))
    return _NORMAL.cdf(z)


def expected_best(variance: float, trials: int) -> float:
    """The best ratio to expect of ``trials`` independent ones whose true value is zero and variance is given.

    Bailey & Lopez de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5), equation 1:
    ``sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e)))`` with Euler's constant g. One trial is no choice: 0.
    """
    if trials < 2:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - _EULER) * high + _EULER * higher)


def deflated_sharpe(moments: SharpeMoments, trials: Sequence[float]) -> float:
    """Chance that the ratio is more than the best to expect by luck of all ``trials`` (the same paper, equation 2).

    Parameters
    ----------
    trials
        Ratios of everything that was tried, this one included.
    """
    variance = float(np.var(trials, ddof=1)) if len(trials) > 1 else 0.0
    return probabilistic_sharpe(moments, expected_best(variance, len(trials)))


def _spread(moments: SharpeMoments) -> float:
    """``1 - g3 S + (g4 - 1) / 4 S**2``: above zero, for the kurtosis is at least 1 + the squared skewness."""
    s = moments.ratio
    return max(1.0 - moments.skewness * s + (moments.kurtosis - 1.0) / 4.0 * s * s, 1e-12)

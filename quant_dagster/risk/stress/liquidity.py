"""How long the positions take to sell, and what they can lose until they are sold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.parametric import normal_multipliers

FloatArray = NDArray[np.float64]

HORIZONS = (1, 5, 20)
LONGEST = 250
"""Sessions after which what is left of a position counts as never sold."""


@dataclass(frozen=True)
class Liquidity:
    """How liquid m positions are.

    Attributes
    ----------
    sessions
        Shape (m,): to sell the position at the participation; infinite where the volume is unknown or 0.
    longest
        The largest of them.
    sellable
        Share of the gross value that can be sold within 1, 5 and 20 sessions.
    unsold
        Share of the gross value left after 250 sessions.
    """

    sessions: FloatArray
    longest: float
    sellable: dict[int, float]
    unsold: float


def liquidity(values: FloatArray, average_traded: FloatArray, participation: float) -> Liquidity:
    """Sell every position as ``participation`` of its average volume in each session.

    Parameters
    ----------
    values
        Signed market values, shape (m,).
    average_traded
        Average traded value of one session, shape (m,); NaN is unknown.

    Raises
    ------
    RiskError
        Nothing is held, a value is not a finite number, or participation is not above 0.
    """
    gross, rate = _checked(values, average_traded, participation)
    with np.errstate(divide="ignore", invalid="ignore"):
        sessions = np.where(gross > 0.0, gross / rate, 0.0)
    return Liquidity(
        sessions=sessions,
        longest=float(sessions.max()),
        sellable={horizon: _sold(gross, rate, horizon) for horizon in HORIZONS},
        unsold=1.0 - _sold(gross, rate, LONGEST),
    )


def liquidation_var(
    values: FloatArray,
    average_traded: FloatArray,
    participation: float,
    covariance: FloatArray,
    confidence: float,
) -> float:
    """Normal VaR of the P&L from now until everything is sold, each position at its own pace.

    The variance is the sum over sessions of the variance of what is still held in each: a book that sells within one
    session has its one-session VaR, a single position sold in n equal parts ``sqrt((n + 1)(2 n + 1) / (6 n))`` times
    that (Jorion 2007, "Value at Risk", section 13.3). The spread that is paid in selling (Bangia, Diebold, Schuermann &
    Stroughair 1999) comes on top. What is left after 250 sessions is held for those and no longer.

    Parameters
    ----------
    covariance
        Of one session's returns, shape (m, m).

    Raises
    ------
    RiskError
        As for :func:`liquidity`.
    """
    gross, rate = _checked(values, average_traded, participation)
    sold = np.minimum(np.arange(LONGEST)[:, None] * rate, gross)
    left = np.sign(values) * (gross - sold)
    variance = float(np.sum((left @ covariance) * left))
    return normal_multipliers(confidence)[0] * float(np.sqrt(variance))


def _checked(values: FloatArray, average_traded: FloatArray, participation: float) -> tuple[FloatArray, FloatArray]:
    """Gross values and what can be sold of each in a session."""
    if not participation > 0.0:
        raise RiskError(f"liquidity: participation {participation} must be above 0; correct risk.max_participation")
    if not np.isfinite(values).all() or not values.any():
        raise RiskError("liquidity: positions need finite values, and one that is not 0; mark the positions first")
    return np.abs(values), participation * np.where(np.isfinite(average_traded), average_traded, 0.0)


def _sold(gross: FloatArray, rate: FloatArray, sessions: int) -> float:
    return float(np.minimum(gross, rate * sessions).sum() / gross.sum())

"""The optimal trade-off between the cost of trading fast and the risk of trading slowly.

R. Almgren and N. Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2000), 5-39: linear
permanent and temporary impact, discrete time, no drift. Time is in sessions, prices in account currency. The model
speaks of a sale; a purchase is its mirror image with the same trajectory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant_dagster.errors import OrderError


@dataclass(frozen=True)
class Impact:
    """What moves the price while an order is worked.

    Attributes
    ----------
    volatility
        sigma: standard deviation of the price over one session, currency a share.
    half_spread
        epsilon: fixed cost of a trade, currency a share.
    temporary
        eta: how much worse the price is per share a session traded, while it is.
    permanent
        gamma: how much the price moves for good per share traded.
    """

    volatility: float
    half_spread: float
    temporary: float
    permanent: float

    def __post_init__(self) -> None:
        values = (self.volatility, self.half_spread, self.temporary, self.permanent)
        if not all(math.isfinite(value) and value >= 0 for value in values) or self.temporary <= 0:
            raise OrderError(
                f"cost of trading {self}: every number must be finite and not negative, temporary above zero"
            )

    @classmethod
    def estimated(cls, *, price: float, volatility: float, half_spread: float, daily_volume: float) -> Impact:
        """The paper's rule of thumb (section 3.4): no impact is measured, both follow from spread and volume.

        Trading 1 % of the daily volume a session costs a spread more while it lasts; selling 10 % of it moves the
        price by a spread for good.

        Parameters
        ----------
        price, half_spread
            Currency a share.
        volatility
            Standard deviation of the return of a session.
        daily_volume
            Shares the market trades in a session.
        """
        if not daily_volume > 0 or not half_spread > 0:
            raise OrderError(
                f"cost of trading from a half spread of {half_spread} and {daily_volume} shares a session: both must "
                "be above zero"
            )
        spread = 2 * half_spread
        return cls(volatility * price, half_spread, spread / (0.01 * daily_volume), spread / (0.1 * daily_volume))


def trajectory(shares: float, sessions: float, trades: int, impact: Impact, risk_aversion: float) -> tuple[float, ...]:
    """Shares still held at the ends of ``trades`` equal intervals: x_0 = ``shares`` ... x_N = 0 (equation 17).

    Parameters
    ----------
    shares
        Shares to trade.
    sessions
        T: length of the whole interval.
    trades
        N: number of trades.
    risk_aversion
        lambda, per unit of currency: what a unit of variance is worth in expected cost. At 0 all trades are equal.

    Raises
    ------
    OrderError
        See `urgency`.
    """
    kappa = urgency(sessions / trades, impact, risk_aversion)
    left = [(trades - step) / trades for step in range(trades + 1)]  # of the interval
    if kappa * sessions < 1e-8:  # the limit: a straight line
        return tuple(shares * rest for rest in left)
    # sinh(k(T-t)) / sinh(kT), so that it neither overflows nor cancels.
    whole = -math.expm1(-2 * kappa * sessions)
    return tuple(
        shares * math.exp(-kappa * sessions * (1 - rest)) * -math.expm1(-2 * kappa * sessions * rest) / whole
        for rest in left
    )


def urgency(interval: float, impact: Impact, risk_aversion: float) -> float:
    """kappa, per session, of trades ``interval`` sessions apart; 1/kappa is the trade's half-life.

    cosh(kappa tau) = 1 + (kappa~ tau)^2 / 2 with kappa~^2 = lambda sigma^2 / eta~, written as its equal
    sinh(kappa tau / 2) = kappa~ tau / 2, which loses no digits when it is small.

    Raises
    ------
    OrderError
        The intervals are so long that the permanent impact outweighs the temporary one: there is no optimum.
    """
    root = risk_aversion * impact.volatility**2 / _net_temporary(interval, impact)
    return 2 * math.asinh(math.sqrt(root) * interval / 2) / interval


def _net_temporary(interval: float, impact: Impact) -> float:
    """eta~ = eta - gamma tau / 2."""
    net = impact.temporary - impact.permanent * interval / 2
    if net <= 0:
        raise OrderError(
            f"trades {interval:g} sessions apart with {impact}: the permanent impact outweighs the temporary one; "
            "work the order in more slices"
        )
    return net

"""What an order will probably cost: half spread, square-root impact and fees, learned from what own orders cost.

Belongs here: fitting the model and asking it. Does not: what the paper broker charges (``execution.costs``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting.books import Side
from quant_dagster.execution.costs import commission
from quant_dagster.settings import ExecutionSettings

FloatArray = NDArray[np.float64]

PRIOR_ORDERS = 30
"""The prior counts like this many orders of the usual size: with as many of our own, each is half of what is said."""
_BPS = 10_000.0


@dataclass(frozen=True)
class CostFacts:
    """What an estimate needs to know of a market: price, one-session volatility (a fraction), shares a session.

    ``half_spread_bps`` of None: the setting's.
    """

    price: float
    volatility: float | None
    average_volume: float | None
    half_spread_bps: float | None = None


@dataclass(frozen=True)
class ImpactModel:
    """``cost = spread * half_spread + impact * volatility * sqrt(quantity / average_volume)``, in basis points.

    Attributes
    ----------
    spread, impact
        Coefficients, never below zero. The prior: the whole half spread, and the setting's impact at the orders'
        median volatility. Without orders there is no ``impact``: the setting's is the same for all symbols.
    spread_error, impact_error
        Standard errors; None where there are too few orders, or a coefficient is held at zero.
    orders
        Orders it was learned from.
    prior_weight
        How much of the model is the prior: 1 without orders, a half with `PRIOR_ORDERS`.
    r_squared
        Share of the orders' variance it explains, below zero where the mean does better; None with fewer than two.
    volatility_bps
        Median volatility of those orders; None without orders.
    prior_impact_bps
        Impact of an order of the size of a session's volume, before anything was learned.
    """

    spread: float
    impact: float | None
    spread_error: float | None
    impact_error: float | None
    orders: int
    prior_weight: float
    r_squared: float | None
    residual_bps: float | None
    volatility_bps: float | None
    prior_impact_bps: float

    def impact_of(self, share: float, volatility: float | None) -> float | None:
        """Impact in basis points of an order of ``share`` of a session's volume.

        Parameters
        ----------
        volatility
            Of the one-session return, a fraction; None: unknown, and so is the impact once any was learned.
        """
        if self.impact is None:
            return self.prior_impact_bps * math.sqrt(share)
        if volatility is None:
            return None
        return self.impact * volatility * _BPS * math.sqrt(share)


@dataclass(frozen=True)
class PreTradeEstimate:
    """What an order will probably cost against its arrival price, basis points; None: unknown.

    ``from_fills`` is how many own orders it was learned from, ``prior_weight`` how much of it is settings still.
    """

    symbol: str
    side: Side
    quantity: Decimal
    spread_bps: float
    impact_bps: float | None
    fees_bps: float
    total_bps: float | None
    from_fills: int
    prior_weight: float


def fit(rows: Iterable[Mapping[str, Any]], *, prior_impact_bps: float, prior_orders: int = PRIOR_ORDERS) -> ImpactModel:
    """The model that fits own orders best, drawn towards the prior while they are few.

    Least squares of the cost from arrival to average price, with coefficients not below zero, on the orders and on
    ``prior_orders`` imagined ones of the same sizes that cost what the prior says (a ridge towards the prior). The
    square root is the law found again and again in data: Almgren, Thum, Hauptmann and Li (2005), Direct estimation of
    equity market impact; Toth et al. (2011), Anomalous price impact, Physical Review X 1.

    Parameters
    ----------
    rows
        Of ``execution_quality``; those that lack a price, a volatility or a volume are left out.
    prior_impact_bps
        Impact of an order of the size of a session's volume: setting ``execution.impact_bps``.
    """
    design, costs = observations(rows)
    count = len(costs)
    if not count:
        return ImpactModel(1.0, None, None, None, 0, 1.0, None, None, None, prior_impact_bps)
    median = float(np.median(design[:, 2]))
    prior = np.array([1.0, prior_impact_bps / median])
    x = design[:, :2]
    weights = prior_orders * np.mean(x**2, axis=0)
    gram = x.T @ x + np.diag(weights)
    moment = x.T @ costs + weights * prior
    found = non_negative(gram, moment)
    residuals = costs - x @ found
    squares, spread = float(residuals @ residuals), float(np.sum((costs - costs.mean()) ** 2))
    free = found > 0
    errors: list[float | None] = [None, None]
    residual = None
    if count > 2:
        residual = (squares / (count - int(free.sum()))) ** 0.5
        inverse = np.linalg.pinv(gram[np.ix_(free, free)])
        for name, error in zip(np.flatnonzero(free), np.sqrt(np.diag(inverse)) * residual, strict=True):
            errors[int(name)] = float(error)
    return ImpactModel(
        spread=float(found[0]),
        impact=float(found[1]),
        spread_error=errors[0],
        impact_error=errors[1],
        orders=count,
        prior_weight=prior_orders / (prior_orders + count),
        r_squared=1 - squares / spread if count > 1 and spread > 0 else None,
        residual_bps=residual,
        volatility_bps=median,
        prior_impact_bps=prior_impact_bps,
    )


def estimate(
    model: ImpactModel, symbol: str, side: Side, quantity: Decimal, facts: CostFacts, costs: ExecutionSettings
) -> PreTradeEstimate:
    """What an order will probably cost. Without an average volume the impact, and so the whole, is not known."""
    half_spread = costs.slippage_bps if facts.half_spread_bps is None else facts.half_spread_bps
    spread = model.spread * half_spread
    impact = None
    if facts.average_volume:
        impact = model.impact_of(float(quantity) / facts.average_volume, facts.volatility)
    price = Decimal(repr(facts.price))
    fees = float(commission(quantity, price, costs) / (quantity * price)) * _BPS
    total = None if impact is None else spread + impact + fees
    return PreTradeEstimate(symbol, side, quantity, spread, impact, fees, total, model.orders, model.prior_weight)


def observations(rows: Iterable[Mapping[str, Any]]) -> tuple[FloatArray, FloatArray]:
    """Half spread, volatility times root of the share of a session's volume, and volatility; and what was paid.

    Returns
    -------
    (n, 3), (n,)
        All in basis points, one row for each order with fills of which all of it is known.
    """
    design, costs = [], []
    for row in rows:
        known = row["evidence"]
        average, arrival, filled = row["average_price"], row["arrival_price"], row["filled"]
        volatility, volume, half_spread = (
            known.get(name) for name in ("volatility", "average_volume", "half_spread_bps")
        )
        if not (average and arrival and filled and volatility and volume) or half_spread is None:
            continue
        deviation = volatility * _BPS
        design.append([half_spread, deviation * (float(filled) / volume) ** 0.5, deviation])
        costs.append(float(Side(row["side"]).sign * (average / arrival - 1)) * _BPS)
    return np.array(design, dtype=float).reshape(-1, 3), np.array(costs, dtype=float)


def non_negative(gram: FloatArray, moment: FloatArray) -> FloatArray:
    """Least squares with two coefficients not below zero, from the normal equations.

    With two of them the four ways to hold some at zero can all be looked at; the best of those that are allowed is the
    answer (Lawson and Hanson 1974, chapter 23, do it for any number).

    Parameters
    ----------
    gram, moment
        (2, 2) and (2,): ``X'X`` and ``X'y``.
    """
    best, lowest = np.zeros(2), 0.0
    for free in ([0], [1], [0, 1]):
        part = gram[np.ix_(free, free)]
        if np.linalg.matrix_rank(part) < len(free):
            continue
        found = np.zeros(2)
        found[free] = np.linalg.solve(part, moment[free])
        loss = float(found @ gram @ found - 2 * moment @ found)
        if (found >= 0).all() and loss < lowest:
            best, lowest = found, loss
    return best

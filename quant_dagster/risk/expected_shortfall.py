"""Historical expected shortfall (CVaR) of a portfolio, and the largest order that keeps it under a limit.

CVaR at confidence c over n equally likely scenarios is the mean of the worst ``n (1 - c)`` losses, the boundary
scenario weighted by its fraction (Rockafellar and Uryasev 2002, "Conditional value-at-risk for general loss
distributions", eq. 25), so it is convex in the positions: the sizes of an order that pass form an interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scenarios = NDArray[np.float64]


def expected_shortfall(pnl: Scenarios, confidence: float) -> float:
    """Mean loss in the worst ``1 - confidence`` of scenarios.

    Parameters
    ----------
    pnl
        Profit (positive) or loss (negative) per scenario, shape (n,), in currency.
    confidence
        Such as 0.95.

    Returns
    -------
    float
        A loss, positive when the tail loses money.
    """
    if pnl.size == 0:
        raise ValueError("expected shortfall needs at least one scenario")
    tail = pnl.size * (1.0 - confidence)
    whole = int(np.floor(tail + 1e-12))
    losses = -np.sort(pnl)
    if whole == 0:
        return float(losses[0])
    fraction = tail - whole
    total = float(losses[:whole].sum())
    if fraction > 1e-12 and whole < pnl.size:
        total += fraction * float(losses[whole])
        return total / tail
    return total / whole


def largest_passing(
    portfolio_pnl: Scenarios, unit_pnl: Scenarios, units: int, limit: float, confidence: float
) -> tuple[int, float]:
    """The largest whole number of order units, up to ``units``, that keeps the portfolio's CVaR at or under ``limit``.

    Parameters
    ----------
    portfolio_pnl, unit_pnl
        Scenario P&L of what is held (working orders included) and of one unit of the order, shape (n,).
    units
        Units asked for.
    limit
        Largest CVaR allowed, in currency. A portfolio already over it may still take an order that lowers its CVaR.

    Returns
    -------
    tuple
        Units that pass (0 when none does) and the CVaR with them.
    """

    def with_units(count: int) -> float:
        return expected_shortfall(portfolio_pnl + count * unit_pnl, confidence)

    before = with_units(0)
    whole = with_units(units)
    allowed = max(limit, before)
    if before > limit and whole >= before:
        return 0, before
    if whole <= allowed:
        return units, whole
    low, high = 0, units  # passes at low, fails at high; convexity makes the passing sizes an interval from 0
    while high - low > 1:
        middle = (low + high) // 2
        if with_units(middle) <= allowed:
            low = middle
        else:
            high = middle
    return low, with_units(low)

"""Historical expected shortfall (CVaR) of a portfolio.

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

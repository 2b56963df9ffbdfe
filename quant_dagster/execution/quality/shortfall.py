"""Implementation shortfall of one order, split into delay, spread, impact, fees and opportunity.

Belongs here: the arithmetic. Does not: where the prices come from (``benchmarks``, ``measurement``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from quant_dagster.accounting.books import ZERO, Side

BPS = 10_000
PARTS = ("delay", "spread", "impact", "fees", "opportunity")


@dataclass(frozen=True)
class Shortfall:
    """What an order cost, in the currency of its prices; positive is a cost. None: a price it needs is not known.

    Attributes
    ----------
    value
        Of the whole order at its decision price: what basis points are of.
    delay
        What the market moved from the decision to the arrival, on what was filled.
    spread
        Half the quoted spread at arrival, on what was filled.
    impact
        What was paid from arrival to the average fill beyond the half spread: our impact and the market's drift.
    fees
        Commission.
    opportunity
        What the market moved from the decision to the close, on what was not filled.
    total
        All of it. Known without an arrival price: then the fills' part of it is not split.
    """

    value: Decimal
    delay: Decimal | None
    spread: Decimal | None
    impact: Decimal | None
    fees: Decimal | None
    opportunity: Decimal | None
    total: Decimal | None

    def bps(self, name: str) -> float | None:
        """A part, or ``total``, in basis points of the decision's value.

        A split total is the sum of its parts' floats, so that what is stored adds up to the last digit.
        """
        if name == "total" and self.total is not None:
            parts = [self.bps(part) for part in PARTS]
            known = [part for part in parts if part is not None]
            if len(known) == len(PARTS):
                return math.fsum(known)
        amount = getattr(self, name)
        return None if amount is None else float(amount * BPS / self.value)


def implementation_shortfall(
    side: Side,
    ordered: Decimal,
    filled: Decimal,
    paid: Decimal,
    *,
    decision_price: Decimal,
    arrival_price: Decimal | None,
    half_spread: Decimal | None,
    fees: Decimal | None,
    end_price: Decimal | None,
) -> Shortfall:
    """The paper portfolio's gain less the real one's, and its parts, which sum to it exactly.

    The parts of what was filled are measured on what was filled, and what was not filled from the decision on, as by
    Wagner and Edwards (1993) and the CFA Institute. Kissell and Glantz (2003) charge the delay on the whole order and
    the opportunity from the arrival on: theirs are ``delay + u`` and ``opportunity - u`` with ``u`` the delay of what
    was not filled, and the same total. An order that never arrived has no arrival price; this form needs none for it.

    Parameters
    ----------
    ordered, filled
        Shares.
    paid
        Sum of quantity times price over the fills.
    arrival_price
        Of the market when the order came to it; None: unknown.
    half_spread
        Per share, at arrival; None: unknown.
    fees
        None: unknown.
    end_price
        What a share was worth when the order was over; None: unknown.

    Raises
    ------
    ValueError
        Nothing was ordered, or the decision had no price.

    References
    ----------
    Perold (1988), The Implementation Shortfall: Paper versus Reality, Journal of Portfolio Management 14(3).
    """
    value = ordered * decision_price
    if value <= 0:
        raise ValueError(f"an order of {ordered} at {decision_price} has no value to measure costs against")
    missed = (ordered - filled) * side.sign
    opportunity: Decimal | None = ZERO
    if missed:
        opportunity = None if end_price is None else missed * (end_price - decision_price)
    delay: Decimal | None = ZERO
    spread: Decimal | None = ZERO
    impact: Decimal | None = ZERO
    if filled:
        delay = None if arrival_price is None else side.sign * filled * (arrival_price - decision_price)
        spread = None if half_spread is None else filled * half_spread
        impact = None
        if arrival_price is not None and spread is not None:
            impact = side.sign * (paid - filled * arrival_price) - spread
    total = None
    if opportunity is not None and fees is not None:
        total = side.sign * (paid - filled * decision_price) + opportunity + fees
    return Shortfall(value, delay, spread, impact, fees, opportunity, total)

"""Schedules: slices that are known before an order starts. TWAP, VWAP and Almgren-Chriss differ in their weights only.

TWAP trades the same in every part of its interval, VWAP in proportion to the volume expected there, Almgren-Chriss
along the trajectory that is optimal for its aversion to risk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from itertools import accumulate, pairwise

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.almgren_chriss import trajectory
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder
from quant_dagster.execution.algorithms.progress import Slice

_Hours = tuple[datetime, datetime]


def schedule(parent: ParentOrder, opens_at: datetime, closes_at: datetime) -> tuple[Slice, ...]:
    """All slices of a scheduled parent order, from its start on.

    The interval is cut into equal parts, and a slice is due at the start of its part. Quantities are whole lots that
    follow the exact running total to within half a lot; together they are the parent's quantity, an odd remainder
    goes with the last. A slice of less than ``least_slice_value`` at the decision price takes those after it in until
    it is worth that; what is left of that kind at the end joins the one before. So there may be fewer slices than
    parts, and an order of little value is one slice, at once. Equal input, equal slices.

    Parameters
    ----------
    parent
        A started order.
    opens_at, closes_at
        Regular hours of the session that trades, UTC: what VWAP's curve and Almgren-Chriss's volatility refer to.

    Raises
    ------
    OrderError
        The order is not started, or its algorithm has no schedule.
    """
    if parent.starts_at is None or parent.ends_at is None or not parent.algorithm.is_scheduled:
        raise OrderError(f"parent order {parent.parent_id} ({parent.algorithm}) has no schedule, or is not started")
    parameters = Parameters.of(parent.algorithm, parent.parameters)
    parts = parameters.slices
    width = (parent.ends_at - parent.starts_at) / parts
    weights = _weights(parent, parameters, (parent.starts_at, parent.ends_at), (opens_at, closes_at))
    least = parameters.least_slice_value / parent.decision_price if parent.decision_price > 0 else Decimal(0)
    slices: list[Slice] = []
    for part, quantity in enumerate(allotted(parent.quantity, weights, parameters.lot)):
        if slices and slices[-1].quantity < least:
            slices[-1] = Slice(slices[-1].number, slices[-1].at, slices[-1].quantity + quantity)
        elif quantity > 0:
            slices.append(Slice(len(slices) + 1, parent.starts_at + part * width, quantity))
    if len(slices) > 1 and slices[-1].quantity < least:
        last = slices.pop()
        slices[-1] = Slice(slices[-1].number, slices[-1].at, slices[-1].quantity + last.quantity)
    return tuple(slices)


def allotted(quantity: Decimal, weights: Sequence[float], lot: Decimal) -> tuple[Decimal, ...]:
    """``quantity`` in parts proportional to ``weights``: whole lots by rounding the running total, none negative.

    The parts add up to the quantity exactly; what is no whole lot of it is in the last part.
    """
    lots = int(quantity / lot)
    total = [0.0, *accumulate(weights)]
    if not total[-1] > 0 or min(weights) < 0:
        raise OrderError(f"{quantity} shares cannot be divided by weights that are negative or all zero")
    marks = [math.floor(lots * min(level / total[-1], 1.0) + 0.5) for level in total]
    marks[-1] = lots
    parts = [lot * (high - low) for low, high in pairwise(marks)]
    parts[-1] += quantity - lot * lots
    return tuple(parts)


def least_shares(value: Decimal, price: Decimal, lot: Decimal) -> Decimal:
    """The fewest whole lots that are worth ``value`` at ``price``; one at least."""
    lots = (value / price / lot).to_integral_value(ROUND_CEILING) if price > 0 else Decimal(1)
    return max(lots, Decimal(1)) * lot


def whole_lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """As many whole lots as are in ``quantity``."""
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot


def _weights(parent: ParentOrder, parameters: Parameters, interval: _Hours, hours: _Hours) -> list[float]:
    """Weight of each part of the interval."""
    parts, session = parameters.slices, (hours[1] - hours[0]).total_seconds()
    sessions = (interval[1] - interval[0]).total_seconds() / session
    if parent.algorithm is Algorithm.VWAP and parameters.curve is not None:
        first = (interval[0] - hours[0]).total_seconds() / session
        marks = [parameters.curve.until(first + sessions * part / parts) for part in range(parts + 1)]
        weights = [max(high - low, 0.0) for low, high in pairwise(marks)]
        # Outside the hours the curve knows of there is nothing to follow.
        return weights if math.fsum(weights) > 0 else [1.0] * parts
    if parent.algorithm is Algorithm.ALMGREN_CHRISS and parameters.impact is not None:
        aversion = parameters.risk_aversion or 0.0
        held = trajectory(float(parent.quantity), sessions, parts, parameters.impact, aversion)
        return [max(before - after, 0.0) for before, after in pairwise(held)]
    return [1.0] * parts

"""Expected shortfall of what an account is committed to with one order more, compiled, and the size that passes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.risk.gate import checks as at

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

ROUNDING = 1e-9
"""Relative slack of a comparison: what floating-point sums may be off by."""


@njit(cache=True, nogil=True)
def check_tail(
    i: int,
    sign: float,
    quantity: float,
    allowed: float,
    end: float,
    reducing: bool,
    closable: float,
    account: Floats,
    symbols: Floats,
    limits: Floats,
    returns: Floats,
    pnl: Floats,
    scratch: Floats,
    worst: Floats,
    tail_rows: Rows,
    out: Floats,
) -> float:
    """CVaR with the order as far as the other checks allow it; scales it to the largest size that passes."""
    row = symbols[i]
    equity, lot = account[at.EQUITY], row[at.LOT]
    a_share = sign * row[at.PRICE]
    # The portfolio in which this order fills and nothing on the symbol's other side does.
    start = end * a_share - row[at.VALUE]
    limit, tail = limits[at.MAX_CVAR] * equity, limits[at.TAIL]
    out[at.BOUND, at.CVAR_BREACH] = limits[at.MAX_CVAR]
    low = np.floor(closable / lot)  # lots that are never held back
    asked = _whole(allowed if allowed > 0.0 else quantity, quantity, lot, reducing)
    if not row[at.KNOWN] >= limits[at.LEAST_SCENARIOS]:
        if reducing:
            out[at.VERDICT, at.CVAR_BREACH] = at.EXEMPT
            return float(min(allowed, asked))
        out[at.VERDICT, at.CVAR_BREACH] = at.SCALED if low >= 1.0 else at.FAILED
        return float(min(allowed, low * lot))
    history = returns[i]
    with_order = tail_mean(pnl, history, start + asked * a_share, tail, scratch, worst, tail_rows)
    out[at.MEASURED, at.CVAR_BREACH] = with_order / equity
    if with_order <= limit * (1.0 + ROUNDING):
        out[at.VERDICT, at.CVAR_BREACH] = at.PASSED
        return float(min(allowed, asked))
    if reducing:
        out[at.VERDICT, at.CVAR_BREACH] = at.EXEMPT
        return float(min(allowed, asked))
    before = tail_mean(pnl, history, start, tail, scratch, worst, tail_rows)
    if before > limit and with_order <= before:
        # Over the limit already, and the order lowers it.
        out[at.VERDICT, at.CVAR_BREACH] = at.PASSED
        out[at.BOUND, at.CVAR_BREACH] = before / equity
        return float(min(allowed, asked))
    # CVaR is convex in the size: where the least size passes, those that pass reach from it to one bound.
    if tail_mean(pnl, history, start + low * lot * a_share, tail, scratch, worst, tail_rows) <= limit * (
        1.0 + ROUNDING
    ):
        high = np.ceil(asked / lot)
        while high - low > 1.0:
            middle = np.floor((low + high) / 2.0)
            if tail_mean(pnl, history, start + middle * lot * a_share, tail, scratch, worst, tail_rows) <= limit * (
                1.0 + ROUNDING
            ):
                low = middle
            else:
                high = middle
    out[at.VERDICT, at.CVAR_BREACH] = at.SCALED if low >= 1.0 else at.FAILED
    return float(min(allowed, low * lot))


@njit(cache=True, nogil=True)
def tail_mean(
    pnl: Floats, history: Floats, value: float, tail: float, scratch: Floats, worst: Floats, rows: Rows
) -> float:
    """Mean loss of ``pnl + value * history`` in the worst ``tail`` scenarios, the last of them by its fraction.

    Parameters
    ----------
    pnl, history
        Profit or loss of a portfolio and return of a symbol, per scenario.
    value
        Value of the symbol to be added.
    tail
        How many scenarios are the tail, at least one; may be fractional.
    scratch, worst
        Room for one number per scenario, and for ``ceil(tail)``.
    rows
        As many different scenarios; those of the tail are left there. The tail hardly changes from one order to the
        next, so that few others get past the worst of these. The answer is the same bits whatever they are.
    """
    count = len(worst)
    for k in range(len(pnl)):
        scratch[k] = pnl[k] + value * history[k]
    bound = -np.inf
    for k in range(count):
        bound = max(bound, scratch[rows[k]])
    filled = 0
    for n in range(len(pnl)):
        x = scratch[n]
        if x > bound:
            continue
        k = min(filled, count - 1)
        filled += 1
        while k > 0 and worst[k - 1] > x:
            worst[k] = worst[k - 1]
            rows[k] = rows[k - 1]
            k -= 1
        worst[k] = x
        rows[k] = n
        if filled >= count:
            bound = worst[count - 1]
    whole = int(tail + 1e-12)
    total = 0.0
    for k in range(whole):
        total += worst[k]
    if count > whole:
        total += (tail - whole) * worst[whole]
        return float(-total / tail)
    return -total / whole


@njit(cache=True, nogil=True)
def _whole(shares: float, quantity: float, lot: float, reducing: bool) -> float:
    """``shares`` in whole lots; what only closes may be an odd lot."""
    if reducing and shares >= quantity:
        return quantity
    return float(whole_lots(shares, lot) * lot)


@njit(cache=True, nogil=True)
def whole_lots(shares: float, lot: float) -> float:
    """Whole lots in ``shares``."""
    return float(max(0.0, np.floor(shares / lot * (1.0 + ROUNDING) + ROUNDING)))

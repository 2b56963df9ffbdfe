"""What an account is committed to: its positions with the orders that are on their way, compiled.

What counts of a symbol is its committed position: of what would be held if all working buys filled and if all
working sells did, the one larger in size. So an order that shrinks a position frees nothing before it has filled,
and whichever of the working orders fill, no limit is passed. Stops that wait for their price are not counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.risk.gate import checks as at

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def furthest(row: Floats, sign: float) -> float:
    """Signed shares if every working order on the side ``sign`` filled, those that close first, and no other did."""
    held = row[at.HELD]
    opens, closes = (row[at.BUYS], row[at.CLOSING_BUYS]) if sign > 0.0 else (row[at.SELLS], row[at.CLOSING_SELLS])
    return float(held + sign * (opens + min(closes, max(0.0, -sign * held))))


@njit(cache=True, nogil=True)
def committed_shares(row: Floats) -> float:
    """Of what all working buys and all working sells lead to, the one larger in size; the long one when equal."""
    high, low = furthest(row, 1.0), furthest(row, -1.0)
    return float(high if abs(high) >= abs(low) else low)


@njit(cache=True, nogil=True)
def closable_shares(row: Floats, sign: float) -> float:
    """Shares an order on the side ``sign`` can close of what is held, beside the orders that are on their way."""
    return max(0.0, -sign * furthest(row, sign)) if row[at.HELD] * sign < 0.0 else 0.0


@njit(cache=True, nogil=True)
def recommit(
    i: int,
    account: Floats,
    symbols: Floats,
    sectors: Floats,
    counterparties: Floats,
    returns: Floats,
    pnl: Floats,
) -> None:
    """Bring the totals up to date after a change of the symbol's holding, working orders or price."""
    row = symbols[i]
    price = row[at.PRICE] if row[at.PRICE] > 0.0 and row[at.PRICE] < np.inf else 0.0  # unknown: counted elsewhere
    high, low = furthest(row, 1.0) * price, furthest(row, -1.0) * price
    account[at.NET_HIGH] += high - row[at.HIGH]
    account[at.NET_LOW] += low - row[at.LOW]
    row[at.HIGH], row[at.LOW] = high, low
    new = committed_shares(row) * price
    change = new - row[at.VALUE]
    if change == 0.0:
        return
    larger = abs(new) - abs(row[at.VALUE])
    account[at.GROSS] += larger
    account[at.SQUARES] += new * new - row[at.VALUE] * row[at.VALUE]
    sectors[int(row[at.SECTOR])] += larger
    counterparties[int(row[at.COUNTERPARTY])] += larger
    row[at.VALUE] = new
    history = returns[i]
    for k in range(len(pnl)):
        pnl[k] += change * history[k]


@njit(cache=True, nogil=True)
def commit(
    i: int,
    sign: float,
    quantity: float,
    closing: bool,
    stop: bool,
    account: Floats,
    symbols: Floats,
    sectors: Floats,
    counterparties: Floats,
    returns: Floats,
    pnl: Floats,
) -> None:
    """Count an approved order as working: nothing after it may use the room it takes."""
    row = symbols[i]
    account[at.ORDERS] += 1.0
    if stop:
        return  # it can only close, and it waits: it takes no room
    row[at.WORKING] += 1.0
    row[at.ORDERED] += quantity
    account[at.TURNOVER] += quantity * row[at.PRICE]
    if closing and sign > 0.0:
        row[at.CLOSING_BUYS] += quantity
    elif closing:
        row[at.CLOSING_SELLS] += quantity
    elif sign > 0.0:
        row[at.BUYS] += quantity
        row[at.RESERVED] += quantity * row[at.PRICE]
        account[at.CASH] -= quantity * row[at.PRICE]
    else:
        row[at.SELLS] += quantity
    recommit(i, account, symbols, sectors, counterparties, returns, pnl)

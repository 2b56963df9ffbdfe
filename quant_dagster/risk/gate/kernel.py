"""The arithmetic of one order against every limit, compiled: the largest size that passes.

What it is held against is the account's ``commitment``; the exact CVaR is in ``tail``. The plain counterpart, which
says the same with objects, is ``tests/unit/risk/gate/reference.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant_dagster.compiled import njit
from quant_dagster.risk.gate import checks as at
from quant_dagster.risk.gate.commitment import closable_shares, commit, furthest
from quant_dagster.risk.gate.tail import ROUNDING, check_tail, whole_lots

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]
Rows = NDArray[np.int64]

NORMAL, PAUSE = 0.0, 1.0


@njit(cache=True, nogil=True)
def _permission(check: int, passed: bool, value: float, bound: float, out: Floats) -> bool:
    out[at.VERDICT, check] = at.PASSED if passed else at.FAILED
    out[at.MEASURED, check] = value
    out[at.BOUND, check] = bound
    return passed


@njit(cache=True, nogil=True)
def _limited(
    check: int,
    value: float,
    bound: float,
    largest: float,
    quantity: float,
    reducing: bool,
    lot: float,
    out: Floats,
) -> float:
    """Record a check that a smaller order may pass; returns the largest size that does."""
    out[at.MEASURED, check] = value
    out[at.BOUND, check] = bound
    if value <= bound * (1.0 + ROUNDING):
        out[at.VERDICT, check] = at.PASSED
        return quantity
    if reducing:
        out[at.VERDICT, check] = at.EXEMPT
        return quantity
    if not largest >= 0.0:
        largest = 0.0
    lots = whole_lots(largest, lot)
    out[at.VERDICT, check] = at.SCALED if lots >= 1.0 else at.FAILED
    return min(quantity, lots * lot)


@njit(cache=True, nogil=True)
def _position(
    check: int,
    value: float,
    bound: float,
    room: float,
    end: float,
    other: float,
    closable: float,
    quantity: float,
    reducing: bool,
    lot: float,
    out: Floats,
) -> float:
    """The same for a check of the position's size, ``room`` shares at most; what only closes is always within."""
    largest = max(closable, room - end) if other <= room * (1.0 + ROUNDING) else closable
    return _limited(check, value, bound, largest, quantity, reducing, lot, out)


@njit(cache=True, nogil=True)
def check_order(
    i: int,
    sign: float,
    quantity: float,
    order_price: float,
    flags: int,
    account: Floats,
    symbols: Floats,
    sectors: Floats,
    counterparties: Floats,
    limits: Floats,
    returns: Floats,
    pnl: Floats,
    scratch: Floats,
    worst: Floats,
    tail_rows: Rows,
    out: Floats,
) -> float:
    """The largest quantity of one order that passes every check, up to ``quantity``; 0: rejected. Commits nothing.

    Where only closing orders are allowed, what follows is measured for the part of the order that closes.

    Parameters
    ----------
    i
        Row of the symbol.
    sign
        1 buys, -1 sells.
    quantity
        Shares asked for, positive.
    order_price
        What the order was made at, currency a share.
    flags
        Sum of ``DUPLICATE`` (there is such an order), ``REFUSED`` (by an account rule), ``CLOSING_ONLY`` (it may only
        close what is held), ``STOP`` (it waits for its price, and only closes) and ``BESIDE`` (others of the symbol
        may be at work).
    account, symbols, sectors, counterparties, limits
        Rows laid out as in ``checks``; the groups' gross committed values.
    returns
        One-session returns, shape (symbols, scenarios), no NaN.
    pnl
        Profit or loss of the committed positions per scenario.
    scratch, worst, tail_rows
        Room for the scenarios and for the tail, and its scenarios, see `tail_mean`.
    out
        Shape (3, checks): filled with each check's verdict, what was measured, and the limit.
    """
    row = symbols[i]
    equity, price = account[at.EQUITY], row[at.PRICE]
    out[at.VERDICT] = at.NOT_EVALUATED
    out[at.MEASURED :] = np.nan
    lot = row[at.LOT]
    closable = closable_shares(row, sign)
    reducing = quantity <= closable
    allowed = quantity
    stop = flags & at.STOP != 0

    # -- yes or no ----------------------------------------------------------------------------------------------------
    mode = account[at.MODE]
    permitted = _permission(at.CONTROL_MODE, mode == NORMAL or (mode > PAUSE and closable > 0.0), mode, NORMAL, out)
    out[at.VERDICT, at.REDUCE_ONLY] = at.NOT_APPLICABLE
    if flags & at.CLOSING_ONLY != 0:
        permitted &= _permission(at.REDUCE_ONLY, closable > 0.0, quantity, closable, out)
    if permitted and not reducing and (mode != NORMAL or flags & at.CLOSING_ONLY != 0):
        # Only what closes is allowed: from here on the order is that part of it.
        out[at.VERDICT, at.CONTROL_MODE if mode != NORMAL else at.REDUCE_ONLY] = at.SCALED
        quantity = allowed = closable
        reducing = True
    permitted &= _permission(at.BREAKER_OPEN, account[at.BREAKER] == 0.0, account[at.BREAKER], 0.0, out)
    shut = flags & at.REFUSED != 0
    permitted &= _permission(at.LOCKED_OUT, not shut or reducing, 1.0 if shut else 0.0, 0.0, out)
    fresh = row[at.AGE] <= limits[at.MAX_AGE] and price > 0.0 and price < np.inf
    permitted &= _permission(at.STALE_DATA, fresh, row[at.AGE], limits[at.MAX_AGE], out)
    if not (price > 0.0 and price < np.inf and equity > 0.0 and quantity > 0.0):
        return 0.0
    previous = row[at.PREVIOUS_PRICE]
    move = max(abs(price / previous - 1.0), abs(order_price / price - 1.0)) if previous > 0.0 else np.nan
    permitted &= _permission(
        at.PRICE_COLLAR, move <= limits[at.MAX_COLLAR] or reducing, move, limits[at.MAX_COLLAR], out
    )
    permitted &= _permission(at.INSTRUMENT, row[at.PROBLEM] == 0.0 or reducing, row[at.PROBLEM], 0.0, out)
    again = flags & at.DUPLICATE != 0 or (row[at.WORKING] > 0.0 and flags & at.BESIDE == 0)
    permitted &= _permission(at.DUPLICATE_ORDER, not again, 1.0 if again else 0.0, 0.0, out)
    orders = account[at.ORDERS] + 1.0
    permitted &= _permission(at.ORDER_LIMIT, orders <= limits[at.MAX_ORDERS], orders, limits[at.MAX_ORDERS], out)
    permitted &= _permission(
        at.UNPRICED_POSITION, account[at.UNPRICED] == 0.0 or reducing, account[at.UNPRICED], 0.0, out
    )
    if not permitted:
        allowed = 0.0

    # -- the order's size ---------------------------------------------------------------------------------------------
    volume = row[at.VOLUME]
    ordered = row[at.ORDERED] + quantity
    if volume > 0.0:
        bound = limits[at.MAX_PARTICIPATION]
        largest = bound * volume - row[at.ORDERED]
        allowed = min(
            allowed,
            _limited(at.PARTICIPATION, ordered / volume, bound, largest, quantity, stop, lot, out),
        )
    else:
        out[at.BOUND, at.PARTICIPATION] = limits[at.MAX_PARTICIPATION]
        if account[at.VOLUME_REQUIRED] != 0.0:
            out[at.VERDICT, at.PARTICIPATION] = at.FAILED
            allowed = 0.0

    # -- the position it makes ----------------------------------------------------------------------------------------
    # Seen from the order's side: `end` is where its own side of the working orders leads, `other` is the size of the
    # position the other side leads to. The order moves `end` only.
    end = sign * furthest(row, sign)
    other = abs(furthest(row, -sign))
    after = max(abs(end + quantity), other)
    value = row[at.VALUE]
    sector, counterparty = int(row[at.SECTOR]), int(row[at.COUNTERPARTY])
    sector_others = sectors[sector] - abs(value)
    counterparty_others = counterparties[counterparty] - abs(value)
    gross_others = account[at.GROSS] - abs(value)
    squares_others = max(0.0, account[at.SQUARES] - value * value)

    worth = after * price
    bound = limits[at.MAX_SYMBOL]
    room = bound * equity / price
    allowed = min(
        allowed,
        _position(at.SYMBOL_LIMIT, worth / equity, bound, room, end, other, closable, quantity, reducing, lot, out),
    )
    bound = limits[at.MAX_SECTOR]
    measured, room = (sector_others + worth) / equity, (bound * equity - sector_others) / price
    allowed = min(
        allowed, _position(at.SECTOR_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out)
    )
    bound = limits[at.MAX_COUNTERPARTY]
    measured, room = (counterparty_others + worth) / equity, (bound * equity - counterparty_others) / price
    allowed = min(
        allowed,
        _position(at.COUNTERPARTY_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out),
    )
    bound = limits[at.MAX_LIQUIDATION]
    out[at.BOUND, at.LIQUIDITY_LIMIT] = bound
    if volume > 0.0:  # else PARTICIPATION has said what an unknown volume means
        a_session = limits[at.MAX_PARTICIPATION] * volume
        measured, room = after / a_session, bound * a_session
        allowed = min(
            allowed,
            _position(at.LIQUIDITY_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out),
        )
    bound = limits[at.MAX_GROSS]
    measured, room = (gross_others + worth) / equity, (bound * equity - gross_others) / price
    allowed = min(
        allowed, _position(at.GROSS_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out)
    )
    bound = limits[at.MAX_DRAWDOWN_GROSS]
    out[at.VERDICT, at.DRAWDOWN_LIMIT] = at.NOT_APPLICABLE
    if not bound >= limits[at.MAX_GROSS]:
        room = (bound * equity - gross_others) / price
        allowed = min(
            allowed,
            _position(at.DRAWDOWN_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out),
        )
    bound = limits[at.MAX_CONCENTRATION]
    measured = (squares_others + worth * worth) / equity**2
    room = np.sqrt(max(0.0, bound * equity**2 - squares_others)) / price
    allowed = min(
        allowed,
        _position(at.CONCENTRATION_LIMIT, measured, bound, room, end, other, closable, quantity, reducing, lot, out),
    )
    out[at.VERDICT, at.MARGIN_LIMIT] = at.NOT_APPLICABLE
    if account[at.MARGIN_ACCOUNT] != 0.0:
        initial = limits[at.INITIAL_MARGIN]
        measured, room = initial * (gross_others + worth) / equity, (equity / initial - gross_others) / price
        allowed = min(
            allowed, _position(at.MARGIN_LIMIT, measured, 1.0, room, end, other, closable, quantity, reducing, lot, out)
        )
    bound = limits[at.MAX_NET]
    net = account[at.NET_HIGH] if sign > 0.0 else -account[at.NET_LOW]
    measured = (net + quantity * price) / equity
    largest = max(closable, (bound * equity - net) / price)
    allowed = min(allowed, _limited(at.NET_LIMIT, measured, bound, largest, quantity, reducing, lot, out))
    bound = limits[at.MAX_TURNOVER]
    measured = (account[at.TURNOVER] + quantity * price) / equity
    largest = (bound * equity - account[at.TURNOVER]) / price
    allowed = min(
        allowed,
        _limited(at.TURNOVER_LIMIT, measured, bound, largest, quantity, reducing, lot, out),
    )
    if account[at.MARGIN_ACCOUNT] != 0.0 or sign < 0.0:
        out[at.VERDICT, at.BUYING_POWER] = at.NOT_APPLICABLE
    else:
        cash = account[at.CASH]
        allowed = min(
            allowed,
            _limited(
                at.BUYING_POWER, quantity * price, max(0.0, cash), cash / price, quantity, reducing, lot, out,
            ),
        )  # fmt: skip
    if account[at.SHORT_ALLOWED] != 0.0:
        out[at.VERDICT, at.NO_SHORT] = at.NOT_APPLICABLE
    else:
        short = max(0.0, quantity - closable) if sign < 0.0 else 0.0
        allowed = min(allowed, _limited(at.NO_SHORT, short, 0.0, closable, quantity, reducing, lot, out))

    # -- the tail -----------------------------------------------------------------------------------------------------
    size: float = check_tail(
        i, sign, quantity, allowed, end, reducing, closable, account, symbols, limits, returns, pnl,
        scratch, worst, tail_rows, out
    )  # fmt: skip
    return size


@njit(cache=True, nogil=True)
def check_many(
    rows: NDArray[np.int64],
    signs: Floats,
    quantities: Floats,
    order_prices: Floats,
    account: Floats,
    symbols: Floats,
    sectors: Floats,
    counterparties: Floats,
    limits: Floats,
    returns: Floats,
    pnl: Floats,
    approved: Floats,
    said: Codes,
) -> None:
    """Check and commit orders one after the other; each order's working mark is taken off for the next.

    Fills ``approved`` (orders,) and ``said`` (orders, checks). For simulations: the orders are taken to fill or
    lapse before the symbol's next one.
    """
    out = np.empty((3, said.shape[1]))
    scratch = np.empty(len(pnl))
    worst = np.empty(int(np.ceil(limits[at.TAIL] - 1e-12)))
    tail_rows = np.arange(len(worst))
    for n in range(len(rows)):
        i, sign = rows[n], signs[n]
        size = check_order(
            i, sign, quantities[n], order_prices[n], 0, account, symbols, sectors, counterparties,
            limits, returns, pnl, scratch, worst, tail_rows, out,
        )  # fmt: skip
        approved[n] = size
        for k in range(said.shape[1]):
            said[n, k] = int(out[at.VERDICT, k])
        if size > 0.0:
            row = symbols[i]
            closing = size <= closable_shares(row, sign)
            commit(i, sign, size, closing, False, account, symbols, sectors, counterparties, returns, pnl)
            row[at.WORKING] -= 1.0

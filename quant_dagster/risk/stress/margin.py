"""Regulation T: what a margin account must hold, and what it may still buy.

Federal Reserve Board, Regulation T (12 CFR 220.12: initial margin 50 % of a long position, 150 % of a short one, of
which its proceeds are 100 %; 220.5: the special memorandum account) and FINRA rule 4210 (maintenance margin: 25 % of a
long position; of a short one the greater of 30 % and $5 a share, below a price of $5 the greater of 100 % and $2.50 a
share; equity of at least $2,000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.settings import RiskSettings

FloatArray = NDArray[np.float64]

LEAST_EQUITY = 2_000.0
_LOW_PRICE, _LOW_PRICE_SHORT, _SHORT = 5.0, 2.5, 5.0  # USD a share


@dataclass(frozen=True)
class Margin:
    """A margin account, in USD.

    Attributes
    ----------
    equity
        Positions and cash; cash includes the proceeds of short sales and is negative when it is borrowed.
    initial, maintenance
        Equity that Regulation T and FINRA ask for.
    excess
        Equity above ``initial``; negative in a restricted account.
    special_memorandum
        The special memorandum account: excess that was reached once is kept until it is used.
    buying_power
        Value of stock that may be bought: the special memorandum account over the initial margin, as far as the
        purchase leaves the maintenance margin met.
    call
        Equity to bring in, or 0: a maintenance call.
    to_sell
        Value of long positions whose sale would meet the call; it may be more than there is.
    """

    long: float
    short: float
    cash: float
    equity: float
    initial: float
    maintenance: float
    excess: float
    special_memorandum: float
    buying_power: float
    call: float
    to_sell: float


def regulation_t(
    quantities: FloatArray, prices: FloatArray, cash: float, risk: RiskSettings, special_memorandum: float
) -> Margin:
    """Margin of an account at these prices.

    Parameters
    ----------
    quantities, prices
        Signed shares and USD a share, shape (m,).
    cash
        Positive is a credit balance.
    special_memorandum
        The balance before, with the session's deposits, withdrawals and trades in it
        (:func:`memorandum_after_trades`); it rises to today's excess, and no fall of prices lowers it.

    Raises
    ------
    RiskError
        A quantity, price or amount that is not a finite number, or a price of a position that is not above 0.
    """
    numbers = np.concatenate([quantities, prices, [cash, special_memorandum]])
    if not np.isfinite(numbers).all() or np.any((quantities != 0.0) & (prices <= 0.0)):
        raise RiskError("margin: quantities, prices and cash must be finite and prices above 0; mark the positions")
    values = quantities * prices
    longs, shorts = np.maximum(values, 0.0), np.maximum(-values, 0.0)
    shares = np.maximum(-quantities, 0.0)
    equity = float(values.sum()) + cash
    initial = risk.initial_margin * float(longs.sum() + shorts.sum())
    low = np.maximum(shorts, _LOW_PRICE_SHORT * shares)
    usual = np.maximum(risk.maintenance_margin_short * shorts, _SHORT * shares)
    maintenance = float(risk.maintenance_margin_long * longs.sum() + np.where(prices < _LOW_PRICE, low, usual).sum())
    if values.any():
        maintenance = max(maintenance, LEAST_EQUITY)
    excess = equity - initial
    memorandum = max(special_memorandum, excess, 0.0)
    spare = max(0.0, equity - maintenance)
    call = max(0.0, maintenance - equity)
    return Margin(
        long=float(longs.sum()),
        short=float(shorts.sum()),
        cash=cash,
        equity=equity,
        initial=initial,
        maintenance=maintenance,
        excess=excess,
        special_memorandum=memorandum,
        buying_power=min(memorandum / risk.initial_margin, spare / risk.maintenance_margin_long),
        call=call,
        to_sell=call / risk.maintenance_margin_long,
    )


def memorandum_after_trades(balance: float, deposits: float, opened: float, closed: float, risk: RiskSettings) -> float:
    """The special memorandum account after deposits (withdrawals negative) and trades.

    Parameters
    ----------
    opened, closed
        Value of trades that open and that close positions: the first use up, the second release the initial margin.

    Returns
    -------
    float
        Never below 0: a negative balance is a Regulation T call, which ``Margin.excess`` shows.
    """
    return max(0.0, balance + deposits + risk.initial_margin * (closed - opened))

"""What is held and on order, as arrays the kernel works on, kept up to date by what happens to it.

An approved order is counted from the moment it is approved; a rejected one leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.gate import checks as at
from quant_dagster.risk.gate import commitment
from quant_dagster.risk.gate.decision import MarketFacts
from quant_dagster.risk.gate.portfolio import PortfolioView, WorkingOrder

Floats = NDArray[np.float64]


class Exposure:
    """Committed positions, their totals and their scenario P&L.

    Parameters
    ----------
    symbols
        Everything that may be ordered, is held or is on order.
    facts
        Per symbol; a symbol without facts has no price.
    sessions_since
        Sessions between a price's session and the decision's.
    returns
        One-session returns, shape (scenarios, symbols of ``return_symbols``); NaN before a symbol existed.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        facts: Mapping[str, MarketFacts],
        sessions_since: Mapping[date, int],
        portfolio: PortfolioView,
        returns: Floats,
        return_symbols: Sequence[str],
    ) -> None:
        self.symbols = tuple(dict.fromkeys(symbols))
        self.row = {symbol: i for i, symbol in enumerate(self.symbols)}
        count = len(self.symbols)
        self.rows = np.zeros((count, at.SYMBOL_COLUMNS))
        self.rows[:, [at.PRICE, at.PREVIOUS_PRICE, at.AGE, at.VOLUME]] = np.nan
        self.rows[:, at.LOT] = 1.0
        sectors = self._group(facts, at.SECTOR, "sector")
        self.sectors = np.zeros(sectors)
        self.counterparties = np.zeros(self._group(facts, at.COUNTERPARTY, "counterparty"))
        self._describe(facts, sessions_since)
        self.returns = np.zeros((count, len(returns)))
        for column, symbol in enumerate(return_symbols):
            if symbol in self.row:
                i = self.row[symbol]
                self.rows[i, at.KNOWN] = np.isfinite(returns[:, column]).sum()
                self.returns[i] = np.nan_to_num(returns[:, column], nan=0.0, posinf=0.0, neginf=0.0)
        self.pnl = np.zeros(len(returns))
        self.account = np.zeros(at.ACCOUNT_PLACES)
        self._open(portfolio)

    # -- what happens -------------------------------------------------------------------------------------------------

    def commit(self, symbol: str, side: Side, quantity: float, *, closing: bool, stop: bool) -> None:
        """Count an approved order as working."""
        commitment.commit(
            self.row[symbol], float(side.sign), quantity, closing, stop, self.account, self.rows, self.sectors,
            self.counterparties, self.returns, self.pnl,
        )  # fmt: skip

    def fill(self, order: WorkingOrder, quantity: float, price: float) -> None:
        """``quantity`` shares of a working order were filled at ``price``."""
        row = self._leave(order, quantity, finished=quantity == order.remaining)
        sign = order.side.sign
        row[at.HELD] += sign * quantity
        self.account[at.CASH] -= sign * quantity * price
        self.account[at.EQUITY] += sign * quantity * (row[at.PRICE] - price)
        self._settle(order.symbol)

    def release(self, order: WorkingOrder) -> None:
        """What remains of a working order will not fill: cancelled, expired or rejected by the venue."""
        self._leave(order, order.remaining, finished=True)
        self._settle(order.symbol)

    def reprice(self, symbol: str, price: float) -> None:
        """A symbol has a new price; NaN: it is not known any more, and while it counts nothing new is opened."""
        row = self.rows[self.row[symbol]]
        change = row[at.HELD] * (price - row[at.PRICE])
        if np.isfinite(change):
            self.account[at.EQUITY] += change
        row[at.PRICE] = price
        self._settle(symbol)

    def committed(self, symbol: str) -> float:
        """Signed shares that count against the limits."""
        return float(commitment.committed_shares(self.rows[self.row[symbol]]))

    # -- parts --------------------------------------------------------------------------------------------------------

    def _group(self, facts: Mapping[str, MarketFacts], column: int, name: str) -> int:
        numbers: dict[str, int] = {}
        for symbol, i in self.row.items():
            label = getattr(facts[symbol], name) if symbol in facts else "unknown"
            self.rows[i, column] = numbers.setdefault(label, len(numbers))
        return len(numbers)

    def _describe(self, facts: Mapping[str, MarketFacts], sessions_since: Mapping[date, int]) -> None:
        for symbol, i in self.row.items():
            if symbol not in facts:
                continue
            known = facts[symbol]
            row = self.rows[i]
            row[at.PRICE] = known.price
            row[at.PREVIOUS_PRICE] = np.nan if known.previous_price is None else known.previous_price
            row[at.AGE] = sessions_since.get(known.price_session, np.nan)
            row[at.VOLUME] = np.nan if known.average_volume is None else known.average_volume
            row[at.LOT] = known.lot_size
            row[at.PROBLEM] = known.instrument_problem is not None

    def _open(self, portfolio: PortfolioView) -> None:
        account = self.account
        account[at.CASH], account[at.EQUITY] = portfolio.cash, portfolio.equity
        account[at.ORDERS], account[at.TURNOVER] = portfolio.orders_made, portfolio.turnover
        for symbol, shares in portfolio.held.items():
            self.rows[self.row[symbol], at.HELD] = shares
        for symbol, shares in portfolio.ordered.items():
            self.rows[self.row[symbol], at.ORDERED] = shares
        for order in portfolio.working:
            row = self.rows[self.row[order.symbol]]
            if order.stop:
                continue
            row[at.WORKING] += 1
            row[_column(order)] += order.remaining
            if _column(order) == at.BUYS:
                # Without a price it cannot be said how much it takes, so it takes all.
                price = row[at.PRICE]
                reserved = order.remaining * price if np.isfinite(price) else max(0.0, account[at.CASH])
                row[at.RESERVED] += reserved
                account[at.CASH] -= reserved
        for i in range(len(self.symbols)):
            self._recommit(i)
        self._count_unpriced()

    def _leave(self, order: WorkingOrder, quantity: float, *, finished: bool) -> Floats:
        """Take ``quantity`` shares off what works, and what was reserved for them."""
        row: Floats = self.rows[self.row[order.symbol]]
        if order.stop:
            return row
        column = _column(order)
        if quantity > row[column]:
            raise RiskError(f"{order.symbol}: {quantity} shares leave {row[column]} on order; rebuild the exposure")
        if column == at.BUYS:
            share = row[at.RESERVED] * quantity / row[at.BUYS]
            row[at.RESERVED] -= share
            self.account[at.CASH] += share
        row[column] -= quantity
        row[at.WORKING] -= finished
        return row

    def _settle(self, symbol: str) -> None:
        self._recommit(self.row[symbol])
        self._count_unpriced()

    def _recommit(self, i: int) -> None:
        commitment.recommit(i, self.account, self.rows, self.sectors, self.counterparties, self.returns, self.pnl)

    def _count_unpriced(self) -> None:
        prices, shares = self.rows[:, at.PRICE], self.rows[:, at.HELD : at.PRICE]
        known = np.isfinite(prices) & (prices > 0)
        self.account[at.UNPRICED] = np.count_nonzero(~known & (shares != 0).any(axis=1))


def _column(order: WorkingOrder) -> int:
    """Where a working order's shares are counted."""
    if order.reduce_only:
        return at.CLOSING_BUYS if order.side is Side.BUY else at.CLOSING_SELLS
    return at.BUYS if order.side is Side.BUY else at.SELLS

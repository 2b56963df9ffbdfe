"""Where the account's profit comes from: trades, dividends, costs, and currencies apart from all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection

from quant_dagster.accounting.books import ZERO, Account, balances, converted
from quant_dagster.accounting.lots import LotBook, lot_books
from quant_dagster.accounting.snapshots import Mark, value_account


@dataclass(frozen=True)
class Profit:
    """Everything earned so far, in the account's currency; the parts sum to ``equity`` less ``capital``.

    ``realised`` and ``unrealised`` are of prices, in each currency and brought over at today's rates. ``currency`` is
    what conversions have gained since: the trading account at today's rates. ``adjustments`` were entered by persons.
    """

    realised: Decimal
    unrealised: Decimal
    dividends: Decimal
    interest: Decimal
    commission: Decimal
    borrow: Decimal
    currency: Decimal
    adjustments: Decimal
    equity: Decimal
    capital: Decimal

    @property
    def total(self) -> Decimal:
        earned = self.realised + self.unrealised + self.dividends + self.interest + self.currency + self.adjustments
        return earned - self.commission - self.borrow


def profit_and_loss(
    connection: Connection,
    marks: Mapping[str, Mark],
    session: date,
    rates: Mapping[str, Decimal] | None = None,
    *,
    first_in_first_out: bool = False,
) -> Profit:
    """The parts of the profit up to ``session``, at average cost or by first-in-first-out lots.

    Raises
    ------
    BooksError
        A mark or a rate is missing.
    """
    books = balances(connection, until=session)
    snapshot = value_account(connection, marks, session, rates)
    held = {symbol: (one.realised_pnl, one.cost, one.currency) for symbol, one in books.holdings.items()}
    if first_in_first_out:
        lots = lot_books(connection, until=session)
        held = {symbol: _by_lots(lots.get(symbol, LotBook(symbol)), held[symbol][2]) for symbol in held}
    realised = sum((converted(earned, code, rates) for earned, _, code in held.values()), ZERO)
    cost = sum((converted(paid, code, rates) for _, paid, code in held.values()), ZERO)
    return Profit(
        realised=realised,
        unrealised=snapshot.market_value - cost,
        dividends=-books.total(Account.DIVIDENDS, rates),
        interest=-books.total(Account.INTEREST, rates),
        commission=books.total(Account.COMMISSION, rates),
        borrow=books.total(Account.BORROW, rates),
        currency=-books.total(Account.FX_TRADING, rates),
        adjustments=-books.total(Account.ADJUSTMENT, rates),
        equity=snapshot.equity,
        capital=-books.total(Account.CAPITAL, rates),
    )


def _by_lots(book: LotBook, currency: str | None) -> tuple[Decimal, Decimal, str | None]:
    return book.realised_pnl, book.cost, currency

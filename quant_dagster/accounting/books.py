"""Double-entry books. A fill becomes a transaction whose amounts sum to zero; positions are sums of postings.

Every transaction balances in each of its currencies. All arithmetic is decimal. What fills and events make of a
position is in ``holdings``, the chart of accounts in ``postings``; both are offered here as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, func, select

from quant_dagster.accounting.cash import deposit
from quant_dagster.accounting.events import events_of
from quant_dagster.accounting.fills import ZERO, Fill, Side, fills_of
from quant_dagster.accounting.holdings import Holding, after_fill, replay
from quant_dagster.accounting.journal import Booked, Journal
from quant_dagster.accounting.postings import Account, standings
from quant_dagster.errors import BooksError
from quant_dagster.storage.ledger_tables import fills, postings
from quant_dagster.storage.types import money

__all__ = [
    "ZERO", "Account", "Balances", "Booked", "Fill", "Holding", "Journal", "Side", "after_fill", "balances", "book",
    "deposit", "fills_of", "holding_of", "problems", "replay", "require_balance",
]  # fmt: skip


@dataclass(frozen=True)
class Balances:
    """The books in a nutshell.

    ``cash`` and ``capital`` are in the account's currency; ``totals`` are the sums of every account in every currency
    (None: the account's), signed as posted.
    """

    cash: Decimal
    capital: Decimal
    holdings: dict[str, Holding]
    totals: dict[tuple[Account, str | None], Decimal] = field(default_factory=dict)

    @property
    def foreign_cash(self) -> dict[str, Decimal]:
        """Cash in other currencies than the account's, where there is or was any."""
        return {
            currency: amount
            for (account, currency), amount in self.totals.items()
            if account is Account.CASH and currency is not None
        }

    @property
    def currencies(self) -> frozenset[str]:
        """Other currencies than the account's in which anything is left."""
        return frozenset(code for (_, code), amount in self.totals.items() if code is not None and amount)

    def total(self, account: Account, rates: Mapping[str, Decimal] | None = None) -> Decimal:
        """An account's sum over all currencies, in the account's currency, signed as posted.

        Parameters
        ----------
        rates
            Units of the account's currency for one of each other.

        Raises
        ------
        BooksError
            A currency has no rate: what it is worth is unknown, and unknown is unsafe.
        """
        amounts = [(code, amount) for (name, code), amount in self.totals.items() if name is account]
        return sum((converted(amount, code, rates) for code, amount in amounts), ZERO)


def converted(amount: Decimal, currency: str | None, rates: Mapping[str, Decimal] | None) -> Decimal:
    """An amount in the account's currency; `BooksError` where the rate is not known or not above zero."""
    if currency is None or not amount:
        return amount
    rate = (rates or {}).get(currency)
    if rate is None or rate <= 0:
        raise BooksError(
            f"{amount} {currency} has no rate in the account's currency: its value is unknown, no order is made; "
            f"give the rate of {currency}"
        )
    return money(amount * rate)


def book(connection: Connection, fill: Fill, *, at: datetime) -> Booked:
    """Enter a fill into the books; says what changed.

    The same execution twice changes nothing; a higher correction of it replaces it: the symbol's books are
    recomputed from all its fills and events, and the difference is posted. So are they when a fill arrives after what
    happened later. A commission may be told after its execution: it is posted once, and a repetition of the execution
    without it takes nothing back.

    Raises
    ------
    BooksError
        The execution contradicts one already booked, or the books would not balance.
    """
    journal = Journal(connection, at)
    done = journal.book(fill)
    journal.flush()
    return done


def holding_of(connection: Connection, symbol: str) -> Holding:
    """One symbol's holding, summed from its postings."""
    found = standings(connection, [symbol]).get(symbol)
    return Holding(symbol) if found is None else found.holding


def balances(connection: Connection, until: date | None = None, known: datetime | None = None) -> Balances:
    """Cash, capital and every holding, summed from the postings of all sessions, or of those up to ``until``.

    Parameters
    ----------
    known
        Only what was posted by then: corrections of past sessions came later.
    """
    sums = func.sum(postings.c.amount)
    query = select(postings.c.account, postings.c.currency, sums).group_by(postings.c.account, postings.c.currency)
    if until is not None:
        query = query.where(postings.c.session <= until)
    if known is not None:
        query = query.where(postings.c.recorded_at <= known)
    totals = {(Account(account), currency): amount for account, currency, amount in connection.execute(query)}
    return Balances(
        cash=totals.get((Account.CASH, None), ZERO),
        capital=-totals.get((Account.CAPITAL, None), ZERO),
        holdings={symbol: one.holding for symbol, one in standings(connection, until=until, known=known).items()},
        totals=totals,
    )


def problems(connection: Connection) -> list[str]:
    """Everything wrong with the books, one sentence each; empty when they balance and agree with fills and events."""
    found = []
    unbalanced = connection.execute(
        select(postings.c.transaction_id, postings.c.currency, func.sum(postings.c.amount))
        .group_by(postings.c.transaction_id, postings.c.currency)
        .having(func.sum(postings.c.amount) != 0)
    )
    found += [f"transaction {row[0]} does not balance: {row[2]} {row[1] or ''}".rstrip() for row in unbalanced]
    by_symbol: dict[str, list[Fill]] = defaultdict(list)
    for fill in fills_of(connection):
        by_symbol[fill.symbol].append(fill)
    try:
        events = events_of(connection)
        booked = {symbol: one.holding for symbol, one in standings(connection).items()}
        for symbol in sorted(by_symbol.keys() | booked.keys() | events.keys()):
            expected = replay(symbol, by_symbol[symbol], events.get(symbol, ()))
            actual = booked.get(symbol, Holding(symbol))
            if _content(expected) != _content(actual):
                found.append(f"{symbol}: the books say {actual}, its fills say {expected}")
    except BooksError as error:
        found.append(str(error))
    posted = {row[0] for row in connection.execute(select(postings.c.execution_id).distinct()) if row[0]}
    # One that was taken back before it was ever heard of has nothing to post.
    substance = connection.execute(select(fills.c.execution_id, fills.c.quantity, fills.c.commission)).all()
    known = {row[0] for row in substance}
    found += [f"fill {row[0]} was never posted" for row in sorted(substance) if row[0] not in posted and any(row[1:])]
    found += [f"postings of {execution} have no fill" for execution in sorted(posted - known)]
    return found


def require_balance(connection: Connection) -> None:
    """Stop trading when an entry does not balance (a full check is `problems`)."""
    sums = select(postings.c.currency, func.sum(postings.c.amount)).group_by(postings.c.currency)
    for currency, total in connection.execute(sums):
        if total != 0:
            raise BooksError(
                f"the books are off by {total} {currency or ''}: run 'quant verify ledger'; no order is made until "
                "they balance"
            )


def _content(holding: Holding) -> Holding:
    """Without the currency of a position that never came to anything."""
    return replace(holding, currency=None) if replace(holding, currency=None) == Holding(holding.symbol) else holding

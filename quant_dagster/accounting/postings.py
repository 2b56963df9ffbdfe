"""The chart of accounts, and how a transaction gets into the ledger: balanced in every currency, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, case, func, select

from quant_dagster.accounting.fills import CHUNK, ZERO
from quant_dagster.accounting.holdings import Holding
from quant_dagster.errors import BooksError
from quant_dagster.storage.ledger_tables import postings


class Account(StrEnum):
    """The chart of accounts. What is owned and spent is positive, where it came from (income, capital) negative."""

    CASH = "cash"
    SECURITIES = "securities"
    """At average cost, per symbol."""
    COMMISSION = "commission"
    REALISED_PNL = "realised_pnl"
    DIVIDENDS = "dividends"
    BORROW = "borrow"
    """What shorts cost, per symbol."""
    INTEREST = "interest"
    FX_TRADING = "fx_trading"
    """The other side of every conversion, in each of its two currencies."""
    ADJUSTMENT = "adjustment"
    """The other side of what a person entered to agree with the broker."""
    CAPITAL = "capital"


@dataclass(frozen=True)
class Line:
    """One line of a transaction; ``currency`` None is the account's."""

    account: Account
    amount: Decimal
    symbol: str | None = None
    quantity: Decimal = ZERO
    currency: str | None = None


def difference(before: Holding, after: Holding) -> list[Line]:
    """The lines that make the books of a symbol what they are to be; they balance by construction."""
    symbol, currency = after.symbol, after.currency
    if before.currency != currency and before != Holding(symbol):
        nothing = Holding(symbol, currency=before.currency)
        return difference(before, nothing) + difference(Holding(symbol), after)
    income = (
        (Account.REALISED_PNL, after.realised_pnl - before.realised_pnl),
        (Account.DIVIDENDS, after.dividends - before.dividends),
        (Account.ADJUSTMENT, after.adjustments - before.adjustments),
    )
    lines = [
        Line(Account.SECURITIES, after.cost - before.cost, symbol, after.quantity - before.quantity, currency),
        *(Line(account, -amount, symbol, ZERO, currency) for account, amount in income),
        Line(Account.COMMISSION, after.commission - before.commission, symbol, ZERO, currency),
        Line(Account.BORROW, after.borrow - before.borrow, symbol, ZERO, currency),
        Line(Account.CASH, after.cash - before.cash, None, ZERO, currency),
    ]
    was, now = dict(before.other_commissions), dict(after.other_commissions)
    for code in sorted(was.keys() | now.keys()):
        paid = now.get(code, ZERO) - was.get(code, ZERO)
        lines.append(Line(Account.COMMISSION, paid, symbol, ZERO, code or None))
        lines.append(Line(Account.CASH, -paid, None, ZERO, code or None))
    return [line for line in lines if line.quantity or line.amount]


def rows_of(
    transaction_id: str, lines: Sequence[Line], *, session: date, at: datetime, execution_id: str | None
) -> list[dict[str, Any]]:
    """A transaction's rows.

    Raises
    ------
    BooksError
        It does not balance in some currency.
    """
    totals: dict[str | None, Decimal] = defaultdict(Decimal)
    for line in lines:
        totals[line.currency] += line.amount
    for currency, total in totals.items():
        if total != 0:
            raise BooksError(
                f"transaction {transaction_id} does not balance: {total} {currency or ''}; nothing was booked"
            )
    return [
        {
            "transaction_id": transaction_id,
            "line": number,
            "session": session,
            "account": line.account.value,
            "symbol": line.symbol,
            "quantity": line.quantity,
            "amount": line.amount,
            "currency": line.currency,
            "execution_id": execution_id,
            "recorded_at": at,
        }
        for number, line in enumerate(lines, start=1)
    ]


def post(connection: Connection, transaction_id: str, lines: Sequence[Line], *, session: date, at: datetime) -> None:
    """Enter one transaction that belongs to no execution."""
    connection.execute(postings.insert(), rows_of(transaction_id, lines, session=session, at=at, execution_id=None))


@dataclass(frozen=True)
class Standing:
    """A symbol's holding, and the session of the newest event in it that is no trade."""

    holding: Holding
    last_event: date | None = None


def standings(
    connection: Connection,
    symbols: Sequence[str] | None = None,
    until: date | None = None,
    known: datetime | None = None,
) -> dict[str, Standing]:
    """Every symbol's holding, or those of ``symbols``, from postings up to ``until`` that were made by ``known``."""
    found: dict[str, Standing] = {}
    parts = [None] if symbols is None else [symbols[i : i + CHUNK] for i in range(0, len(symbols), CHUNK)]
    for part in parts:
        event = case((postings.c.execution_id.is_(None), postings.c.session))
        query = (
            select(
                postings.c.symbol,
                postings.c.account,
                postings.c.currency,
                func.sum(postings.c.quantity).label("quantity"),
                func.sum(postings.c.amount).label("amount"),
                func.max(event).label("last_event"),
            )
            .where(postings.c.symbol.is_not(None))
            .group_by(postings.c.symbol, postings.c.account, postings.c.currency)
            # Securities come last: their currency is the position's.
            .order_by(postings.c.symbol, postings.c.account == Account.SECURITIES.value, postings.c.account)
        )
        if part is not None:
            query = query.where(postings.c.symbol.in_(part))
        if until is not None:
            query = query.where(postings.c.session <= until)
        if known is not None:
            query = query.where(postings.c.recorded_at <= known)
        rows: dict[str, list[Any]] = defaultdict(list)
        for row in connection.execute(query):
            rows[row.symbol].append(row)
        found |= {symbol: _standing(symbol, of_symbol) for symbol, of_symbol in rows.items()}
    return found


_FIELDS = {
    Account.REALISED_PNL: ("realised_pnl", -1),
    Account.DIVIDENDS: ("dividends", -1),
    Account.ADJUSTMENT: ("adjustments", -1),
    Account.BORROW: ("borrow", 1),
}


def _standing(symbol: str, rows: Sequence[Any]) -> Standing:
    traded = [row for row in rows if Account(row.account) is Account.SECURITIES and (row.quantity or row.amount)]
    securities = [row for row in rows if Account(row.account) is Account.SECURITIES]
    moved = {row.currency for row in rows if row.amount}  # a corrected currency leaves rows of nothing behind
    shown = traded or [row for row in securities if row.currency in moved] or securities or list(rows)
    if len({row.currency for row in traded}) > 1:
        raise BooksError(f"{symbol} is held in more than one currency: {sorted(str(row.currency) for row in traded)}")
    currency = shown[0].currency
    values: dict[str, Any] = {"currency": currency}
    other: list[tuple[str, Decimal]] = []
    for row in rows:
        match Account(row.account):
            case Account.SECURITIES:
                if row.currency == currency:
                    values |= {"quantity": row.quantity, "cost": row.amount}
            case Account.COMMISSION:
                if row.currency == currency:
                    values["commission"] = row.amount
                elif row.amount:
                    other.append((row.currency or "", row.amount))
            case account if account in _FIELDS:
                name, sign = _FIELDS[account]
                if row.currency == currency:
                    values[name] = sign * row.amount
                elif row.amount:
                    raise BooksError(f"{symbol} has {account} in {row.currency} and is held in {currency}")
            case account:
                raise BooksError(f"account {account} has postings for symbol {symbol}")
    last = max((row.last_event for row in rows if row.last_event is not None), default=None)
    return Standing(replace(Holding(symbol, **values), other_commissions=tuple(sorted(other))), last)

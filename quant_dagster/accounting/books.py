"""Double-entry books. A fill becomes a transaction whose amounts sum to zero; positions are sums of postings.

Accounts: ``cash``, ``securities`` (at average cost, per symbol), ``commission`` (expense, per symbol),
``realised_pnl`` (income, so a profit is negative, per symbol) and ``capital``. All arithmetic is decimal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import Connection, func, select

from quant_dagster.errors import BooksError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import fills, postings
from quant_dagster.storage.types import money

ZERO = Decimal(0)


class Side(StrEnum):
    """Direction of an order or a fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


class Account(StrEnum):
    """The chart of accounts."""

    CASH = "cash"
    SECURITIES = "securities"
    COMMISSION = "commission"
    REALISED_PNL = "realised_pnl"
    CAPITAL = "capital"


@dataclass(frozen=True)
class Fill:
    """One execution as the broker reported it.

    ``price`` and the two reference prices are per share; ``commission`` and all prices in the account's currency.
    ``decision_price`` is the close the decision was made on, ``reference_price`` the bar's price before slippage.
    ``provenance`` says which bar it was filled against and how. ``correction`` counts the broker's corrections of it; a
    corrected ``quantity`` of 0 takes it back. ``commission`` is 0 until the broker has said it.
    """

    execution_id: str
    client_order_id: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    decision_price: Decimal
    reference_price: Decimal
    provenance: dict[str, Any]
    correction: int = 0
    executed_at: datetime | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Holding:
    """A symbol's position in the books: signed quantity, its cost, and what it has earned and paid so far."""

    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    commission: Decimal = ZERO

    @property
    def average_cost(self) -> Decimal:
        """Cost per share; zero when flat."""
        return self.cost / self.quantity if self.quantity else ZERO


@dataclass(frozen=True)
class Balances:
    """The books in a nutshell."""

    cash: Decimal
    capital: Decimal
    holdings: dict[str, Holding]

    @property
    def realised_pnl(self) -> Decimal:
        return sum((holding.realised_pnl for holding in self.holdings.values()), ZERO)

    @property
    def commission(self) -> Decimal:
        return sum((holding.commission for holding in self.holdings.values()), ZERO)


def after_fill(holding: Holding, fill: Fill) -> Holding:
    """The holding after a fill, at average cost; a fill through zero closes, then opens."""
    signed = fill.quantity * fill.side.sign
    closing = ZERO
    if holding.quantity and (holding.quantity > 0) != (signed > 0):
        closing = min(abs(signed), abs(holding.quantity))
    cost, quantity, realised = holding.cost, holding.quantity, holding.realised_pnl
    value_left = money(fill.quantity * fill.price)
    opening = abs(signed) - closing
    if closing:
        value = value_left if not opening else money(closing * fill.price)
        value_left -= value
        direction = 1 if quantity > 0 else -1
        # The last share takes whatever cost is left, so that a flat position has no cost, to the last decimal.
        released = cost if closing == abs(quantity) else money(cost * closing / abs(quantity))
        realised += value * direction - released
        cost -= released
        quantity -= closing * direction
    if opening:
        cost += value_left * fill.side.sign
        quantity += opening * fill.side.sign
    return replace(
        holding,
        quantity=quantity,
        cost=cost,
        realised_pnl=realised,
        commission=holding.commission + money(fill.commission),
    )


def deposit(connection: Connection, amount: Decimal, *, session: date, at: datetime, reference: str) -> bool:
    """Book a deposit once per ``reference``; says whether it was booked."""
    transaction_id = f"deposit:{reference}"
    if connection.execute(select(postings.c.line).where(postings.c.transaction_id == transaction_id)).first():
        return False
    lines = [(Account.CASH, None, ZERO, money(amount)), (Account.CAPITAL, None, ZERO, -money(amount))]
    _post(connection, transaction_id, lines, session=session, at=at, execution_id=None)
    payload = {"amount": money(amount)}
    audit.append(connection, transaction_id, "deposit", actor="desk", at=at, session=session, payload=payload)
    return True


class Booked(IntEnum):
    """What entering a fill came to; `NOTHING` is false."""

    NOTHING = 0
    NEW = 1
    CORRECTED = 2
    COMMISSION = 3


def book(connection: Connection, fill: Fill, *, at: datetime) -> Booked:
    """Enter a fill into the books; says what changed.

    The same execution twice changes nothing; a higher correction of it replaces it: the symbol's books are
    recomputed from all its fills and the difference is posted. A commission may be told after its execution: it is
    posted once, and a repetition of the execution without it takes nothing back.

    Raises
    ------
    BooksError
        The execution contradicts one already booked, or the books would not balance.
    """
    taken_back = fill.quantity == 0 and fill.correction > 0
    if (fill.quantity <= 0 and not taken_back) or fill.price <= 0:
        raise BooksError(f"fill {fill.execution_id} of {fill.symbol}: quantity and price must be positive: {fill}")
    existing = connection.execute(select(fills).where(fills.c.execution_id == fill.execution_id)).mappings().first()
    if existing is not None and fill.correction <= existing["correction"]:
        if fill.correction < existing["correction"]:
            return Booked.NOTHING
        return _repeated(connection, _as_fill(existing), fill, at)
    row = _row(fill)
    before = holding_of(connection, fill.symbol)
    if existing is None:
        sequence = connection.execute(select(func.coalesce(func.max(fills.c.sequence), 0))).scalar_one() + 1
        connection.execute(fills.insert().values(**row, sequence=sequence, recorded_at=at))
        after = after_fill(before, _rounded(fill))
    else:
        connection.execute(
            fills.update().where(fills.c.execution_id == fill.execution_id).values(**row, recorded_at=at)
        )
        after = replay(fill.symbol, fills_of(connection, fill.symbol))
    transaction_id = f"fill:{fill.execution_id}:{fill.correction}"
    _post(
        connection,
        transaction_id,
        _difference(before, after),
        session=fill.session,
        at=at,
        execution_id=fill.execution_id,
    )
    payload = audit.fill_payload(row)
    audit.append(connection, transaction_id, "fill", actor="broker", at=at, session=fill.session, payload=payload)
    return Booked.NEW if existing is None else Booked.CORRECTED


def _repeated(connection: Connection, known: Fill, said: Fill, at: datetime) -> Booked:
    """The same execution again: nothing, or the commission that was not known before."""
    said = _rounded(said)
    if not _same_execution(known, said):
        raise BooksError(f"fill {said.execution_id} was reported twice with different contents; trading stops")
    if said.commission in (ZERO, known.commission):
        return Booked.NOTHING
    if known.commission:
        raise BooksError(
            f"fill {said.execution_id} was booked with commission {known.commission} and is now reported with "
            f"{said.commission}; trading stops"
        )
    transaction_id = f"fill:{said.execution_id}:{said.correction}{audit.COMMISSION}"
    lines = [
        (Account.COMMISSION, said.symbol, ZERO, said.commission),
        (Account.CASH, None, ZERO, -said.commission),
    ]
    _post(connection, transaction_id, lines, session=said.session, at=at, execution_id=said.execution_id)
    row = fills.c.execution_id == said.execution_id
    connection.execute(fills.update().where(row).values(commission=said.commission))
    payload = audit.fill_payload(_row(replace(known, commission=said.commission)))
    audit.append(connection, transaction_id, "commission", actor="broker", at=at, session=said.session, payload=payload)
    return Booked.COMMISSION


def _same_execution(one: Fill, other: Fill) -> bool:
    """Do two reports speak of the same trade? How it was reported may differ, and when its commission was known."""
    said = ("client_order_id", "symbol", "side", "quantity", "price")
    return all(getattr(one, name) == getattr(other, name) for name in said)


def replay(symbol: str, history: Iterable[Fill]) -> Holding:
    """A holding recomputed from its fills."""
    holding = Holding(symbol)
    for fill in history:
        holding = after_fill(holding, fill)
    return holding


def fills_of(connection: Connection, symbol: str | None = None) -> list[Fill]:
    """Booked fills in the order they were booked."""
    query = select(fills).order_by(fills.c.sequence)
    if symbol is not None:
        query = query.where(fills.c.symbol == symbol)
    return [_as_fill(row) for row in connection.execute(query).mappings()]


def holding_of(connection: Connection, symbol: str) -> Holding:
    """One symbol's holding, summed from its postings."""
    return _holdings(connection, symbol).get(symbol, Holding(symbol))


def balances(connection: Connection, until: date | None = None) -> Balances:
    """Cash, capital and every holding, summed from the postings of all sessions, or of those up to ``until``."""
    query = select(postings.c.account, func.sum(postings.c.amount)).group_by(postings.c.account)
    if until is not None:
        query = query.where(postings.c.session <= until)
    totals = dict(connection.execute(query).all())
    return Balances(
        cash=Decimal(totals.get(Account.CASH, 0)),
        capital=-Decimal(totals.get(Account.CAPITAL, 0)),
        holdings=_holdings(connection, until=until),
    )


def problems(connection: Connection) -> list[str]:
    """Everything wrong with the books, one sentence each; empty when they balance and agree with the fills."""
    found = []
    unbalanced = connection.execute(
        select(postings.c.transaction_id, func.sum(postings.c.amount))
        .group_by(postings.c.transaction_id)
        .having(func.sum(postings.c.amount) != 0)
    )
    found += [f"transaction {row[0]} does not balance: {row[1]}" for row in unbalanced]
    by_symbol: dict[str, list[Fill]] = defaultdict(list)
    for fill in fills_of(connection):
        by_symbol[fill.symbol].append(fill)
    booked = _holdings(connection)
    for symbol in sorted(set(by_symbol) | set(booked)):
        expected, actual = replay(symbol, by_symbol[symbol]), booked.get(symbol, Holding(symbol))
        if expected != actual:
            found.append(f"{symbol}: the books say {actual}, its fills say {expected}")
    posted = {row[0] for row in connection.execute(select(postings.c.execution_id).distinct()) if row[0]}
    known = {row[0] for row in connection.execute(select(fills.c.execution_id))}
    found += [f"fill {execution} was never posted" for execution in sorted(known - posted)]
    found += [f"postings of {execution} have no fill" for execution in sorted(posted - known)]
    return found


def require_balance(connection: Connection) -> None:
    """Stop trading when an entry does not balance (a full check is `problems`)."""
    total = connection.execute(select(func.coalesce(func.sum(postings.c.amount), 0))).scalar_one()
    if total != 0:
        raise BooksError(
            f"the books are off by {total}: run 'quant verify ledger'; no order is made until they balance"
        )


_Line = tuple[Account, str | None, Decimal, Decimal]


def _difference(before: Holding, after: Holding) -> list[_Line]:
    quantity = after.quantity - before.quantity
    cost = after.cost - before.cost
    realised = after.realised_pnl - before.realised_pnl
    commission = after.commission - before.commission
    lines: list[_Line] = [
        (Account.SECURITIES, after.symbol, quantity, cost),
        (Account.REALISED_PNL, after.symbol, ZERO, -realised),
        (Account.COMMISSION, after.symbol, ZERO, commission),
        (Account.CASH, None, ZERO, realised - cost - commission),
    ]
    return [line for line in lines if line[2] or line[3]]


def _post(
    connection: Connection,
    transaction_id: str,
    lines: Sequence[_Line],
    *,
    session: date,
    at: datetime,
    execution_id: str | None,
) -> None:
    total = sum((amount for *_, amount in lines), ZERO)
    if total != 0:
        raise BooksError(f"transaction {transaction_id} does not balance: {total}; nothing was booked")
    rows = [
        {
            "transaction_id": transaction_id,
            "line": number,
            "session": session,
            "account": account.value,
            "symbol": symbol,
            "quantity": count,
            "amount": amount,
            "execution_id": execution_id,
            "recorded_at": at,
        }
        for number, (account, symbol, count, amount) in enumerate(lines, start=1)
    ]
    if rows:
        connection.execute(postings.insert(), rows)


def _holdings(connection: Connection, symbol: str | None = None, until: date | None = None) -> dict[str, Holding]:
    query = (
        select(
            postings.c.symbol,
            postings.c.account,
            func.sum(postings.c.quantity).label("quantity"),
            func.sum(postings.c.amount).label("amount"),
        )
        .where(postings.c.symbol.is_not(None))
        .group_by(postings.c.symbol, postings.c.account)
        .order_by(postings.c.symbol)
    )
    if symbol is not None:
        query = query.where(postings.c.symbol == symbol)
    if until is not None:
        query = query.where(postings.c.session <= until)
    holdings: dict[str, Holding] = {}
    for row in connection.execute(query):
        holding = holdings.get(row.symbol, Holding(row.symbol))
        match Account(row.account):
            case Account.SECURITIES:
                holding = replace(holding, quantity=row.quantity, cost=row.amount)
            case Account.REALISED_PNL:
                holding = replace(holding, realised_pnl=-row.amount)
            case Account.COMMISSION:
                holding = replace(holding, commission=row.amount)
            case account:
                raise BooksError(f"account {account} has postings for symbol {row.symbol}")
        holdings[row.symbol] = holding
    return holdings


def _row(fill: Fill) -> dict[str, Any]:
    rounded = _rounded(fill)
    return {name: getattr(rounded, name) for name in rounded.__dataclass_fields__} | {"side": fill.side.value}


def _rounded(fill: Fill) -> Fill:
    return replace(
        fill,
        price=money(fill.price),
        commission=money(fill.commission),
        decision_price=money(fill.decision_price),
        reference_price=money(fill.reference_price),
    )


def _as_fill(row: Any) -> Fill:
    return Fill(**{name: row[name] for name in Fill.__dataclass_fields__} | {"side": Side(row["side"])})

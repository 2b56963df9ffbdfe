"""End-of-session snapshots: positions marked to the session's closes, and the account's equity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, delete, func, select

from quant_dagster.accounting.books import ZERO, Account, Balances, Holding, balances, converted
from quant_dagster.errors import BooksError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import account_snapshots, positions
from quant_dagster.storage.types import money


@dataclass(frozen=True)
class Mark:
    """The last known price of a symbol and the session it is from."""

    price: Decimal
    session: date


@dataclass(frozen=True)
class AccountSnapshot:
    """The account at a session's close, in its currency.

    ``realised_pnl`` is what trades realised, dividends and interest, less borrow; ``commission`` is apart, and so is
    what currencies gained or lost (`profit.profit_and_loss`).
    """

    session: date
    cash: Decimal
    market_value: Decimal
    equity: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    commission: Decimal
    peak_equity: Decimal

    @property
    def drawdown(self) -> Decimal:
        """Fall of equity from its peak, as a fraction of the peak."""
        return 1 - self.equity / self.peak_equity if self.peak_equity > 0 else ZERO


@dataclass(frozen=True)
class Position:
    """A symbol's position in the account's currency."""

    holding: Holding
    price: Decimal
    price_session: date
    cost: Decimal
    market_value: Decimal
    realised_pnl: Decimal
    commission: Decimal

    @property
    def unrealised_pnl(self) -> Decimal:
        return self.market_value - self.cost


Rates = Mapping[str, Decimal]
"""Units of the account's currency for one of each other."""


def value_account(
    connection: Connection, marks: Mapping[str, Mark], session: date, rates: Rates | None = None
) -> AccountSnapshot:
    """The account at ``session``'s close, from the postings up to it, valued at ``marks``; nothing is stored.

    ``marks`` are in each symbol's own currency, ``rates`` are needed where that, or cash, is not in the account's.

    Raises
    ------
    BooksError
        A held symbol has no mark, or a currency no rate: its value is unknown, and unknown is unsafe.
    """
    return _valued(connection, balances(connection, until=session), marks, session, rates)[0]


def _valued(
    connection: Connection, books: Balances, marks: Mapping[str, Mark], session: date, rates: Rates | None
) -> tuple[AccountSnapshot, list[Position]]:
    positions_ = [
        _position(holding, _mark(marks, symbol, session) if holding.quantity else marks.get(symbol), session, rates)
        for symbol, holding in sorted(books.holdings.items())
    ]
    cash = books.total(Account.CASH, rates)
    market_value = sum((one.market_value for one in positions_), ZERO)
    equity = cash + market_value
    peak = connection.execute(
        select(func.max(account_snapshots.c.peak_equity)).where(account_snapshots.c.session < session)
    ).scalar()
    snapshot = AccountSnapshot(
        session=session,
        cash=cash,
        market_value=market_value,
        equity=equity,
        gross_exposure=sum((abs(one.market_value) for one in positions_), ZERO),
        net_exposure=market_value,
        realised_pnl=sum((one.realised_pnl for one in positions_), ZERO) - books.total(Account.INTEREST, rates),
        unrealised_pnl=sum((one.unrealised_pnl for one in positions_), ZERO),
        commission=sum((one.commission for one in positions_), ZERO),
        peak_equity=max(equity, peak if peak is not None else -books.total(Account.CAPITAL, rates)),
    )
    return snapshot, positions_


def _position(holding: Holding, mark: Mark | None, session: date, rates: Rates | None) -> Position:
    """What is flat needs no price."""
    code = holding.currency
    price = ZERO if mark is None else mark.price
    other = sum((converted(paid, currency or None, rates) for currency, paid in holding.other_commissions), ZERO)
    return Position(
        holding=holding,
        price=price,
        price_session=session if mark is None else mark.session,
        cost=converted(holding.cost, code, rates),
        market_value=converted(money(holding.quantity * price), code, rates),
        realised_pnl=converted(holding.realised_pnl + holding.dividends - holding.borrow, code, rates),
        commission=converted(holding.commission, code, rates) + other,
    )


def stored_snapshot(connection: Connection, session: date) -> AccountSnapshot | None:
    """The account as it was recorded at ``session``'s close; None when it was not."""
    row = connection.execute(select(account_snapshots).where(account_snapshots.c.session == session)).first()
    return None if row is None else AccountSnapshot(*row)


def record_snapshot(
    connection: Connection,
    marks: Mapping[str, Mark],
    session: date,
    *,
    at: datetime,
    rates: Rates | None = None,
) -> bool:
    """Store the positions and the account at ``session``'s close; says whether anything changed.

    Raises what `value_account` raises.
    """
    books = balances(connection, until=session)
    snapshot, held = _valued(connection, books, marks, session, rates)
    if stored_snapshot(connection, session) == snapshot:
        return False
    rows = [
        {
            "session": session,
            "symbol": one.holding.symbol,
            "quantity": one.holding.quantity,
            "cost": one.cost,
            "price": one.price,
            "price_session": one.price_session,
            "market_value": one.market_value,
            "unrealised_pnl": one.unrealised_pnl,
            "realised_pnl": one.realised_pnl,
            "commission": one.commission,
        }
        for one in held
    ]
    connection.execute(delete(positions).where(positions.c.session == session))
    connection.execute(delete(account_snapshots).where(account_snapshots.c.session == session))
    if rows:
        connection.execute(positions.insert(), rows)
    connection.execute(account_snapshots.insert().values(**_content(snapshot)))
    payload: dict[str, object] = {"equity": snapshot.equity, "cash": snapshot.cash}
    used = {code: rate for code, rate in sorted((rates or {}).items()) if code in books.currencies}
    if used:
        payload["rates"] = used
    key = snapshot_key(snapshot)
    audit.append(connection, key, "snapshot", actor="desk", at=at, session=session, payload=payload)
    return True


def snapshot_key(snapshot: AccountSnapshot) -> str:
    """The key of the audit row of a snapshot with this content; it says the rates that were used."""
    return f"snapshot:{snapshot.session}:{audit.digest([_content(snapshot)])[:12]}"


def _content(snapshot: AccountSnapshot) -> dict[str, object]:
    return {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}


def _mark(marks: Mapping[str, Mark], symbol: str, session: date) -> Mark:
    if symbol not in marks:
        raise BooksError(f"{symbol} is held but has no price up to {session}: its value is unknown, no order is made")
    return marks[symbol]

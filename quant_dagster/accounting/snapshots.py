"""End-of-session snapshots: positions marked to the session's closes, and the account's equity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, delete, func, select

from quant_dagster.accounting.books import ZERO, balances
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
    """The account at a session's close, in its currency."""

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


def value_account(connection: Connection, marks: Mapping[str, Mark], session: date) -> AccountSnapshot:
    """The account at ``session``'s close, from the postings up to it, valued at ``marks``; nothing is stored.

    Raises
    ------
    BooksError
        A held symbol has no mark: its value is unknown, and unknown is unsafe.
    """
    books = balances(connection, until=session)
    values: dict[str, Decimal] = {}
    unrealised = ZERO
    for symbol, holding in books.holdings.items():
        if not holding.quantity:
            continue
        values[symbol] = money(holding.quantity * _mark(marks, symbol, session).price)
        unrealised += values[symbol] - holding.cost
    market_value = sum(values.values(), ZERO)
    equity = books.cash + market_value
    peak = connection.execute(
        select(func.max(account_snapshots.c.peak_equity)).where(account_snapshots.c.session < session)
    ).scalar()
    return AccountSnapshot(
        session=session,
        cash=books.cash,
        market_value=market_value,
        equity=equity,
        gross_exposure=sum((abs(value) for value in values.values()), ZERO),
        net_exposure=market_value,
        realised_pnl=books.realised_pnl,
        unrealised_pnl=unrealised,
        commission=books.commission,
        peak_equity=max(equity, peak if peak is not None else books.capital),
    )


def stored_snapshot(connection: Connection, session: date) -> AccountSnapshot | None:
    """The account as it was recorded at ``session``'s close; None when it was not."""
    row = connection.execute(select(account_snapshots).where(account_snapshots.c.session == session)).first()
    return None if row is None else AccountSnapshot(*row)


def record_snapshot(connection: Connection, marks: Mapping[str, Mark], session: date, *, at: datetime) -> bool:
    """Store the positions and the account at ``session``'s close; says whether anything changed."""
    snapshot = value_account(connection, marks, session)
    if stored_snapshot(connection, session) == snapshot:
        return False
    rows = []
    for symbol, holding in sorted(balances(connection, until=session).holdings.items()):
        mark = _mark(marks, symbol, session)
        value = money(holding.quantity * mark.price)
        rows.append(
            {
                "session": session,
                "symbol": symbol,
                "quantity": holding.quantity,
                "cost": holding.cost,
                "price": mark.price,
                "price_session": mark.session,
                "market_value": value,
                "unrealised_pnl": value - holding.cost,
                "realised_pnl": holding.realised_pnl,
                "commission": holding.commission,
            }
        )
    connection.execute(delete(positions).where(positions.c.session == session))
    connection.execute(delete(account_snapshots).where(account_snapshots.c.session == session))
    if rows:
        connection.execute(positions.insert(), rows)
    content = {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}
    connection.execute(account_snapshots.insert().values(**content))
    key = f"snapshot:{session}:{audit.digest([content])[:12]}"
    payload = {"equity": snapshot.equity, "cash": snapshot.cash}
    audit.append(connection, key, "snapshot", actor="desk", at=at, session=session, payload=payload)
    return True


def _mark(marks: Mapping[str, Mark], symbol: str, session: date) -> Mark:
    if symbol not in marks:
        raise BooksError(f"{symbol} is held but has no price up to {session}: its value is unknown, no order is made")
    return marks[symbol]

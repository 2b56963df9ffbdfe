"""Money that comes, goes, earns interest or changes its currency: each booked once, under a reference.

``currency`` None is the account's everywhere. Amounts are positive unless said otherwise.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.accounting.postings import Account, Line, post
from quant_dagster.errors import BooksError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import postings
from quant_dagster.storage.types import money


def deposit(
    connection: Connection,
    amount: Decimal,
    *,
    session: date,
    at: datetime,
    reference: str,
    currency: str | None = None,
    actor: str = "desk",
) -> bool:
    """Book a deposit once per ``reference``; says whether it was booked."""
    lines = _pair(Account.CASH, Account.CAPITAL, amount, currency)
    return _once(connection, "deposit", reference, lines, session, at, actor, _money(amount, currency))


def withdraw(
    connection: Connection,
    amount: Decimal,
    *,
    session: date,
    at: datetime,
    reference: str,
    currency: str | None = None,
    actor: str = "desk",
) -> bool:
    """Book a withdrawal once per ``reference``; says whether it was booked."""
    if amount <= 0:
        raise BooksError(f"withdrawal {reference} of {amount}: an amount above zero leaves the account")
    lines = _pair(Account.CASH, Account.CAPITAL, -amount, currency)
    return _once(connection, "withdrawal", reference, lines, session, at, actor, _money(amount, currency))


def interest(
    connection: Connection,
    amount: Decimal,
    *,
    session: date,
    at: datetime,
    reference: str,
    currency: str | None = None,
    actor: str = "desk",
) -> bool:
    """Book interest received (negative: paid) once per ``reference``; says whether it was booked."""
    lines = _pair(Account.CASH, Account.INTEREST, amount, currency)
    return _once(connection, "interest", reference, lines, session, at, actor, _money(amount, currency))


def adjust_cash(
    connection: Connection,
    amount: Decimal,
    *,
    session: date,
    at: datetime,
    reference: str,
    actor: str,
    reason: str,
    currency: str | None = None,
) -> bool:
    """Book what a person enters to agree with the broker (signed) once per ``reference``."""
    lines = _pair(Account.CASH, Account.ADJUSTMENT, amount, currency)
    payload = _money(amount, currency) | {"reason": reason}
    return _once(connection, "cash_adjustment", reference, lines, session, at, actor, payload)


def exchange(
    connection: Connection,
    bought: Decimal,
    *,
    currency: str | None,
    rate: Decimal,
    against: str | None,
    session: date,
    at: datetime,
    reference: str,
    actor: str = "desk",
) -> bool:
    """Book a purchase of ``bought`` units of ``currency`` for ``against`` at ``rate``, once per ``reference``.

    The other side in both currencies is the trading account: what it is worth at later rates is what the conversion
    has earned or lost (Selinger, Tutorial on multiple currency accounting, 2005).

    Parameters
    ----------
    rate
        Units of ``against`` for one of ``currency``; a sale is a negative ``bought``.

    Raises
    ------
    BooksError
        The two currencies are one, or the rate is not above zero.
    """
    if currency == against or rate <= 0:
        raise BooksError(f"exchange {reference}: {currency} for {against} at {rate} is no exchange of currencies")
    paid = money(money(bought) * rate)
    lines = [
        Line(Account.CASH, money(bought), currency=currency),
        Line(Account.FX_TRADING, -money(bought), currency=currency),
        Line(Account.CASH, -paid, currency=against),
        Line(Account.FX_TRADING, paid, currency=against),
    ]
    payload = {"bought": money(bought), "currency": currency, "rate": rate, "paid": paid, "against": against}
    return _once(connection, "exchange", reference, lines, session, at, actor, payload)


def _pair(account: Account, other: Account, amount: Decimal, currency: str | None) -> list[Line]:
    return [Line(account, money(amount), currency=currency), Line(other, -money(amount), currency=currency)]


def _money(amount: Decimal, currency: str | None) -> dict[str, Any]:
    return {"amount": money(amount)} | ({} if currency is None else {"currency": currency})


def _once(
    connection: Connection,
    kind: str,
    reference: str,
    lines: list[Line],
    session: date,
    at: datetime,
    actor: str,
    payload: dict[str, Any],
) -> bool:
    transaction_id = f"{kind}:{reference}"
    if connection.execute(select(postings.c.line).where(postings.c.transaction_id == transaction_id)).first():
        return False
    post(connection, transaction_id, lines, session=session, at=at)
    audit.append(connection, transaction_id, kind, actor=actor, at=at, session=session, payload=payload)
    return True

"""Our side of the comparison, read from the ledger."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import ZERO, Account
from quant_dagster.accounting.events import Dividend, events_of
from quant_dagster.execution import order_log
from quant_dagster.execution.reconciliation.compare import Ours
from quant_dagster.storage.ledger_tables import postings


def whole_books(connection: Connection, currency: str, *, dividends_since: date | None = None) -> Ours:
    """Everything the books hold: what a real account must agree with.

    Parameters
    ----------
    currency
        Code of the account's currency.
    dividends_since
        Dividends with an ex-date from this day on may not have been paid yet.
    """
    state = books.balances(connection)
    fills = books.fills_of(connection)
    cash = {currency: state.cash} | state.foreign_cash
    unpaid = []
    if dividends_since is not None:
        for events in events_of(connection).values():
            for event in events:
                if isinstance(event, Dividend) and event.session >= dividends_since:
                    unpaid.append((event.session, *_paid(connection, event, currency)))
    return Ours(
        orders=order_log.with_status(connection, order_log.OPEN),
        fills={fill.execution_id: fill for fill in fills},
        positions={symbol: one.quantity for symbol, one in state.holdings.items() if one.quantity},
        cash=cash,
        unpaid=[(code, amount) for _, code, amount in sorted(unpaid)],
    )


def traded_books(connection: Connection, currency: str, opening_cash: Decimal) -> Ours:
    """What a simulated venue must agree with: positions, and the cash that fills alone come to, for it knows neither of
    deposits and dividends nor of what shorts cost."""
    fills = books.fills_of(connection)
    cash = {currency: opening_cash}
    for fill in fills:
        _add(cash, fill.currency or currency, -fill.signed_quantity * fill.price)
        _add(cash, fill.commission_currency or currency, -fill.commission)
    return Ours(
        orders=order_log.with_status(connection, order_log.OPEN),
        fills={fill.execution_id: fill for fill in fills},
        positions={symbol: one.quantity for symbol, one in books.balances(connection).holdings.items() if one.quantity},
        cash=cash,
    )


def _add(cash: dict[str, Decimal], code: str, amount: Decimal) -> None:
    cash[code] = cash.get(code, ZERO) + amount


def _paid(connection: Connection, dividend: Dividend, base: str) -> tuple[str, Decimal]:
    query = select(postings.c.currency, func.sum(postings.c.amount)).where(
        postings.c.transaction_id == dividend.transaction_id, postings.c.account == Account.CASH.value
    )
    row = connection.execute(query.group_by(postings.c.currency)).first()
    return (base, ZERO) if row is None else (row[0] or base, row[1])

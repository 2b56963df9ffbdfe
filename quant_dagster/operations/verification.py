"""Is the ledger right? Books against fills, orders against events, snapshots against postings, schema against code."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, func, select

from quant_dagster.accounting import books
from quant_dagster.execution import order_log, verdicts
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import (
    account_snapshots,
    cycles,
    decisions,
    fills,
    order_events,
    orders,
    positions,
    postings,
)


@dataclass(frozen=True)
class LedgerReport:
    """What was checked and every problem found."""

    counts: dict[str, int]
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.problems


def verify_ledger(ledger: Ledger) -> LedgerReport:
    """Check that books balance, positions are the sum of fills, orders are their events and were approved."""
    ledger.require_current()
    with ledger.read() as connection:
        tables = (cycles, decisions, orders, order_events, fills, postings, account_snapshots)
        counts = {t.name: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in tables}
        problems = [
            *books.problems(connection),
            *order_log.problems(connection),
            *_fills_against_orders(connection),
            *verdicts.problems(connection),
            *_snapshots_against_postings(connection),
        ]
    return LedgerReport(counts, tuple(problems))


def _fills_against_orders(connection: Connection) -> list[str]:
    filled = dict(
        connection.execute(
            select(fills.c.client_order_id, func.sum(fills.c.quantity)).group_by(fills.c.client_order_id)
        ).all()
    )
    found = []
    for order_id, quantity in connection.execute(select(orders.c.client_order_id, orders.c.filled_quantity)):
        booked = filled.pop(order_id, Decimal(0))
        if booked != quantity:
            found.append(f"order {order_id}: filled {quantity} by its events, {booked} by the booked fills")
    return found + [f"fills of order {order_id} have no order" for order_id in filled]


def _snapshots_against_postings(connection: Connection) -> list[str]:
    """Every snapshot's cash and quantities must be what the postings up to its session say."""
    found = []
    for row in connection.execute(select(account_snapshots).order_by(account_snapshots.c.session)):
        cash = connection.execute(
            select(func.coalesce(func.sum(postings.c.amount), 0)).where(
                postings.c.account == books.Account.CASH.value, postings.c.session <= row.session
            )
        ).scalar_one()
        if cash != row.cash:
            found.append(f"snapshot {row.session}: cash {row.cash}, the postings say {cash}")
        if row.equity != row.cash + row.market_value:
            found.append(f"snapshot {row.session}: equity {row.equity} is not cash plus market value")
        held = dict(
            connection.execute(
                select(postings.c.symbol, func.sum(postings.c.quantity))
                .where(postings.c.symbol.is_not(None), postings.c.session <= row.session)
                .group_by(postings.c.symbol)
            ).all()
        )
        stored = dict(
            connection.execute(
                select(positions.c.symbol, positions.c.quantity).where(positions.c.session == row.session)
            ).all()
        )
        for symbol in sorted(set(held) | set(stored)):
            if held.get(symbol, Decimal(0)) != stored.get(symbol, Decimal(0)):
                found.append(f"snapshot {row.session}: {symbol} {stored.get(symbol)}, the fills say {held.get(symbol)}")
    return found

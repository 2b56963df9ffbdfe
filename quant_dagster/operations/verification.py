"""Is the ledger right? Books against fills, orders against events, snapshots against postings, schema against code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, func, select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot, snapshot_key
from quant_dagster.errors import BooksError
from quant_dagster.execution import foreign, order_log, verdicts
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.reconciliation.breaks import BreakKind, BreakState
from quant_dagster.execution.reconciliation.record import open_breaks
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import (
    account_snapshots,
    audit_log,
    cycles,
    decisions,
    fills,
    order_events,
    orders,
    positions,
    postings,
    reconciliation_breaks,
)


@dataclass(frozen=True)
class LedgerReport:
    """What was checked and every problem found.

    ``open_items`` wait for a person (breaks with the broker, orders and executions of nobody): the ledger is sound all
    the same.
    """

    counts: dict[str, int]
    problems: tuple[str, ...]
    open_items: tuple[str, ...] = ()

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
            *parent_log.problems(connection),
            *_fills_against_orders(connection),
            *verdicts.problems(connection),
            *_snapshots_against_postings(connection),
            *_concluded_breaks(connection),
        ]
        waiting = _open_items(connection)
    return LedgerReport(counts, tuple(problems), tuple(waiting))


def _open_items(connection: Connection) -> list[str]:
    found = [
        f"{one['kind']} {one['reference']} ({one['symbol']}) at broker '{one['broker']}' belongs to nothing of ours"
        for one in foreign.unresolved(connection)
    ]
    return found + [f"broker '{one['broker']}': {one['detail']}" for one in open_breaks(connection)]


def _concluded_breaks(connection: Connection) -> list[str]:
    """A break that was balanced was balanced by a posting or a correction, and every conclusion is in the audit log."""
    found = []
    closed = select(reconciliation_breaks).where(reconciliation_breaks.c.state != BreakState.OPEN.value)
    posted = set(
        connection.execute(
            select(postings.c.transaction_id).where(postings.c.account == books.Account.ADJUSTMENT.value)
        ).scalars()
    )
    for row in connection.execute(closed):
        key = f"break:{row.break_id}:{row.state}"
        if not connection.execute(select(audit_log.c.sequence).where(audit_log.c.event_key == key)).first():
            found.append(f"break {row.break_id} ({row.detail}) is {row.state}, and no audit row says who did it")
        entry = {
            BreakKind.POSITION.value: f"adjustment:{row.symbol}:{row.break_id}",
            BreakKind.CASH.value: f"cash_adjustment:{row.break_id}",
        }.get(row.kind)
        if row.state == BreakState.BALANCED and entry is not None and entry not in posted:
            found.append(f"break {row.break_id} ({row.detail}) is balanced, and transaction {entry} is not there")
    return found


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
    """Every snapshot's cash and quantities must be what the postings up to its session said when it was taken.

    A correction of a past session is posted to that session, and the snapshots of then stay what was known then.
    """
    found = []
    for row in connection.execute(select(account_snapshots).order_by(account_snapshots.c.session)):
        known = _taken_at(connection, row)
        try:
            cash = books.balances(connection, until=row.session, known=known).total(
                books.Account.CASH, _rates(connection, row)
            )
        except BooksError as error:
            found.append(f"snapshot {row.session}: {error}")
            continue
        if cash != row.cash:
            found.append(f"snapshot {row.session}: cash {row.cash}, the postings say {cash}")
        if row.equity != row.cash + row.market_value:
            found.append(f"snapshot {row.session}: equity {row.equity} is not cash plus market value")
        held = dict(
            connection.execute(
                select(postings.c.symbol, func.sum(postings.c.quantity))
                .where(
                    postings.c.symbol.is_not(None), postings.c.session <= row.session, postings.c.recorded_at <= known
                )
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


def _taken_at(connection: Connection, row: Row[Any]) -> datetime:
    """When a snapshot was taken, from its audit row; the end of time where there is none, which is found elsewhere."""
    taken = connection.execute(select(audit_log.c.recorded_at).where(audit_log.c.event_key == _key(row))).scalar()
    return taken or datetime.max.replace(tzinfo=UTC)


def _key(row: Row[Any]) -> str:
    names = AccountSnapshot.__dataclass_fields__
    return snapshot_key(AccountSnapshot(**{name: getattr(row, name) for name in names}))


def _rates(connection: Connection, row: Row[Any]) -> dict[str, Decimal]:
    """The rates a snapshot was taken at, from its audit row."""
    key = _key(row)
    payload = connection.execute(select(audit_log.c.payload).where(audit_log.c.event_key == key)).scalar()
    said = {} if payload is None else json.loads(payload).get("rates", {})
    return {code: Decimal(rate) for code, rate in said.items()}

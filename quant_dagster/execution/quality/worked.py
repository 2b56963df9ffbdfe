"""What is measured: an order sent whole, or an algorithm's order with all its slices, as the ledger knows it.

Belongs here: reading orders, parent orders, their events and fills. Does not: measuring them (``measurement``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Table, select

from quant_dagster.accounting.books import ZERO, Fill, Side
from quant_dagster.accounting.fills import CHUNK, fill_of
from quant_dagster.execution.algorithms.parents import ParentState
from quant_dagster.execution.orders import RESTATEMENTS, OrderEventKind, OrderStatus
from quant_dagster.storage.ledger_tables import fills, order_events, orders, parent_events, parent_orders

WHOLE = "whole"
"""The algorithm of an order that was sent as it is."""

ESTIMATE = "estimated_bps"
"""Key in the payload of the event that approved an order: what the model said it would cost."""

_Row = dict[str, Any]
_NOT_OF_THE_MARKET = {OrderEventKind.APPROVED, OrderEventKind.SUBMITTING, *RESTATEMENTS}


@dataclass(frozen=True)
class WorkedOrder:
    """An order and everything that came of it.

    Attributes
    ----------
    decided
        Session of the decision.
    session
        The last in which anything happened to it in the market; of one to which nothing did, ``first_session``.
    first_session
        The first it could have been in.
    starts_at, ends_at
        When it came to the market, and when an algorithm was to be done with it; None: nobody knows.
    status
        Of an order its status, of an algorithm's order its state.
    is_over
        Nothing more of it can fill.
    broker
        Whom it was sent to; None: to nobody.
    estimated_bps
        What it was expected to cost when it was made; None: nobody said.
    fills
        In the order they happened.
    """

    order_id: str
    decided: date
    session: date
    first_session: date
    symbol: str
    side: Side
    algorithm: str
    order_type: str
    ordered: Decimal
    decision_price: Decimal
    arrival_price: Decimal | None
    starts_at: datetime | None
    ends_at: datetime | None
    status: str
    is_over: bool
    broker: str | None
    estimated_bps: float | None
    fills: tuple[Fill, ...]

    @property
    def filled(self) -> Decimal:
        """Shares."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def paid(self) -> Decimal:
        """Sum of quantity times price."""
        return sum((fill.quantity * fill.price for fill in self.fills), ZERO)


def worked_orders(
    connection: Connection, session: date, *, previous: date, next_session: Callable[[date], date]
) -> list[WorkedOrder]:
    """Orders, and algorithms' orders, that were in the market of a session or could have been, by id.

    So are those of which an earlier execution was corrected in it: what they cost is another sum now.

    Parameters
    ----------
    previous
        The session before it: what was decided then comes to the market in this one.
    next_session
        The session after a day.
    """
    roots = _roots(connection, session, previous)
    parents = _rows(connection, parent_orders, "parent_id", roots)
    sent = _rows(connection, orders, "client_order_id", roots)
    sent += _rows(connection, orders, "parent_id", [row["parent_id"] for row in parents])
    ids = [row["client_order_id"] for row in sent]
    events = _grouped(_rows(connection, order_events, "client_order_id", ids), "client_order_id")
    filled = _grouped(_rows(connection, fills, "client_order_id", ids), "client_order_id")
    slices = _grouped([row for row in sent if row["parent_id"] is not None], "parent_id")
    approvals = _grouped(
        _rows(connection, parent_events, "parent_id", [row["parent_id"] for row in parents]), "parent_id"
    )

    found = []
    for row in [*(row for row in sent if row["parent_id"] is None), *parents]:
        is_parent = "algorithm" in row
        name = row["parent_id"] if is_parent else row["client_order_id"]
        own = slices.get(name, []) if is_parent else [row]
        happened = [event for child in own for event in events.get(child["client_order_id"], [])]
        booked = [one for child in own for one in filled.get(child["client_order_id"], [])]
        days = {one["session"] for one in booked}
        days |= {one["session"] for one in happened if one["kind"] not in _NOT_OF_THE_MARKET}
        days = {day for day in days if day > row["session"] or any(one["session"] == day for one in booked)}
        could_be = next_session(row["session"])
        days = days or {could_be}
        restated = {one["session"] for one in happened if one["kind"] in RESTATEMENTS}
        if session in days | restated:
            approval = approvals.get(name, []) if is_parent else happened
            span = min(*days, could_be), max(days)
            found.append(_worked(name, row, own, approval, happened, booked, span))
    return sorted(found, key=lambda one: one.order_id)


def _worked(
    name: str,
    row: _Row,
    own: Sequence[_Row],
    approval: Sequence[_Row],
    happened: Sequence[_Row],
    booked: Sequence[_Row],
    span: tuple[date, date],
) -> WorkedOrder:
    is_parent = "algorithm" in row
    brokers = [one["payload"].get("broker") for one in happened if one["kind"] == OrderEventKind.SUBMITTING]
    placed = [(fill_of(one), one["sequence"]) for one in booked]
    executions = [fill for fill, sequence in sorted(placed, key=lambda one: one[0].place(one[1])) if fill.quantity]
    over = all(OrderStatus(one["status"]).is_final for one in own)
    if is_parent:
        over = over and ParentState(row["state"]).is_final
    estimate = approval[0]["payload"].get(ESTIMATE) if approval else None
    return WorkedOrder(
        order_id=name,
        decided=row["session"],
        session=span[1],
        first_session=span[0],
        symbol=row["symbol"],
        side=Side(row["side"]),
        algorithm=row["algorithm"] if is_parent else WHOLE,
        order_type=own[0]["order_type"] if own else "none",
        ordered=row["quantity"],
        decision_price=row["decision_price"],
        arrival_price=row["arrival_price"],
        starts_at=row["starts_at"] if is_parent else row["sent_at"],
        ends_at=row["ends_at"] if is_parent else None,
        status=row["state"] if is_parent else row["status"],
        is_over=over,
        broker=brokers[-1] if brokers else None,
        estimated_bps=None if estimate is None else float(estimate),
        fills=tuple(executions),
    )


def _roots(connection: Connection, session: date, previous: date) -> list[str]:
    """Ids of the orders, and of the parents of those slices, that have anything to do with a session."""
    columns = select(orders.c.client_order_id, orders.c.parent_id)
    queries = [columns.where(orders.c.session == previous)]
    for source in (order_events, fills):
        touched = select(source.c.client_order_id).where(source.c.session == session)
        queries.append(columns.where(orders.c.client_order_id.in_(touched)))
    found = {parent or order for query in queries for order, parent in connection.execute(query)}
    decided = select(parent_orders.c.parent_id).where(parent_orders.c.session == previous)
    return sorted(found | set(connection.execute(decided).scalars()))


def _rows(connection: Connection, table: Table, column: str, values: Iterable[str]) -> list[_Row]:
    """Rows with any of these values, in the order of the table's key."""
    found: list[_Row] = []
    wanted = sorted(set(values))
    for first in range(0, len(wanted), CHUNK):
        query = select(table).where(table.c[column].in_(wanted[first : first + CHUNK]))
        found += [dict(row) for row in connection.execute(query.order_by(*table.primary_key.columns)).mappings()]
    return found


def _grouped(rows: Iterable[_Row], column: str) -> dict[str, list[_Row]]:
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return groups

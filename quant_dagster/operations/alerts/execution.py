"""What people should hear of execution: breaks, what nobody ordered, overfills, lost connections, a silent daemon.

Each alert has a key of its own, so that it is told once however often it is looked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from quant_dagster.cycle.handover import DAEMON, STOPPED
from quant_dagster.execution import foreign
from quant_dagster.execution.algorithms.parents import ParentEventKind, ParentState
from quant_dagster.execution.connection_log import Outage, outages
from quant_dagster.execution.orders import OrderEventKind
from quant_dagster.execution.reconciliation.breaks import BreakKind
from quant_dagster.execution.reconciliation.record import open_breaks
from quant_dagster.operations.alerts.notifications import Alert, Severity, untold
from quant_dagster.storage.ledger_tables import (
    audit_log,
    heartbeats,
    order_events,
    orders,
    parent_events,
    parent_orders,
)
from quant_dagster.storage.types import plain

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

NEWEST = 50
"""Newest rows of each kind that are looked at."""
LONG_OUTAGE = timedelta(minutes=5)
"""A connection that is away for less is nobody's business: gateways restart once a day."""
DEADLINE = "deadline"
"""Reason of a cancellation: the order was over its deadline."""
_ORDER_SESSIONS = 5


def execution_alerts(context: TradingContext) -> list[Alert]:
    """Everything that was not told yet, what waits for a person first."""
    now = context.ledger.now()
    with context.ledger.read() as connection:
        alerts = [break_alert(row) for row in open_breaks(connection)]
        alerts += [unknown_alert(row) for row in foreign.unresolved(connection)]
        alerts += _overfills(connection)
        alerts += _paused_parents(connection)
        alerts += _daemon(connection, now, context.settings.execution.dead_man_seconds)
        alerts += [_outage_alert(one, now) for one in outages(connection) if one.lasted(now) > LONG_OUTAGE]
        alerts += _deadlines(connection, context.calendar.latest_completed(now))
        return untold(connection, alerts)


def break_alert(row: Mapping[str, Any]) -> Alert:
    """The books and the broker do not agree on something."""
    cash = row["kind"] == BreakKind.CASH
    about = row["symbol"] or row["reference"]
    follows = "Nothing is traded until" if cash else f"{about} is not traded until"
    if row["kind"] == BreakKind.COMMISSION:
        follows = "Trading goes on; it stays open until"
    return Alert(
        key=f"break:{row['break_id']}",
        severity=Severity.CRITICAL if cash else Severity.ERROR,
        title=f"break with broker '{row['broker']}': {row['kind']} of {about}",
        details=(
            f"the books say {row['ours']}, the broker says {row['theirs']}",
            row["detail"],
            f"{follows} a person has looked: 'quant broker propose {row['break_id']}'",
        ),
    )


def unknown_alert(row: Mapping[str, Any]) -> Alert:
    """Something works, or was executed, at a broker under no order of ours."""
    price = "" if row["price"] is None else f" at {plain(row['price'])}"
    return Alert(
        key=f"unknown:{row['broker']}:{row['kind']}:{row['reference']}",
        severity=Severity.ERROR,
        title=f"unknown {row['kind']} at broker '{row['broker']}': "
        f"{row['side']} {plain(row['quantity'])} {row['symbol']}{price}",
        details=(
            f"{row['kind']} {row['reference']}: {row['detail'].get('reason', 'no order of ours')}",
            f"{row['symbol']} is locked. 'quant broker unknown' lists it, 'quant broker settle-unknown' decides",
        ),
    )


def _outage_alert(outage: Outage, now: datetime) -> Alert:
    minutes = outage.lasted(now).total_seconds() / 60
    lasts = outage.ended is None
    times = f"since {outage.began:%Y-%m-%d %H:%M:%S %Z}" + (
        "" if outage.ended is None else f" until {outage.ended:%H:%M:%S}"
    )
    return Alert(
        key=f"connection:{outage.broker}:{outage.began.isoformat()}",
        severity=Severity.ERROR if lasts else Severity.WARNING,
        title=f"broker '{outage.broker}' {'has been' if lasts else 'was'} away for {minutes:.0f} minutes",
        details=(
            outage.reason,
            times,
            "Nothing is sent meanwhile; fills of that time are booked when it is back. 'quant broker status'",
        ),
    )


def _overfills(connection: Connection) -> list[Alert]:
    query = (
        select(order_events.c.sequence, order_events.c.payload, *orders.c)
        .join(orders)
        .where(order_events.c.kind == OrderEventKind.OVERFILLED.value)
        .order_by(order_events.c.recorded_at.desc(), order_events.c.client_order_id)
        .limit(NEWEST)
    )
    return [
        Alert(
            key=f"overfill:{row.client_order_id}:{row.sequence}",
            severity=Severity.ERROR,
            title=f"more was executed than was ordered: {plain(row.filled_quantity)} of {plain(row.quantity)} "
            f"{row.symbol}",
            details=(
                f"order {row.client_order_id} ({row.side}), execution {row.payload.get('execution_id')}",
                f"The shares are in the books and {row.symbol} is locked: ask the broker, then 'quant data quarantine'",
            ),
        )
        for row in reversed(connection.execute(query).all())
    ]


def _paused_parents(connection: Connection) -> list[Alert]:
    """Algorithms' orders that the gate stopped; one a person has paused is no news."""
    query = (
        select(parent_orders, parent_events.c.sequence, parent_events.c.payload)
        .join(parent_events)
        .where(
            parent_orders.c.state == ParentState.PAUSED.value,
            parent_events.c.kind == ParentEventKind.PAUSED.value,
            parent_events.c.sequence == parent_orders.c.events,
        )
        .order_by(parent_orders.c.created_at, parent_orders.c.parent_id)
    )
    rows = connection.execute(query).all()
    by_gate = _audited_by(connection, [f"parent:{row.parent_id}:{row.sequence}" for row in rows])
    return [
        Alert(
            key=f"parent_paused:{row.parent_id}:{row.sequence}",
            severity=Severity.WARNING,
            title=f"{row.algorithm} {row.side} {plain(row.quantity)} {row.symbol} is paused by the risk gate",
            details=(
                row.payload.get("reason", ""),
                f"'quant order resume {row.parent_id}' goes on, 'quant order cancel {row.parent_id}' ends it",
            ),
        )
        for row in rows
        if by_gate.get(f"parent:{row.parent_id}:{row.sequence}") == "risk"
    ]


def _audited_by(connection: Connection, keys: list[str]) -> dict[str, str]:
    query = select(audit_log.c.event_key, audit_log.c.actor).where(audit_log.c.event_key.in_(keys))
    return {row.event_key: row.actor for row in connection.execute(query)}


def _daemon(connection: Connection, now: datetime, longest: float) -> list[Alert]:
    """The trading daemon is silent, ended by an error, or the dead man's switch took over from it."""
    row = connection.execute(select(heartbeats).where(heartbeats.c.name == DAEMON)).first()
    if row is None:
        return []
    silence = (now - row.beat_at).total_seconds()
    key, seen = f"daemon:{row.beat_at.isoformat()}", f"last sign of life {row.beat_at:%Y-%m-%d %H:%M:%S %Z}"
    if row.state != STOPPED and silence > longest:
        hint = "'quant trade --watch' cancels what it left working, 'quant trade' starts it again"
        title = f"the trading daemon gives no sign of life ({longest:g} s are allowed)"
        return [Alert(key, Severity.CRITICAL, title, (seen, f"it was: {row.detail}", hint))]
    if row.state == STOPPED and "silent" in row.detail:
        hint = "What worked was cancelled. 'quant broker status' and 'quant control show' say how things are"
        return [Alert(key, Severity.CRITICAL, "the dead man's switch took over from the trading daemon",
                      (row.detail, hint))]  # fmt: skip
    if row.state == STOPPED and row.detail == "an error":
        hint = "'quant trade' starts it again and asks the broker what happened meanwhile"
        return [Alert(key, Severity.ERROR, "the trading daemon was ended by an error", (seen, hint))]
    return []


def _deadlines(connection: Connection, over: date) -> list[Alert]:
    """One digest of each session that is over, of the orders whose rest was cancelled at the deadline."""
    newest = select(orders.c.session).distinct().order_by(orders.c.session.desc()).limit(_ORDER_SESSIONS)
    query = (
        select(order_events.c.session.label("day"), order_events.c.payload, *orders.c)
        .join(orders)
        .where(
            orders.c.session.in_(newest),
            order_events.c.kind.in_((OrderEventKind.PENDING_CANCEL.value, OrderEventKind.CANCELED.value)),
            order_events.c.session <= over,
        )
        .order_by(orders.c.symbol, orders.c.client_order_id)
    )
    sessions: dict[date, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(query):
        if row.payload.get("reason") == DEADLINE:
            filled = f"{plain(row.filled_quantity)} of {plain(row.quantity)} filled"
            sessions[row.day][row.client_order_id] = f"{row.side} {row.symbol}: {filled} ({row.client_order_id})"
    return [
        Alert(
            key=f"deadline:{session}",
            severity=Severity.WARNING if len(lines) > 1 else Severity.INFO,
            title=f"{len(lines)} order{'s' if len(lines) > 1 else ''} of {session} cancelled at the deadline",
            details=tuple(lines.values()),
        )
        for session, lines in sorted(sessions.items())
    ]

"""What a broker knows and the ledger does not: orders and executions under no order of ours.

Nothing of it is lost and nothing of it is booked by guess: it is written down, its instrument is locked, people are
told, and a person (or, for orders, the policy ``execution.orphans``) decides.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.broker import BrokerOrder, Execution
from quant_dagster.market_data import quarantine
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import broker_quarantine as table

ACTOR = "broker"


def keep_execution(connection: Connection, broker: str, execution: Execution, reason: str, *, at: datetime) -> bool:
    """Write an execution down that belongs to no order; False when it is there already."""
    detail = {
        "client_order_id": execution.client_order_id,
        "broker_order_id": execution.broker_order_id,
        "correction": execution.correction,
        "commission": None if execution.commission is None else str(execution.commission),
        "executed_at": None if execution.executed_at is None else execution.executed_at.isoformat(),
        "session": execution.session.isoformat(),
        "reason": reason,
    }
    return _keep(
        connection, broker, "execution", execution.execution_id, execution.symbol, execution.side, execution.quantity,
        execution.price, detail, execution.session, at,
    )  # fmt: skip


def keep_order(
    connection: Connection, broker: str, order: BrokerOrder, reason: str, *, session: date, at: datetime
) -> bool:
    """Write a working order down that is not the ledger's; False when it is there already."""
    detail = {
        "client_order_id": order.client_order_id,
        "filled_quantity": str(order.filled_quantity),
        "order_type": order.order_type,
        "reason": reason,
    }
    reference = order.broker_order_id or order.client_order_id
    return _keep(
        connection, broker, "order", reference, order.symbol, order.side, order.quantity, order.limit_price, detail,
        session, at,
    )  # fmt: skip


def resolve(
    connection: Connection, broker: str, kind: str, reference: str, *, state: str, actor: str, at: datetime
) -> None:
    """Conclude what was written down: ``adopted``, ``cancelled`` or ``dismissed``. The instrument stays locked.

    Raises
    ------
    OrderError
        There is nothing open under that reference.
    """
    key = (table.c.broker == broker, table.c.kind == kind, table.c.reference == reference)
    row = connection.execute(select(table).where(*key, table.c.state == "quarantined")).first()
    if row is None:
        raise OrderError(
            f"broker '{broker}' has no {kind} {reference} in quarantine; 'quant broker unknown' lists them"
        )
    connection.execute(table.update().where(*key).values(state=state, resolved_at=at, resolved_by=actor))
    payload = {"broker": broker, "kind": kind, "reference": reference, "state": state, "symbol": row.symbol}
    event = f"foreign:{broker}:{kind}:{reference}:{state}"
    audit.append(connection, event, "unknown_resolved", actor=actor, at=at, payload=payload)


def resolve_order(
    connection: Connection, broker: str, one: BrokerOrder, *, state: str, actor: str, at: datetime
) -> None:
    """Say what became of an order in quarantine. See `resolve`."""
    resolve(connection, broker, "order", one.broker_order_id or one.client_order_id, state=state, actor=actor, at=at)


def unresolved(connection: Connection, broker: str | None = None) -> list[dict[str, Any]]:
    """Everything that waits for a decision, oldest first."""
    query = select(table).where(table.c.state == "quarantined").order_by(table.c.recorded_at, table.c.reference)
    if broker is not None:
        query = query.where(table.c.broker == broker)
    return [dict(row) for row in connection.execute(query).mappings()]


def _keep(
    connection: Connection,
    broker: str,
    kind: str,
    reference: str,
    symbol: str,
    side: Side,
    quantity: Decimal,
    price: Decimal | None,
    detail: dict[str, Any],
    session: date,
    at: datetime,
) -> bool:
    row = {
        "broker": broker,
        "kind": kind,
        "reference": reference,
        "symbol": symbol,
        "side": side.value,
        "quantity": quantity,
        "price": price,
        "detail": detail,
        "state": "quarantined",
        "recorded_at": at,
    }
    if not insert_new(connection, table, row):
        return False
    payload = {name: row[name] for name in ("broker", "kind", "reference", "symbol", "side", "quantity", "detail")}
    key = f"foreign:{broker}:{kind}:{reference}"
    audit.append(connection, key, f"unknown_{kind}", actor=ACTOR, at=at, session=session, payload=payload)
    said = f"{kind} {reference} at broker '{broker}' ({side} {quantity}): {detail['reason']}"
    quarantine.place(connection, symbol, session, said, actor=ACTOR, at=at)
    return True

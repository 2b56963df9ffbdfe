"""The risk gate's verdicts in the ledger: one row each, with every check; no order is sent without its own."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import Order
from quant_dagster.risk.gate import Outcome, RiskDecision
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import risk_events


def record(connection: Connection, verdict: RiskDecision, *, cycle_id: str | None, at: datetime) -> None:
    """Write a verdict down; the same one twice is one row."""
    intent = verdict.intent
    row = {
        "event_id": f"risk:{intent.client_order_id}",
        "cycle_id": cycle_id,
        "origin": intent.origin.value,
        "session": intent.session,
        "symbol": intent.symbol,
        "outcome": verdict.outcome.value,
        "requested_quantity": intent.quantity,
        "approved_quantity": verdict.approved_quantity,
        "reasons": list(verdict.reasons),
        "checks": [
            {"code": c.code, "verdict": c.verdict.value, "value": _rounded(c.value), "limit": _rounded(c.limit)}
            for c in verdict.checks
        ],
        "recorded_at": at,
    }
    insert_new(connection, risk_events, row)


def require(connection: Connection, order: Order) -> None:
    """Raise `OrderError` unless the gate approved this order, of this symbol, for at least its quantity."""
    query = select(risk_events).where(risk_events.c.event_id == f"risk:{order.client_order_id}")
    row = connection.execute(query).first()
    approved = (
        row is not None
        and row.outcome != Outcome.REJECTED
        and row.symbol == order.symbol
        and row.approved_quantity >= order.quantity
    )
    if not approved:
        raise OrderError(
            f"order {order.client_order_id} ({order.side} {order.quantity} {order.symbol}) has no approval of the risk "
            "gate in the ledger: it is not sent; 'quant verify ledger' says what else does not fit"
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 12)

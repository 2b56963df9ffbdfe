"""The risk gate's verdicts in the ledger: one row each, with every check; no order is sent without its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, literal, select

from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import Order
from quant_dagster.risk.gate import Outcome, RiskDecision
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import orders, risk_events


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


def vouch(connection: Connection, order: Order, *, actor: str, at: datetime) -> None:
    """Write down that ``actor`` stands for an order whose verdict the ledger has lost; it was sent long ago."""
    row = {
        "event_id": f"risk:{order.client_order_id}",
        "cycle_id": None,
        "origin": order.origin,
        "session": order.session,
        "symbol": order.symbol,
        "outcome": Outcome.APPROVED.value,
        "requested_quantity": order.quantity,
        "approved_quantity": order.quantity,
        "reasons": [f"adopted:{actor}"],
        "checks": [],
        "recorded_at": at,
    }
    insert_new(connection, risk_events, row)


def require(connection: Connection, order: Order) -> None:
    """Raise `OrderError` unless the gate approved this order, of this symbol, for at least its quantity."""
    if found := _unapproved(connection.execute(_OF_ONE, {"order_id": order.client_order_id}).one()):
        raise OrderError(found)


def problems(connection: Connection) -> list[str]:
    """Orders the gate did not approve, or not for as much; one sentence each."""
    return [found for row in connection.execute(_beside_verdicts()) if (found := _unapproved(row)) is not None]


def _beside_verdicts() -> Select[Any]:
    verdict = risk_events.c.event_id == literal("risk:") + orders.c.client_order_id
    return select(
        orders.c.client_order_id,
        orders.c.side,
        orders.c.quantity,
        orders.c.symbol,
        risk_events.c.outcome,
        risk_events.c.symbol.label("approved_symbol"),
        risk_events.c.approved_quantity,
    ).select_from(orders.outerjoin(risk_events, verdict))


_LET_THROUGH = frozenset(outcome.value for outcome in Outcome if outcome is not Outcome.REJECTED)
"""A word that the gate does not say is no approval."""
_OF_ONE = _beside_verdicts().where(orders.c.client_order_id == bindparam("order_id"))
"""Made once: it is asked twice before every order."""


def _unapproved(row: Row[Any]) -> str | None:
    approved = (
        row.outcome in _LET_THROUGH and row.approved_symbol == row.symbol and row.approved_quantity >= row.quantity
    )
    if approved:
        return None
    return (
        f"order {row.client_order_id} ({row.side} {row.quantity} {row.symbol}) has no approval of the risk "
        "gate in the ledger: it is not sent; 'quant verify ledger' says what else does not fit"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 12)

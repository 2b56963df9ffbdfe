"""Taking up an order that works at the broker and that the ledger does not have: what a restored ledger lost.

It was approved and sent by a desk of ours, or its id would not be one of ours. A person (or the policy) vouches for
it in place of the risk gate's lost verdict, and that is what is written down.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from quant_dagster.execution import foreign, order_log, verdicts
from quant_dagster.execution.broker import BrokerOrder
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind
from quant_dagster.risk.gate import Origin
from quant_dagster.storage.types import money

STRATEGY = "adopted"


def adopt_order(
    connection: Connection, broker: str, one: BrokerOrder, *, session: date, actor: str, at: datetime
) -> Order:
    """Give the ledger the order as the broker works it; its executions can be booked from then on.

    Raises
    ------
    OrderError
        It is not in quarantine.
    """
    order = Order(
        client_order_id=one.client_order_id,
        decision_id=None,
        strategy=STRATEGY,
        session=session,
        symbol=one.symbol,
        side=one.side,
        quantity=one.quantity,
        order_type=one.order_type,
        time_in_force="day",
        decision_price=money(one.limit_price or Decimal(0)),
        created_at=at,
        origin=Origin.COMMAND.value,
        limit_price=one.limit_price,
    )
    verdicts.vouch(connection, order, actor=actor, at=at)
    order_log.adopt(connection, order, actor=actor, at=at)
    for kind in (OrderEventKind.SUBMITTING, OrderEventKind.ACCEPTED):
        payload = {"broker": broker, "broker_order_id": one.broker_order_id, "recovered": f"adopted by {actor}"}
        order_log.record(connection, OrderEvent(one.client_order_id, kind, session, payload), actor="desk", at=at)
    foreign.resolve_order(connection, broker, one, state="adopted", actor=actor, at=at)
    for row in foreign.unresolved(connection, broker):  # what it had executed is booked under it from now on
        if row["kind"] == "execution" and row["detail"]["client_order_id"] == one.client_order_id:
            foreign.resolve(connection, broker, "execution", row["reference"], state="adopted", actor=actor, at=at)
    return order_log.get(connection, one.client_order_id)

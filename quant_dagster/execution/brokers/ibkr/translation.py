"""Our orders as the library's fields, and the broker's executions as ours. Pure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import Execution
from quant_dagster.execution.brokers.ibkr.contracts import Qualified
from quant_dagster.execution.brokers.ibkr.hearing import NAME
from quant_dagster.execution.brokers.ibkr.wire import CommissionMessage, ExecutionMessage
from quant_dagster.execution.orders import Order

TYPES = {"market": "MKT", "limit": "LMT", "stop": "STP"}
_REDUCE_WITH_BLOCK = 2
"""One-cancels-all: a fill shrinks the others in proportion, and only one of the group is at the exchange at a time."""


def order_fields(
    order: Order, contract: Qualified, *, quantity: Decimal, limit_price: Decimal | None, group: str, account: str
) -> dict[str, Any] | str:
    """The order as the library takes it, or why it cannot be one."""
    kind, tif = TYPES.get(order.order_type), {"day": "DAY", "gtc": "GTC"}.get(order.time_in_force)
    if kind is None or tif is None:
        return f"order type '{order.order_type}', time in force '{order.time_in_force}' are not supported"
    if order.stop_price is not None:
        kind = "STP"
    if quantity <= 0:
        return f"quantity {quantity} is not above zero"
    fields: dict[str, Any] = {
        "action": "BUY" if order.side is Side.BUY else "SELL",
        "totalQuantity": int(quantity) if quantity == quantity.to_integral_value() else float(quantity),
        "orderType": kind,
        "tif": tif,
        "account": account,
        "orderRef": order.client_order_id,
        "outsideRth": False,
        "transmit": True,
    }
    if group:
        fields |= {"ocaGroup": group, "ocaType": _REDUCE_WITH_BLOCK}
    price = {"LMT": limit_price, "STP": order.stop_price}.get(kind)
    if kind != "MKT":
        if price is None or price <= 0:
            return f"a {order.order_type} order needs a price above zero, not {price}"
        fields["lmtPrice" if kind == "LMT" else "auxPrice"] = float(contract.passive(price, buy=order.side is Side.BUY))
    return fields


def execution_of(message: ExecutionMessage, cost: CommissionMessage | None, *, symbol: str, session: date) -> Execution:
    """An execution as the desk takes it; ``cost`` is None until the broker has said it."""
    return Execution(
        execution_id=message.key,
        client_order_id=message.reference,
        symbol=symbol,
        side=message.side,
        quantity=message.quantity,
        price=message.price,
        session=session,
        commission=None if cost is None else cost.commission,
        correction=message.correction,
        executed_at=message.executed_at,
        currency=message.contract.currency or None,
        commission_currency=cost.currency or None if cost is not None else None,
        broker_order_id=str(message.order_number) if message.order_number else "",
        provenance={
            "broker": NAME,
            "execution": message.execution_id,
            "permanent_id": message.perm_id,
            "account": message.account,
            "client_id": message.client_id,
            "exchange": message.exchange,
            "liquidation": message.liquidation,
            "last_liquidity": message.last_liquidity,
            "cumulative_quantity": message.cumulative_quantity,
            "average_price": message.average_price,
            "time": message.time,
        },
    )

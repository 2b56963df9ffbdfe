"""What the risk gate has to know of the account: what is held, what is on order, what the session has done so far."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.execution import order_log
from quant_dagster.risk.gate import PortfolioView, WorkingOrder
from quant_dagster.storage.ledger_tables import orders


def portfolio_view(connection: Connection, account: AccountSnapshot, session: date) -> PortfolioView:
    """The account as orders of ``session`` are checked against it; every order that may still fill counts."""
    made = connection.execute(select(orders).where(orders.c.session == session)).mappings().all()
    ordered: dict[str, float] = defaultdict(float)
    for order in made:
        if order["stop_price"] is None:
            ordered[order["symbol"]] += float(order["quantity"])
    return PortfolioView(
        cash=float(account.cash),
        equity=float(account.equity),
        held={s: float(h.quantity) for s, h in books.balances(connection).holdings.items() if h.quantity},
        working=[
            WorkingOrder(
                order.symbol,
                order.side,
                float(order.remaining),
                reduce_only=bool(order.reduce_only),
                stop=order.stop_price is not None,
            )
            for order in order_log.with_status(connection, order_log.OPEN)
        ],
        order_ids=frozenset(order["client_order_id"] for order in made),
        orders_made=len(made),
        turnover=sum(float(o["quantity"] * o["decision_price"]) for o in made if o["stop_price"] is None),
        ordered=dict(ordered),
        drawdown=float(account.drawdown),
    )

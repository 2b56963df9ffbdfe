"""What the risk gate has to know of the account: what is held, what is on order, what the session has done so far.

An order that an algorithm works counts once: as a whole from its approval on, whatever of it has been sliced so far.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, select

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parents import ParentOrder
from quant_dagster.risk.gate import PortfolioView, WorkingOrder
from quant_dagster.storage.ledger_tables import orders

Slicing = tuple[str, Decimal] | None
"""A parent order's id and the shares of the slice that is being checked."""


@dataclass(frozen=True)
class _Unsliced:
    """A parent order as the gate counts it: what of it may still be sliced, and the shares it stands for."""

    parent: ParentOrder
    left: Decimal
    counted: Decimal
    is_sliced_now: bool


def portfolio_view(
    connection: Connection, account: AccountSnapshot, session: date, slicing: Slicing = None
) -> PortfolioView:
    """The account as orders of ``session`` are checked against it; every order that may still fill counts."""
    made = connection.execute(select(orders).where(orders.c.session == session)).mappings().all()
    parents = _parents(connection, session, slicing)
    own = [one for one in parents if one.parent.session == session]
    ordered: dict[str, float] = defaultdict(float)
    turnover = 0.0
    for order in made:
        if order["stop_price"] is None and order["parent_id"] is None:
            ordered[order["symbol"]] += float(order["quantity"])
            turnover += float(order["quantity"] * order["decision_price"])
    for one in own:
        ordered[one.parent.symbol] += float(one.counted)
        turnover += float(one.counted * one.parent.decision_price)
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
        ]
        + [
            WorkingOrder(one.parent.symbol, one.parent.side, float(one.left), reduce_only=bool(one.parent.reduce_only))
            for one in parents
            if one.left > 0
        ],
        order_ids=frozenset({order["client_order_id"] for order in made} | {one.parent.parent_id for one in own}),
        orders_made=sum(order["parent_id"] is None for order in made) + sum(not one.is_sliced_now for one in own),
        turnover=turnover,
        ordered=dict(ordered),
        drawdown=float(account.drawdown),
    )


def _parents(connection: Connection, session: date, slicing: Slicing) -> list[_Unsliced]:
    """Parent orders at work or of the session; of one that is over what its slices filled counts, nothing is left."""
    known = {
        one.parent_id: one for one in (*parent_log.with_state(connection), *parent_log.of_session(connection, session))
    }
    found = []
    for parent in known.values():
        progress = parent_log.progress(connection, parent)
        open_one = parent.state is None or not parent.state.is_final
        being_cut = slicing[1] if slicing is not None and slicing[0] == parent.parent_id else Decimal(0)
        left = parent.quantity - progress.claimed - being_cut if open_one else Decimal(0)
        counted = (parent.quantity if open_one else progress.claimed) - being_cut
        found.append(_Unsliced(parent, left, counted, being_cut > 0))
    return found

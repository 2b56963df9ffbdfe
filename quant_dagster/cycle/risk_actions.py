"""Automatic actions at work: what they want, less what is held, becomes orders through the gate, until it is so.

Orders of actions may only reduce. An action is done when positions are what it wanted, not when orders were sent; what
an order has not closed is tried again in the next session, and after ``risk.actions.attempts`` sessions the control
mode goes to EMERGENCY and people are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.cycle.account_watch import held_positions, newest_valued
from quant_dagster.cycle.gatekeeping import Gatekeeper, closing_instant
from quant_dagster.cycle.handover import connected, handed_over, submit_to_broker
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parents import ParentEvent, ParentEventKind, ParentOrder
from quant_dagster.execution.broker import RemoteBroker
from quant_dagster.execution.orders import Order, client_order_id
from quant_dagster.risk import actions
from quant_dagster.risk.actions import ActionKind, ActionState, RiskAction
from quant_dagster.risk.control import ControlMode, current, escalate
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.risk.permission import enforce_kill, read_permission
from quant_dagster.settings import Settings
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

ZERO = Decimal(0)
PREFIX = "risk:"
"""Strategy name of an action's orders: this and the action's id."""


@dataclass(frozen=True)
class Acted:
    """What one pass did: orders withdrawn, made and sent, and every action that is still at work afterwards."""

    session: date
    mode: ControlMode
    withdrawn: int = 0
    made: int = 0
    sent: int = 0
    working: tuple[RiskAction, ...] = ()
    refused: tuple[str, ...] = field(default=())


def act(context: TradingContext, session: date | None = None) -> Acted:
    """Do now what is to be done: obey kill conditions, flatten in an emergency, carry on every action at work.

    Repeating it changes nothing until the market has moved on.

    Parameters
    ----------
    session
        Whose closes orders are made on; default: the newest the account was valued at.

    Raises
    ------
    RiskError
        What may be traded cannot be told: nothing was ordered.
    """
    from quant_dagster.cycle.inputs import approval_inputs
    from quant_dagster.cycle.session_data import SessionData

    settings = context.settings
    context.open_ledger()
    enforce_kill(context.ledger, settings, context.home)
    chosen = session or newest_valued(context)
    mode = read_permission(context.ledger, settings, context.home).mode
    data = SessionData(context, chosen)
    if mode is ControlMode.EMERGENCY:
        with context.ledger.write() as connection:
            request_flat(connection, context, chosen, data.prices(connection))
    withdrawn = withdraw(context, chosen, mode)
    with context.ledger.read() as connection:
        pending = actions.working(connection)
    if not pending:
        return Acted(chosen, mode, withdrawn)
    inputs = approval_inputs(context, chosen, data.panel)
    with context.ledger.write() as connection:
        now = context.ledger.now()
        at, account = closing_instant(context.calendar, chosen), data.value(connection)
        gate = Gatekeeper(connection, settings, inputs, account, decided_at=at, now=now)
        made = advance(connection, gate, settings, chosen, now)
        left = tuple(actions.working(connection))
    sent = 0 if handed_over(context) else _submit(context, chosen)
    approved = [verdict for verdict in made if verdict.outcome is not Outcome.REJECTED]
    refused = [f"{v.intent.symbol}: {', '.join(v.reasons)}" for v in made if v.outcome is Outcome.REJECTED]
    return Acted(chosen, mode, withdrawn, len(approved), sent, left, tuple(refused))


def something_to_do(context: TradingContext) -> bool:
    """Is there anything `act` would do? Cheap enough to be asked every second."""
    settings = context.settings
    mode = read_permission(context.ledger, settings, context.home).mode
    with context.ledger.read() as connection:
        held = {s: h.quantity for s, h in books.balances(connection).holdings.items()}
        pending = actions.working(connection)
        open_orders = order_log.with_status(connection, order_log.OPEN)
        if _unwanted_parents(connection, mode):
            return True
    if mode is ControlMode.EMERGENCY and any(held.values()) and not pending:
        return True
    if any(_unwanted(order, held.get(order.symbol, ZERO), pending, mode) for order in open_orders):
        return True
    return any(_can_go_on(action, held, open_orders) for action in pending)


def _can_go_on(action: RiskAction, held: Mapping[str, Decimal], open_orders: list[Order]) -> bool:
    """Has the market moved on since the action was last carried on?"""
    mine = [order for order in open_orders if order.strategy == PREFIX + action.action_id]
    if any(order.stop_price is None for order in mine):
        return False
    missing = [*_closing(action, held), *_stops(action, held, open_orders)]
    return not missing or not action.tried


def request_flat(
    connection: Connection, context: TradingContext, session: date, prices: Mapping[str, Decimal]
) -> str | None:
    """In an emergency everything held is to be closed: once for each time the mode was set to it."""
    state = current(connection)
    held = held_positions(connection, context, session, prices)
    if not held:
        return None
    since = state.since.isoformat() if state.since is not None else "never"
    return actions.request(
        connection,
        ActionKind.CLOSE_ALL,
        held,
        trigger=f"control:{state.mode.name}:{since}",
        actor=state.actor,
        reason=state.reason,
        at=context.ledger.now(),
    )


def withdraw(context: TradingContext, session: date, mode: ControlMode) -> int:
    """Cancel the working orders that an emergency or an action does not want; returns how many are cancelled.

    An order that an algorithm works is cancelled with them: what is left of it must not be sliced when all is over.
    """
    _stop_algorithms(context, mode)
    with context.ledger.read() as connection:
        held = {s: h.quantity for s, h in books.balances(connection).holdings.items()}
        pending = actions.working(connection)
        unwanted = [
            order
            for order in order_log.with_status(connection, order_log.OPEN)
            if _unwanted(order, held.get(order.symbol, ZERO), pending, mode)
        ]
    ids = [order.client_order_id for order in unwanted]
    if not ids or handed_over(context):
        return 0  # the daemon sees the same, within a second
    if context.desk.holder is not None:
        return context.desk.cancel(ids, session, reason="risk_action")
    with connected(context):
        return context.desk.cancel(ids, session, reason="risk_action")


def advance(
    connection: Connection, gate: Gatekeeper, settings: Settings, session: date, now: datetime
) -> list[RiskDecision]:
    """Make the orders that actions at work still need, and conclude those that are done or have failed too often.

    Call it in the transaction that decides a session, before anything else is decided.
    """
    made: list[RiskDecision] = []
    if gate.permission.mode is ControlMode.PAUSE:
        return made  # nothing is ordered; they wait
    for action in actions.working(connection):
        open_orders = order_log.with_status(connection, order_log.OPEN)
        held = {s: h.quantity for s, h in books.balances(connection).holdings.items() if h.quantity}
        mine = [order for order in open_orders if order.strategy == PREFIX + action.action_id]
        if any(order.stop_price is None for order in mine):
            continue  # on its way
        wanted = [*_closing(action, held), *_stops(action, held, open_orders)]
        if not wanted:
            if action.kind is not ActionKind.CANCEL_ORDERS or not _to_cancel(action, open_orders):
                actions.conclude(connection, action, ActionState.DONE, reason="positions are as wanted", at=now)
            continue
        if session in action.tried:
            continue
        if len(action.tried) >= settings.risk.actions.attempts:
            left = ", ".join(f"{symbol} {quantity}" for symbol, quantity, _ in wanted)
            reason = f"{action.kind} could not be carried out in {len(action.tried)} sessions; left to do: {left}"
            actions.conclude(connection, action, ActionState.ESCALATED, reason=reason, at=now)
            escalate(connection, ControlMode.EMERGENCY, actor=f"action:{action.action_id}", reason=reason, at=now)
            continue
        for symbol, quantity, stop in wanted:
            verdict = _order(connection, gate, settings, action, session, symbol, quantity, stop, now)
            made += [verdict] if verdict is not None else []
        actions.attempted(connection, action, session)
    return made


def _stop_algorithms(context: TradingContext, mode: ControlMode) -> None:
    with context.ledger.read() as connection:
        unwanted = _unwanted_parents(connection, mode)
    if not unwanted:
        return
    with context.ledger.write() as connection:
        for parent in _unwanted_parents(connection, mode):
            event = ParentEvent(parent.parent_id, ParentEventKind.CANCELLED, {"reason": "risk_action"})
            parent_log.record(connection, event, actor="risk", at=context.ledger.now())


def _unwanted_parents(connection: Connection, mode: ControlMode) -> list[ParentOrder]:
    """Algorithms' orders that open, in an emergency or of a symbol that an action wants smaller or left alone."""
    pending = actions.working(connection)
    return [
        parent
        for parent in parent_log.with_state(connection)
        if not parent.reduce_only
        and (
            mode is ControlMode.EMERGENCY
            or any(parent.symbol in action.quantities for action in pending)
            or any(
                action.kind is ActionKind.CANCEL_ORDERS
                and action.symbol in (None, parent.symbol)
                and parent.created_at <= action.requested_at
                for action in pending
            )
        )
    ]


def _submit(context: TradingContext, session: date) -> int:
    if isinstance(context.broker, RemoteBroker) and context.desk.holder is None:
        return submit_to_broker(context, session).sent
    return context.desk.submit(session).sent


# -- parts ------------------------------------------------------------------------------------------------------------

Wanted = tuple[str, Decimal, Decimal | None]
"""Symbol, signed shares to trade, price of the stop or None."""


def _closing(action: RiskAction, held: Mapping[str, Decimal]) -> list[Wanted]:
    return [(symbol, quantity, None) for symbol, quantity in action.missing(held).items()]


def _stops(action: RiskAction, held: Mapping[str, Decimal], open_orders: list[Order]) -> list[Wanted]:
    """Stops that are not there yet: none that is as tight covers the whole position."""
    found: list[Wanted] = []
    for symbol, price in sorted(action.stops.items()):
        position = held.get(symbol, ZERO)
        there = [
            order
            for order in open_orders
            if order.symbol == symbol
            and order.stop_price is not None
            and not _looser(order, price)
            and order.remaining >= abs(position)
        ]
        if position and not there:
            found.append((symbol, -position, price))
    return found


def _order(
    connection: Connection,
    gate: Gatekeeper,
    settings: Settings,
    action: RiskAction,
    session: date,
    symbol: str,
    quantity: Decimal,
    stop: Decimal | None,
    now: datetime,
) -> RiskDecision | None:
    facts = gate.facts.get(symbol)
    if facts is None:
        return None  # without a price there is no order; it counts as an attempt
    intent = OrderIntent(
        client_order_id=client_order_id(PREFIX + action.action_id, session, symbol, f"{action.kind}:{stop or ''}"),
        decision_id=None,
        strategy=PREFIX + action.action_id,
        session=session,
        symbol=symbol,
        side=Side.BUY if quantity > 0 else Side.SELL,
        quantity=abs(quantity),
        decision_price=money(facts.price),
        origin=Origin.ACTION,
        reduce_only=True,
        stop_price=stop,
    )
    verdict = gate.check(intent)
    verdicts.record(connection, verdict, cycle_id=None, at=now)
    if verdict.outcome is not Outcome.REJECTED:
        order_log.create(
            connection,
            verdict,
            order_type="market" if stop is None else "stop",
            time_in_force=settings.execution.time_in_force if stop is None else "gtc",
            at=now,
        )
    return verdict


def _unwanted(order: Order, held: Decimal, pending: list[RiskAction], mode: ControlMode) -> bool:
    opens = not order.reduce_only
    if mode is ControlMode.EMERGENCY and opens:
        return True
    if order.stop_price is not None and not held:
        return True  # nothing is left to protect
    for action in pending:
        if opens and order.symbol in action.quantities:
            return True
        if order in _to_cancel(action, [order]):
            return True
        stop = action.stops.get(order.symbol)
        if stop is not None and order.stop_price is not None and _looser(order, stop):
            return True
    return False


def _to_cancel(action: RiskAction, open_orders: list[Order]) -> list[Order]:
    """Orders that an action wants withdrawn: those that were made before it, stops and its fellows apart."""
    if action.kind is not ActionKind.CANCEL_ORDERS:
        return []
    return [
        order
        for order in open_orders
        if order.created_at <= action.requested_at
        and order.stop_price is None
        and order.origin != Origin.ACTION
        and action.symbol in (None, order.symbol)
    ]


def _looser(order: Order, price: Decimal) -> bool:
    """Is the stop further from the market than ``price``?"""
    return order.stop_price is not None and order.side.sign * (order.stop_price - price) > 0

"""Automatic actions: close all, close one, halve, reduce, tighten or place stops, withdraw orders.

An action is written down once per trigger with the positions and stops it wants, so that the same trigger again asks
for nothing more: half of half is never taken. What is still to be done is the difference between what it wants and
what is held; orders for it go through the gate, and may only reduce. Here: the wish and its record. Not here: making
the orders (``cycle.risk_actions``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.errors import RiskError
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import risk_actions

ZERO = Decimal(0)


class ActionKind(StrEnum):
    """What can be asked for."""

    CLOSE_ALL = "close_all"
    CLOSE_SYMBOL = "close_symbol"
    HALVE = "halve"
    REDUCE_TO = "reduce_to"
    TIGHTEN_STOPS = "tighten_stops"
    PLACE_STOP = "place_stop"
    MOVE_STOP = "move_stop"
    CANCEL_ORDERS = "cancel_orders"


class ActionState(StrEnum):
    """How far an action has come."""

    WORKING = "working"
    DONE = "done"
    ESCALATED = "escalated"


@dataclass(frozen=True)
class RiskAction:
    """An action and what it wants: signed shares per symbol, stop prices per symbol, orders withdrawn.

    ``tried`` are the sessions in which orders were made for it.
    """

    action_id: str
    kind: ActionKind
    symbol: str | None
    trigger: str
    actor: str
    reason: str
    quantities: Mapping[str, Decimal]
    stops: Mapping[str, Decimal]
    state: ActionState
    tried: tuple[date, ...]
    requested_at: datetime
    concluded_at: datetime | None = None

    def missing(self, held: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Signed shares to trade per symbol until positions are no larger than wanted; only what shrinks them."""
        found = {}
        for symbol, target in sorted(self.quantities.items()):
            position = held.get(symbol, ZERO)
            if position * target < 0:
                target = ZERO  # turned around since: what is held now was not wanted
            if abs(position) > abs(target):
                found[symbol] = target - position
        return found


@dataclass(frozen=True)
class Held:
    """A position an action is about: signed shares, its price and the grid that orders for it lie on."""

    quantity: Decimal
    price: Decimal
    lot: Decimal = Decimal(1)
    tick: Decimal = Decimal("0.01")


def request(
    connection: Connection,
    kind: ActionKind,
    held: Mapping[str, Held],
    *,
    trigger: str,
    actor: str,
    reason: str,
    at: datetime,
    symbol: str | None = None,
    quantity: Decimal | None = None,
    price: Decimal | None = None,
    distance: Decimal = ZERO,
) -> str | None:
    """Ask for an action, once per ``trigger``, kind and symbol; returns its id if it is new, None if it was known.

    Parameters
    ----------
    held
        Everything held now.
    symbol
        What it is about; None: everything held.
    quantity
        Signed shares to be left with, for ``reduce_to``.
    price
        Of the stop, for ``place_stop`` and ``move_stop``.
    distance
        Of stops from prices, as a fraction, for ``tighten_stops``.

    Raises
    ------
    RiskError
        A kind that needs a symbol, a quantity or a price was asked for without it.
    """
    chosen = {name: one for name, one in held.items() if one.quantity and symbol in (None, name)}
    quantities: dict[str, Decimal] = {}
    stops: dict[str, Decimal] = {}
    match kind:
        case ActionKind.CLOSE_ALL | ActionKind.CLOSE_SYMBOL:
            quantities = dict.fromkeys(chosen, ZERO)
        case ActionKind.HALVE:
            quantities = {name: _lots(one.quantity / 2, one.lot) for name, one in chosen.items()}
        case ActionKind.REDUCE_TO:
            if symbol is None or quantity is None:
                raise RiskError("an action 'reduce_to' needs a symbol and the quantity to be left with")
            quantities = dict.fromkeys(chosen, quantity)
        case ActionKind.TIGHTEN_STOPS:
            stops = {name: _stop(one, distance) for name, one in chosen.items()}
        case ActionKind.PLACE_STOP | ActionKind.MOVE_STOP:
            if symbol is None or price is None:
                raise RiskError(f"an action '{kind}' needs a symbol and the price of the stop")
            stops = dict.fromkeys(chosen, price)
        case ActionKind.CANCEL_ORDERS:
            pass
    action_id = hashlib.sha256("|".join((trigger, kind, symbol or "*", str(price or ""))).encode()).hexdigest()[:24]
    row = {
        "action_id": action_id,
        "kind": kind.value,
        "symbol": symbol,
        "trigger": trigger,
        "actor": actor,
        "reason": reason,
        "targets": {
            "quantities": {name: str(target) for name, target in quantities.items()},
            "stops": {name: str(stop) for name, stop in stops.items()},
            "tried": [],
        },
        "state": ActionState.WORKING.value,
        "attempts": 0,
        "requested_at": at,
        "concluded_at": None,
    }
    if not insert_new(connection, risk_actions, row):
        return None
    payload = {"kind": kind.value, "trigger": trigger, "reason": reason, "targets": row["targets"]}
    audit.append(connection, f"risk_action:{action_id}", "risk_action", actor=actor, at=at, payload=payload)
    return action_id


def working(connection: Connection) -> list[RiskAction]:
    """Actions that are not concluded, oldest first."""
    query = select(risk_actions).where(risk_actions.c.state == ActionState.WORKING.value)
    return [_action(row) for row in connection.execute(query.order_by(*_ORDER)).mappings()]


def every(connection: Connection) -> list[RiskAction]:
    """All actions there were, oldest first."""
    return [_action(row) for row in connection.execute(select(risk_actions).order_by(*_ORDER)).mappings()]


def attempted(connection: Connection, action: RiskAction, session: date) -> None:
    """Orders were made for it in ``session``."""
    row = connection.execute(select(risk_actions).where(risk_actions.c.action_id == action.action_id)).one()
    tried = sorted({*row.targets["tried"], session.isoformat()})
    connection.execute(
        risk_actions.update()
        .where(risk_actions.c.action_id == action.action_id)
        .values(targets=row.targets | {"tried": tried}, attempts=len(tried))
    )


def conclude(connection: Connection, action: RiskAction, state: ActionState, *, reason: str, at: datetime) -> None:
    """End an action, once."""
    changed = connection.execute(
        risk_actions.update()
        .where(risk_actions.c.action_id == action.action_id, risk_actions.c.state == ActionState.WORKING.value)
        .values(state=state.value, concluded_at=at)
    ).rowcount
    if changed:
        key = f"risk_action:{action.action_id}:{state.value}"
        payload = {"reason": reason, "attempts": len(action.tried)}
        audit.append(connection, key, f"risk_action_{state.value}", actor="risk", at=at, payload=payload)


_ORDER = (risk_actions.c.requested_at, risk_actions.c.action_id)


def _stop(one: Held, distance: Decimal) -> Decimal:
    """A stop price ``distance`` away from the price on the losing side, on the tick grid, towards the price."""
    sign = 1 if one.quantity > 0 else -1
    away = (one.price * distance / one.tick).to_integral_value(ROUND_DOWN) * one.tick
    return ((one.price / one.tick).to_integral_value(ROUND_DOWN) * one.tick) - sign * away


def _lots(quantity: Decimal, lot: Decimal) -> Decimal:
    """``quantity`` in whole lots, nearer to zero."""
    return (quantity / lot).to_integral_value(ROUND_DOWN) * lot


def _action(row: Any) -> RiskAction:
    """Raises `RiskError` for a row that cannot be read: what is to be done is then unknown, and so unsafe."""
    try:
        return RiskAction(
            action_id=row["action_id"],
            kind=ActionKind(row["kind"]),
            symbol=row["symbol"],
            trigger=row["trigger"],
            actor=row["actor"],
            reason=row["reason"],
            quantities={name: Decimal(value) for name, value in row["targets"]["quantities"].items()},
            stops={name: Decimal(value) for name, value in row["targets"]["stops"].items()},
            state=ActionState(row["state"]),
            tried=tuple(date.fromisoformat(day) for day in row["targets"]["tried"]),
            requested_at=row["requested_at"],
            concluded_at=row["concluded_at"],
        )
    except (ValueError, ArithmeticError, KeyError, TypeError) as error:
        raise RiskError(f"risk action {row['action_id']} in the ledger cannot be read: no new orders") from error

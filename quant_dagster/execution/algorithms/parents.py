"""The state machine of a parent order: one table of (state, event) -> state; what is not in it cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.orders import client_order_id


class Algorithm(StrEnum):
    """How a parent order is worked."""

    TWAP = "twap"
    VWAP = "vwap"
    POV = "pov"
    ICEBERG = "iceberg"
    ALMGREN_CHRISS = "almgren_chriss"

    @property
    def is_scheduled(self) -> bool:
        """Its slices are known before it starts; of the others each depends on what happened so far."""
        return self in _SCHEDULED


_SCHEDULED = frozenset({Algorithm.TWAP, Algorithm.VWAP, Algorithm.ALMGREN_CHRISS})


class ParentState(StrEnum):
    """Where a parent order stands."""

    APPROVED = "approved"
    WORKING = "working"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """No further slice is made. Slices made before may still fill."""
        return self in _FINAL


_FINAL = frozenset({ParentState.DONE, ParentState.CANCELLED})


class ParentEventKind(StrEnum):
    """What can happen to a parent order."""

    APPROVED = "approved"
    STARTED = "started"
    SLICED = "sliced"
    PAUSED = "paused"
    RESUMED = "resumed"
    COMPLETED = "completed"
    ENDED = "ended"
    CANCELLED = "cancelled"


S, E = ParentState, ParentEventKind

TRANSITIONS: dict[tuple[ParentState | None, ParentEventKind], ParentState] = {
    (None, E.APPROVED): S.APPROVED,
    (S.APPROVED, E.STARTED): S.WORKING,
    (S.APPROVED, E.CANCELLED): S.CANCELLED,  # withdrawn, or its session passed, before it was started
    (S.WORKING, E.SLICED): S.WORKING,
    (S.WORKING, E.PAUSED): S.PAUSED,
    (S.WORKING, E.COMPLETED): S.DONE,  # filled whole
    (S.WORKING, E.ENDED): S.DONE,  # its time is over, and what is not filled stays so
    (S.WORKING, E.CANCELLED): S.CANCELLED,
    (S.PAUSED, E.RESUMED): S.WORKING,
    (S.PAUSED, E.COMPLETED): S.DONE,  # the slices at the broker filled meanwhile
    (S.PAUSED, E.ENDED): S.DONE,
    (S.PAUSED, E.CANCELLED): S.CANCELLED,
}


@dataclass(frozen=True)
class ParentOrder:
    """A parent order and the projection of its events: the columns of ledger table ``parent_orders``.

    Prices in account currency, quantities in shares. It is worked from ``starts_at`` to before ``ends_at``, both None
    until it is started; ``parameters`` are the algorithm's (module ``parameters``) and never change.
    """

    parent_id: str
    decision_id: str | None
    strategy: str
    session: date
    symbol: str
    side: Side
    quantity: Decimal
    algorithm: Algorithm
    parameters: Mapping[str, Any]
    decision_price: Decimal
    created_at: datetime
    origin: str = "strategy"
    reduce_only: int = 0
    state: ParentState | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    arrival_price: Decimal | None = None
    events: int = 0


@dataclass(frozen=True)
class ParentEvent:
    """Something that happened to a parent order.

    ``STARTED`` carries starts_at, ends_at (ISO 8601 with offset) and arrival_price (None: unknown). ``SLICED`` carries
    number, client_order_id, quantity, and claimed: what earlier slices have filled or may still fill.
    """

    parent_id: str
    kind: ParentEventKind
    payload: dict[str, Any]


def child_order_id(parent: ParentOrder, number: int) -> str:
    """The client order id of a slice: the same for the same number, so that making it twice makes it once."""
    return client_order_id(parent.strategy, parent.session, parent.symbol, f"slice {number} of {parent.parent_id}")


def apply(parent: ParentOrder, event: ParentEvent) -> ParentOrder:
    """The parent order after an event.

    Raises
    ------
    OrderError
        The event is for another parent, is not legal in its state, would slice more than its quantity, or would start
        it over an interval that is none.
    """
    if event.parent_id != parent.parent_id:
        raise OrderError(f"event of parent order {event.parent_id} applied to parent order {parent.parent_id}")
    state = TRANSITIONS.get((parent.state, event.kind))
    if state is None:
        raise OrderError(
            f"parent order {parent.parent_id} ({parent.symbol}) is {parent.state or 'new'}: "
            f"'{event.kind}' cannot happen to it; nothing was recorded"
        )
    changed = replace(parent, state=state, events=parent.events + 1)
    if event.kind is E.SLICED:
        _require_room(parent, event)
    if event.kind is not E.STARTED:
        return changed
    starts_at, ends_at = (_instant(parent, event, name) for name in ("starts_at", "ends_at"))
    if ends_at <= starts_at:
        raise OrderError(f"parent order {parent.parent_id}: to be worked from {starts_at} to {ends_at}; not started")
    price = event.payload.get("arrival_price")
    return replace(
        changed, starts_at=starts_at, ends_at=ends_at, arrival_price=None if price is None else Decimal(price)
    )


def _require_room(parent: ParentOrder, event: ParentEvent) -> None:
    quantity, claimed = Decimal(event.payload["quantity"]), Decimal(event.payload["claimed"])
    if quantity <= 0 or claimed < 0 or claimed + quantity > parent.quantity:
        raise OrderError(
            f"parent order {parent.parent_id} ({parent.symbol}): a slice of {quantity} beside {claimed} filled or open "
            f"would make more than its {parent.quantity}, or nothing; nothing was recorded"
        )


def _instant(parent: ParentOrder, event: ParentEvent, name: str) -> datetime:
    instant = datetime.fromisoformat(event.payload[name])
    if instant.tzinfo is None:
        raise OrderError(f"parent order {parent.parent_id}: {name} {instant} has no time zone; not started")
    return instant

"""What happens to a position without a trade: splits, dividends, charges, and what a person adjusts.

An event is kept as the payload of its audit row, under the key that is also its transaction's id, so that the books
can be recomputed from fills and events, and a changed event breaks the chain.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import Connection, select

from quant_dagster.accounting.fills import CHUNK
from quant_dagster.errors import BooksError
from quant_dagster.storage.ledger_tables import audit_log, postings

FIRST, SECOND, LAST = 0, 1, 3
"""Where in its session an event stands; fills stand at 2."""


@dataclass(frozen=True)
class PositionEvent:
    """Something that happened to the holders of ``symbol`` in ``session``.

    ``reference`` tells events of one kind and symbol apart; the same reference is the same event.
    """

    kind: ClassVar[str]
    phase: ClassVar[int]

    symbol: str
    session: date
    reference: str

    @property
    def transaction_id(self) -> str:
        return f"{self.kind}:{self.symbol}:{self.reference}"

    def payload(self) -> dict[str, Any]:
        """What the audit log keeps of it: everything."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"event": self.kind}


@dataclass(frozen=True)
class Dividend(PositionEvent):
    """``per_share`` in the symbol's currency, for every share held before ``session``, the ex-date; a short pays."""

    kind = "dividend"
    phase = FIRST

    per_share: Decimal


@dataclass(frozen=True)
class Split(PositionEvent):
    """``numerator`` new shares for ``denominator`` old ones, before ``session`` trades; the cost stays.

    Fractions of a share are paid out at ``fraction_price`` (per new share); None: they are held.
    """

    kind = "split"
    phase = SECOND

    numerator: int
    denominator: int
    fraction_price: Decimal | None


@dataclass(frozen=True)
class Charge(PositionEvent):
    """What holding the position cost in ``session``: ``amount`` in the symbol's currency, such as a short's borrow."""

    kind = "borrow"
    phase = LAST

    amount: Decimal


@dataclass(frozen=True)
class CommissionAdjustment(PositionEvent):
    """Commission of the symbol's trades that no fill carries: ``amount`` more was paid."""

    kind = "commission"
    phase = LAST

    amount: Decimal


@dataclass(frozen=True)
class Adjustment(PositionEvent):
    """``quantity`` shares (signed) that a person adds to the position at ``price`` a share; no cash moves."""

    kind = "adjustment"
    phase = LAST

    quantity: Decimal
    price: Decimal


Event = Dividend | Split | Charge | CommissionAdjustment | Adjustment
_KINDS: dict[str, type[Event]] = {one.kind: one for one in (Dividend, Split, Charge, CommissionAdjustment, Adjustment)}


def is_booked(connection: Connection, event: Event) -> bool:
    """Is it in the books already?"""
    query = select(postings.c.line).where(postings.c.transaction_id == event.transaction_id)
    return connection.execute(query.limit(1)).first() is not None


def events_of(connection: Connection, symbols: Sequence[str] | None = None) -> dict[str, list[Event]]:
    """Booked events by symbol, in their order.

    Raises
    ------
    BooksError
        A transaction of an event has no audit row that says what it was.
    """
    found: dict[str, list[tuple[int, Event]]] = defaultdict(list)
    parts = [None] if symbols is None else [symbols[i : i + CHUNK] for i in range(0, len(symbols), CHUNK)]
    for part in parts:
        query = (
            select(postings.c.transaction_id, audit_log.c.sequence, audit_log.c.payload)
            .select_from(postings.outerjoin(audit_log, audit_log.c.event_key == postings.c.transaction_id))
            .where(postings.c.symbol.is_not(None), postings.c.execution_id.is_(None))
            .distinct()
        )
        if part is not None:
            query = query.where(postings.c.symbol.in_(part))
        for transaction_id, sequence, payload in connection.execute(query):
            if payload is None:
                raise BooksError(
                    f"transaction {transaction_id} has no audit row: nobody knows what it was; 'quant verify audit'"
                )
            event = _event(transaction_id, json.loads(payload))
            found[event.symbol].append((sequence, event))
    order = {symbol: sorted(events, key=lambda one: one[0]) for symbol, events in found.items()}
    return {symbol: [event for _, event in events] for symbol, events in order.items()}


def _event(transaction_id: str, payload: dict[str, Any]) -> Event:
    kind = _KINDS.get(payload.get("event", ""))
    if kind is None:
        raise BooksError(f"transaction {transaction_id} is of no kind these books know: {payload}")
    values: dict[str, Any] = {one.name: payload[one.name] for one in fields(kind)}
    for name in ("per_share", "fraction_price", "amount", "quantity", "price"):
        if values.get(name) is not None:
            values[name] = Decimal(values[name])
    return kind(**values | {"session": date.fromisoformat(values["session"])})

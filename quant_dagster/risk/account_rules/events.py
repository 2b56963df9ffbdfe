"""What the account rules see: fills, positions, quotes, the broker's word on the account, stops, and time passing.

Every event has a key that names it once for all (seen again under that key, it changes nothing) and the UTC time at
which it happened. Prices are per share or contract in the account's currency, a contract's multiplier included.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError

_POSITIVE = frozenset({"quantity", "price", "bid", "ask", "stop_price"})


@dataclass(frozen=True)
class Event:
    """Something that happened to the account.

    Raises
    ------
    RiskError
        The time is not an aware UTC time, a number is not finite, or a price or quantity is not positive.
    """

    key: str
    at: datetime

    def __post_init__(self) -> None:
        if self.at.utcoffset() != timedelta(0):
            raise RiskError(f"account event '{self.key}': its time {self.at} is not in UTC")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Decimal) and (not value.is_finite() or (field.name in _POSITIVE and value <= 0)):
                raise RiskError(f"account event '{self.key}': {field.name} is {value}; it was not recorded")


@dataclass(frozen=True)
class FillEvent(Event):
    """An execution, as the books have it.

    ``realised_pnl`` is what it added to realised P&L, net of its commission (for a correction: the difference);
    ``position`` and ``entry_price`` are the signed position and its average cost per share after it. Fills of one
    ``order_id`` are one trade.
    """

    symbol: str
    order_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    realised_pnl: Decimal
    position: Decimal
    entry_price: Decimal

    @property
    def closes(self) -> bool:
        """Whether it closed some of a position: the position before it was on the other side."""
        before = self.position - self.side.sign * self.quantity
        return before * self.side.sign < 0


@dataclass(frozen=True)
class PositionEvent(Event):
    """What the books say is held, for positions whose fills the rules did not see: signed, at average cost."""

    symbol: str
    position: Decimal
    entry_price: Decimal
    price: Decimal


@dataclass(frozen=True)
class QuoteEvent(Event):
    """A price. Where bid and ask are known, a long is valued at the bid and a short at the ask."""

    symbol: str
    price: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None


@dataclass(frozen=True)
class AccountEvent(Event):
    """The broker's word on whether the account may trade."""

    can_trade: bool
    detail: str


@dataclass(frozen=True)
class StopEvent(Event):
    """The protective stop that works for a symbol: its price and quantity. ``stop_price`` None: none works."""

    symbol: str
    stop_price: Decimal | None
    quantity: Decimal | None


@dataclass(frozen=True)
class TickEvent(Event):
    """Time has passed."""


KINDS: dict[str, type[Event]] = {
    "fill": FillEvent,
    "position": PositionEvent,
    "quote": QuoteEvent,
    "account": AccountEvent,
    "stop": StopEvent,
    "tick": TickEvent,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}

Place = tuple[datetime, str]
"""Where an event stands in the order of events: its time, then its key."""


def in_order(event: Event) -> Place:
    """Sorting key: events count in the order in which they happened, whenever they arrive."""
    return event.at, event.key


def kind_of(event: Event) -> str:
    """The name under which events of this class are stored."""
    return _NAMES[type(event)]


def to_payload(event: Event) -> dict[str, Any]:
    """All of an event as JSON values; decimals as text, so that nothing is rounded."""
    payload: dict[str, Any] = _ADAPTERS[kind_of(event)].dump_python(event, mode="json")
    return payload


def from_payload(kind: str, payload: Any) -> Event:
    """The event that `to_payload` wrote.

    Raises
    ------
    RiskError
        The row is not an event this code knows. What happened to the account is then unknown, and so unsafe.
    """
    if kind not in KINDS:
        raise RiskError(f"account event of unknown kind '{kind}' in the ledger: no order until it is understood")
    try:
        event: Event = _ADAPTERS[kind].validate_python(payload)
    except ValidationError as error:
        raise RiskError(f"account event of kind '{kind}' in the ledger cannot be read: {error}") from error
    return event

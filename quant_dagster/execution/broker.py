"""What every broker can do. Adapters speak this; the desk knows nothing else of them.

A broker answers with reports and executions; what they mean for an order and for the books is the desk's to decide.
Sending is never the end of it: an order whose fate is not known stays in flight until the broker has been asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from quant_dagster.accounting.books import Side
from quant_dagster.execution.orders import Order
from quant_dagster.execution.pricing import Quote

if TYPE_CHECKING:
    import polars as pl


class ReportedStatus(StrEnum):
    """A broker's word on an order."""

    SENT = "sent"
    """On its way: the broker has not said yet that it has it."""
    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True)
class OrderReport:
    """Where a broker says an order stands; ``session`` is when it got there."""

    client_order_id: str
    status: ReportedStatus
    session: date
    filled_quantity: Decimal
    reason: str = ""
    broker_order_id: str = ""


@dataclass(frozen=True)
class Execution:
    """One execution, as a broker tells of it: quantity in shares, price a share in ``currency``.

    Attributes
    ----------
    execution_id, correction
        The broker's id without its correction, and the number of the correction (0: as first reported). A corrected
        ``quantity`` of 0 takes the execution back.
    client_order_id
        Ours; empty where the execution belongs to no order that was sent under such an id.
    commission
        None until the broker has said it. In ``commission_currency``; that and ``currency`` are None for the account's.
    executed_at
        When it happened; None on venues that know only sessions.
    reference_price
        The market's price before slippage, where the venue knows it.
    """

    execution_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    session: date
    commission: Decimal | None
    correction: int = 0
    executed_at: datetime | None = None
    currency: str | None = None
    commission_currency: str | None = None
    reference_price: Decimal | None = None
    broker_order_id: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BrokerOrder:
    """An order that works at the broker, ours or not (then ``client_order_id`` is empty)."""

    broker_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    order_type: str
    limit_price: Decimal | None = None


@dataclass(frozen=True)
class BrokerAccount:
    """The account as the broker keeps it. Cash by currency, positions in signed shares; None is not said."""

    account: str
    currency: str
    cash: Mapping[str, Decimal]
    positions: Mapping[str, Decimal]
    equity: Decimal | None = None


@dataclass(frozen=True)
class Capabilities:
    """What can be asked of a broker."""

    order_types: frozenset[str]
    """Of ``market``, ``limit``, ``stop``."""
    modifies: bool
    remote: bool
    """Is it reached over a connection that can be lost?"""


class Broker(Protocol):
    """Somewhere orders go.

    Every method but `submit` and `modify` may be repeated without changing anything.

    Raises
    ------
    BrokerUnavailableError
        From any of them: the way to the broker is closed. Nothing is known then about what was asked.
    """

    name: str
    capabilities: Capabilities

    def reserve(self) -> str:
        """The number the next order goes under, for brokers that number orders themselves; else empty.

        It is written down before the order is sent: what is sent again under the same number cannot become two.
        """
        ...

    def submit(self, order: Order, broker_order_id: str = "") -> OrderReport:
        """Send an order; sending the same id twice is one order."""
        ...

    def modify(self, order: Order, *, quantity: Decimal, limit_price: Decimal | None) -> OrderReport | None:
        """Ask for a working order to be changed; where it stands then, None if it was never seen."""
        ...

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        """Ask for an order to be cancelled in ``session``; where it stands then, None if it was never seen.

        A request on its way is no cancellation: the report then still says ``working``.
        """
        ...

    def find(self, client_order_id: str) -> OrderReport | None:
        """What the broker knows of an id; None if it never saw it."""
        ...

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand; those it never saw are left out."""
        ...

    def executions(self, client_order_ids: Sequence[str] | None = None) -> list[Execution]:
        """Executions of these orders, oldest first; None: all that it still tells of, of unknown orders as well."""
        ...

    def open_orders(self) -> list[BrokerOrder]:
        """Everything that works at the broker, whoever sent it."""
        ...

    def account(self) -> BrokerAccount:
        """Cash and positions."""
        ...


class LinkState(StrEnum):
    """What an adapter knows of the way to its broker."""

    DOWN = "down"
    UP = "up"
    UPSTREAM_LOST = "upstream_lost"
    """The gateway answers, but has lost the broker's servers."""
    RESTORED = "restored"
    """The servers are back: what happened meanwhile must be asked for."""


@dataclass(frozen=True)
class Changes:
    """What a broker said of its own accord since it was last asked."""

    reports: tuple[OrderReport, ...] = ()
    executions: tuple[Execution, ...] = ()
    notices: tuple[str, ...] = ()
    """What a person should hear of, one sentence each."""


@runtime_checkable
class RemoteBroker(Protocol):
    """A `Broker` at the other end of a connection."""

    name: str

    def open(self) -> None:
        """Connect, and learn everything the broker still knows of orders, executions and the account.

        Raises
        ------
        BrokerUnavailableError
            Why it did not come about, and what to do.
        """
        ...

    def close(self) -> None:
        """Hang up; safe to repeat."""
        ...

    def ping(self, seconds: float) -> None:
        """Ask for a sign of life; `BrokerUnavailableError` when none comes within ``seconds``."""
        ...

    def link(self) -> LinkState:
        """The state of the way there, without asking. `RESTORED` until `refresh` was called."""
        ...

    def refresh(self) -> None:
        """Ask again for everything `open` learns."""
        ...

    def changes(self, seconds: float) -> Changes:
        """Wait up to ``seconds`` for news, then hand it over, once. A lost connection raises nothing here."""
        ...

    def market_time(self) -> datetime:
        """The broker's clock."""
        ...


@dataclass(frozen=True)
class SessionBar:
    """What an order can be filled against: one symbol's bar of one session, with its provenance.

    Prices in currency, volume in shares; None is a field the vendor does not have. ``tick_size`` is the grid an
    execution's price lies on.
    """

    symbol: str
    session: date
    open: float | None
    high: float | None
    low: float | None
    close: float
    volume: float | None
    vendor: str
    row_hash: str
    lake_version: int
    tick_size: Decimal = Decimal("0.0001")


@runtime_checkable
class SimulatedVenue(Protocol):
    """A broker whose market moves when it is shown real bars."""

    def trade_session(self, session: date, bars: Mapping[str, SessionBar]) -> None:
        """Let every order that was decided before ``session`` meet its bars; repeating a session changes nothing."""
        ...

    def split(self, symbol: str, change: Callable[[Decimal], Decimal], reference: str) -> None:
        """Change what is held of a symbol by a split, once per ``reference``."""
        ...


@runtime_checkable
class BatchingVenue(Protocol):
    """A broker in this process's hands that can take many orders in one transaction, or none of them."""

    def together(self) -> AbstractContextManager[None]:
        """Everything that is asked of it within counts when it ends, and only if it ends well."""
        ...


@runtime_checkable
class QuotingBroker(Protocol):
    """A broker that also tells prices."""

    def snapshot(self, symbol: str) -> Quote | None:
        """The market of a symbol now; None where the login has no data for it."""
        ...

    def history(self, symbol: str, start: datetime, end: datetime, bar_seconds: int) -> pl.DataFrame:
        """Bars that begin in ``[start, end)``: at least ``volume``."""
        ...


@runtime_checkable
class PreparingBroker(Protocol):
    """A broker that can look up what it trades before it has to."""

    def prepare(self, symbols: Sequence[str]) -> dict[str, str]:
        """Look symbols up; says which cannot be traded, and why."""
        ...

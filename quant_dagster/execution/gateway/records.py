"""What the simulated venue knows of orders, executions and positions, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from quant_dagster.accounting.books import Side

ZERO = Decimal(0)


class OrderState(StrEnum):
    """Where an order stands, in the protocol's words."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    INACTIVE = "Inactive"

    @property
    def is_final(self) -> bool:
        """Nothing more is expected (which does not keep a late fill from coming)."""
        return self in (OrderState.FILLED, OrderState.CANCELLED, OrderState.INACTIVE)


class OrderType(StrEnum):
    """Order types the venue trades."""

    MARKET = "MKT"
    LIMIT = "LMT"
    STOP = "STP"


class TimeInForce(StrEnum):
    """How long an order works."""

    DAY = "DAY"
    GTC = "GTC"


@dataclass(frozen=True)
class Instrument:
    """A stock that can be traded. Prices in ``currency``; ``tick_size`` is the grid of order prices."""

    symbol: str
    con_id: int
    tick_size: Decimal = Decimal("0.01")
    primary_exchange: str = "NASDAQ"
    currency: str = "USD"


@dataclass(frozen=True)
class Ticket:
    """An order as a client asks for it. ``order_type`` and ``time_in_force`` are the client's own words.

    ``order_id`` is unique per ``client_id``; an order made by hand in the broker's own program has both 0.
    """

    client_id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    order_type: str
    limit: Decimal | None = None
    stop: Decimal | None = None
    time_in_force: str = "DAY"
    order_ref: str = ""
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    outside_rth: bool = False
    transmit: bool = True
    what_if: bool = False


@dataclass(frozen=True)
class VenueOrder:
    """An order on the venue's book.

    Attributes
    ----------
    perm_id
        The venue's own id, never given twice.
    filled, average_price, last_price
        Of its executions as they stand after corrections; prices are 0 while nothing is filled.
    triggered
        A stop order whose price was reached: a market order from then on.
    waits_for
        ``perm_id`` of the parent that has to be filled first; 0: none.
    """

    ticket: Ticket
    perm_id: int
    state: OrderState
    arrived_at: datetime
    filled: Decimal = ZERO
    average_price: Decimal = ZERO
    last_price: Decimal = ZERO
    triggered: bool = False
    waits_for: int = 0
    reason: str = ""
    finished_at: datetime | None = None

    @property
    def remaining(self) -> Decimal:
        """Shares not filled, never below zero."""
        return max(self.ticket.quantity - self.filled, ZERO)

    @property
    def sign(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return self.ticket.side.sign


@dataclass(frozen=True)
class Execution:
    """One trade, or its correction: the same ``exec_id`` with a higher last segment. A bust has ``quantity`` 0.

    ``commission`` and ``realized_pnl`` in the account's currency; the latter is None where nothing was closed.
    """

    exec_id: str
    perm_id: int
    client_id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    at: datetime
    cumulative: Decimal
    average_price: Decimal
    order_ref: str
    commission: Decimal
    realized_pnl: Decimal | None = None

    @property
    def trade_id(self) -> str:
        """The part of ``exec_id`` that all corrections share."""
        return self.exec_id.rpartition(".")[0]

    @property
    def cash_flow(self) -> Decimal:
        """What the account's cash changed by, commission included."""
        return -self.side.sign * self.quantity * self.price - self.commission


@dataclass(frozen=True)
class Position:
    """Signed shares held, and what one of them cost, commission included."""

    symbol: str
    quantity: Decimal
    average_cost: Decimal


@dataclass(frozen=True)
class OrderChanged:
    """The order is not what it was; ``acknowledges`` says that a client's request is answered by it."""

    order: VenueOrder
    acknowledges: bool = False


@dataclass(frozen=True)
class Executed:
    """A trade, or the correction of one."""

    execution: Execution
    order: VenueOrder


@dataclass(frozen=True)
class CommissionCharged:
    """The commission of a trade became known."""

    execution: Execution


@dataclass(frozen=True)
class Notice:
    """A coded message about an order of a client."""

    client_id: int
    order_id: int
    code: int
    text: str


@dataclass(frozen=True)
class PositionChanged:
    """A holding changed, and cash with it."""

    position: Position


Event = OrderChanged | Executed | CommissionCharged | Notice | PositionChanged

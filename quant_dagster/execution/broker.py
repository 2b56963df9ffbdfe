"""What every broker can do. Adapters speak this; the desk knows nothing else of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from quant_dagster.accounting.books import Fill
from quant_dagster.execution.orders import Order


class ReportedStatus(StrEnum):
    """A broker's word on an order."""

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


class Broker(Protocol):
    """Somewhere orders go."""

    name: str

    def submit(self, order: Order) -> OrderReport:
        """Send an order; sending the same id twice is one order."""
        ...

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        """Ask for an order to be cancelled in ``session``; where it stands then, None if it was never seen."""
        ...

    def find(self, client_order_id: str) -> OrderReport | None:
        """What the broker knows of an id; None if it never saw it."""
        ...

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand."""
        ...

    def executions(self, client_order_ids: Sequence[str]) -> list[Fill]:
        """Every execution of these orders, oldest first."""
        ...


@runtime_checkable
class SimulatedVenue(Protocol):
    """A broker whose market moves when it is shown real bars."""

    def trade_session(self, session: date, bars: Mapping[str, SessionBar]) -> None:
        """Let every order that was decided before ``session`` meet its bars; repeating a session changes nothing."""
        ...

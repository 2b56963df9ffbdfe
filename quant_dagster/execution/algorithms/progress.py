"""What a parent order's slices have done so far, and what the market did meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from quant_dagster.errors import OrderError
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import ParentOrder, child_order_id
from quant_dagster.execution.orders import ZERO, Order


@dataclass(frozen=True)
class Slice:
    """A slice of a parent order: its number (from 1, ever higher), when it is due (UTC), and its shares."""

    number: int
    at: datetime
    quantity: Decimal


@dataclass(frozen=True)
class ChildProgress:
    """What became of a slice. ``is_open``: it may still fill, because it waits, works, or its fate is unknown."""

    number: int
    quantity: Decimal
    filled: Decimal
    is_open: bool
    created_at: datetime

    @property
    def claimed(self) -> Decimal:
        """Shares of the parent it has, or may still get."""
        return self.quantity if self.is_open else self.filled


@dataclass(frozen=True)
class Progress:
    """The slices of a parent order, by number."""

    children: tuple[ChildProgress, ...] = ()

    @property
    def last_number(self) -> int:
        """Number of the newest slice; 0: there is none."""
        return self.children[-1].number if self.children else 0

    @property
    def claimed(self) -> Decimal:
        """Shares filled, or that may still fill; what is left of the parent is free to be sliced."""
        return sum((child.claimed for child in self.children), ZERO)

    @property
    def filled(self) -> Decimal:
        """Shares filled."""
        return sum((child.filled for child in self.children), ZERO)

    @property
    def has_open(self) -> bool:
        """Whether any slice may still fill."""
        return any(child.is_open for child in self.children)

    @property
    def fruitless(self) -> int:
        """How many of the newest slices ended without any fill, one after the other."""
        count = 0
        for child in reversed(self.children):
            if child.is_open or child.filled > 0:
                break
            count += 1
        return count


@dataclass(frozen=True)
class MarketView:
    """The market as an algorithm sees it.

    Attributes
    ----------
    opens_at, closes_at
        Regular hours of the session that trades, UTC, early closes included.
    volume
        Shares the whole market traded since the parent's ``starts_at``, ours among them; None: unknown.
    last_price
        The newest price, account currency; None: unknown.
    """

    opens_at: datetime
    closes_at: datetime
    volume: Decimal | None = None
    last_price: Decimal | None = None


def progress_of(parent: ParentOrder, orders: Iterable[Order]) -> Progress:
    """The progress that a parent's child orders stand for.

    Raises
    ------
    OrderError
        An order among them is none of this parent's slices.
    """
    found = {order.client_order_id: order for order in orders}
    most = Parameters.of(parent.algorithm, parent.parameters).slices + len(found)
    children = []
    for number in range(1, most + 1):
        if not found:
            break
        order = found.pop(child_order_id(parent, number), None)
        if order is not None:
            is_open = order.status is None or not order.status.is_final
            children.append(ChildProgress(number, order.quantity, order.filled_quantity, is_open, order.created_at))
    if found:
        raise OrderError(
            f"parent order {parent.parent_id} ({parent.symbol}): {', '.join(sorted(found))} are no slices of it by "
            "their ids; nothing is sliced until that is found out"
        )
    return Progress(tuple(children))

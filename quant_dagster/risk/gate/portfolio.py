"""The account as the gate is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quant_dagster.accounting.books import Side


@dataclass(frozen=True)
class WorkingOrder:
    """An order that may still fill: ``remaining`` shares of it. ``reduce_only`` ones can only close a position."""

    symbol: str
    side: Side
    remaining: float
    reduce_only: bool = False
    stop: bool = False


@dataclass(frozen=True)
class PortfolioView:
    """The account as it is when a batch of orders is checked.

    ``cash`` and ``equity`` in account currency, ``held`` in signed shares, ``turnover`` and ``orders_made`` those of
    the session so far, ``ordered`` the shares ordered in it. ``drawdown`` is equity's fall from its peak (0 to 1).
    """

    cash: float
    equity: float
    held: Mapping[str, float]
    working: Sequence[WorkingOrder] = ()
    order_ids: frozenset[str] = frozenset()
    orders_made: int = 0
    turnover: float = 0.0
    ordered: Mapping[str, float] = field(default_factory=dict)
    drawdown: float = 0.0

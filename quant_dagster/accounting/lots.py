"""Open lots, and profit by first-in-first-out, from the same fills and events that the books are made of.

Nothing of it is posted: the books are kept at average cost. Once a position is flat both have realised the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection

from quant_dagster.accounting.events import Adjustment, Event, Split, events_of
from quant_dagster.accounting.fills import ZERO, Fill, fills_of
from quant_dagster.accounting.holdings import in_order, split_quantity
from quant_dagster.storage.types import money
from quant_dagster.storage.types import quantity as whole_units


@dataclass(frozen=True)
class Lot:
    """Shares opened together: signed quantity, their cost (negative: what a short brought in), when, by what."""

    opened: date
    reference: str
    quantity: Decimal
    cost: Decimal


@dataclass(frozen=True)
class ClosedLot:
    """A lot, or the part of it, that was closed: the profit is before commission."""

    symbol: str
    opened: date
    closed: date
    quantity: Decimal
    cost: Decimal
    proceeds: Decimal

    @property
    def profit(self) -> Decimal:
        return self.proceeds - self.cost


@dataclass(frozen=True)
class LotBook:
    """A symbol's lots, oldest first, all long or all short, and what was closed of them so far."""

    symbol: str
    lots: tuple[Lot, ...] = ()
    closed: tuple[ClosedLot, ...] = ()

    @property
    def quantity(self) -> Decimal:
        return sum((lot.quantity for lot in self.lots), ZERO)

    @property
    def cost(self) -> Decimal:
        return sum((lot.cost for lot in self.lots), ZERO)

    @property
    def realised_pnl(self) -> Decimal:
        return sum((one.profit for one in self.closed), ZERO)

    def unrealised_pnl(self, price: Decimal) -> Decimal:
        """At ``price`` a share."""
        return money(self.quantity * price) - self.cost


def lot_books(connection: Connection, symbol: str | None = None, until: date | None = None) -> dict[str, LotBook]:
    """Every symbol's lots (or one's), from what happened up to ``until``."""
    events = events_of(connection, None if symbol is None else [symbol])
    by_symbol: dict[str, list[Fill]] = defaultdict(list)
    for fill in fills_of(connection, symbol):
        if until is None or fill.session <= until:
            by_symbol[fill.symbol].append(fill)
    return {
        name: lot_book(name, by_symbol[name], [e for e in events.get(name, ()) if until is None or e.session <= until])
        for name in sorted(by_symbol.keys() | events.keys())
    }


def lot_book(symbol: str, history: Iterable[Fill], events: Sequence[Event] = ()) -> LotBook:
    """A symbol's lots from its fills, in their order, and the events between them."""
    lots: list[Lot] = []
    closed: list[ClosedLot] = []
    for one in in_order(history, events):
        match one:
            case Fill():
                _trade(symbol, lots, closed, one.signed_quantity, one.price, one.session, one.execution_id)
            case Adjustment():
                _trade(symbol, lots, closed, one.quantity, one.price, one.session, one.transaction_id)
            case Split():
                _split(symbol, lots, closed, one)
    return LotBook(symbol, tuple(lots), tuple(closed))


def _trade(
    symbol: str,
    lots: list[Lot],
    closed: list[ClosedLot],
    signed: Decimal,
    price: Decimal,
    session: date,
    reference: str,
) -> None:
    """Close the oldest lots of the other side, open one with the rest. What the parts are worth sums to the whole."""
    side = 1 if signed > 0 else -1
    left, value_left = abs(signed), money(abs(signed) * price)
    while left and lots and lots[0].quantity * side < 0:
        lot = lots[0]
        taken = min(left, abs(lot.quantity))
        value = value_left if taken == left else money(taken * price)
        whole = taken == abs(lot.quantity)
        released = lot.cost if whole else money(lot.cost * taken / abs(lot.quantity))
        closed.append(ClosedLot(symbol, lot.opened, session, -taken * side, released, -value * side))
        left, value_left = left - taken, value_left - value
        if whole:
            lots.pop(0)
        else:
            lots[0] = replace(lot, quantity=lot.quantity + taken * side, cost=lot.cost - released)
    if left:
        lots.append(Lot(session, reference, left * side, value_left * side))


def _split(symbol: str, lots: list[Lot], closed: list[ClosedLot], split: Split) -> None:
    """Each lot splits; a fraction that is paid out is the position's, and comes off the oldest lot."""
    if not lots:
        return
    kept, fraction = split_quantity(sum((lot.quantity for lot in lots), ZERO), split)
    total = kept + fraction
    for place, lot in enumerate(lots):
        exact = whole_units(lot.quantity * split.numerator / split.denominator)
        # The newest takes what rounding leaves over.
        lots[place] = replace(lot, quantity=total if place == len(lots) - 1 else exact)
        total -= exact
    if fraction and split.fraction_price is not None:
        _trade(symbol, lots, closed, -fraction, split.fraction_price, split.session, split.transaction_id)

"""A position at average cost: what each fill and each event makes of it. Pure arithmetic, all of it decimal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from quant_dagster.accounting.events import (
    Adjustment,
    Charge,
    CommissionAdjustment,
    Dividend,
    Event,
    Split,
)
from quant_dagster.accounting.fills import ZERO, Fill
from quant_dagster.errors import BooksError
from quant_dagster.storage.types import money
from quant_dagster.storage.types import quantity as whole_units

_FILLS = 2
"""Where in a session fills stand among events."""


@dataclass(frozen=True)
class Holding:
    """A symbol's position in the books: signed quantity, its cost, and what it has earned and paid so far.

    Money is in ``currency`` (None: the account's). ``dividends`` are positive when received, ``borrow`` when paid;
    ``adjustments`` is the value of shares that persons added. ``other_commissions`` were paid in other currencies
    ("" is the account's).
    """

    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    commission: Decimal = ZERO
    dividends: Decimal = ZERO
    borrow: Decimal = ZERO
    adjustments: Decimal = ZERO
    currency: str | None = None
    other_commissions: tuple[tuple[str, Decimal], ...] = ()

    @property
    def average_cost(self) -> Decimal:
        """Cost per share; zero when flat."""
        return self.cost / self.quantity if self.quantity else ZERO

    @property
    def cash(self) -> Decimal:
        """What the position has brought in, all told, in its currency; negative: it was paid for."""
        earned = self.realised_pnl + self.dividends + self.adjustments
        return earned - self.cost - self.commission - self.borrow


def after_fill(holding: Holding, fill: Fill) -> Holding:
    """The holding after a fill, at average cost; a fill through zero closes, then opens.

    Raises
    ------
    BooksError
        The fill is in another currency than the position: they are two instruments.
    """
    if holding.currency != fill.currency:
        if holding != Holding(holding.symbol, currency=holding.currency):
            raise BooksError(
                f"{fill.symbol} is held in {holding.currency or 'the account currency'} and fill {fill.execution_id} "
                f"is in {fill.currency or 'the account currency'}: give the two listings two symbols"
            )
        holding = replace(holding, currency=fill.currency)
    traded = _traded(holding, fill.quantity * fill.side.sign, fill.price)
    commission = money(fill.commission)
    if fill.commission_currency == fill.currency:
        return replace(traded, commission=holding.commission + commission)
    paid = dict(holding.other_commissions)
    key = fill.commission_currency or ""
    paid[key] = paid.get(key, ZERO) + commission
    return replace(traded, other_commissions=_settled(paid))


def _traded(holding: Holding, signed: Decimal, price: Decimal) -> Holding:
    closing = ZERO
    if holding.quantity and (holding.quantity > 0) != (signed > 0):
        closing = min(abs(signed), abs(holding.quantity))
    cost, quantity, realised = holding.cost, holding.quantity, holding.realised_pnl
    side = 1 if signed > 0 else -1
    value_left = money(abs(signed) * price)
    opening = abs(signed) - closing
    if closing:
        value = value_left if not opening else money(closing * price)
        value_left -= value
        direction = 1 if quantity > 0 else -1
        # The last share takes whatever cost is left, so that a flat position has no cost, to the last decimal.
        released = cost if closing == abs(quantity) else money(cost * closing / abs(quantity))
        realised += value * direction - released
        cost -= released
        quantity -= closing * direction
    if opening:
        cost += value_left * side
        quantity += opening * side
    return replace(holding, quantity=quantity, cost=cost, realised_pnl=realised)


def after_event(holding: Holding, event: Event) -> Holding:
    """The holding after something that is no trade."""
    match event:
        case Dividend():
            return replace(holding, dividends=holding.dividends + money(holding.quantity * event.per_share))
        case Split():
            return _split(holding, event)
        case Charge():
            return replace(holding, borrow=holding.borrow + event.amount)
        case CommissionAdjustment():
            return replace(holding, commission=holding.commission + event.amount)
        case Adjustment():
            after = _traded(holding, event.quantity, event.price)
            moved = (after.cost - holding.cost) - (after.realised_pnl - holding.realised_pnl)
            return replace(after, adjustments=holding.adjustments + moved)


def split_quantity(quantity: Decimal, split: Split) -> tuple[Decimal, Decimal]:
    """Shares held after a split, and the fraction of a share that is paid out; both signed as the position."""
    exact = quantity * split.numerator / split.denominator
    if split.fraction_price is None:
        return whole_units(exact), ZERO
    kept = whole_units(exact).to_integral_value(ROUND_DOWN)
    return kept, whole_units(exact) - kept


def _split(holding: Holding, split: Split) -> Holding:
    kept, fraction = split_quantity(holding.quantity, split)
    whole = replace(holding, quantity=kept + fraction)
    if not fraction or split.fraction_price is None:
        return whole
    return _traded(whole, -fraction, split.fraction_price)


def replay(symbol: str, history: Iterable[Fill], events: Sequence[Event] = ()) -> Holding:
    """A holding recomputed from its fills, in their order, and the events between them."""
    holding = Holding(symbol)
    for one in in_order(history, events):
        holding = after_fill(holding, one) if isinstance(one, Fill) else after_event(holding, one)
    return holding


def in_order(history: Iterable[Fill], events: Sequence[Event]) -> list[Fill | Event]:
    """Fills and events of a symbol as they took effect: a dividend and a split before their session trades, a charge
    and an adjustment after it. Each list's own order is kept within a session."""
    if not events:
        return list(history)
    placed: list[tuple[Any, int, Fill | Event]] = [(fill.session, _FILLS, fill) for fill in history]
    placed += [(event.session, event.phase, event) for event in events]
    return [one for _, _, one in sorted(placed, key=lambda place: place[:2])]


def _settled(paid: dict[str, Decimal]) -> tuple[tuple[str, Decimal], ...]:
    return tuple(sorted((currency, amount) for currency, amount in paid.items() if amount))

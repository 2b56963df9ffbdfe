"""Dividends, splits and what shorts cost, entered into the books once each.

Which of a market's actions are booked depends on the prices the account trades at, for nothing may count twice:

- An account at a real broker holds real shares: its splits and dividends are booked, whatever the price files say.
- A simulated account trades at the prices of the files. As traded (``RAW``): both are booked. Adjusted for splits: a
  split is in the price before it happens, so the shares held are those of today already, and only dividends are booked,
  brought to today's shares. Adjusted for dividends too (``TOTAL_RETURN``), or not said: nothing is booked.

A dividend is booked as cash on the ex-date, when the holder owns it; brokers pay it some weeks later. Splits and
dividends take effect before the session trades, whenever they are entered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from quant_dagster.accounting.events import Charge, Dividend, Event, Split, events_of, is_booked
from quant_dagster.accounting.fills import ZERO, fills_of
from quant_dagster.accounting.holdings import Holding, replay, split_quantity
from quant_dagster.accounting.postings import Account, Line, difference, post, standings
from quant_dagster.errors import BooksError
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.observability import audit
from quant_dagster.storage.types import money

_MOST_SHARES = 1000
"""Largest denominator of a split's ratio: stored ratios are rounded binary numbers, real ones are small fractions."""
DAYS_OF_YEAR = 360


@dataclass(frozen=True)
class MarketAction:
    """A split or a dividend on its ex-date ``session``; ``amount`` per share as it was before, ``ratio`` new per old.

    A spin-off (`kind` "spin_off") is not booked: what was received must be entered by a person.
    """

    symbol: str
    session: date
    kind: str
    ratio: Decimal | None = None
    amount: Decimal | None = None


def market_actions(rows: Iterable[Mapping[str, Any]]) -> list[MarketAction]:
    """From rows of the lake's table ``corporate_actions``, one account of each event (`confirmation.effective`)."""
    return [
        MarketAction(
            row["symbol"],
            row["session"],
            row["kind"],
            None if row["ratio"] is None else Decimal(str(row["ratio"])),
            None if row["amount"] is None else Decimal(str(row["amount"])),
        )
        for row in rows
    ]


def to_book(
    actions: Sequence[MarketAction], session: date, level: PriceLevel | None, *, real: bool
) -> list[MarketAction]:
    """Those of ``session`` that this account must book, by the rule above.

    Parameters
    ----------
    actions
        Of ``session`` and, for split-adjusted prices, all later ones: an amount is divided by the splits that are in
        the prices already.
    level
        What the prices that the account trades at are adjusted for; None: nobody says.
    real
        The account is at a broker, not simulated.
    """
    due = [one for one in actions if one.session == session and one.kind in ("split", "dividend")]
    if real or level is PriceLevel.RAW:
        return due
    if level is not PriceLevel.SPLIT:
        return []
    found = []
    for one in due:
        if one.kind == "dividend" and one.amount is not None:
            factor = Fraction(1)
            for later in actions:
                if (later.symbol, later.kind) == (one.symbol, "split") and later.session >= session:
                    factor *= _ratio(later)
            amount = one.amount * factor.denominator / factor.numerator
            found.append(MarketAction(one.symbol, one.session, "dividend", amount=amount))
    return found


def apply_corporate_actions(
    connection: Connection,
    actions: Sequence[MarketAction],
    session: date,
    at: datetime,
    *,
    fraction_prices: Mapping[str, Decimal] | None = None,
    actor: str = "desk",
) -> int:
    """Enter the dividends and splits of ``session`` for what was held before it; returns how many were new.

    Call it before the session's orders are settled; later does no harm, the symbol's books are then made anew.

    Parameters
    ----------
    actions
        What `to_book` says; of other sessions they are passed over.
    fraction_prices
        Price of a new share at which fractions of whole-share positions are paid out, usually the ex-date's open. A
        position of whole shares that a split would leave with a fraction needs one.

    Raises
    ------
    BooksError
        A split leaves a fraction of a share and there is no price for it, or an action says no ratio or amount.
    """
    due = [one for one in actions if one.session == session]
    held = standings(connection, sorted({one.symbol for one in due}))
    booked = 0
    for one in due:
        if one.symbol in held:
            event = _event(connection, one, (fraction_prices or {}).get(one.symbol))
            booked += event is not None and _enter(connection, event, at=at, actor=actor)
    return booked


def accrue_borrow(
    connection: Connection,
    session: date,
    *,
    prices: Mapping[str, Decimal],
    annual_rates: Mapping[str, float],
    days: int,
    at: datetime,
    default_rate: float | None = None,
) -> int:
    """Charge every short what borrowing it cost: value times annual rate times ``days`` / 360; returns how many.

    Parameters
    ----------
    prices
        Closes of ``session``, in the symbols' currencies.
    annual_rates
        A year's fee as a fraction of the value, by symbol; ``default_rate`` for all others.
    days
        Calendar days the short was carried since the session before (three over a weekend).

    Raises
    ------
    BooksError
        A short has no price or no rate: what it costs is unknown.
    """
    booked = 0
    for symbol, standing in standings(connection, until=session).items():
        if standing.holding.quantity >= 0:
            continue
        rate = annual_rates.get(symbol, default_rate)
        if rate is None or symbol not in prices:
            missing = "borrow rate" if rate is None else "price"
            raise BooksError(f"short of {symbol} has no {missing} on {session}: what it costs is unknown")
        value = -standing.holding.quantity * prices[symbol]
        amount = money(value * Decimal(str(rate)) * days / DAYS_OF_YEAR)
        if amount:
            charge = Charge(symbol, session, session.isoformat(), amount)
            booked += _enter(connection, charge, at=at, actor="desk")
    return booked


def enter(connection: Connection, event: Event, *, at: datetime, actor: str) -> bool:
    """Enter an event once; the symbol's books are what its fills and events make of it, in order of time."""
    return _enter(connection, event, at=at, actor=actor)


def _enter(connection: Connection, event: Event, *, at: datetime, actor: str) -> bool:
    if is_booked(connection, event):
        return False
    before = standings(connection, [event.symbol]).get(event.symbol)
    held = Holding(event.symbol) if before is None else before.holding
    known = events_of(connection, [event.symbol]).get(event.symbol, [])
    after = replay(event.symbol, fills_of(connection, event.symbol), [*known, event])
    # An event that changes nothing now may do so once a late fill is known: it leaves a line all the same.
    lines = difference(held, after) or [Line(Account.SECURITIES, ZERO, event.symbol, ZERO, held.currency)]
    post(connection, event.transaction_id, lines, session=event.session, at=at)
    key, payload = event.transaction_id, event.payload()
    audit.append(connection, key, event.kind, actor=actor, at=at, session=event.session, payload=payload)
    return True


def _event(connection: Connection, action: MarketAction, fraction_price: Decimal | None) -> Event | None:
    reference = action.session.isoformat()
    if action.kind == "dividend":
        if action.amount is None:
            raise BooksError(f"dividend of {action.symbol} on {action.session} says no amount: enter it by hand")
        return Dividend(action.symbol, action.session, reference, action.amount)
    if action.kind != "split":
        return None
    ratio = _ratio(action)
    split = Split(action.symbol, action.session, reference, ratio.numerator, ratio.denominator, None)
    if is_booked(connection, split):
        return None
    history = [fill for fill in fills_of(connection, action.symbol) if fill.session < action.session]
    earlier = [
        one for one in events_of(connection, [action.symbol]).get(action.symbol, ()) if one.session < action.session
    ]
    before = replay(action.symbol, history, earlier).quantity
    exact = split_quantity(before, split)[0]
    if before != before.to_integral_value() or exact == exact.to_integral_value():
        # Fractions are held where they were held before. Otherwise a late fill may still leave one to be paid out.
        whole = before == before.to_integral_value()
        return replace(split, fraction_price=fraction_price if whole else None)
    if fraction_price is None:
        raise BooksError(
            f"split {ratio} of {action.symbol} on {action.session} leaves {exact} shares: give the price at which the "
            "fraction is paid out"
        )
    return replace(split, fraction_price=fraction_price)


def _ratio(action: MarketAction) -> Fraction:
    if action.ratio is None or action.ratio <= 0:
        raise BooksError(f"split of {action.symbol} on {action.session} has no ratio above zero: {action.ratio}")
    return Fraction(action.ratio).limit_denominator(_MOST_SHARES)

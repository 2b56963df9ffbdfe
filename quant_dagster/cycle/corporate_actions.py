"""Splits and dividends of a session, entered into the books before its orders are settled.

Which of them count is for the books to say (``accounting.actions``): it depends on whether the account holds real
shares, and on what the prices it trades at are adjusted for.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from quant_dagster.accounting import books
from quant_dagster.accounting.actions import apply_corporate_actions, market_actions, to_book
from quant_dagster.accounting.events import Split, events_of
from quant_dagster.accounting.holdings import split_quantity
from quant_dagster.execution.broker import SimulatedVenue
from quant_dagster.market_data.corporate_actions.actions import actions_known
from quant_dagster.market_data.corporate_actions.confirmation import effective
from quant_dagster.market_data.corporate_actions.levels import PriceLevel, levels_of
from quant_dagster.storage.types import money

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def book_corporate_actions(context: TradingContext, session: date) -> int:
    """Enter what a session's splits and dividends did to what was held; returns how many were new.

    Call it before the session's orders are settled, and outside a transaction. Repeating it changes nothing.
    """
    with context.ledger.read() as connection:
        held = sorted(symbol for symbol, one in books.balances(connection).holdings.items() if one.quantity)
    if not held:
        return 0
    known = actions_known(context.lake, held, start=session)
    if known.is_empty():
        return 0
    names = [vendor.name for vendor in context.vendors]
    actions = market_actions(effective(known, names).iter_rows(named=True))
    level: PriceLevel | None = levels_of(context.vendors).get(names[0])
    due = to_book(actions, session, level, real=not isinstance(context.broker, SimulatedVenue))
    if not due:
        return 0
    with context.ledger.write() as connection:
        at = context.ledger.now()
        prices = _opens(context, session, sorted({one.symbol for one in due}))
        booked = apply_corporate_actions(connection, due, session, at, fraction_prices=prices)
        splits = [one for events in events_of(connection).values() for one in events if isinstance(one, Split)]
    _split_at_venue(context, [one for one in splits if one.session == session])
    return booked


def _split_at_venue(context: TradingContext, splits: list[Split]) -> None:
    """A simulated venue's shares split as the books' do."""
    broker = context.broker
    if isinstance(broker, SimulatedVenue):
        for one in splits:
            broker.split(one.symbol, lambda held, one=one: split_quantity(held, one)[0], one.transaction_id)  # type: ignore[misc]


def _opens(context: TradingContext, session: date, symbols: list[str]) -> dict[str, Decimal]:
    """The price fractions of shares are paid out at: the session's open, else its close."""
    rows = context.lake.read("bars", columns=["symbol", "open", "close"], symbols=symbols, start=session, end=session)
    return {
        row["symbol"]: money(row["open"] if row["open"] is not None else row["close"])
        for row in rows.iter_rows(named=True)
        if row["open"] is not None or row["close"] is not None
    }

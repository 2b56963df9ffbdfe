"""On real quotes, minute by minute: the rules bite in the minute a plain calculation over the whole day finds."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from quant_dagster.risk.account_rules.breaches import Breach
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import Event, PositionEvent, QuoteEvent, StopEvent
from quant_dagster.storage.ledger import Ledger
from tests.support.market_data import shared_data
from tests.unit.risk.account_rules.scenarios import D, empty_ledger, feed, rules


@pytest.fixture(scope="module")
def quotes() -> pl.DataFrame:
    """Bids and asks at the end of each minute of regular hours of one symbol's first day."""
    frame = pl.read_parquet(shared_data("intraday_1min_lean_quotes.parquet")).filter(pl.col("symbol") == "AAPL")
    day = frame["bar_start_ny"].dt.date().min()
    hours = (
        pl.col("bar_start_ny").dt.time().is_between(datetime(1, 1, 1, 9, 30).time(), datetime(1, 1, 1, 15, 59).time())
    )
    return frame.filter((pl.col("bar_start_ny").dt.date() == day) & hours).drop_nulls(["bid_close", "ask_close"])


def stream(quotes: pl.DataFrame, symbol: str = "AAPL") -> list[QuoteEvent]:
    """A minute's last quote, at its end."""
    found = []
    for row in quotes.iter_rows(named=True):
        when = (row["bar_start_ny"].replace(tzinfo=ZoneInfo("America/New_York"))).astimezone(UTC)
        bid, ask = D(row["bid_close"]), D(row["ask_close"])
        found.append(QuoteEvent(f"quote:{symbol}:{when.isoformat()}", when, symbol, (bid + ask) / 2, bid, ask))
    return found


def open_position(first: QuoteEvent, shares: int) -> PositionEvent:
    """Taken at the quote's price for it."""
    price = first.ask if shares > 0 else first.bid
    assert price is not None
    return PositionEvent("entry", first.at, first.symbol, D(shares), price, price)


def first_bite(desk: Ledger, account: AccountRules, events: list[Event]) -> Breach | None:
    return next((breach for event in events for breach in feed(desk, account, event)), None)


@pytest.mark.parametrize("shares", [100, -100])
@pytest.mark.parametrize(("rule", "sign"), [("daily_unrealised_loss", -1), ("max_unrealised_profit", 1)])
def test_open_profit_and_loss_bite_in_the_right_minute(quotes: pl.DataFrame, rule: str, sign: int, shares: int) -> None:
    events = stream(quotes)
    bid, ask = (quotes[f"{side}_close"].to_numpy() for side in ("bid", "ask"))
    pnl = shares * ((bid - ask[0]) if shares > 0 else (ask - bid[0]))
    # The largest amount that is reached at all, and half of it.
    for share in (1.0, 0.5):
        amount = round(float((sign * pnl).max()) * share, 2)
        if amount <= 0:
            pytest.skip("this day never went that way")
        minute = int(np.argmax(np.round(sign * pnl, 6) >= amount))
        desk = empty_ledger()
        breach = first_bite(desk, rules(**{rule: {"amount": amount}}), [open_position(events[0], shares), *events])
        assert breach is not None
        assert (breach.rule, breach.began) == (rule, events[minute].at)
        assert breach.value == D(round(float(sign * pnl[minute]), 6))


def test_a_trailing_stop_on_real_quotes_is_the_running_maximum(desk: Ledger, quotes: pl.DataFrame) -> None:
    settings = {"break_even_after": 0.001, "trail_after": 0.002, "trail_by": 0.001}
    events, account = stream(quotes), rules(trade_management=settings)
    low = min(range(len(events) // 2), key=lambda i: events[i].ask or Decimal("Infinity"))
    entry = open_position(events[low], 100)
    working: Decimal | None = None
    asked: list[Decimal] = []
    feed(desk, account, entry)
    for event in events[low + 1 : low + 101]:
        for breach in feed(desk, account, event):
            (request,) = breach.requests
            assert request.price is not None
            working = request.price
            asked.append(working)
            feed(desk, account, StopEvent(f"stop:{event.key}", event.at, "AAPL", working, D(100)))
    bid, paid = quotes["bid_close"].to_numpy()[low + 1 : low + 101], float(entry.price)
    levels = np.where(bid / paid - 1 >= 0.002, bid * 0.999, np.where(bid / paid - 1 >= 0.001, paid, -np.inf))
    levels = np.maximum(levels, np.where(bid / paid - 1 >= 0.001, paid, -np.inf))
    running = np.maximum.accumulate(levels)
    expected = running[running > np.concatenate([[-np.inf], running[:-1]])]
    assert len(asked) > 3
    np.testing.assert_allclose([float(price) for price in asked], expected, rtol=0, atol=1e-6)
    assert asked == sorted(asked)

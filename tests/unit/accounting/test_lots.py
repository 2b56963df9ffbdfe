"""First-in-first-out beside average cost: published examples, and that both earn the same once all is sold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import ZERO, Side, replay
from quant_dagster.accounting.events import Adjustment, CommissionAdjustment, Dividend, Split
from quant_dagster.accounting.lots import lot_book
from quant_dagster.storage.types import money
from tests.unit.accounting.test_books import DAY, FILLS, fill


def test_the_worked_example_of_houston_electronics() -> None:
    """Weygandt, Kimmel and Kieso, Accounting Principles, chapter Inventories (Houston Electronics), perpetual: 100 at
    10, 200 at 11, 300 at 12, 550 sold, 400 at 13. The figures were written from memory and are derived again here."""
    bought = [("100", "10"), ("200", "11"), ("300", "12")]
    history = [fill(n, Side.BUY, quantity, price, "0") for n, (quantity, price) in enumerate(bought)]
    history += [fill(3, Side.SELL, "550", "20", "0"), fill(4, Side.BUY, "400", "13", "0")]
    first = lot_book("AAPL", history)
    assert sum(one.cost for one in first.closed) == 6200 == 100 * 10 + 200 * 11 + 250 * 12
    assert first.cost == 50 * 12 + 400 * 13 == 5800
    assert [(one.quantity, one.cost / one.quantity) for one in first.lots] == [(50, 12), (400, 13)]
    average = replay("AAPL", history)
    unit = Decimal(100 * 10 + 200 * 11 + 300 * 12) / 600
    assert 550 * 20 - average.realised_pnl == money(550 * unit)
    assert average.cost == money(50 * unit) + 400 * 13


@pytest.mark.parametrize(("sold", "gain"), [(5, "1.00"), (1, "0.20"), (3, "0.60")])
def test_the_published_example_of_the_average_price_method(sold: int, gain: str) -> None:
    """PropReports' documentation of its average-price method: single shares at 1.00, 1.10, 1.05, 1.15 and 1.20 have an
    average of 1.10, and selling 5, 1 or 3 of them at 1.30 gains 1.00, 0.20 or 0.60."""
    prices = ("1.00", "1.10", "1.05", "1.15", "1.20")
    history = [fill(n, Side.BUY, "1", price, "0") for n, price in enumerate(prices)]
    assert replay("AAPL", history).average_cost == Decimal("1.10")
    assert replay("AAPL", [*history, fill(9, Side.SELL, str(sold), "1.30", "0")]).realised_pnl == Decimal(gain)


def test_the_exercise_of_five_purchases() -> None:
    """The textbook exercise of 100 shares each at 105, 108, 92, 116 and 100, of which 300 are sold for 30,150: by
    average cost a loss of 1,110 (the published answer, 300 x 104.20 against it); first in, first out, one of 350."""
    prices = ("105", "108", "92", "116", "100")
    history = [fill(n, Side.BUY, "100", price, "0") for n, price in enumerate(prices)]
    history.append(fill(9, Side.SELL, "300", "100.50", "0"))
    assert replay("AAPL", history).realised_pnl == -1110
    assert lot_book("AAPL", history).realised_pnl == -350


def test_a_sale_through_zero_closes_every_lot_and_opens_a_short() -> None:
    history = [
        fill(1, Side.BUY, "10", "100"),
        fill(2, Side.BUY, "5", "110"),
        fill(3, Side.SELL, "20", "120"),
        fill(4, Side.BUY, "5", "90"),
    ]
    book = lot_book("AAPL", history)
    assert [one.profit for one in book.closed] == [200, 50, 150]
    assert book.lots == ()


def test_lots_split_with_the_shares_and_keep_their_cost() -> None:
    history = [fill(1, Side.BUY, "10", "100"), fill(2, Side.BUY, "10", "200")]
    split = Split("AAPL", DAY + timedelta(days=1), "s", 3, 2, None)
    book = lot_book("AAPL", history, [split])
    assert [(lot.quantity, lot.cost) for lot in book.lots] == [(15, 1000), (15, 2000)]
    assert book.unrealised_pnl(Decimal(101)) == 30


def test_money_that_a_position_brings_in_or_costs_leaves_its_lots_alone() -> None:
    history = [fill(1, Side.BUY, "10", "100"), replace(fill(2, Side.SELL, "4", "120"), session=DAY + timedelta(days=2))]
    between = DAY + timedelta(days=1)
    events = [Dividend("AAPL", between, "d", Decimal(3)), CommissionAdjustment("AAPL", between, "c", Decimal(2))]
    assert lot_book("AAPL", history, events) == lot_book("AAPL", history)
    assert lot_book("AAPL", history).realised_pnl == 80


@given(FILLS, st.sampled_from([(1, 1), (2, 1), (3, 2), (1, 8)]), st.integers(0, 25))
def test_both_methods_have_earned_the_same_once_everything_is_sold(history, ratio, place: int) -> None:
    trades = [
        replace(fill(n, side, str(quantity), str(price), str(paid)), session=DAY + timedelta(days=n))
        for n, (side, quantity, price, paid) in enumerate(history)
    ]
    split_day = DAY + timedelta(days=min(place, len(trades)))
    events = [Split("AAPL", split_day, "s", *ratio, Decimal(17))]
    average, first = replay("AAPL", trades, events), lot_book("AAPL", trades, events)
    assert first.quantity == average.quantity
    assert first.cost + -first.realised_pnl == average.cost - average.realised_pnl, "the same cash came of both"
    if average.quantity:
        last = DAY + timedelta(days=100)
        events.append(Adjustment("AAPL", last, "flat", -average.quantity, Decimal(33)))
        average, first = replay("AAPL", trades, events), lot_book("AAPL", trades, events)
    assert average.quantity == first.quantity == ZERO == average.cost == first.cost
    assert average.realised_pnl == first.realised_pnl

"""Splits, dividends, borrow: what they make of positions and cash, once each, in whatever order they become known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from quant_dagster.accounting import books, cash
from quant_dagster.accounting.actions import MarketAction, accrue_borrow, apply_corporate_actions, to_book
from quant_dagster.accounting.books import Account, Fill, Side
from quant_dagster.errors import BooksError
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.storage.ledger import Ledger
from tests.unit.accounting.test_books import AT, DAY, fill, unchecked

EX = date(2023, 1, 10)
LATER = date(2023, 1, 11)


def split(ratio: str, symbol: str = "AAPL") -> MarketAction:
    return MarketAction(symbol, EX, "split", ratio=Decimal(ratio))


def dividend(amount: str, symbol: str = "AAPL") -> MarketAction:
    return MarketAction(symbol, EX, "dividend", amount=Decimal(amount))


def on(session: date, one: Fill) -> Fill:
    return replace(one, session=session)


def test_a_long_receives_a_dividend_and_a_short_pays_it_once(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10", "0"), at=AT)
        books.book(connection, fill(2, Side.SELL, "40", "50", "0", "MSFT"), at=AT)
        before = books.balances(connection).cash
        due = [dividend("0.24"), dividend("0.5", "MSFT"), dividend("3", "NOBODYS")]
        assert apply_corporate_actions(connection, due, EX, AT) == 2
        assert apply_corporate_actions(connection, due, EX, AT) == 0
        assert books.balances(connection).cash - before == Decimal("24.00") - Decimal("20.0")
        assert books.holding_of(connection, "AAPL").dividends == 24
        assert books.holding_of(connection, "MSFT").dividends == -20
        assert books.problems(connection) == []


def test_shares_bought_on_the_ex_date_earn_no_dividend(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        books.book(connection, on(EX, fill(2, Side.BUY, "900", "10")), at=AT)
        apply_corporate_actions(connection, [dividend("1")], EX, AT)
        assert books.holding_of(connection, "AAPL").dividends == 100


def test_a_split_changes_shares_and_cost_per_share_and_not_the_cost(ledger: Ledger) -> None:
    """Apple's 4-for-1 split of 2020-08-31: a hundred shares at 499.23 are four hundred at 124.8075."""
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "499.23", "0"), at=AT)
        apply_corporate_actions(connection, [split("4")], EX, AT)
        held = books.holding_of(connection, "AAPL")
        assert (held.quantity, held.cost, held.average_cost) == (400, Decimal(49923), Decimal("124.8075"))
        assert held.realised_pnl == 0
        assert books.problems(connection) == []


def test_a_reverse_split_pays_out_the_fraction(ledger: Ledger) -> None:
    """1 for 8 of 103 shares: 12 are kept, 7/8 of a new share is sold at its price."""
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "103", "8", "0"), at=AT)
        with pytest.raises(BooksError, match="give the price"):
            apply_corporate_actions(connection, [split("0.125")], EX, AT)
        apply_corporate_actions(connection, [split("0.125")], EX, AT, fraction_prices={"AAPL": Decimal(70)})
        held, balances = books.holding_of(connection, "AAPL"), books.balances(connection)
        assert (held.quantity, held.cost) == (12, 12 * 64)
        assert held.realised_pnl == Decimal("0.875") * (70 - 64)
        assert balances.cash == -824 + Decimal("0.875") * 70
        assert books.problems(connection) == []


def test_a_ratio_stored_as_a_rounded_number_is_the_small_fraction_it_was(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "300", "2"), at=AT)
        apply_corporate_actions(connection, [split("0.3333333333333333")], EX, AT)
        assert books.holding_of(connection, "AAPL").quantity == 100


def test_dividend_and_split_on_one_day_pay_the_old_shares(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        apply_corporate_actions(connection, [split("2"), dividend("1")], EX, AT)
        assert books.holding_of(connection, "AAPL").dividends == 100
        assert books.holding_of(connection, "AAPL").quantity == 200


def test_a_fill_from_before_a_split_that_is_heard_of_after_it_is_split_too(ledger: Ledger) -> None:
    first, late = fill(1, Side.BUY, "100", "40", "0"), fill(2, Side.BUY, "50", "40", "0")
    after = on(LATER, fill(3, Side.SELL, "600", "11", "0"))
    with unchecked(ledger) as connection:
        books.book(connection, first, at=AT)
        apply_corporate_actions(connection, [split("4"), dividend("0.2")], EX, AT)
        books.book(connection, after, at=AT)
        books.book(connection, late, at=AT)
        held = books.holding_of(connection, "AAPL")
        assert (held.quantity, held.realised_pnl, held.dividends) == (0, 600, 30)
        assert books.problems(connection) == []


def test_a_correction_of_a_fill_from_before_a_dividend_changes_the_dividend(ledger: Ledger) -> None:
    one = fill(1, Side.BUY, "100", "40")
    with unchecked(ledger) as connection:
        books.book(connection, one, at=AT)
        apply_corporate_actions(connection, [dividend("1")], EX, AT)
        books.book(connection, replace(one, quantity=Decimal(60), correction=1), at=AT)
        assert books.holding_of(connection, "AAPL").dividends == 60
        assert books.problems(connection) == []


def test_a_short_pays_its_borrow_for_each_calendar_day(ledger: Ledger) -> None:
    """ACT/360: 10 000 short at 36 % a year for a weekend's three days is 30."""
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.SELL, "100", "90", "0"), at=AT)
        books.book(connection, fill(2, Side.BUY, "100", "90", "0", "LONG"), at=AT)
        prices = {"AAPL": Decimal(100), "LONG": Decimal(100)}
        for expected in (1, 0):
            booked = accrue_borrow(connection, EX, prices=prices, annual_rates={"AAPL": 0.36}, days=3, at=AT)
            assert booked == expected
        assert books.holding_of(connection, "AAPL").borrow == 30
        assert books.balances(connection).cash == -30
        assert books.problems(connection) == []
        with pytest.raises(BooksError, match="no borrow rate"):
            accrue_borrow(connection, LATER, prices=prices, annual_rates={}, days=1, at=AT)


def test_money_that_comes_and_goes_is_booked_once_per_reference(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        for booked in (True, False):
            assert books.deposit(connection, Decimal(1000), session=DAY, at=AT, reference="d") is booked
            assert cash.withdraw(connection, Decimal(300), session=DAY, at=AT, reference="w") is booked
            assert cash.interest(connection, Decimal("1.5"), session=DAY, at=AT, reference="i") is booked
        balances = books.balances(connection)
        assert (balances.cash, balances.capital) == (Decimal("701.5"), 700)
        assert balances.total(Account.INTEREST) == Decimal("-1.5")
        assert books.problems(connection) == []


@pytest.mark.parametrize(
    ("level", "real", "kinds"),
    [
        (PriceLevel.RAW, False, ["split", "dividend"]),
        (PriceLevel.SPLIT, False, ["dividend"]),
        (PriceLevel.TOTAL_RETURN, False, []),
        (None, False, []),
        (PriceLevel.TOTAL_RETURN, True, ["split", "dividend"]),
    ],
)
def test_what_is_in_the_prices_already_is_not_booked(level, real: bool, kinds: list[str]) -> None:
    due = to_book([split("4"), dividend("1")], EX, level, real=real)
    assert [one.kind for one in due] == kinds


def test_a_dividend_of_old_shares_is_divided_by_the_splits_in_the_prices() -> None:
    later = MarketAction("AAPL", LATER, "split", ratio=Decimal(4))
    (due,) = to_book([dividend("2"), later], EX, PriceLevel.SPLIT, real=False)
    assert due.amount == Decimal("0.5")

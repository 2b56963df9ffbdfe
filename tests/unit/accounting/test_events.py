"""Splits, dividends, borrow: what they make of positions and cash, once each, in whatever order they become known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy import func, select

from quant_dagster.accounting import books, cash
from quant_dagster.accounting.actions import (
    MarketAction,
    accrue_borrow,
    apply_corporate_actions,
    market_actions,
    to_book,
)
from quant_dagster.accounting.books import Account, Fill, Side
from quant_dagster.errors import BooksError
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, postings
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


@pytest.mark.parametrize("rate", [0.0, 1e-12])
def test_a_borrow_that_costs_nothing_is_not_booked(ledger: Ledger, rate: float) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.SELL, "100", "90", "0"), at=AT)
        owed = {"prices": {"AAPL": Decimal(100)}, "days": 3, "at": AT}
        assert accrue_borrow(connection, EX, annual_rates={"AAPL": rate}, **owed) == 0
        assert books.holding_of(connection, "AAPL").borrow == 0
        assert accrue_borrow(connection, EX, annual_rates={}, default_rate=0.36, **owed) == 1, "nor in the way of more"


def test_a_short_without_a_price_stops_what_is_charged_for_borrowing(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.SELL, "100", "90", "0"), at=AT)
        with pytest.raises(BooksError, match=f"short of AAPL has no price on {EX}: what it costs is unknown"):
            accrue_borrow(connection, EX, prices={}, annual_rates={"AAPL": 0.36}, days=3, at=AT)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (MarketAction("AAPL", EX, "dividend"), "dividend of AAPL on 2023-01-10 says no amount: enter it by hand"),
        (MarketAction("AAPL", EX, "split"), "split of AAPL on 2023-01-10 has no ratio above zero: None"),
        (split("0"), "no ratio above zero: 0"),
        (split("-4"), "no ratio above zero: -4"),
    ],
)
def test_an_action_that_does_not_say_how_much_is_refused(ledger: Ledger, action: MarketAction, message: str) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        before = books.balances(connection)
        with pytest.raises(BooksError, match=message):
            apply_corporate_actions(connection, [action], EX, AT)
        assert books.balances(connection) == before


def test_a_spin_off_is_left_to_a_person(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        before = books.balances(connection)
        spin_off = MarketAction("AAPL", EX, "spin_off", ratio=Decimal("0.1"), amount=Decimal(3))
        assert apply_corporate_actions(connection, [spin_off], EX, AT) == 0
        assert books.balances(connection) == before
        assert to_book([spin_off], EX, PriceLevel.RAW, real=True) == []


def test_an_action_of_another_session_waits_for_its_own(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        assert apply_corporate_actions(connection, [dividend("1")], LATER, AT) == 0
        assert apply_corporate_actions(connection, [dividend("1")], EX, AT) == 1


def test_rows_of_the_lake_become_actions_to_the_last_digit() -> None:
    rows = [
        {"symbol": "AAPL", "session": EX, "kind": "split", "ratio": 4.0, "amount": None},
        {"symbol": "AAPL", "session": EX, "kind": "dividend", "ratio": None, "amount": 0.1},
    ]
    assert market_actions(rows) == [split("4.0"), dividend("0.1")]


def test_an_event_that_changes_nothing_now_counts_once_a_late_fill_is_known(ledger: Ledger) -> None:
    """All was sold before the ex-date, as far as was known then; a purchase from before is told afterwards."""
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10", "0"), at=AT)
        books.book(connection, fill(2, Side.SELL, "100", "10", "0"), at=AT)
        assert apply_corporate_actions(connection, [dividend("1")], EX, AT) == 1
        assert books.balances(connection).cash == 0
        assert apply_corporate_actions(connection, [dividend("1")], EX, AT) == 0, "it left a line to be known by"
        books.book(connection, fill(3, Side.BUY, "30", "10", "0"), at=AT)
        assert books.balances(connection).cash == -300 + 30
        assert books.problems(connection) == []


def test_an_event_whose_audit_row_is_gone_is_an_error_not_a_guess(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        apply_corporate_actions(connection, [dividend("1")], EX, AT)
        connection.execute(audit_log.delete().where(audit_log.c.event_key == "dividend:AAPL:2023-01-10"))
        said = "transaction dividend:AAPL:2023-01-10 has no audit row: nobody knows what it was; 'quant verify audit'"
        assert books.problems(connection) == [said]
        with pytest.raises(BooksError, match="has no audit row"):
            apply_corporate_actions(connection, [split("4")], EX, AT)


@pytest.mark.parametrize("payload", ['{"event":"gift"}', "{}"])
def test_an_event_of_an_unknown_kind_is_an_error_not_a_guess(ledger: Ledger, payload: str) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "100", "10"), at=AT)
        apply_corporate_actions(connection, [dividend("1")], EX, AT)
        key = audit_log.c.event_key == "dividend:AAPL:2023-01-10"
        connection.execute(audit_log.update().where(key).values(payload=payload))
        (problem,) = books.problems(connection)
        assert problem.startswith("transaction dividend:AAPL:2023-01-10 is of no kind these books know: {")


@pytest.mark.parametrize("amount", ["0", "-300"])
def test_a_withdrawal_of_nothing_or_less_is_refused(ledger: Ledger, amount: str) -> None:
    with unchecked(ledger) as connection:
        with pytest.raises(BooksError, match=f"withdrawal w of {amount}: an amount above zero leaves the account"):
            cash.withdraw(connection, Decimal(amount), session=DAY, at=AT, reference="w")
        assert connection.execute(select(func.count()).select_from(postings)).scalar_one() == 0


@pytest.mark.parametrize("currency", [None, "EUR"])
def test_what_a_person_adjusts_changes_cash_and_neither_capital_nor_profit(
    ledger: Ledger, currency: str | None
) -> None:
    with unchecked(ledger) as connection:
        for booked in (True, False):
            done = cash.adjust_cash(
                connection, Decimal("-12.5"), session=DAY, at=AT, reference="b1", actor="ada",
                reason="fee of the venue", currency=currency,
            )  # fmt: skip
            assert done is booked
        balances = books.balances(connection)
        assert balances.totals == {
            (Account.CASH, currency): Decimal("-12.5"), (Account.ADJUSTMENT, currency): Decimal("12.5"),
        }  # fmt: skip
        assert balances.capital == 0
        said = connection.execute(select(audit_log.c.actor, audit_log.c.payload)).one()
        assert said.actor == "ada"
        assert "fee of the venue" in said.payload
        assert books.problems(connection) == []


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

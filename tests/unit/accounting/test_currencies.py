"""Books in several currencies: every transaction balances in each, and what currencies earn is kept apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from quant_dagster.accounting import books, cash
from quant_dagster.accounting.actions import MarketAction, apply_corporate_actions
from quant_dagster.accounting.books import Account, Booked, Fill, Holding, Side
from quant_dagster.accounting.fills import COMMISSION_CURRENCY
from quant_dagster.accounting.postings import Line, post
from quant_dagster.accounting.profit import profit_and_loss
from quant_dagster.accounting.snapshots import Mark, record_snapshot, value_account
from quant_dagster.errors import BooksError
from quant_dagster.observability import audit
from quant_dagster.operations.verification import _snapshots_against_postings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import postings
from tests.unit.accounting.test_books import AT, DAY, fill, unchecked


def in_euro(number: int, side: Side, quantity: str, price: str, commission: str = "1") -> Fill:
    return replace(fill(number, side, quantity, price, commission, "SAP"), currency="EUR")


def test_a_fill_in_euro_is_posted_in_euro(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, in_euro(1, Side.BUY, "10", "100"), at=AT)
        balances = books.balances(connection)
        assert balances.cash == 0
        assert balances.foreign_cash == {"EUR": Decimal(-1001)}
        assert balances.holdings["SAP"].currency == "EUR"
        assert books.problems(connection) == []
        books.require_balance(connection)


def test_a_transaction_that_balances_only_over_all_currencies_is_found(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, in_euro(1, Side.BUY, "10", "100"), at=AT)
        line = (postings.c.account == Account.CASH.value) & (postings.c.currency == "EUR")
        connection.execute(postings.update().where(line).values(currency=None))
        assert any("does not balance" in one for one in books.problems(connection))
        with pytest.raises(BooksError, match="off by"):
            books.require_balance(connection)


def test_a_currency_without_a_rate_is_an_error_not_a_guess(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, in_euro(1, Side.BUY, "10", "100"), at=AT)
        for rates in ({}, {"EUR": Decimal(0)}, {"GBP": Decimal(1)}):
            with pytest.raises(BooksError, match="no rate"):
                value_account(connection, {"SAP": Mark(Decimal(100), DAY)}, DAY, rates)


def test_profit_of_prices_and_of_currencies_are_apart_and_sum_to_the_whole(ledger: Ledger) -> None:
    """10 000 USD; 5 000 EUR bought at 1.10; 20 shares bought at 100 EUR, half sold at 120; then 1 EUR is 1.20 USD."""
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(10_000), session=DAY, at=AT, reference="opening")
        for booked in (True, False):
            done = cash.exchange(
                connection, Decimal(5000), currency="EUR", rate=Decimal("1.10"), against=None, session=DAY, at=AT,
                reference="x",
            )  # fmt: skip
            assert done is booked
        books.book(connection, in_euro(1, Side.BUY, "20", "100", "0"), at=AT)
        books.book(connection, in_euro(2, Side.SELL, "10", "120", "2"), at=AT)
        rates, marks = {"EUR": Decimal("1.20")}, {"SAP": Mark(Decimal(110), DAY)}
        profit = profit_and_loss(connection, marks, DAY, rates)
        assert profit.currency == 5000 * (Decimal("1.20") - Decimal("1.10")) == 500
        assert profit.realised == 200 * Decimal("1.2")
        assert profit.unrealised == 100 * Decimal("1.2")
        assert profit.commission == Decimal("2.4")
        assert profit.equity == 4500 + (5000 - 2000 + 1200 - 2 + 1100) * Decimal("1.2")
        assert profit.total == profit.equity - profit.capital
        assert profit_and_loss(connection, marks, DAY, rates, first_in_first_out=True) == profit
        assert books.problems(connection) == []


def test_a_snapshot_is_in_the_accounts_currency_and_keeps_its_rates(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(10_000), session=DAY, at=AT, reference="opening")
        books.book(connection, in_euro(1, Side.BUY, "10", "100", "0"), at=AT)
        record_snapshot(connection, {"SAP": Mark(Decimal(100), DAY)}, DAY, at=AT, rates={"EUR": Decimal("1.25")})
        found = books.balances(connection)
        assert found.total(Account.CASH, {"EUR": Decimal("1.25")}) == 8750
        assert _snapshots_against_postings(connection) == []


def test_a_commission_in_a_third_currency_is_paid_in_it(ledger: Ledger) -> None:
    one = in_euro(1, Side.BUY, "10", "100", "0")
    paid = replace(one, commission=Decimal("0.5"), provenance={COMMISSION_CURRENCY: "BNB"})
    with unchecked(ledger) as connection:
        assert books.book(connection, one, at=AT) is Booked.NEW
        assert books.book(connection, paid, at=AT) is Booked.COMMISSION
        assert books.book(connection, one, at=AT) is Booked.NOTHING
        assert books.balances(connection).foreign_cash == {"EUR": Decimal(-1000), "BNB": Decimal("-0.5")}
        assert books.holding_of(connection, "SAP").other_commissions == (("BNB", Decimal("0.5")),)
        assert books.problems(connection) == []
        snapshot = value_account(
            connection, {"SAP": Mark(Decimal(100), DAY)}, DAY, {"EUR": Decimal(1), "BNB": Decimal(600)}
        )
        assert snapshot.commission == 300


def test_one_symbol_is_not_held_in_two_currencies(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, in_euro(1, Side.BUY, "10", "100"), at=AT)
        with pytest.raises(BooksError, match="two symbols"):
            books.book(connection, replace(in_euro(2, Side.BUY, "10", "100"), currency="USD"), at=AT)


def test_a_fill_that_was_booked_in_the_wrong_currency_is_moved_with_all_that_came_of_it(ledger: Ledger) -> None:
    """Booked in dollars, with a dividend; then the broker says it was euro. Nothing of it stays in dollars."""
    wrong = fill(1, Side.BUY, "10", "100", "1", "SAP")
    ex = date(2023, 1, 10)
    with unchecked(ledger) as connection:
        books.book(connection, wrong, at=AT)
        apply_corporate_actions(connection, [MarketAction("SAP", ex, "dividend", amount=Decimal(2))], ex, AT)
        assert books.balances(connection).cash == -1001 + 20
        assert books.book(connection, replace(wrong, currency="EUR", correction=1), at=AT) is Booked.CORRECTED
        balances = books.balances(connection)
        assert (balances.cash, balances.foreign_cash) == (0, {"EUR": Decimal(-981)})
        assert balances.currencies == {"EUR"}
        assert balances.holdings["SAP"] == Holding(
            "SAP", Decimal(10), Decimal(1000), commission=Decimal(1), dividends=Decimal(20), currency="EUR"
        )
        books.book(connection, replace(in_euro(2, Side.SELL, "4", "110"), session=ex), at=AT)
        assert books.holding_of(connection, "SAP").realised_pnl == 40
        assert books.balances(connection).foreign_cash == {"EUR": Decimal(-981 + 440 - 1)}
        assert books.problems(connection) == []
        books.book(connection, replace(in_euro(3, Side.SELL, "6", "110"), session=ex), at=AT)
        assert books.holding_of(connection, "SAP").realised_pnl == 100, "closed, it is still the euro position"
        assert books.balances(connection).foreign_cash == {"EUR": Decimal(-981 + 1100 - 2)}
        assert books.problems(connection) == []


def test_a_correction_that_says_what_currency_a_commission_was_in_moves_it(ledger: Ledger) -> None:
    wrong = in_euro(1, Side.BUY, "10", "100", "1")
    right = replace(wrong, provenance={COMMISSION_CURRENCY: "BNB"}, correction=1)
    with unchecked(ledger) as connection:
        books.book(connection, wrong, at=AT)
        books.book(connection, right, at=AT)
        assert books.balances(connection).foreign_cash == {"EUR": Decimal(-1000), "BNB": Decimal(-1)}
        in_dollars = replace(right, provenance={COMMISSION_CURRENCY: None}, correction=2)
        books.book(connection, in_dollars, at=AT)
        assert books.balances(connection).currencies == {"EUR"}
        assert books.balances(connection).cash == -1
        assert books.holding_of(connection, "SAP").other_commissions == (("", Decimal(1)),)
        assert books.problems(connection) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (Line(Account.DIVIDENDS, Decimal(-5), "SAP", currency="USD"), "SAP has dividends in USD and is held in EUR"),
        (
            Line(Account.SECURITIES, Decimal(-5), "SAP", Decimal(1), "USD"),
            r"SAP is held in more than one currency: \['EUR', 'USD'\]",
        ),
    ],
)
def test_postings_of_one_symbol_in_two_currencies_are_found(ledger: Ledger, line: Line, message: str) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, in_euro(1, Side.BUY, "10", "100"), at=AT)
        post(connection, "t", [line, Line(Account.CASH, Decimal(5), currency="USD")], session=DAY, at=AT)
        with pytest.raises(BooksError, match=message):
            books.holding_of(connection, "SAP")


@pytest.mark.parametrize(
    ("currency", "against", "rate"), [("EUR", None, "0"), ("EUR", None, "-1.1"), ("EUR", "EUR", "1"), (None, None, "1")]
)
def test_an_exchange_of_a_currency_for_itself_or_for_nothing_is_refused(
    ledger: Ledger, currency: str | None, against: str | None, rate: str
) -> None:
    with unchecked(ledger) as connection:
        with pytest.raises(BooksError, match=f"exchange x: {currency} for {against} at {rate} is no exchange"):
            cash.exchange(
                connection, Decimal(5000), currency=currency, rate=Decimal(rate), against=against, session=DAY, at=AT,
                reference="x",
            )  # fmt: skip
        assert books.balances(connection).totals == {}


def test_the_audit_row_of_a_fill_says_its_currency_and_older_ones_stay_as_they_were() -> None:
    row = dict.fromkeys(fill(1, Side.BUY, "1", "1").__dataclass_fields__, "x")
    assert audit.fill_payload(row)["currency"] == "x"
    assert "currency" not in audit.fill_payload(row | {"currency": None, "executed_at": None})

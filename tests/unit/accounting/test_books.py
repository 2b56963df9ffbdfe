"""Double-entry books: known entries, and properties over random sequences of fills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, text

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Account, Booked, Fill, Holding, Side, after_fill
from quant_dagster.accounting.postings import Line, post
from quant_dagster.accounting.snapshots import Mark, record_snapshot, stored_snapshot, value_account
from quant_dagster.errors import BooksError
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import positions, postings
from tests.support.ledgers import sqlite_ledger

AT = datetime(2023, 1, 3, tzinfo=UTC)
DAY = date(2023, 1, 3)


def fill(number: int, side: Side, quantity: str, price: str, commission: str = "1", symbol: str = "AAPL") -> Fill:
    return Fill(
        execution_id=f"e{number}",
        client_order_id="o1",
        session=DAY,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        commission=Decimal(commission),
        decision_price=Decimal(price),
        reference_price=Decimal(price),
        provenance={},
    )


@contextmanager
def unchecked(ledger: Ledger) -> Iterator[Connection]:
    """A write transaction in which fills need no order, so that books can be tested alone."""
    with ledger.write() as connection:
        if ledger.is_sqlite:
            connection.execute(text("PRAGMA defer_foreign_keys=ON"))
        else:
            connection.execute(text("SET session_replication_role = replica"))
        yield connection
        if ledger.is_sqlite:
            connection.execute(text("DELETE FROM fills"))


class TestAverageCost:
    """A worked example of the average-cost method."""

    def test_buying_twice_averages_the_cost(self) -> None:
        holding = after_fill(Holding("AAPL"), fill(1, Side.BUY, "100", "10"))
        holding = after_fill(holding, fill(2, Side.BUY, "100", "20"))
        assert (holding.quantity, holding.cost, holding.average_cost) == (200, 3000, 15)

    def test_selling_realises_price_less_average_cost(self) -> None:
        holding = Holding("AAPL", Decimal(200), Decimal(3000))
        holding = after_fill(holding, fill(1, Side.SELL, "50", "18", commission="2"))
        assert (holding.quantity, holding.cost) == (150, 2250)
        assert (holding.realised_pnl, holding.commission) == (150, 2)

    def test_a_short_sale_profits_when_bought_back_lower(self) -> None:
        holding = after_fill(Holding("AAPL"), fill(1, Side.SELL, "10", "100"))
        assert (holding.quantity, holding.cost) == (-10, -1000)
        holding = after_fill(holding, fill(2, Side.BUY, "10", "90"))
        assert (holding.quantity, holding.cost, holding.realised_pnl) == (0, 0, 100)

    def test_a_sale_through_zero_closes_then_opens(self) -> None:
        holding = after_fill(Holding("AAPL", Decimal(10), Decimal(1000)), fill(1, Side.SELL, "15", "110"))
        assert (holding.quantity, holding.cost, holding.realised_pnl) == (-5, -550, 100)


FILLS = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.integers(1, 500),
        st.decimals("0.01", "900", places=4),
        st.decimals("0", "5", places=3),
    ),
    min_size=1,
    max_size=25,
)


@given(FILLS)
def test_money_is_conserved_through_any_sequence_of_fills(history) -> None:
    """Cash paid out is cost plus commission less realised profit, exactly, whatever happens."""
    holding, cash = Holding("AAPL"), Decimal(0)
    for number, (side, quantity, price, commission) in enumerate(history):
        one = fill(number, side, str(quantity), str(price), str(commission))
        holding = after_fill(holding, one)
        cash -= side.sign * one.quantity * one.price + one.commission
        assert cash == holding.realised_pnl - holding.cost - holding.commission
        if holding.quantity == 0:
            assert holding.cost == 0
        else:
            assert (holding.quantity > 0) == (holding.cost > 0)


@settings(max_examples=15)
@given(history=FILLS)
def test_books_balance_after_every_fill(history, tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = sqlite_ledger(tmp_path_factory.mktemp("books") / "l.db", lambda: AT)
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(1_000_000), session=DAY, at=AT, reference="opening")
        expected = Holding("AAPL")
        for number, (side, quantity, price, commission) in enumerate(history):
            one = fill(number, side, str(quantity), str(price), str(commission))
            assert books.book(connection, one, at=AT)
            assert not books.book(connection, one, at=AT)
            expected = after_fill(expected, one)
            total = connection.execute(select(func.sum(postings.c.amount))).scalar_one()
            assert total == 0
        assert books.holding_of(connection, "AAPL") == expected
        assert books.problems(connection) == []
    ledger.close()


def test_fill_reported_twice_is_booked_once(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        assert books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        assert not books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        assert books.balances(connection).cash == -1001


def test_fill_reported_twice_with_another_price_stops_trading(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        with pytest.raises(BooksError, match="different contents"):
            books.book(connection, fill(1, Side.BUY, "10", "101"), at=AT)


def test_a_correction_replaces_the_fill_even_after_later_ones(ledger: Ledger) -> None:
    first, second = fill(1, Side.BUY, "10", "100"), fill(2, Side.SELL, "10", "120")
    corrected = replace(first, price=Decimal(90), correction=1)
    with unchecked(ledger) as connection:
        for one in (first, second, corrected):
            books.book(connection, one, at=AT)
        balances = books.balances(connection)
        assert balances.holdings["AAPL"].realised_pnl == 300
        assert balances.cash == 1200 - 900 - 2
        assert books.problems(connection) == []
        assert not books.book(connection, first, at=AT), "an older version must not undo the correction"


def test_a_changed_posting_is_found(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        connection.execute(postings.update().where(postings.c.line == 1).values(amount=Decimal(999)))
        assert any("does not balance" in problem for problem in books.problems(connection))
        with pytest.raises(BooksError, match="off by"):
            books.require_balance(connection)


def test_nonsense_fills_are_refused(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        for quantity, price in (("0", "1"), ("-1", "1"), ("1", "0")):
            with pytest.raises(BooksError, match="must be positive"):
                books.book(connection, fill(1, Side.BUY, quantity, price), at=AT)


def test_a_transaction_that_does_not_balance_is_not_booked(ledger: Ledger) -> None:
    lines = [Line(Account.CASH, Decimal(100)), Line(Account.CAPITAL, Decimal("-99.99"))]
    with unchecked(ledger) as connection:
        with pytest.raises(BooksError, match=r"transaction t does not balance: 0\.01 ; nothing was booked"):
            post(connection, "t", lines, session=DAY, at=AT)
        with pytest.raises(BooksError, match="does not balance: 100 EUR; nothing was booked"):
            post(connection, "t", [replace(lines[0], currency="EUR"), lines[1]], session=DAY, at=AT)
        assert connection.execute(select(func.count()).select_from(postings)).scalar_one() == 0


def test_a_correction_cannot_make_a_fill_one_of_another_symbol(ledger: Ledger) -> None:
    one = fill(1, Side.BUY, "10", "100")
    with unchecked(ledger) as connection:
        books.book(connection, one, at=AT)
        with pytest.raises(BooksError, match="fill e1 of AAPL cannot be corrected to one of MSFT"):
            books.book(connection, replace(one, symbol="MSFT", correction=1), at=AT)
        assert set(books.balances(connection).holdings) == {"AAPL"}


def test_a_commission_told_twice_is_paid_once_and_another_one_stops_trading(ledger: Ledger) -> None:
    untold = fill(1, Side.BUY, "10", "100", commission="0")
    told = replace(untold, commission=Decimal("1.5"))
    with unchecked(ledger) as connection:
        done = [books.book(connection, one, at=AT) for one in (untold, told, told, untold)]
        assert done == [Booked.NEW, Booked.COMMISSION, Booked.NOTHING, Booked.NOTHING]
        with pytest.raises(BooksError, match=r"was booked with commission 1\.5\d* and is now reported with 2"):
            books.book(connection, replace(untold, commission=Decimal(2)), at=AT)
        assert books.balances(connection).cash == Decimal("-1001.5")
        assert books.problems(connection) == []


def test_what_was_read_for_one_batch_serves_the_next(ledger: Ledger) -> None:
    first, second = fill(1, Side.BUY, "10", "100", "0"), fill(2, Side.BUY, "10", "120", "0")
    with unchecked(ledger) as connection:
        journal = books.Journal(connection, AT)
        journal.expect([first])
        journal.book(first)
        journal.expect([second])
        journal.book(second)
        journal.flush()
        assert books.holding_of(connection, "AAPL") == Holding("AAPL", Decimal(20), Decimal(2200))
        assert books.problems(connection) == []


def test_postings_of_a_symbol_in_an_account_that_has_none_are_found(ledger: Ledger) -> None:
    lines = [Line(Account.CASH, Decimal(5)), Line(Account.INTEREST, Decimal(-5), "AAPL")]
    with unchecked(ledger) as connection:
        post(connection, "t", lines, session=DAY, at=AT)
        with pytest.raises(BooksError, match="account interest has postings for symbol AAPL"):
            books.holding_of(connection, "AAPL")


def test_an_account_that_holds_nothing_is_its_cash(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(10_000), session=DAY, at=AT, reference="opening")
        assert record_snapshot(connection, {}, DAY, at=AT)
        snapshot = stored_snapshot(connection, DAY)
        assert snapshot is not None
        assert (snapshot.cash, snapshot.market_value, snapshot.equity) == (10_000, 0, 10_000)
        assert connection.execute(select(func.count()).select_from(positions)).scalar_one() == 0


def test_a_fill_that_was_taken_back_is_out_of_the_snapshot_taken_again(ledger: Ledger) -> None:
    one = fill(1, Side.BUY, "10", "100", commission="0")
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(10_000), session=DAY, at=AT, reference="opening")
        books.book(connection, one, at=AT)
        rows = select(positions.c.symbol, positions.c.quantity)
        for quantity, equity in ((10, 9950), (0, 10_000)):
            assert record_snapshot(connection, {"AAPL": Mark(Decimal(95), DAY)}, DAY, at=AT)
            snapshot = stored_snapshot(connection, DAY)
            assert snapshot is not None
            assert snapshot.equity == equity
            assert connection.execute(rows).all() == [("AAPL", quantity)]
            books.book(connection, replace(one, quantity=Decimal(0), correction=1), at=AT)


def test_snapshot_values_positions_at_the_close(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.deposit(connection, Decimal(10_000), session=DAY, at=AT, reference="opening")
        books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        marks = {"AAPL": Mark(Decimal(95), DAY)}
        snapshot = value_account(connection, marks, DAY)
        assert (snapshot.cash, snapshot.market_value, snapshot.equity) == (8999, 950, 9949)
        assert (snapshot.unrealised_pnl, snapshot.peak_equity) == (-50, 10_000)
        assert float(snapshot.drawdown) == pytest.approx(0.0051)
        assert record_snapshot(connection, marks, DAY, at=AT)
        assert not record_snapshot(connection, marks, DAY, at=AT)


def test_a_held_symbol_without_a_price_is_an_error_not_a_zero(ledger: Ledger) -> None:
    with unchecked(ledger) as connection:
        books.book(connection, fill(1, Side.BUY, "10", "100"), at=AT)
        with pytest.raises(BooksError, match="no price"):
            value_account(connection, {}, DAY)

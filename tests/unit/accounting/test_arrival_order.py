"""Reports arrive late, twice, corrected and in any order: the books end up the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from quant_dagster.accounting import books
from quant_dagster.accounting.actions import MarketAction, apply_corporate_actions
from quant_dagster.accounting.books import Fill, Side
from quant_dagster.accounting.lots import lot_books
from quant_dagster.storage.ledger import Ledger
from tests.unit.accounting.test_books import AT, DAY, fill, unchecked

EX = DAY + timedelta(days=2)

TRADES = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.integers(1, 50),
        st.integers(1, 900),
        st.integers(0, 4),  # day
        st.lists(st.tuples(st.integers(0, 60), st.integers(1, 900)), max_size=2),  # corrections
        st.booleans(),  # is the commission told later?
    ),
    min_size=1,
    max_size=6,
)


def reports(number: int, trade) -> list[Fill]:
    """Everything a broker says of one execution: as first reported, each correction, each one's commission."""
    side, quantity, price, day, corrections, late = trade
    first = fill(number, side, str(quantity), str(price), "0", "AAPL" if number % 3 else "EURO")
    session = DAY + timedelta(days=day)
    at = AT + timedelta(days=day, seconds=number // 2)
    first = replace(first, session=session, executed_at=at, currency=None if number % 3 else "EUR")
    versions = [first]
    for correction, (size, cents) in enumerate(corrections, start=1):
        versions.append(replace(first, quantity=Decimal(size), price=Decimal(cents), correction=correction))
    told = []
    for version in versions:
        paid = replace(version, commission=Decimal(1 + version.correction))
        told += [version, paid] if late else [paid]
    return told


def content(connection: Connection) -> object:
    balances = books.balances(connection)
    totals = {key: amount for key, amount in balances.totals.items() if amount}
    held = {name: one for name, one in balances.holdings.items() if replace(one, currency=None) != books.Holding(name)}
    booked = sorted(books.fills_of(connection), key=lambda one: one.execution_id)
    return totals, held, booked, _lots(connection)


def _lots(connection: Connection) -> object:
    return {name: (book.lots, book.realised_pnl) for name, book in lot_books(connection).items()}


class Undone(Exception):
    """Ends a transaction of which nothing is to stay."""


@pytest.fixture(scope="module")
def one_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('order') / 'l.db'}", lambda: AT)
    ledger.upgrade()
    yield ledger
    ledger.close()


@settings(max_examples=60)
@given(trades=TRADES, data=st.data(), ex=st.sampled_from([None, EX]))
def test_books_do_not_depend_on_how_reports_arrive(one_ledger: Ledger, trades, data, ex: date | None) -> None:
    said = [one for number, trade in enumerate(trades) for one in reports(number, trade)]
    shuffled = data.draw(st.permutations(said))
    repeated = shuffled + data.draw(st.lists(st.sampled_from(said), max_size=5))
    split_after = data.draw(st.integers(0, len(repeated)))
    ends: list[object] = []
    for order, at in ((said, len(said)), (repeated, split_after)):
        with suppress(Undone), unchecked(one_ledger) as connection:
            for number, one in enumerate(order):
                if number == at:
                    _act(connection, ex)
                books.book(connection, one, at=AT)
            _act(connection, ex)
            assert books.problems(connection) == []
            books.require_balance(connection)
            ends.append(content(connection))
            raise Undone
    assert len(ends) == 2
    assert ends[0] == ends[1]


def _act(connection: Connection, ex: date | None) -> None:
    if ex is not None:
        actions = [
            MarketAction("AAPL", ex, "split", Decimal(2)),
            MarketAction("AAPL", ex, "dividend", None, Decimal(3)),
        ]
        apply_corporate_actions(connection, actions, ex, AT)

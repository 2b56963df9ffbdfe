"""The comparison finds exactly what differs, and nothing where nothing does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Fill, Side
from quant_dagster.execution.broker import BrokerAccount, BrokerOrder, Execution
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.execution.reconciliation.breaks import BreakKind
from quant_dagster.execution.reconciliation.compare import Ours, Theirs, compare

DAY = date(2024, 1, 2)
AT = datetime(2024, 1, 2, 15, tzinfo=UTC)
SYMBOLS = ("AAPL", "IBM", "KO")


@dataclass(frozen=True)
class Trade:
    number: int
    symbol: str
    side: Side
    quantity: int
    cents: int

    @property
    def price(self) -> Decimal:
        return Decimal(self.cents) / 100


TRADES = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(list(Side)), st.integers(1, 500), st.integers(100, 90_000)),
    min_size=1,
    max_size=12,
).map(lambda rows: [Trade(number, *row) for number, row in enumerate(rows)])


def execution(one: Trade) -> Execution:
    return Execution(
        f"e{one.number}", f"o{one.number}", one.symbol, one.side, Decimal(one.quantity), one.price, DAY,
        Decimal("0.37"), executed_at=AT + timedelta(seconds=one.number),
    )  # fmt: skip


def fill(said: Execution) -> Fill:
    return Fill(
        said.execution_id, said.client_order_id, said.session, said.symbol, said.side, said.quantity, said.price,
        said.commission or Decimal(0), said.price, said.price, {}, executed_at=said.executed_at,
    )  # fmt: skip


def ours_of(executions: list[Execution], orders: tuple[Order, ...] = ()) -> Ours:
    positions: dict[str, Decimal] = {}
    cash = Decimal(1_000_000)
    for one in executions:
        positions[one.symbol] = positions.get(one.symbol, Decimal(0)) + one.side.sign * one.quantity
        cash -= one.side.sign * one.quantity * one.price + (one.commission or 0)
    return Ours(orders, {one.execution_id: fill(one) for one in executions}, positions, {"USD": cash})


def theirs_of(executions: list[Execution], orders: tuple[BrokerOrder, ...] = ()) -> Theirs:
    mine = ours_of(executions)
    return Theirs(orders, executions, BrokerAccount("DU1", "USD", mine.cash, mine.positions))


def kinds(ours: Ours, theirs: Theirs) -> list[tuple[BreakKind, str]]:
    return [(one.kind, one.reference) for one in compare(ours, theirs).breaks]


@given(TRADES)
def test_two_equal_accounts_have_no_break(trades: list[Trade]) -> None:
    said = [execution(one) for one in trades]
    found = compare(ours_of(said), theirs_of(said))
    assert found.breaks == ()
    assert found.compared["fills"] == len(said)


@given(TRADES, st.data(), st.booleans())
def test_a_missing_fill_is_found_with_what_follows_from_it(trades: list[Trade], data, mine: bool) -> None:
    said = [execution(one) for one in trades]
    lost = data.draw(st.sampled_from(said))
    fewer = [one for one in said if one is not lost]
    ours, theirs = (ours_of(fewer), theirs_of(said)) if mine else (ours_of(said), theirs_of(fewer))
    assert kinds(ours, theirs) == [
        (BreakKind.FILL, lost.execution_id),
        (BreakKind.POSITION, lost.symbol),
        (BreakKind.CASH, "USD"),
    ]


@given(TRADES, st.data(), st.integers(1, 100))
def test_another_quantity_is_found_with_what_follows_from_it(trades: list[Trade], data, more: int) -> None:
    said = [execution(one) for one in trades]
    place = data.draw(st.integers(0, len(said) - 1))
    changed = list(said)
    changed[place] = replace(said[place], quantity=said[place].quantity + more)
    assert kinds(ours_of(said), theirs_of(changed)) == [
        (BreakKind.FILL, said[place].execution_id),
        (BreakKind.POSITION, said[place].symbol),
        (BreakKind.CASH, "USD"),
    ]


@given(TRADES, st.decimals("-5000", "5000", places=2))
def test_cash_alone_is_a_break_beyond_the_tolerance(trades: list[Trade], off: Decimal) -> None:
    said = [execution(one) for one in trades]
    theirs = theirs_of(said)
    cash = {"USD": theirs.account.cash["USD"] + off}
    theirs = replace(theirs, account=replace(theirs.account, cash=cash))
    found = compare(ours_of(said), theirs, cash_tolerance=Decimal("0.01")).breaks
    assert [one.kind for one in found] == ([BreakKind.CASH] if abs(off) > Decimal("0.01") else [])


@given(TRADES, st.data())
def test_another_commission_is_found_with_the_cash_it_cost(trades: list[Trade], data) -> None:
    said = [execution(one) for one in trades]
    place = data.draw(st.integers(0, len(said) - 1))
    changed = list(said)
    changed[place] = replace(said[place], commission=Decimal("1.35"))
    assert kinds(ours_of(said), theirs_of(changed)) == [
        (BreakKind.COMMISSION, said[place].execution_id),
        (BreakKind.CASH, "USD"),
    ]


def order(status: OrderStatus = OrderStatus.ACCEPTED, filled: int = 0) -> Order:
    return Order(
        "q1", None, "s", DAY, "IBM", Side.BUY, Decimal(100), "limit", "day", Decimal(200), AT, status=status,
        filled_quantity=Decimal(filled),
    )  # fmt: skip


WORKING = BrokerOrder("17", "q1", "IBM", Side.BUY, Decimal(100), Decimal(0), "limit", Decimal(200))


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (order(), WORKING, []),
        (order(), None, ["q1"]),
        (None, WORKING, ["q1"]),
        (None, replace(WORKING, client_order_id=""), ["17"]),
        (order(filled=10), WORKING, ["q1"]),
        (order(), replace(WORKING, quantity=Decimal(90)), ["q1"]),
        (order(OrderStatus.PENDING_REPLACE), replace(WORKING, quantity=Decimal(90)), []),
        (order(OrderStatus.SUBMITTING), None, []),
        (order(OrderStatus.APPROVED), None, []),
    ],
)
def test_orders_that_work_on_one_side_only_or_otherwise(here, there, expected: list[str]) -> None:
    found = kinds(ours_of([], () if here is None else (here,)), theirs_of([], () if there is None else (there,)))
    assert found == [(BreakKind.ORDER, reference) for reference in expected]


def test_a_broker_that_forgets_yesterday_does_not_break_yesterdays_fills() -> None:
    old = replace(execution(Trade(1, "IBM", Side.BUY, 10, 5000)), session=DAY - timedelta(days=1))
    theirs = replace(theirs_of([old]), executions=[])
    assert kinds(ours_of([old]), theirs) == [(BreakKind.FILL, "e1")]
    assert kinds(ours_of([old]), replace(theirs, since=DAY)) == []


def test_an_execution_that_both_sides_took_back_is_none() -> None:
    one = execution(Trade(1, "IBM", Side.BUY, 10, 5000))
    gone = replace(one, quantity=Decimal(0), correction=1, commission=None)
    ours = replace(ours_of([]), fills={"e1": replace(fill(one), quantity=Decimal(0), correction=1)})
    assert kinds(ours, replace(theirs_of([]), executions=[one, gone])) == []


def test_a_dividend_that_is_not_paid_yet_is_no_break() -> None:
    ours = replace(
        ours_of([]), cash={"USD": Decimal("1000074.5")}, unpaid=[("USD", Decimal(50)), ("USD", Decimal("24.5"))]
    )
    for paid, breaks in (("1000000", 0), ("1000024.5", 0), ("1000050", 0), ("1000074.5", 0), ("1000030", 1)):
        theirs = theirs_of([])
        theirs = replace(theirs, account=replace(theirs.account, cash={"USD": Decimal(paid)}))
        assert len(kinds(ours, theirs)) == breaks


def test_a_broker_that_says_no_cash_is_not_compared_in_it() -> None:
    theirs = theirs_of([])
    found = compare(ours_of([]), replace(theirs, account=replace(theirs.account, cash={})))
    assert (found.breaks, found.compared["cash"]) == ((), 0)

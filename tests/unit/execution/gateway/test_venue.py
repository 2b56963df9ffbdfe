"""The venue's book, without sockets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.gateway.account import Account, CommissionSchedule
from quant_dagster.execution.gateway.market import ScriptedMarket, instrument
from quant_dagster.execution.gateway.records import Event, Executed, Notice, OrderChanged, OrderState, Ticket
from quant_dagster.execution.gateway.venue import Venue

AT = datetime(2019, 2, 13, 15, 0, tzinfo=UTC)
CASH = Decimal(1_000_000)
PRICES = {"AAPL": Decimal(170), "MSFT": Decimal(105)}


def venue(cash: Decimal = CASH, **options: object) -> Venue:
    account = Account("DU1", cash, CommissionSchedule(), **options)  # type: ignore[arg-type]
    return Venue(account, {symbol: instrument(symbol) for symbol in PRICES}, PRICES.get)


def ticket(order_id: int, side: Side = Side.BUY, quantity: int = 100, **options: object) -> Ticket:
    wanted = {"order_type": "LMT", "limit": Decimal(170), "order_ref": f"r{order_id}"} | options
    return Ticket(1, order_id, str(wanted.pop("symbol", "AAPL")), side, Decimal(quantity), **wanted)  # type: ignore[arg-type]


def placed(book: Venue, *args: object, **options: object) -> int:
    book.place(ticket(*args, **options), AT)  # type: ignore[arg-type]
    return book.of_client(1, args[0]).perm_id  # type: ignore[arg-type, union-attr]


def states(events: list[Event]) -> list[str]:
    return [event.order.state.value for event in events if isinstance(event, OrderChanged)]


def codes(events: list[Event]) -> list[int]:
    return [event.code for event in events if isinstance(event, Notice)]


# The example of Interactive Brokers' page on fixed pricing of US stocks: 100 shares at USD 25 cost USD 1.00, 1,000 cost
# USD 5.00, and 1,000 at USD 0.25 cost USD 2.50 because of the 1 % limit. Each follows from the published rule (0.005 a
# share, at least 1.00, at most 1 % of the value), worked out beside it.
@pytest.mark.parametrize(
    ("shares", "price", "expected", "rule"),
    [
        (100, "25", "1.00", max(Decimal("0.005") * 100, Decimal(1))),
        (1000, "25", "5.00", Decimal("0.005") * 1000),
        (1000, "0.25", "2.50", Decimal("0.01") * 250),
    ],
)
def test_commissions_are_those_of_the_published_schedule(shares: int, price: str, expected: str, rule: Decimal) -> None:
    charged = CommissionSchedule().of_order(Decimal(shares), shares * Decimal(price))
    assert charged == Decimal(expected) == rule


def test_an_order_is_acknowledged_then_works_then_fills() -> None:
    book = venue()
    assert states(book.place(ticket(1), AT)) == ["PendingSubmit", "PreSubmitted", "Submitted"]
    perm_id = book.of_ref("r1").perm_id
    assert states(book.execute(perm_id, Decimal(40), Decimal("169.5"), AT)) == ["Submitted"]
    assert states(book.execute(perm_id, Decimal(60), Decimal(170), AT)) == ["Filled"]
    order = book.order(perm_id)
    assert (order.filled, order.average_price, order.remaining) == (100, Decimal("169.8"), 0)
    assert book.completed() == [order]


def test_the_least_commission_is_paid_once_for_an_order_filled_in_parts() -> None:
    book = venue()
    perm_id = placed(book, 1, quantity=400)
    for _ in range(4):
        book.execute(perm_id, Decimal(100), Decimal(170), AT)
    assert [one.commission for one in book.executions()] == [1, 0, Decimal("0.5"), Decimal("0.5")]
    assert sum(one.commission for one in book.executions()) == Decimal("0.005") * 400


def test_an_order_id_cannot_be_used_again_once_it_is_finished_or_passed() -> None:
    book = venue()
    placed(book, 5)
    book.cancel(1, 5, AT)
    assert codes(book.place(ticket(5), AT)) == [103]
    assert codes(book.place(ticket(4), AT)) == [103]
    assert book.next_order_id(1) == 6


def test_an_order_placed_again_while_it_works_is_changed() -> None:
    book = venue()
    perm_id = placed(book, 1)
    events = book.place(ticket(1, quantity=150, limit=Decimal("169.5")), AT)
    assert states(events) == ["Submitted"] and len(book.orders()) == 1
    assert (book.order(perm_id).ticket.quantity, book.order(perm_id).ticket.limit) == (150, Decimal("169.5"))
    assert codes(book.place(ticket(1, side=Side.SELL), AT)) == [105]


def test_an_order_beyond_the_buying_power_is_inactive() -> None:
    book = venue(cash=Decimal(10_000))
    events = book.place(ticket(1, quantity=200), AT)
    assert codes(events) == [201] and book.of_ref("r1").state is OrderState.INACTIVE
    assert codes(book.place(ticket(2, quantity=100), AT)) == []
    # 17,000 of 20,000 are bound by a working order now.
    assert codes(book.place(ticket(3, quantity=100), AT)) == [201]


def test_closing_a_position_needs_no_buying_power() -> None:
    book = venue(cash=Decimal(-8_000), positions={"AAPL": (Decimal(100), Decimal(170))})
    assert book.buying_power() > 0
    assert codes(book.place(ticket(1, side=Side.SELL, quantity=100), AT)) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"limit": Decimal("170.005")}, 110),
        ({"symbol": "NONE"}, 200),
        ({"order_type": "TRAIL"}, 387),
        ({"time_in_force": "GTX"}, 10052),
        ({"quantity": 0}, 10318),
        ({"order_type": "STP", "limit": None}, 321),
        ({"parent_id": 77}, 135),
    ],
)
def test_an_order_that_is_wrong_is_refused_with_its_code(options: dict[str, object], code: int) -> None:
    book = venue()
    assert codes(book.place(ticket(9, **options), AT)) == [code]  # type: ignore[arg-type]
    assert book.orders() == ()


def test_what_cannot_be_cancelled_says_why() -> None:
    book = venue(cash=Decimal(20_000))
    assert codes(book.cancel(1, 1, AT)) == [10147]
    perm_id = placed(book, 1)
    book.execute(perm_id, Decimal(100), Decimal(170), AT)
    assert codes(book.cancel(1, 1, AT)) == [10148]
    placed(book, 2, quantity=10_000)
    assert codes(book.cancel(1, 2, AT)) == [161]


def test_a_warning_lets_the_order_work() -> None:
    book = venue()
    book.answer_next(10349, "Order TIF was set to DAY based on order preset.")
    events = book.place(ticket(1), AT)
    assert codes(events) == [10349] and states(events)[-1] == "Submitted"


def test_an_order_waits_for_the_market_to_open() -> None:
    book = venue()
    book.set_open(False)
    events = book.place(ticket(1), AT)
    assert states(events) == ["PendingSubmit", "PreSubmitted"] and codes(events) == [399]
    assert states(book.set_open(True)) == ["Submitted"]


def test_a_late_fill_of_a_cancelled_order_is_booked() -> None:
    book = venue()
    perm_id = placed(book, 1)
    book.cancel(1, 1, AT)
    book.execute(perm_id, Decimal(30), Decimal(170), AT)
    assert book.order(perm_id).state is OrderState.CANCELLED
    assert book.account.position("AAPL").quantity == 30


def test_a_bracket_trades_its_exit_only_after_its_entry_and_then_only_one() -> None:
    book = venue()
    entry = placed(book, 1, transmit=False)
    profit = placed(book, 2, side=Side.SELL, limit=Decimal(180), parent_id=1, transmit=False)
    assert book.order(entry).state is OrderState.PENDING_SUBMIT
    loss = placed(book, 3, side=Side.SELL, order_type="STP", limit=None, stop=Decimal(160), parent_id=1)
    assert [one.perm_id for one in book.working("AAPL")] == [entry]
    book.execute(entry, Decimal(100), Decimal(170), AT)
    assert [one.perm_id for one in book.working("AAPL")] == [profit, loss]
    book.execute(profit, Decimal(40), Decimal(180), AT)
    assert book.order(loss).ticket.quantity == 60
    book.execute(profit, Decimal(60), Decimal(180), AT)
    assert book.order(loss).state is OrderState.CANCELLED
    assert book.account.positions() == ()


def test_a_cancelled_entry_takes_its_exits_along() -> None:
    book = venue()
    placed(book, 1)
    exit_order = placed(book, 2, side=Side.SELL, limit=Decimal(180), parent_id=1)
    assert codes(book.cancel(1, 1, AT)) == [202, 202]
    assert book.order(exit_order).state is OrderState.CANCELLED


def test_one_fill_cancels_the_rest_of_a_group_of_type_1() -> None:
    book = venue()
    first = placed(book, 1, oca_group="g", oca_type=1)
    second = placed(book, 2, oca_group="g", oca_type=1, symbol="MSFT", limit=Decimal(105))
    book.execute(first, Decimal(10), Decimal(170), AT)
    assert book.order(second).state is OrderState.CANCELLED
    assert book.order(first).state is OrderState.SUBMITTED


def test_the_session_ends_day_orders_only() -> None:
    book = venue()
    day, lasting = placed(book, 1), placed(book, 2, time_in_force="GTC")
    assert codes(book.expire_day_orders(AT)) == [202]
    assert book.order(day).state is OrderState.CANCELLED and book.order(lasting).state is OrderState.SUBMITTED


def test_a_correction_has_the_next_last_segment_and_is_followed_by_all_counts() -> None:
    book = venue()
    perm_id = placed(book, 1)
    book.execute(perm_id, Decimal(100), Decimal(170), AT)
    first = book.executions()[0]
    (corrected,) = (
        e.execution for e in book.correct(first.exec_id, Decimal(60), Decimal(169), AT) if isinstance(e, Executed)
    )
    assert first.exec_id.endswith(".01.01") and corrected.exec_id.endswith(".01.02")
    assert corrected.trade_id == first.trade_id
    assert (book.order(perm_id).filled, book.order(perm_id).average_price) == (60, 169)
    assert book.account.cash == CASH - 60 * 169 - 1
    book.correct(corrected.exec_id, Decimal(0), Decimal(169), AT)
    assert book.account.cash == CASH and book.account.positions() == () and book.order(perm_id).filled == 0


def test_the_reset_forgets_what_is_told_and_keeps_what_is_held() -> None:
    book = venue()
    book.execute(placed(book, 1), Decimal(100), Decimal(170), AT)
    book.forget_day()
    assert book.executions_today() == [] and book.completed() == []
    assert book.account.position("AAPL").quantity == 100 and book.account.cash == CASH - 17_001


def test_a_change_that_cannot_be_made_leaves_the_order_as_it_was() -> None:
    book = venue(cash=Decimal(20_000))
    perm_id = placed(book, 1, quantity=100)
    book.execute(perm_id, Decimal(40), Decimal(170), AT)
    before = book.order(perm_id)
    book.answer_next(321, "not now")
    assert codes(book.place(ticket(1, quantity=90), AT)) == [321]
    assert codes(book.place(ticket(1, quantity=40), AT)) == [201]  # filled already
    assert codes(book.place(ticket(1, quantity=100_000), AT)) == [201]  # beyond the buying power
    assert codes(book.place(ticket(1, limit=Decimal("169.999")), AT)) == [110]
    assert book.order(perm_id) == before


def test_what_is_over_cannot_be_ended_by_the_broker() -> None:
    book = venue()
    perm_id = placed(book, 1)
    book.execute(perm_id, Decimal(100), Decimal(170), AT)
    with pytest.raises(OrderError, match="r1 is Filled already"):
        book.end(perm_id, "halted", AT)


def test_a_global_cancel_ends_an_entry_and_its_exit_once_each() -> None:
    book = venue()
    placed(book, 1)
    placed(book, 2, side=Side.SELL, limit=Decimal(180), parent_id=1)
    assert codes(book.cancel_all(AT)) == [202, 202]
    assert book.unfinished() == []


def test_a_closed_market_trades_nothing_unless_the_broker_says_it_did() -> None:
    book = venue()
    book.set_open(False)
    perm_id = placed(book, 1)
    assert book.working("AAPL") == []
    book.execute(perm_id, Decimal(40), Decimal(170), AT)
    assert book.order(perm_id).state is OrderState.SUBMITTED
    book.correct(book.executions()[0].exec_id, Decimal(0), Decimal(170), AT)
    assert (book.order(perm_id).state, book.order(perm_id).filled) == (OrderState.SUBMITTED, 0)


def test_exits_that_were_not_transmitted_wait_on_after_their_entry_filled() -> None:
    book = venue()
    entry = placed(book, 1)
    held = placed(book, 2, side=Side.SELL, limit=Decimal(180), parent_id=1, transmit=False)
    book.execute(entry, Decimal(100), Decimal(170), AT)
    assert (book.order(held).state, book.order(held).waits_for) == (OrderState.PENDING_SUBMIT, 0)
    assert book.working("AAPL") == []


def test_a_group_without_a_type_ties_nothing_together() -> None:
    book = venue()
    first = placed(book, 1, oca_group="g")
    second = placed(book, 2, oca_group="g")
    book.execute(first, Decimal(100), Decimal(170), AT)
    assert book.order(second).state is OrderState.SUBMITTED and book.order(second).remaining == 100


def test_a_stop_that_the_price_reaches_becomes_a_market_order_and_fills() -> None:
    market = ScriptedMarket({"AAPL": Decimal(170)}, fills_at_once=True)
    book = Venue(Account("DU1", CASH, CommissionSchedule()), market.instruments, market.mark)
    perm_id = placed(book, 1, side=Side.SELL, order_type="STP", limit=None, stop=Decimal(165))
    assert market.advance(book, AT) == []
    market.set_price("AAPL", Decimal(164))
    assert states(market.advance(book, AT)) == ["Submitted", "Filled"]
    assert book.order(perm_id).triggered and book.order(perm_id).average_price == 164


def test_a_fill_of_nothing_is_an_error() -> None:
    book = venue()
    with pytest.raises(OrderError):
        book.execute(placed(book, 1), Decimal(0), Decimal(170), AT)


ACTION = st.one_of(
    st.tuples(st.just("place"), st.sampled_from(sorted(PRICES)), st.sampled_from(Side), st.integers(1, 500)),
    st.tuples(st.just("fill"), st.integers(0, 30), st.integers(1, 400), st.integers(90, 200)),
    st.tuples(st.just("correct"), st.integers(0, 30), st.integers(0, 400), st.integers(90, 200)),
    st.tuples(st.just("cancel"), st.integers(1, 30), st.just(0), st.just(0)),
    st.tuples(st.just("group"), st.sampled_from(sorted(PRICES)), st.sampled_from([1, 3]), st.integers(2, 300)),
    st.tuples(st.just("expire"), st.just(0), st.just(0), st.just(0)),
)


@given(st.lists(ACTION, max_size=40))
def test_cash_and_positions_are_always_the_sum_of_the_trades_as_they_stand(actions: list[tuple]) -> None:  # type: ignore[type-arg]
    book, at, number = venue(), AT, 0
    expected: dict[
        str, tuple[int, str, Side, Decimal, Decimal]
    ] = {}  # by trade: perm_id, symbol, side, quantity, price
    for action, first, second, third in actions:
        at += timedelta(seconds=1)
        if action == "place":
            number += 1
            book.place(ticket(number, side=second, quantity=third, symbol=first, limit=PRICES[first]), at)
        elif action == "group":
            for _ in range(2):
                number += 1
                book.place(ticket(number, quantity=third, symbol=first, limit=PRICES[first], oca_group="g",
                                  oca_type=second), at)  # fmt: skip
        elif action == "fill" and first < len(book.orders()):
            order = book.orders()[first]
            book.execute(order.perm_id, Decimal(second), Decimal(third), at)
            done = book.executions()[-1]
            expected[done.trade_id] = (order.perm_id, done.symbol, done.side, Decimal(second), Decimal(third))
        elif action == "correct" and first < len(expected):
            trade = sorted(expected)[first]
            book.correct(f"{trade}.01", Decimal(second), Decimal(third), at)
            expected[trade] = (*expected[trade][:3], Decimal(second), Decimal(third))
        elif action == "cancel":
            book.cancel(1, first, at)
        elif action == "expire":
            book.expire_day_orders(at)
    flows = sum((-s.sign * q * p for _, _, s, q, p in expected.values()), Decimal(0))
    fees = sum((one.commission for one in book.account.standing()), Decimal(0))
    assert book.account.cash == CASH + flows - fees
    for symbol in PRICES:
        held = sum((s.sign * q for _, name, s, q, _ in expected.values() if name == symbol), Decimal(0))
        assert book.account.position(symbol).quantity == held
    for order in book.orders():
        assert order.filled == sum(
            (q for perm_id, *_, q, _ in expected.values() if perm_id == order.perm_id), Decimal(0)
        )
        assert (order.perm_id in {one.perm_id for one in book.unfinished()}) != order.state.is_final
    # What is realised and what is not add up to what the cash says, to the rounding of average costs.
    marked = sum(
        (one.quantity * (PRICES[one.symbol] - one.average_cost) for one in book.account.positions()), Decimal(0)
    )
    undone = sum((one.commission for one in book.account.standing() if not one.quantity), Decimal(0))
    gained = book.margin.equity() - CASH
    assert abs(gained - marked - book.account.realized_pnl + undone) < Decimal("0.05")

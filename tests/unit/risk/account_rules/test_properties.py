"""Whatever comes in whatever order: windows are kept, lockouts are never shortened, and nothing counts twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from quant_dagster.accounting.books import Side
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.events import Event
from quant_dagster.risk.account_rules.pre_trade import Order, PreTrade
from quant_dagster.risk.account_rules.state import AccountState
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_events
from quant_dagster.storage.ledger_tables import lockouts as table
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    D,
    at,
    empty_ledger,
    feed,
    fill,
    quote,
    rules,
    stop,
    tick,
    word,
)

FEW = settings(max_examples=10, deadline=None)
MOMENT = timedelta(microseconds=1)

seconds = st.integers(-7200, 7200)
symbols = st.sampled_from(["ES", "NQ", "YM"])
amounts = st.integers(-300, 300)
events = st.one_of(
    st.builds(lambda s, name, q, held, pnl: fill(s, name, q, 100, position=held, pnl=pnl, order=f"o{s // 10}"),
              seconds, symbols, st.sampled_from([-2, -1, 1, 2]), st.integers(-3, 3), amounts),
    st.builds(quote, seconds, symbols, st.integers(90, 110)),
    st.builds(lambda s, name, price: stop(s, name, price, 3), seconds, symbols, st.integers(90, 110)),
    st.builds(word, seconds, st.booleans()),
    st.builds(tick, seconds),
)  # fmt: skip
streams = st.lists(events, min_size=1, max_size=15, unique_by=lambda event: event.key)
ALL: dict[str, dict[str, Any]] = {
    "max_contracts": {"limit": 4}, "max_contracts_per_instrument": {"limit": 2}, "daily_realised_loss": {"amount": 400},
    "daily_unrealised_loss": {"amount": 20, "scope": "symbol"}, "max_unrealised_profit": {"amount": 25},
    "trade_frequency": {"per_minute": 2, "per_hour": 5, "per_day": 9}, "no_stop_loss_grace": {},
    "cooldown_after_loss": {"steps": {50: 5, 200: 60}}, "session_block": {"close_positions": True},
    "auth_loss_guard": {}, "symbol_blocks": {"symbols": ["Y*"]}, "trade_management": {},
    "daily_realised_profit": {"amount": 500},
}  # fmt: skip


def rows(desk: Ledger) -> list[tuple[Any, ...]]:
    with desk.read() as connection:
        found = [tuple(row) for row in connection.execute(select(account_events).order_by(account_events.c.event_key))]
        return found + [tuple(row) for row in connection.execute(select(table).order_by(table.c.lockout_id))]


def state(desk: Ledger) -> AccountState:
    with desk.read() as connection:
        return rules(**ALL).state(connection, NOON)


@FEW
@given(stream=streams, data=st.data())
def test_events_handed_in_again_change_nothing_in_whatever_order(stream: list[Event], data: st.DataObject) -> None:
    stream = sorted(stream, key=lambda event: (event.at, event.key))
    once, often = empty_ledger("once"), empty_ledger("often")
    for number, event in enumerate(stream):
        feed(once, rules(**ALL), event)
        again = data.draw(st.lists(st.sampled_from(stream[: number + 1]), max_size=4))
        feed(often, rules(**ALL), *data.draw(st.permutations([event, *again])))
    before = rows(often)
    assert feed(often, rules(**ALL), *data.draw(st.permutations(stream))) == []
    assert rows(often) == before == rows(once)


@FEW
@given(stream=streams, data=st.data())
def test_the_state_does_not_depend_on_the_order_of_arrival(stream: list[Event], data: st.DataObject) -> None:
    one, other = empty_ledger("one"), empty_ledger("other")
    feed(one, rules(**ALL), *stream)
    shuffled = data.draw(st.permutations(stream))
    cut = data.draw(st.integers(0, len(stream)))
    feed(other, rules(**ALL), *shuffled[:cut])
    feed(other, rules(**ALL), *shuffled[cut:])
    assert state(one) == state(other)


@FEW
@given(times=st.lists(st.integers(0, 20_000), min_size=1, max_size=40, unique=True))
def test_no_window_ever_holds_more_trades_than_allowed(times: list[int]) -> None:
    limits = {"per_minute": 2, "per_hour": 4, "per_day": 9}
    account = rules(trade_frequency=limits)
    # The first hours after a reset and the last before it, so that windows reach over it.
    start = (RESET - NOON).total_seconds() - 10_000
    made: list[float] = []
    current = AccountState(NOON.date())
    for second in sorted(times):
        when = at(start + second)
        day = account.days.day_of(when)
        if day > current.trading_day:
            current.roll(day, account.days.begins(day))
        if not PreTrade(account.settings, current, [], when).permits(Order("ES", Side.BUY, D(1)), []):
            current.apply(fill(start + second, "ES", 1, 10))
            made.append(start + second)
    for span, limit in ((60, 2), (3600, 4)):
        for end in made:
            assert sum(end - span < each <= end for each in made) <= limit
    days = [account.days.day_of(at(each)) for each in made]
    assert all(days.count(day) <= 9 for day in days)


@FEW
@given(losses=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 400)), min_size=1, max_size=15,
                       unique_by=lambda pair: pair[0]))  # fmt: skip
def test_no_lockout_is_shorter_than_asked(losses: list[tuple[int, int]]) -> None:
    steps = {50: 2, 100: 7, 300: 30}
    desk = empty_ledger()
    account = rules(cooldown_after_loss={"steps": steps}, daily_realised_loss={"amount": 1000})
    ends = []
    for second, loss in losses:
        feed(desk, account, fill(second, "ES", -1, 10, pnl=-loss, position=0))
        minutes = max((pause for step, pause in steps.items() if loss >= step), default=0)
        ends += [at(second + 60 * minutes)] if minutes else []
    if sum(loss for _, loss in losses) >= 1000:
        ends.append(RESET)
    with desk.read() as connection:
        for end in ends:
            assert lockouts.active(connection, end - MOMENT)
        assert not lockouts.active(connection, max(ends, default=NOON))


@FEW
@given(stream=streams)
def test_what_a_person_released_is_not_locked_again_by_a_replay(stream: list[Event]) -> None:
    desk = empty_ledger()
    feed(desk, rules(**ALL), *stream)
    with desk.write() as connection:
        for item in lockouts.active(connection, NOON - timedelta(days=1)):
            lockouts.release(connection, item.lockout_id, person="ada", reason="agreed", at=LATER)
    assert feed(desk, rules(**ALL), *stream) == []
    for event in reversed(stream):
        assert feed(desk, rules(**ALL), event) == []
    with desk.read() as connection:
        assert lockouts.active(connection, NOON - timedelta(days=1)) == []


@FEW
@given(held=st.integers(-5, 5), orders=st.lists(st.tuples(st.sampled_from(list(Side)), st.integers(1, 6)), max_size=8))
def test_under_a_lockout_no_permitted_orders_take_a_position_through_zero(
    held: int, orders: list[tuple[Side, int]]
) -> None:
    current = AccountState(NOON.date())
    current.apply(fill(0, "ES", 1, 10, position=held))
    locked = [lockouts.ActiveLockout("x", "by_hand", "lockout", None, "tired", None)]
    desk = PreTrade(rules().settings, current, locked, NOON)
    working: list[Order] = []
    for side, quantity in orders:
        order = Order("ES", side, D(quantity))
        if not desk.permits(order, working):
            working.append(order)
    left = held + sum(order.side.sign * order.quantity for order in working)
    assert min(held, 0) <= left <= max(held, 0)

"""Before an order exists: what it would add is counted, and leaving is always allowed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import Event
from quant_dagster.risk.account_rules.pre_trade import Order, PreTrade
from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    D,
    at,
    feed,
    fill,
    position,
    rules,
    tick,
    word,
)

MOMENT = timedelta(microseconds=1)
SOON = at(100)


def buy(symbol: str, quantity: float) -> Order:
    return Order(symbol, Side.BUY, D(quantity))


def sell(symbol: str, quantity: float) -> Order:
    return Order(symbol, Side.SELL, D(quantity))


def standing(desk: Ledger, account: AccountRules, *events: Event, when: datetime = SOON) -> PreTrade:
    feed(desk, account, *events)
    with desk.read() as connection:
        return account.pre_trade(connection, when)


def answers(pre_trade: PreTrade, order: Order, *working: Order) -> list[tuple[str, str | None, Any, Any, str]]:
    found = pre_trade.permits(order, working)
    assert all(breach.consequences == () and breach.began == pre_trade.at for breach in found)
    return [(breach.rule, breach.symbol, breach.value, breach.limit, breach.reason) for breach in found]


def codes(pre_trade: PreTrade, order: Order, *working: Order) -> list[str]:
    return [breach.rule for breach in pre_trade.permits(order, working)]


def test_with_no_rules_and_no_lockouts_everything_may_be_sent(desk: Ledger) -> None:
    assert answers(standing(desk, rules()), buy("ES", 10**9)) == []


def test_the_total_counts_what_is_held_what_works_and_the_order(desk: Ledger) -> None:
    account = rules(max_contracts={"limit": 10})
    pre_trade = standing(desk, account, fill(0, "ES", 4, 100), fill(1, "NQ", -3, 100))
    assert answers(pre_trade, buy("YM", 3)) == []
    assert answers(pre_trade, buy("YM", 4)) == [
        ("max_contracts", None, D(11), D(10), "11 held and ordered in all, limit 10")
    ]
    assert codes(pre_trade, buy("YM", 2), sell("NQ", 1)) == []
    assert codes(pre_trade, buy("YM", 3), sell("NQ", 1)) == ["max_contracts"]
    # An order that would close may not fill before the one that opens.
    assert codes(pre_trade, buy("YM", 4), buy("NQ", 3), sell("ES", 4)) == ["max_contracts"]
    # Orders on both sides of a symbol count once, on the side that comes to more.
    assert codes(pre_trade, buy("YM", 2), sell("YM", 3)) == []
    assert codes(pre_trade, buy("YM", 4), sell("YM", 3)) == ["max_contracts"]
    assert codes(pre_trade, buy("YM", 1), sell("YM", 4)) == ["max_contracts"]


def test_one_instrument_has_its_own_limit(desk: Ledger) -> None:
    account = rules(max_contracts_per_instrument={"limit": 10, "per_symbol": {"NQ": 4}})
    pre_trade = standing(desk, account, fill(0, "ES", 4, 100), fill(1, "NQ", -3, 100))
    assert codes(pre_trade, buy("ES", 6)) == codes(pre_trade, sell("NQ", 1)) == codes(pre_trade, buy("NQ", 7)) == []
    assert answers(pre_trade, buy("ES", 7)) == [
        ("max_contracts_per_instrument", "ES", D(11), D(10), "11 of ES held and ordered, limit 10")
    ]
    assert codes(pre_trade, sell("NQ", 2)) == codes(pre_trade, sell("NQ", 1), sell("NQ", 1)) == [
        "max_contracts_per_instrument"
    ]  # fmt: skip
    assert codes(pre_trade, buy("ES", 6), buy("NQ", 90)) == []


def test_the_next_trade_is_refused_before_it_breaks_the_limit(desk: Ledger) -> None:
    account = rules(trade_frequency={"per_minute": 2, "per_hour": 3, "per_day": 4})
    feed(
        desk,
        account,
        fill(0, "A", 1, 10),
        fill(3000, "B", 1, 10),
        fill(3100, "C", 1, 10),
        fill(3150, "C", -1, 10, order="order:C:3100", position=0),
    )

    def ask(seconds: float, *working: Order) -> list[tuple[str, str | None, Any, Any, str]]:
        with desk.read() as connection:
            return answers(account.pre_trade(connection, at(seconds)), buy("Z", 1), *working)

    hour = ("trade_frequency", None, D(4), D(3), "it would be trade 4 in one hour, limit 3")
    day = ("trade_frequency", None, D(5), D(4), "it would be trade 5 in one day, limit 4")
    minute = ("trade_frequency", None, D(3), D(2), "it would be trade 3 in one minute, limit 2")
    assert ask(3599.999) == [hour]
    assert ask(3600) == []
    assert ask(3600, buy("Y", 1)) == [day, hour]
    assert ask(3159.9999, buy("Y", 1)) == [
        day, ("trade_frequency", None, D(5), D(3), "it would be trade 5 in one hour, limit 3"), minute,
    ]  # fmt: skip
    assert ask(3160, buy("Y", 1))[-1] != minute


def test_a_new_trading_day_allows_its_trades_again_and_keeps_the_windows(desk: Ledger) -> None:
    account = rules(trade_frequency={"per_minute": 5, "per_hour": 2, "per_day": 2})
    before = (RESET - NOON).total_seconds()
    feed(desk, account, fill(before - 1800, "A", 1, 10), fill(before - 1, "B", 1, 10))

    def limits(when: datetime) -> list[Any]:
        with desk.read() as connection:
            return [breach.limit for breach in account.pre_trade(connection, when).permits(buy("Z", 1), [])]

    assert limits(RESET - MOMENT) == [2, 2]
    assert limits(RESET) == [2]
    assert limits(RESET + timedelta(seconds=1800)) == []


@pytest.mark.parametrize(("local", "answer"), [
    ("2023-03-08T14:29:59", True), ("2023-03-08T14:30:00", False), ("2023-03-08T20:59:59", False),
    ("2023-03-08T21:00:00", True), ("2023-03-11T18:00:00", True), ("2023-03-10T18:00:00", False),
    ("2023-03-13T13:30:00", False), ("2023-03-13T13:29:59", True),  # summer time
])  # fmt: skip
def test_nothing_is_opened_outside_trading_hours(desk: Ledger, local: str, answer: bool) -> None:
    pre_trade = standing(desk, rules(session_block={}), when=datetime.fromisoformat(local + "+00:00"))
    closed = ("session_block", None, None, None, "outside 09:30 to 16:00 America/New_York on Mon, Tue, Wed, Thu, Fri")
    assert answers(pre_trade, buy("ES", 1)) == [closed] * answer


@pytest.mark.parametrize(("day", "time", "is_open"), [
    ("2023-03-05", "16:59:59", False), ("2023-03-05", "17:00:00", True), ("2023-03-06", "03:00:00", True),
    ("2023-03-06", "15:59:59", True), ("2023-03-06", "16:00:00", False), ("2023-03-06", "17:00:00", True),
    ("2023-03-10", "15:59:59", True), ("2023-03-10", "17:00:00", False), ("2023-03-11", "03:00:00", False),
])  # fmt: skip
def test_hours_over_midnight_belong_to_the_day_they_began_on(desk: Ledger, day: str, time: str, is_open: bool) -> None:
    futures = {"start": "17:00", "end": "16:00", "time_zone": "America/Chicago", "days": [6, 0, 1, 2, 3]}
    when = datetime.fromisoformat(f"{day}T{time}-06:00")
    assert (codes(standing(desk, rules(session_block=futures), when=when), buy("ES", 1)) == []) is is_open


def test_hours_that_end_where_they_start_never_end(desk: Ledger) -> None:
    always = {"start": "09:00", "end": "09:00", "time_zone": "UTC", "days": list(range(7))}
    for when in (
        at(0),
        datetime.fromisoformat("2023-03-08T09:00+00:00"),
        datetime.fromisoformat("2023-03-08T08:59+00:00"),
    ):
        assert codes(standing(desk, rules(session_block=always), when=when), buy("ES", 1)) == []


def test_the_broker_must_have_said_that_the_account_may_trade(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    assert answers(standing(desk, account), buy("ES", 1)) == [
        ("auth_loss_guard", None, None, None, "the broker has not said that the account may trade")
    ]
    assert codes(standing(desk, account, word(0, True, "ok")), buy("ES", 1)) == []
    forbidden = standing(desk, account, word(1, False))
    assert [row[:1] + row[4:] for row in answers(forbidden, buy("ES", 1))] == [
        ("auth_loss_guard", "lockout until it is released: the broker says the account may not trade: margin call"),
        ("auth_loss_guard", "the broker says the account may not trade: margin call"),
    ]
    assert codes(standing(desk, account, word(2, True)), buy("ES", 1)) == []


def test_blocked_symbols_are_refused_and_case_counts(desk: Ledger) -> None:
    pre_trade = standing(desk, rules(symbol_blocks={"symbols": ["GME", "X*"]}))
    assert answers(pre_trade, buy("XOM", 1)) == [("symbol_blocks", "XOM", None, None, "XOM is blocked by 'X*'")]
    assert codes(pre_trade, sell("GME", 1)) == ["symbol_blocks"]
    assert codes(pre_trade, buy("xom", 1)) == codes(pre_trade, buy("GM", 1)) == codes(pre_trade, buy("AXE", 1)) == []


def test_rules_that_are_off_refuse_nothing(desk: Ledger) -> None:
    from quant_dagster.settings import RiskSettings

    off = {
        "max_contracts": {"limit": 1}, "max_contracts_per_instrument": {"limit": 1}, "session_block": {"days": []},
        "trade_frequency": {"per_minute": 1, "per_hour": 1, "per_day": 1}, "symbol_blocks": {"symbols": ["*"]},
    }  # fmt: skip
    account = AccountRules(RiskSettings.model_validate({"account_rules": off}))
    assert codes(standing(desk, account, fill(0, "ES", 5, 10), fill(1, "ES", 5, 10, position=10)), buy("ES", 5)) == []


def lock(desk: Ledger, symbol: str | None, expires_at: datetime | None) -> None:
    with desk.write() as connection:
        lockouts.add(
            connection, rule="by_hand", kind="lockout", symbol=symbol, trigger="t", reason="tired",
            trading_day=NOON.date(), starts_at=NOON, expires_at=expires_at, actor="ada", now=LATER,
        )  # fmt: skip


def test_a_lockout_of_the_account_refuses_every_symbol_and_one_of_a_symbol_that_symbol(desk: Ledger) -> None:
    lock(desk, "ES", None)
    pre_trade = standing(desk, rules())
    assert answers(pre_trade, buy("ES", 1)) == [("by_hand", "ES", None, None, "lockout until it is released: tired")]
    assert codes(pre_trade, buy("NQ", 1)) == []
    lock(desk, None, RESET)
    assert answers(standing(desk, rules()), buy("NQ", 1)) == [
        ("by_hand", None, None, None, "lockout until 2023-03-08 23:00:00 UTC: tired")
    ]
    assert codes(standing(desk, rules(), when=RESET), buy("NQ", 1)) == []


EVERYTHING = {
    "max_contracts": {"limit": 1}, "max_contracts_per_instrument": {"limit": 1}, "symbol_blocks": {"symbols": ["*"]},
    "trade_frequency": {"per_minute": 1, "per_hour": 1, "per_day": 1}, "session_block": {"days": []},
    "auth_loss_guard": {},
}  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_leaving_is_never_refused_and_never_goes_through_zero(desk: Ledger, sign: int) -> None:
    lock(desk, None, None)
    away, more = (sell, buy) if sign > 0 else (buy, sell)
    pre_trade = standing(desk, rules(**EVERYTHING), position(0, "ES", sign * 10, 100), word(1, False))
    for order, working in [
        (away("ES", 10), ()),
        (away("ES", 1), (away("ES", 9),)),
        (away("ES", 10), (more("ES", 5), away("NQ", 9))),
    ]:
        assert codes(pre_trade, order, *working) == []
        assert pre_trade.reduces(order, working)
    for order, working in [
        (away("ES", 10.00000001), ()), (away("ES", 2), (away("ES", 9),)), (more("ES", 1), ()), (away("NQ", 1), ()),
        (more("NQ", 1), ()),
    ]:  # fmt: skip
        assert not pre_trade.reduces(order, working)
        assert {"by_hand", "session_block", "symbol_blocks", "max_contracts", "auth_loss_guard"} <= set(
            codes(pre_trade, order, *working)
        )


def test_the_ledger_is_asked_once_for_any_number_of_orders(desk: Ledger) -> None:
    pre_trade = standing(desk, rules(max_contracts={"limit": 3}), tick(0))
    working: list[Order] = []
    for order in [buy("A", 1), sell("B", 1), buy("C", 1), buy("D", 1)]:
        if not pre_trade.permits(order, working):
            working.append(order)
    assert [order.symbol for order in working] == ["A", "B", "C"]

"""Events in: each once, as it was, in whatever order it is told, and what state they add up to."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from quant_dagster.errors import RiskError
from quant_dagster.risk.account_rules import engine, journal
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import TickEvent
from quant_dagster.risk.account_rules.state import AccountState, Holding, Trade
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_events, daily_resets
from tests.unit.risk.account_rules.engine_states import DAY, MOMENT, TO_RESET, locked, state
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    D,
    at,
    feed,
    fill,
    position,
    quote,
    rules,
    stop,
    tick,
    word,
)


def rows_of(desk: Ledger, kind: str) -> int:
    query = select(func.count()).select_from(account_events).where(account_events.c.kind == kind)
    with desk.read() as connection:
        return connection.execute(query).scalar_one()


def test_an_event_is_recorded_once_and_as_it_was(desk: Ledger) -> None:
    account = rules()
    event = fill(1, "ES", 2, 100)
    assert feed(desk, account, event) == feed(desk, account, event, event) == []
    with desk.read() as connection:
        rows = connection.execute(select(account_events).order_by(account_events.c.kind)).all()
    columns = ("event_key", "trading_day", "kind", "symbol", "happened_at", "recorded_at")
    assert [tuple(getattr(row, name) for name in columns) for row in rows] == [
        ("fill:ES:1", DAY, "fill", "ES", at(1), LATER),
        ("opening:2023-03-08", DAY, "state", None, datetime(2023, 3, 7, 23, tzinfo=UTC), LATER),
    ]  # fmt: skip
    feed(desk, account, word(2, True))
    with desk.read() as connection:
        query = select(account_events.c.symbol).where(account_events.c.kind == "account")
        assert connection.execute(query).scalar_one() is None


def test_the_journal_says_whether_an_event_was_new(desk: Ledger) -> None:
    with desk.write() as connection:
        assert journal.record(connection, tick(0), DAY, LATER) is True
        assert journal.record(connection, tick(0), DAY, LATER) is False


def test_the_same_key_with_other_contents_is_refused_with_its_whole_batch(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-100))
    with pytest.raises(
        RiskError, match=r"account event 'fill:ES:0' was seen before with other contents; nothing was rec"
    ):
        feed(desk, account, fill(-1, "NQ", 1, 100, pnl=-500), fill(0, "ES", -1, 100, pnl=-400))
    assert state(desk, account).realised_pnl == {"ES": D(-100)}
    assert locked(desk, NOON) == []


def test_an_event_of_the_future_is_refused(desk: Ledger) -> None:
    account = rules()
    allowed = LATER + timedelta(seconds=5)
    assert feed(desk, account, TickEvent("t", allowed)) == []
    message = re.escape(f"account event 'u' is of {allowed + MOMENT}, later than now ({LATER}): check the clock")
    with pytest.raises(RiskError, match=message):
        feed(desk, account, TickEvent("v", NOON), TickEvent("u", allowed + MOMENT))
    assert rows_of(desk, "tick") == 1


def test_nothing_handed_in_changes_nothing(desk: Ledger) -> None:
    assert feed(desk, rules(max_contracts={})) == []
    with desk.read() as connection:
        assert connection.execute(select(func.count()).select_from(daily_resets)).scalar() == 0


def test_the_state_is_what_the_events_add_up_to(desk: Ledger) -> None:
    account = rules()
    feed(
        desk, account,
        fill(0, "ES", 2, 100, pnl=-1, order="a"), fill(1, "ES", 1, 101, position=3, entry=100.33, pnl=-0.5, order="a"),
        stop(2, "ES", 95, 2), quote(3, "ES", 102, bid=101.5, ask=102.5), word(4, True, "ok"), tick(5),
        position(6, "NQ", -1, 50, 60), fill(7, "ES", -1, 103, position=2, entry=100.33, pnl=2.17, order="b"),
    )  # fmt: skip
    assert state(desk, account) == AccountState(
        trading_day=DAY,
        holdings={
            "ES": Holding(
                position=D(2), entry_price=D("100.33"), position_at=at(7), opened_at=at(0), price=D(103),
                price_at=at(7), stop_price=D(95), stop_quantity=D(2), stop_at=at(2), unprotected_since=None,
            ),
            "NQ": Holding(
                position=D(-1), entry_price=D(60), position_at=at(6), opened_at=at(6), price=D(50), price_at=at(6),
                unprotected_since=at(6),
            ),
        },
        realised_pnl={"ES": D("0.67")},
        trades={"a": Trade(at(0), D("-1.5"), True), "b": Trade(at(7), D("2.17"), True)},
        can_trade=True, account_at=at(4), account_detail="ok",
    )  # fmt: skip


def test_a_position_closed_or_turned_round_takes_its_stop_with_it(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, stop(-1, "ES", 95, 2), fill(0, "ES", 2, 100))
    assert state(desk, account).holdings["ES"].stop_price == 95, "a stop that was there before the entry counts"
    feed(desk, account, fill(1, "ES", -5, 100, position=-3))
    turned = state(desk, account).holdings["ES"]
    assert (turned.stop_price, turned.unprotected_since, turned.opened_at) == (None, at(1), at(1))
    feed(desk, account, stop(2, "ES", 105, 3), fill(3, "ES", 3, 100, position=0))
    flat = state(desk, account).holdings["ES"]
    assert (flat.stop_price, flat.unprotected_since, flat.opened_at) == (None, None, at(1))
    feed(desk, account, fill(4, "ES", 1, 100))
    assert state(desk, account).holdings["ES"].unprotected_since == at(4)


def test_a_position_that_is_only_made_smaller_keeps_its_stop(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, fill(0, "ES", -3, 100), stop(1, "ES", 105, 3), fill(2, "ES", 2, 100, position=-1))
    smaller = state(desk, account).holdings["ES"]
    assert (smaller.stop_price, smaller.unprotected_since, smaller.opened_at) == (105, None, at(0))


def test_adding_to_a_position_without_a_stop_does_not_start_its_grace_anew(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, fill(0, "ES", 2, 100), fill(5, "ES", 1, 100, position=3))
    assert state(desk, account).holdings["ES"].unprotected_since == at(0)
    feed(desk, account, stop(6, "ES", 95, 3), fill(7, "ES", 1, 100, position=4))
    assert state(desk, account).holdings["ES"].unprotected_since == at(7)


@pytest.mark.parametrize("late_first", [False, True])
def test_what_is_older_than_what_is_known_does_not_replace_it(desk: Ledger, late_first: bool) -> None:
    account = rules()
    newer = [fill(10, "ES", 2, 100), quote(11, "ES", 110), stop(12, "ES", 95, 2), word(13, False, "no")]
    # Of the day before, so that they cannot simply be sorted in.
    older = [
        fill(-80000, "ES", 9, 90, pnl=-7), quote(-80001, "ES", 91), stop(-80002, "ES", 80, 1), word(-80003, True, "ok")
    ]  # fmt: skip
    for batch in (older, newer) if late_first else (newer, older):
        feed(desk, account, *batch)
    now = state(desk, account)
    held = now.holdings["ES"]
    assert (held.position, held.price, held.stop_price, now.can_trade, now.account_detail) == (2, 110, 95, False, "no")


def test_what_was_carried_over_the_reset_is_not_replaced_by_older_news_told_after_it(desk: Ledger) -> None:
    """What is told late counts in the day it is told in, behind the state that day began with."""
    account = rules()
    feed(desk, account, fill(10, "ES", 2, 100), quote(11, "ES", 110), stop(12, "ES", 95, 2))
    late = [fill(7, "ES", 9, 90, pnl=-7), quote(8, "ES", 91), stop(9, "ES", 80, 1)]
    feed(desk, account, tick(TO_RESET + 1))
    feed(desk, account, *late)
    now = state(desk, account, RESET + timedelta(seconds=2))
    held = now.holdings["ES"]
    assert (held.position, held.entry_price, held.opened_at) == (2, 100, at(10))
    assert (held.price, held.price_at) == (110, at(11))
    assert (held.stop_price, held.stop_quantity, held.unprotected_since) == (95, 2, None)
    assert now.realised_pnl == {"ES": D(-7)}, "what it realised counts all the same"


def test_a_late_event_of_a_day_that_is_over_counts_in_the_day_it_arrives_in(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(TO_RESET, "NQ", -1, 100, pnl=-300))
    found = feed(desk, account, fill(TO_RESET - 1, "ES", -1, 100, pnl=-200))
    assert [breach.value for breach in found] == [500]
    assert locked(desk, RESET) == [("daily_realised_loss", None, RESET + timedelta(days=1))]


def test_a_late_event_of_the_day_is_judged_with_all_that_followed_it(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(10, "NQ", -1, 100, pnl=-300), fill(20, "NQ", 1, 100, pnl=150, position=0))
    (breach,) = feed(desk, account, fill(5, "ES", -1, 100, pnl=-200))
    assert (breach.value, breach.began) == (500, at(10))


def test_a_busy_day_is_read_from_its_checkpoint(desk: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_EVENTS", 3)
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(0, "A", -1, 10, pnl=-1), fill(1, "A", -1, 10, pnl=-1))
    assert rows_of(desk, "state") == 1
    feed(desk, account, fill(2, "A", -1, 10, pnl=-1))
    assert rows_of(desk, "state") == 2
    seen: list[str] = []
    step = AccountRules._step
    monkeypatch.setattr(AccountRules, "_step", lambda self, s, e: (seen.append(e.key), step(self, s, e))[1])
    feed(desk, account, fill(3, "A", -1, 10, pnl=-1))
    assert seen == ["fill:A:3"]
    # One that happened before the checkpoint: the day is read from its beginning.
    seen.clear()
    feed(desk, account, fill(0.5, "A", -1, 10, pnl=-1))
    assert seen == [f"fill:A:{when}" for when in ("0", "0.5", "1", "2", "3")]
    assert state(desk, account).realised_pnl == {"A": D(-5)}
    seen.clear()
    (breach,) = feed(desk, account, fill(3, "B", -1, 10, pnl=-495))
    assert (seen, breach.value, rows_of(desk, "state")) == (["fill:B:3"], 500, 2)


def test_a_checkpoint_is_dropped_when_an_event_comes_before_it(desk: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    account = rules()
    monkeypatch.setattr(engine, "CHECKPOINT_EVENTS", 2)
    feed(desk, account, fill(1, "A", -1, 10, pnl=-1), fill(2, "A", -1, 10, pnl=-1))
    monkeypatch.setattr(engine, "CHECKPOINT_EVENTS", 10)
    feed(desk, account, fill(0, "A", -1, 10, pnl=-1))
    assert rows_of(desk, "state") == 1
    assert state(desk, account).realised_pnl == {"A": D(-3)}


def test_a_checkpoint_is_written_every_200_events(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, *[tick(second) for second in range(199)])
    assert rows_of(desk, "state") == 1
    feed(desk, account, tick(199))
    assert rows_of(desk, "state") == 2


@pytest.mark.parametrize(("spoil", "message"), [
    ("DELETE FROM account_events WHERE kind = 'state'",
     "the account's state at the beginning of 2023-03-08 is not in the ledger: restore it from a backup"),
    ("UPDATE account_events SET payload = '{}' WHERE kind = 'state'",
     "the account's state 'opening:2023-03-08' in the ledger cannot be read"),
    ("UPDATE account_events SET kind = 'rumour' WHERE kind = 'tick'", "unknown kind 'rumour'"),
    ("UPDATE account_events SET payload = '{}' WHERE kind = 'tick'", "of kind 'tick' in the ledger cannot be read"),
])  # fmt: skip
def test_a_state_that_cannot_be_read_is_an_error_and_not_a_flat_account(desk: Ledger, spoil: str, message: str) -> None:
    account = rules()
    feed(desk, account, tick(0))
    with desk.write() as connection:
        connection.execute(text(spoil))
    with pytest.raises(RiskError, match=message):
        state(desk, account)
    with pytest.raises(RiskError, match=message):
        feed(desk, account, tick(1))


def test_of_what_happens_at_one_instant_the_last_key_counts(desk: Ledger) -> None:
    account = rules()
    feed(
        desk, account, fill(0, "ES", 1, 10, key="a"), fill(0, "ES", 1, 11, position=2, key="b"),
        replace(quote(0, "NQ", 5), key="a1"), replace(quote(0, "NQ", 6), key="b1"),
        replace(stop(0, "YM", 5, 1), key="a2"), replace(stop(0, "YM", 6, 1), key="b2"),
        replace(word(0, True), key="a3"), replace(word(0, False), key="b3"),
    )  # fmt: skip
    now = state(desk, account)
    held = [now.holdings["ES"].position, now.holdings["NQ"].price, now.holdings["YM"].stop_price, now.can_trade]
    assert held == [2, 6, 6, False]


@pytest.mark.parametrize(("held", "mark"), [(1, 9), (-1, 11), (D("0.5"), 9)])
def test_a_position_is_valued_at_what_it_could_be_closed_at(held: Any, mark: int) -> None:
    assert Holding(position=D(held), price=D(10), bid=D(9), ask=D(11)).mark == mark
    assert Holding(position=D(held), price=D(10)).mark == 10

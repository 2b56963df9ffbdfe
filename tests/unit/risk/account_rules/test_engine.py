"""Events in, each once; lockouts written; the daily reset; persons, brokers and clocks that change their minds."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from quant_dagster.errors import ConfigurationError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk.account_rules import engine, journal, lockouts
from quant_dagster.risk.account_rules.breaches import ActionKind, ActionRequest, Breach
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.events import TickEvent
from quant_dagster.risk.account_rules.state import NEVER, AccountState, Holding, Trade
from quant_dagster.settings import RiskSettings, load_settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import account_events, daily_resets
from quant_dagster.storage.ledger_tables import lockouts as table
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
    said,
    stop,
    tick,
    word,
)

MOMENT = timedelta(microseconds=1)
TO_RESET = (RESET - NOON).total_seconds()
DAY = date(2023, 3, 8)


def locked(desk: Ledger, when: datetime) -> list[tuple[str, str | None, datetime | None]]:
    with desk.read() as connection:
        return [(item.rule, item.symbol, item.expires_at) for item in lockouts.active(connection, when)]


def state(desk: Ledger, account: AccountRules, when: datetime = RESET - MOMENT) -> AccountState:
    with desk.read() as connection:
        return account.state(connection, when)


def release_all(desk: Ledger) -> None:
    with desk.write() as connection:
        for item in lockouts.active(connection, NOON):
            lockouts.release(connection, item.lockout_id, person="ada", reason="agreed", at=LATER)


def rows_of(desk: Ledger, kind: str) -> int:
    query = select(func.count()).select_from(account_events).where(account_events.c.kind == kind)
    with desk.read() as connection:
        return connection.execute(query).scalar_one()


# -- events ------------------------------------------------------------------------------------------------------------


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


# -- lockouts ----------------------------------------------------------------------------------------------------------


def test_a_loss_locks_until_the_reset(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    assert locked(desk, RESET - MOMENT) == [("daily_realised_loss", None, RESET)]
    assert locked(desk, RESET) == []
    with desk.read() as connection:
        row = connection.execute(select(table)).one()
    assert (row.kind, row.trading_day, row.starts_at, row.recorded_at) == ("lockout", DAY, at(0), LATER)
    assert row.reason == "the account's realised loss of the day is 500.00, limit 500.00"
    assert row.lockout_id == lockouts.lockout_id("daily_realised_loss", None, "2023-03-08")


def test_it_is_said_at_every_event_and_locked_once(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    (again,) = feed(desk, account, tick(1), tick(2))
    assert again.began == at(0)
    assert len(locked(desk, NOON)) == 1
    assert audit.verify(desk).rows == 2


@pytest.mark.parametrize(("loss", "minutes"), [(-100, 5), (-500, 30)])
def test_a_cooldown_lasts_as_long_as_asked(desk: Ledger, loss: int, minutes: int) -> None:
    account = rules(cooldown_after_loss={"steps": {100: 5, 500: 30}})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=loss, position=0))
    end = NOON + timedelta(minutes=minutes)
    assert locked(desk, end - MOMENT) == [("cooldown_after_loss", None, end)]
    assert locked(desk, end) == []


def test_a_shorter_cooldown_does_not_shorten_a_longer_one(desk: Ledger) -> None:
    account = rules(cooldown_after_loss={"steps": {100: 5, 500: 30}})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500, position=0), fill(60, "ES", -1, 100, pnl=-100, position=0))
    assert [end for _, _, end in locked(desk, NOON)] == [at(1800), at(360)]
    with desk.read() as connection:
        assert {row.kind for row in connection.execute(select(table))} == {"cooldown"}


def test_a_broker_that_allows_trading_again_ends_its_lockout(desk: Ledger) -> None:
    account = rules(auth_loss_guard={}, daily_realised_loss={"amount": 500})
    feed(desk, account, word(0, False), fill(1, "ES", -1, 100, pnl=-500))
    assert [rule for rule, _, _ in locked(desk, LATER)] == ["auth_loss_guard"]
    assert feed(desk, account, word(2, True, "restored"), tick(3))[-1].rule == "daily_realised_loss"
    assert [rule for rule, _, _ in locked(desk, NOON)] == ["daily_realised_loss"]
    feed(desk, account, word(4, False))
    assert [rule for rule, _, _ in locked(desk, LATER)] == ["auth_loss_guard"], "locked anew"
    with desk.read() as connection:
        released = connection.execute(select(table).where(table.c.released_by.is_not(None))).one()
    assert (released.released_by, released.released_at) == ("rule:auth_loss_guard", LATER)
    assert audit.verify(desk).intact


def test_both_words_in_one_batch_leave_the_last(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    assert [said(b)[:15] for b in feed(desk, account, word(0, False), word(1, True))] == ["auth_loss_guard"]
    assert locked(desk, LATER) == []
    feed(desk, account, word(2, True), word(3, False))
    assert len(locked(desk, LATER)) == 1


def test_a_word_that_arrives_late_does_not_unlock(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    feed(desk, account, word(10, False))
    feed(desk, account, word(5, True))
    feed(desk, account, word(-80000, True))
    assert len(locked(desk, LATER)) == 1


def test_an_older_word_of_a_day_that_is_over_does_not_unlock_what_began_before_it(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    feed(desk, account, word(TO_RESET - 100, False))
    feed(desk, account, tick(TO_RESET))
    feed(desk, account, word(TO_RESET - 50, True))
    assert locked(desk, LATER) == [], "it is the newest word"
    feed(desk, account, word(TO_RESET + 1, False))
    feed(desk, account, word(TO_RESET - 40, True))
    assert len(locked(desk, LATER)) == 1


def test_a_rule_switched_off_does_not_keep_its_lockout_for_ever(desk: Ledger) -> None:
    feed(desk, rules(auth_loss_guard={}), word(0, False))
    feed(desk, rules(), word(1, True))
    assert locked(desk, LATER) == []


def test_what_a_person_released_stays_released_until_the_reset(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    release_all(desk)
    assert feed(desk, account, tick(1), fill(2, "ES", -1, 100, pnl=-500)) == []
    assert locked(desk, NOON) == []
    assert [b.rule for b in feed(desk, account, fill(TO_RESET, "NQ", -1, 100, pnl=-500))] == ["daily_realised_loss"]
    assert locked(desk, RESET) == [("daily_realised_loss", None, RESET + timedelta(days=1))]


def test_a_release_for_one_symbol_is_not_one_for_another(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500, "scope": "symbol"}, max_contracts={"limit": 1})
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    release_all(desk)
    found = feed(desk, account, fill(1, "NQ", -1, 100, pnl=-500), tick(2))
    assert [(breach.rule, breach.symbol) for breach in found] == [
        ("max_contracts", None),
        ("daily_realised_loss", "NQ"),
    ]


# -- requests ----------------------------------------------------------------------------------------------------------


def ids(found: list[Breach]) -> list[tuple[str, str]]:
    return [(request.kind, breach.action_id(request)) for breach in found for request in breach.requests]


def test_a_request_keeps_its_id_while_it_is_worked_on_and_gets_a_new_one_when_a_position_is_opened_again(
    desk: Ledger,
) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    first = ids(feed(desk, account, fill(0, "ES", -3, 100, pnl=-500)))
    assert [kind for kind, _ in first] == ["cancel_orders", "close_all"]
    assert {len(name) for _, name in first} == {64} and len({name for _, name in first}) == 2
    assert ids(feed(desk, account, fill(1, "ES", 1, 100, position=-2))) == first
    assert ids(feed(desk, account, fill(2, "ES", 2, 100, position=0))) == first[:1]
    opened = ids(feed(desk, account, fill(3, "NQ", 1, 100)))
    assert [kind for kind, _ in opened] == ["cancel_orders", "close_all"]
    assert not {name for _, name in opened} & {name for _, name in first}


def test_ids_tell_episodes_and_requests_apart() -> None:
    def breach(**more: Any) -> Breach:
        fields = {"rule": "r", "symbol": None, "value": D(1), "limit": D(2), "reason": "x", "began": at(0)}
        return Breach(**{**fields, **more}, consequences=())

    request = {"kind": ActionKind.MOVE_STOP, "symbol": "ES", "quantity": D(1), "price": D(2), "opened_at": at(0)}
    changed = [{}, {"kind": ActionKind.PLACE_STOP}, {"symbol": "NQ"}, {"quantity": D(2)}, {"price": D(3)},
               {"opened_at": at(1)}]  # fmt: skip
    episodes = [breach(), breach(rule="s"), breach(symbol="ES"), breach(began=at(1))]
    names = {item.action_id(ActionRequest(**{**request, **change})) for item in episodes for change in changed}
    assert len(names) == len(changed) * len(episodes)
    same = breach(value=D(5), reason="y").action_id(ActionRequest(**{**request, "quantity": D("1.0")}))
    assert same == breach().action_id(ActionRequest(**request))
    place = [ActionRequest(ActionKind.PLACE_STOP, "ES", D(1), D(price)) for price in (5, 6)]
    assert breach().action_id(place[0]) == breach().action_id(place[1])
    assert breach(symbol="ES").trigger == "r:ES:2023-03-08T18:00:00+00:00"
    assert breach().trigger == "r:*:2023-03-08T18:00:00+00:00"


def test_an_episode_that_ends_and_comes_again_is_another(desk: Ledger) -> None:
    account = rules(max_contracts_per_instrument={"limit": 5})
    began = []
    for second, held in enumerate((6, 7, 5, 6)):
        began += [breach.began for breach in feed(desk, account, position(second, "ES", held, 100))]
        began += [breach.began for breach in feed(desk, account, quote(second + 0.5, "NQ", 1))]
    assert began == [at(0), at(0), at(3)]


def test_in_one_batch_each_episode_is_told_once_with_its_newest_numbers(desk: Ledger) -> None:
    account = rules(max_contracts_per_instrument={"limit": 5})
    events = [position(second, "ES", held, 100) for second, held in enumerate((6, 7, 5, 9, 8))]
    assert [(b.value, b.began) for b in feed(desk, account, *events)] == [(7, at(0)), (8, at(3))]


def test_what_must_be_closed_and_when_its_newest_position_was_opened(desk: Ledger) -> None:
    account = rules(auth_loss_guard={})
    (breach,) = feed(desk, account, word(0, False))
    assert breach.requests == (ActionRequest(ActionKind.CANCEL_ORDERS, opened_at=NEVER),)
    feed(desk, account, fill(1, "ES", 1, 10), fill(3, "NQ", 1, 10))
    (breach,) = feed(desk, account, fill(4, "ES", 1, 10, position=2))
    assert breach.requests == (
        ActionRequest(ActionKind.CANCEL_ORDERS, opened_at=at(3)), ActionRequest(ActionKind.CLOSE_ALL, opened_at=at(3)),
    )  # fmt: skip
    account = rules(max_contracts_per_instrument={"limit": 1, "action": "close"})
    (breach,) = feed(desk, account, quote(5, "ES", 10))
    assert [request.opened_at for request in breach.requests] == [at(1), at(1)]


@pytest.mark.parametrize(("section", "events", "reason"), [
    ({"max_contracts": {"limit": 2.5}}, [position(0, "ES", 2, 9), position(1, "NQ", -1, 9)],
     "3 held in all, more than 2.5"),
    ({"max_contracts_per_instrument": {}}, [position(0, "ES", -100_001, 9)], "100001 of ES held, more than 100000"),
    ({"daily_realised_loss": {"amount": 9.5, "scope": "symbol"}}, [fill(0, "ES", -1, 9, pnl=-10)],
     "ES's realised loss of the day is 10.00, limit 9.50"),
    ({"daily_unrealised_loss": {"amount": 10}}, [position(0, "ES", 5, 9, 11)],
     "the account's open loss is 10.00, limit 10.00"),
    ({"max_unrealised_profit": {"amount": 10}}, [position(0, "ES", 5, 11, 9)],
     "the account's open profit is 10.00, to be taken at 10.00"),
    ({"daily_realised_profit": {"amount": 9.5}}, [fill(0, "ES", -1, 9, pnl=10)],
     "the account's realised profit of the day is 10.00, goal 9.50"),
    ({"trade_frequency": {"per_hour": 1}}, [fill(0, "ES", -1, 9), fill(1, "ES", -1, 9)],
     "2 trades in one hour, more than 1"),
    ({"cooldown_after_loss": {}}, [fill(0, "ES", -1, 9, pnl=-1234.5, position=0)],
     "ES was closed at a loss of 1234.50, 1000.00 or more: a pause of 5 minutes"),
    ({"no_stop_loss_grace": {}}, [position(0, "ES", 1, 9), tick(60.5)],
     "ES has had no stop for its whole position for 60.5 s, allowed 60 s"),
    ({"session_block": {"close_positions": True, "days": [0, 6]}}, [position(0, "ES", 1, 9)],
     "1 positions held outside 09:30 to 16:00 America/New_York on Mon, Sun"),
    ({"auth_loss_guard": {}}, [word(0, False)], "the broker says the account may not trade: margin call"),
    ({"symbol_blocks": {"symbols": ["E?"]}}, [position(0, "ES", -3, 9)], "-3 of ES held, which 'E?' blocks"),
    ({"trade_management": {}}, [position(0, "ES", 1, 10.25, 10)],
     "ES has gained 2.50%: its stop goes to 10"),
])  # fmt: skip
def test_the_reason_says_what_was_measured_against_what(
    desk: Ledger, section: dict[str, Any], events: list[Any], reason: str
) -> None:
    assert [breach.reason for breach in feed(desk, rules(**section), *events)] == [reason]


def test_what_cost_nothing_has_no_gain(desk: Ledger) -> None:
    assert feed(desk, rules(trade_management={}), position(0, "ES", 1, 10, 0)) == []


def test_all_rules_look_at_the_same_event(desk: Ledger) -> None:
    account = rules(
        max_contracts={"limit": 1}, max_contracts_per_instrument={"limit": 1}, symbol_blocks={"symbols": ["ES"]}
    )
    assert [breach.rule for breach in feed(desk, account, fill(0, "ES", 2, 10))] == [
        "max_contracts", "max_contracts_per_instrument", "symbol_blocks",
    ]  # fmt: skip


# -- the daily reset ---------------------------------------------------------------------------------------------------


def test_the_reset_begins_sums_and_counts_anew_and_leaves_the_rest(desk: Ledger) -> None:
    account = rules(auth_loss_guard={}, daily_realised_loss={"amount": 500})
    feed(
        desk, account, word(0, False), stop(1, "ES", 90, 9), fill(2, "ES", 5, 100, pnl=-500),
        fill(TO_RESET - 3600, "ES", 1, 100, position=6, order="hour ago"),
        fill(TO_RESET - 3599, "ES", 1, 100, position=7, order="within the hour", pnl=-1),
    )  # fmt: skip
    before = state(desk, account)
    assert before.trades_today() == 3
    pending = state(desk, account, RESET)
    feed(desk, account, tick(TO_RESET))
    after = state(desk, account, RESET)
    assert (after.trading_day, after.realised_pnl, after.trades_today()) == (date(2023, 3, 9), {}, 0)
    assert after.trades == {"within the hour": Trade(at(TO_RESET - 3599), D(-1), False)}
    assert (after.holdings, after.can_trade) == (before.holdings, False)
    assert [rule for rule, _, _ in locked(desk, RESET)] == ["auth_loss_guard"]
    assert (pending.trading_day, pending.realised_pnl, pending.trades) == (after.trading_day, {}, after.trades)


def test_a_reset_that_is_due_is_seen_before_it_is_recorded(desk: Ledger) -> None:
    account = rules()
    assert state(desk, account, RESET).trading_day == date(2023, 3, 9)
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    assert state(desk, account, RESET - MOMENT).realised_pnl == {"ES": D(-500)}
    assert state(desk, account, RESET).realised_pnl == {}
    assert state(desk, account, NOON - timedelta(days=30)).realised_pnl == {"ES": D(-500)}
    with desk.read() as connection:
        assert connection.execute(select(daily_resets.c.trading_day)).scalars().all() == [DAY]


def test_a_process_that_slept_through_resets_does_one(desk: Ledger) -> None:
    account = rules()
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-500))
    feed(desk, account, tick(TO_RESET + 5 * 86400), tick(TO_RESET + 5 * 86400 + 1))
    with desk.read() as connection:
        rows = connection.execute(select(daily_resets).order_by(daily_resets.c.trading_day)).all()
    # Five days later the clocks have gone forward: 17:00 is 22:00 UTC, and 23:00 UTC is in the day after.
    assert [(row.trading_day, row.reset_at) for row in rows] == [
        (DAY, datetime(2023, 3, 7, 23, tzinfo=UTC)), (date(2023, 3, 14), datetime(2023, 3, 13, 22, tzinfo=UTC)),
    ]  # fmt: skip
    held = state(desk, account, at(TO_RESET + 5 * 86400))
    assert (held.holdings["ES"].position, held.realised_pnl) == (-1, {})


def test_a_clock_that_goes_back_resets_nothing(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    feed(desk, account, fill(TO_RESET, "ES", -1, 100, pnl=-300))
    feed(desk, account, tick(TO_RESET - 10))
    assert feed(desk, account, fill(TO_RESET + 1, "ES", -1, 100, pnl=-200))[0].value == 500
    with desk.read() as connection:
        assert connection.execute(select(func.count()).select_from(daily_resets)).scalar() == 1


def test_a_batch_over_the_reset_counts_each_event_in_its_day(desk: Ledger) -> None:
    account = rules(daily_realised_loss={"amount": 500})
    losses = [fill(TO_RESET + second, "ES", -1, 100, pnl=-300) for second in (1, 0, -1)]
    assert [(b.value, b.began) for b in feed(desk, account, *losses)] == [(600, at(TO_RESET + 1))]


def test_an_episode_goes_on_over_the_reset(desk: Ledger) -> None:
    account = rules(max_contracts={"limit": 1})
    feed(desk, account, fill(0, "ES", 2, 100))
    assert [breach.began for breach in feed(desk, account, tick(TO_RESET + 1))] == [at(0)]


# -- settings, databases -----------------------------------------------------------------------------------------------


def test_limits_of_symbols_in_the_rule_on_the_total_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"risk\.account_rules\.max_contracts\.per_symbol"):
        load_settings({"risk": {"account_rules": {"max_contracts": {"per_symbol": {"ES": 1}}}}})


def test_the_reset_time_is_a_setting(desk: Ledger) -> None:
    account = AccountRules(RiskSettings.model_validate({"account_rules": {
        "reset_time": "19:00", "reset_time_zone": "UTC", "daily_realised_loss": {"enabled": True, "amount": 1},
    }, "clock_tolerance_seconds": 0}))  # fmt: skip
    feed(desk, account, fill(0, "ES", -1, 100, pnl=-1))
    assert locked(desk, NOON) == [("daily_realised_loss", None, at(3600))]
    with pytest.raises(RiskError, match="check the clock"):
        feed(desk, account, TickEvent("t", LATER + MOMENT))


def test_on_both_databases(ledger: Ledger) -> None:
    account = rules(
        auth_loss_guard={}, daily_realised_loss={"amount": 500}, cooldown_after_loss={}, max_contracts={"limit": 1}
    )
    for _ in range(2):
        feed(
            ledger,
            account,
            word(0, True),
            quote(1, "ES", 99.5, bid=99.4),
            fill(2, "ES", -2, 100, pnl=-1500, position=2),
        )
        feed(ledger, account, word(3, False), tick(TO_RESET + 1), word(TO_RESET + 2, True), word(TO_RESET + 3, False))
    assert locked(ledger, NOON) == [
        ("daily_realised_loss", None, RESET), ("cooldown_after_loss", None, at(302)), ("auth_loss_guard", None, None),
    ] or locked(ledger, NOON) == [
        ("cooldown_after_loss", None, at(302)), ("daily_realised_loss", None, RESET), ("auth_loss_guard", None, None),
    ]  # fmt: skip
    assert audit.verify(ledger).intact
    assert state(ledger, account, at(TO_RESET + 10)).holdings["ES"].mark == 100


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

"""Lockouts written, prolonged, ended by the broker's word and released by persons."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from quant_dagster.observability import audit
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import lockouts as table
from tests.unit.risk.account_rules.engine_states import DAY, MOMENT, TO_RESET, locked, state
from tests.unit.risk.account_rules.scenarios import (
    LATER,
    NOON,
    RESET,
    at,
    feed,
    fill,
    quote,
    rules,
    said,
    tick,
    word,
)


def release_all(desk: Ledger) -> None:
    with desk.write() as connection:
        for item in lockouts.active(connection, NOON):
            lockouts.release(connection, item.lockout_id, person="ada", reason="agreed", at=LATER)


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

"""Lockouts are added once, end at their time or by a name, and what cannot be read locks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from quant_dagster.errors import ControlError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.lockouts import ActiveLockout, lockout_id
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log
from quant_dagster.storage.ledger_tables import lockouts as table
from quant_dagster.storage.types import canonical_json
from tests.unit.risk.account_rules.scenarios import LATER, NOON, RESET, at

MOMENT = timedelta(microseconds=1)
DAY = date(2023, 3, 8)


def add(desk: Ledger, **more: Any) -> bool:
    row = {
        "rule": "daily_realised_loss", "kind": "lockout", "symbol": None, "trigger": "t", "reason": "lost 500",
        "trading_day": DAY, "starts_at": NOON, "expires_at": RESET, "actor": "account_rules", "now": LATER,
    }  # fmt: skip
    with desk.write() as connection:
        return lockouts.add(connection, **{**row, **more})


def active(desk: Ledger, when: datetime) -> list[ActiveLockout]:
    with desk.read() as connection:
        return lockouts.active(connection, when)


def release(desk: Ledger, name: str, person: str = "ada", reason: str = "agreed") -> bool:
    with desk.write() as connection:
        return lockouts.release(connection, name, person=person, reason=reason, at=at(60))


def trail(desk: Ledger) -> list[tuple[str, str, str, str]]:
    with desk.read() as connection:
        rows = connection.execute(select(audit_log).order_by(audit_log.c.sequence)).all()
    return [(row.event_key, row.action, row.actor, row.payload) for row in rows]


def spoil(desk: Ledger, name: str, **columns: str) -> None:
    with desk.write() as connection:
        for column, value in columns.items():
            statement = text(f"UPDATE lockouts SET {column} = :value WHERE lockout_id = :name")
            connection.execute(statement, {"value": value, "name": name})


ACCOUNT = lockout_id("daily_realised_loss", None, "t")
LOCKED = ActiveLockout(ACCOUNT, "daily_realised_loss", "lockout", None, "lost 500", RESET)


def test_ids_tell_rule_symbol_and_trigger_apart() -> None:
    ids = {lockout_id(r, s, t) for r in ("a", "b") for s in (None, "a", "b") for t in ("x", "y")}
    assert len(ids) == 12
    assert {len(name) for name in ids} == {64}


def test_a_lockout_is_added_and_audited_once(desk: Ledger) -> None:
    assert add(desk) is True
    assert add(desk, reason="lost 700", expires_at=None, now=NOON) is False
    assert active(desk, NOON) == [LOCKED]
    payload = {"lockout_id": ACCOUNT, "rule": "daily_realised_loss", "kind": "lockout", "symbol": None,
               "reason": "lost 500", "trading_day": DAY, "starts_at": NOON, "expires_at": RESET}  # fmt: skip
    assert trail(desk) == [(f"lockout:{ACCOUNT}", "lockout", "account_rules", canonical_json(payload))]
    with desk.read() as connection:
        row = connection.execute(select(table)).one()
        audited_at = connection.execute(select(audit_log.c.recorded_at)).scalar()
    assert (row.trading_day, row.starts_at, row.released_at, row.released_by) == (DAY, NOON, None, None)
    assert row.recorded_at == audited_at == LATER


def test_it_holds_until_its_end_and_not_at_it(desk: Ledger) -> None:
    add(desk)
    assert active(desk, RESET - MOMENT) == [LOCKED]
    assert active(desk, RESET) == []


def test_a_clock_that_went_back_opens_nothing(desk: Ledger) -> None:
    add(desk)
    assert active(desk, NOON - timedelta(days=400)) == [LOCKED]


def test_without_an_end_it_holds_until_released(desk: Ledger) -> None:
    add(desk, expires_at=None)
    assert [lockout.expires_at for lockout in active(desk, LATER)] == [None]
    assert release(desk, ACCOUNT) is True
    assert active(desk, LATER) == []


def test_active_ones_come_oldest_first(desk: Ledger) -> None:
    for seconds, trigger in ((2, "b"), (1, "a"), (3, "c")):
        add(desk, trigger=trigger, starts_at=at(seconds), symbol=trigger, kind="cooldown")
    assert [(lockout.symbol, lockout.kind) for lockout in active(desk, NOON)] == [
        ("a", "cooldown"), ("b", "cooldown"), ("c", "cooldown"),
    ]  # fmt: skip


def test_those_that_start_at_once_have_an_order_too(desk: Ledger) -> None:
    names = [lockout_id("daily_realised_loss", None, trigger) for trigger in "abcde"]
    for trigger in "abcde":
        add(desk, trigger=trigger)
    assert [lockout.lockout_id for lockout in active(desk, NOON)] == sorted(names)


@pytest.mark.parametrize("wrong", [
    {"kind": "holiday"}, {"expires_at": NOON}, {"expires_at": NOON - MOMENT}, {"kind": ""},
])  # fmt: skip
def test_what_would_not_lock_is_refused(desk: Ledger, wrong: dict[str, Any]) -> None:
    with pytest.raises(RiskError, match=r"of rule 'daily_realised_loss' from 2023-03-08 18:00:00.* to .*: not a lock"):
        add(desk, **wrong)
    assert active(desk, NOON) == [] and trail(desk) == []


def test_the_shortest_lockout_is_one(desk: Ledger) -> None:
    assert add(desk, expires_at=NOON + MOMENT)


def test_a_person_releases_it_once_and_is_remembered(desk: Ledger) -> None:
    add(desk)
    assert release(desk, ACCOUNT) is True
    assert active(desk, NOON) == []
    assert release(desk, ACCOUNT, person="bob") is False
    payload = canonical_json({"lockout_id": ACCOUNT, "reason": "agreed"})
    assert trail(desk)[1:] == [(f"lockout:{ACCOUNT}:released", "lockout_released", "ada", payload)]
    with desk.read() as connection:
        row = connection.execute(select(table)).one()
        assert lockouts.released_by_person(connection, ACCOUNT) is True
    assert (row.released_at, row.released_by) == (at(60), "ada")
    assert audit.verify(desk).intact


def test_adding_a_released_one_again_does_not_lock_again(desk: Ledger) -> None:
    add(desk)
    release(desk, ACCOUNT)
    assert add(desk) is False
    assert active(desk, NOON) == []


@pytest.mark.parametrize(
    ("person", "reason"), [("", "why"), (" ", "why"), ("ada", ""), ("ada", " "), ("rule:x", "why")]
)
def test_a_release_needs_a_name_and_a_reason(desk: Ledger, person: str, reason: str) -> None:
    add(desk)
    with pytest.raises(ControlError, match="needs the name of a person"):
        release(desk, ACCOUNT, person, reason)
    assert active(desk, NOON) == [LOCKED]


def test_what_is_not_there_cannot_be_released(desk: Ledger) -> None:
    with pytest.raises(RiskError, match="there is no lockout 'x'"):
        release(desk, "x")
    with desk.read() as connection:
        assert lockouts.released_by_person(connection, "x") is False


def test_a_condition_clears_its_own_rule_up_to_its_time(desk: Ledger) -> None:
    auth = {"rule": "auth_loss_guard", "expires_at": None}
    for trigger, seconds in (("a", 10), ("b", 20), ("c", 20.000001)):
        add(desk, trigger=trigger, starts_at=at(seconds), **auth)
    add(desk, trigger="timed", rule="auth_loss_guard")
    add(desk, trigger="other", expires_at=None)
    with desk.write() as connection:
        cleared = lockouts.clear(connection, "auth_loss_guard", until=at(20), reason="may trade", now=LATER)
    expected = sorted(lockout_id("auth_loss_guard", None, trigger) for trigger in "ab")
    assert cleared == expected
    left = {lockout.lockout_id for lockout in active(desk, NOON)}
    assert left == {
        lockout_id("auth_loss_guard", None, "c"), lockout_id("auth_loss_guard", None, "timed"),
        lockout_id("daily_realised_loss", None, "other"),
    }  # fmt: skip
    payloads = [canonical_json({"lockout_id": name, "reason": "may trade"}) for name in expected]
    assert [row[1:] for row in trail(desk)[5:]] == [
        ("lockout_released", "rule:auth_loss_guard", payload) for payload in payloads
    ]
    with desk.read() as connection:
        assert lockouts.released_by_person(connection, expected[0]) is False
        assert (
            connection.execute(select(table.c.released_at).where(table.c.lockout_id == expected[0])).scalar() == LATER
        )


@pytest.mark.parametrize("spoilt", [
    {"expires_at": "tomorrow"}, {"starts_at": ""}, {"kind": "unlocked"}, {"released_at": "2023-03-08 18:00:00.000000"},
    {"trading_day": "?"}, {"released_at": "never"},
])  # fmt: skip
def test_what_cannot_be_read_locks_the_account_until_a_person_releases_it(desk: Ledger, spoilt: dict[str, str]) -> None:
    add(desk, symbol="ES")
    add(desk, symbol="NQ")
    name, other = (lockout_id("daily_realised_loss", symbol, "t") for symbol in ("ES", "NQ"))
    spoil(desk, name, **spoilt)
    reason = "a lockout in the ledger cannot be read: nothing is opened until a person releases it"
    unreadable = ActiveLockout(name, "unreadable_lockout", "lockout", None, reason, None)
    assert [lockout.lockout_id for lockout in active(desk, NOON)] == [other, name]
    assert active(desk, LATER) == [unreadable]
    assert release(desk, name) is True
    assert active(desk, LATER) == []
    assert [lockout.lockout_id for lockout in active(desk, NOON)] == [other]


def test_several_that_cannot_be_read_are_told_in_order(desk: Ledger) -> None:
    names = []
    for trigger, column in (("a", "expires_at"), ("b", "kind"), ("c", "starts_at"), ("d", "kind")):
        add(desk, trigger=trigger)
        names.append(lockout_id("daily_realised_loss", None, trigger))
        spoil(desk, names[-1], **{column: "?"})
    assert [lockout.lockout_id for lockout in active(desk, NOON)] == sorted(names)


def test_on_both_databases(ledger: Ledger) -> None:
    assert add(ledger) and add(ledger, symbol="ES", expires_at=None, starts_at=datetime(2023, 3, 8, 19, tzinfo=UTC))
    assert [lockout.symbol for lockout in active(ledger, NOON)] == [None, "ES"]
    with ledger.write() as connection:
        assert len(lockouts.clear(connection, "daily_realised_loss", until=RESET, reason="r", now=LATER)) == 1
    assert release(ledger, ACCOUNT)
    assert active(ledger, NOON) == []

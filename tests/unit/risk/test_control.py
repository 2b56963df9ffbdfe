"""Control modes: anybody makes them stricter, only an operator looser, unreadable means stop."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from quant_dagster.errors import ControlError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk import control, operators
from quant_dagster.risk.control import (
    TRANSITIONS,
    ControlChange,
    ControlMode,
    ControlState,
    Who,
    current,
    escalate,
    history,
    needs_operator,
    read_mode,
    set_mode,
)
from quant_dagster.settings import Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, control_state
from tests.unit.risk.kill_switch.desks import PASSPHRASE, START, Moment, audited, desk_settings, new_ledger

NORMAL, PAUSE, REDUCE, EMERGENCY = ControlMode
ANYBODY, OPERATOR = Who.ANYBODY, Who.OPERATOR
STEPS = {
    (NORMAL, NORMAL): "stays", (NORMAL, PAUSE): ANYBODY, (NORMAL, REDUCE): ANYBODY, (NORMAL, EMERGENCY): ANYBODY,
    (PAUSE, NORMAL): OPERATOR, (PAUSE, PAUSE): "stays", (PAUSE, REDUCE): ANYBODY, (PAUSE, EMERGENCY): ANYBODY,
    (REDUCE, NORMAL): OPERATOR, (REDUCE, PAUSE): OPERATOR, (REDUCE, REDUCE): "stays", (REDUCE, EMERGENCY): ANYBODY,
    (EMERGENCY, NORMAL): "from EMERGENCY the control mode goes to PAUSE or REDUCE, not NORMAL",
    (EMERGENCY, PAUSE): OPERATOR, (EMERGENCY, REDUCE): OPERATOR, (EMERGENCY, EMERGENCY): "stays",
    (None, NORMAL): "from an unknown mode the control mode goes to PAUSE or REDUCE or EMERGENCY, not NORMAL",
    (None, PAUSE): OPERATOR, (None, REDUCE): OPERATOR, (None, EMERGENCY): OPERATOR,
}  # fmt: skip


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return desk_settings(tmp_path)


@pytest.fixture
def books(tmp_path: Path, moment: Moment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(operators._SCRYPT, "n", 4)  # the work is for test_operators
    ledger = new_ledger(tmp_path, moment)
    yield ledger
    ledger.close()


def put(ledger: Ledger, mode: ControlMode | None) -> None:
    """The ledger as if this mode were in force; None: one nobody knows."""
    with ledger.write() as connection:
        name = mode.name if mode is not None else "HALTED"
        sequence = len(history(connection, 100)) + 1
        connection.execute(
            control_state.insert().values(
                sequence=sequence, mode=name, previous="NORMAL", actor="x", automatic=1, reason="x", recorded_at=START
            )
        )


def test_a_new_desk_is_normal(ledger: Ledger) -> None:
    assert read_mode(ledger) == ControlState(NORMAL, "initial", "no mode was ever set", None)


@pytest.mark.parametrize("start", [NORMAL, PAUSE, REDUCE, EMERGENCY, None])
@pytest.mark.parametrize("mode", [NORMAL, PAUSE, REDUCE, EMERGENCY])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE, "not the passphrase"])
def test_every_step_by_a_person(
    books: Ledger, settings: Settings, start: ControlMode | None, mode: ControlMode, passphrase: str | None
) -> None:
    operators.add(books, "ada", PASSPHRASE)
    put(books, start)
    rule = STEPS[start, mode]
    order = {"person": "ada", "reason": "why", "passphrase": passphrase, "settings": settings}
    if rule in (ANYBODY, "stays") or (rule is OPERATOR and passphrase == PASSPHRASE):
        assert needs_operator(books, mode) is (rule is OPERATOR)
        assert set_mode(books, mode, **order).mode is mode
        with books.read() as connection:
            assert len(history(connection, 9)) == (1 if rule == "stays" else 2)
        return
    said = rule if isinstance(rule, str) else {None: "takes an operator's passphrase"}.get(passphrase, "is wrong")
    with pytest.raises(ControlError, match=said):
        set_mode(books, mode, **order)
    with books.read() as connection:
        assert len(history(connection, 9)) == 1


@pytest.mark.parametrize("start", [NORMAL, PAUSE, REDUCE, EMERGENCY])
@pytest.mark.parametrize("mode", [NORMAL, PAUSE, REDUCE, EMERGENCY])
def test_every_step_of_a_rule(books: Ledger, start: ControlMode, mode: ControlMode) -> None:
    put(books, start)
    with books.write() as connection:
        assert escalate(connection, mode, actor="drawdown", reason="r", at=START) is (mode > start)
        assert current(connection).mode is max(mode, start)


def test_the_table_is_about_every_mode() -> None:
    assert set(TRANSITIONS) == {*ControlMode, None}
    table = {(start, mode): TRANSITIONS[start].get(mode) for start in TRANSITIONS for mode in ControlMode}
    assert table == {pair: rule if isinstance(rule, Who) else None for pair, rule in STEPS.items()}
    assert [mode.value for mode in ControlMode] == [0, 1, 2, 3]


def test_who_when_and_why_are_kept_and_audited(books: Ledger, moment: Moment) -> None:
    with books.write() as connection:
        escalate(connection, PAUSE, actor="drawdown", reason="20 %", at=START)
        escalate(connection, REDUCE, actor="bo", reason="by hand", at=START + timedelta(seconds=1), automatic=False)
    moment.move(60)
    state = set_mode(books, EMERGENCY, person=" ada ", reason=" fire ")
    assert state == ControlState(EMERGENCY, "ada", "fire", START + timedelta(seconds=60))
    with books.read() as connection:
        assert history(connection, 2) == [
            ControlChange(3, "EMERGENCY", "REDUCE", "ada", False, "fire", START + timedelta(seconds=60)),
            ControlChange(2, "REDUCE", "PAUSE", "bo", False, "by hand", START + timedelta(seconds=1)),
        ]
        assert history(connection, 9)[2] == ControlChange(1, "PAUSE", "NORMAL", "drawdown", True, "20 %", START)
        row = connection.execute(select(audit_log).where(audit_log.c.sequence == 3)).one()
    assert audited(books)[0] == ("control:1", "control_mode", "drawdown")
    assert (row.event_key, row.action, row.actor, row.recorded_at) == (
        "control:3", "control_mode", "ada", START + timedelta(seconds=60))  # fmt: skip
    assert row.payload == ('{"actor":"ada","automatic":0,"mode":"EMERGENCY","previous":"REDUCE","reason":"fire"}')
    assert audit.verify(books).intact


def test_a_person_can_go_back_and_is_remembered(ledger: Ledger, settings: Settings) -> None:
    operators.add(ledger, "ada", PASSPHRASE)
    set_mode(ledger, EMERGENCY, person="bo", reason="fire drill")
    set_mode(ledger, PAUSE, person="ada", reason="drill over", passphrase=PASSPHRASE, settings=settings)
    state = set_mode(ledger, NORMAL, person="ada", reason="all well", passphrase=PASSPHRASE, settings=settings)
    assert (state.mode, state.actor, state.reason) == (NORMAL, "ada", "all well")
    report = audit.verify(ledger)
    assert (report.rows, report.intact) == (4, True)


@pytest.mark.parametrize(("person", "reason"), [("", "why"), ("ada", " ")])
def test_a_mode_is_not_set_without_a_name_and_a_reason(books: Ledger, person: str, reason: str) -> None:
    with pytest.raises(
        ControlError, match=r"^setting the control mode needs the name of a person .--actor. and a reason .--reason.$"
    ):
        set_mode(books, PAUSE, person=person, reason=reason)
    assert read_mode(books).mode is NORMAL


def test_a_name_too_long_for_the_ledger_stops_all_the_same(books: Ledger) -> None:
    assert set_mode(books, PAUSE, person="x" * 65, reason="why").actor == "x" * 64


def test_loosening_needs_the_settings(books: Ledger) -> None:
    operators.add(books, "ada", PASSPHRASE)
    put(books, PAUSE)
    with pytest.raises(
        ControlError, match=r"^loosening the control mode needs the settings, which say where kill conditions are$"
    ):
        set_mode(books, NORMAL, person="ada", reason="why", passphrase=PASSPHRASE)


def test_nothing_is_loosened_while_a_kill_condition_holds(books: Ledger, tmp_path: Path) -> None:
    settings = desk_settings(tmp_path, kill_switch={"heartbeats": {"feed": 5}})
    operators.add(books, "ada", PASSPHRASE)
    put(books, REDUCE)
    (tmp_path / "KILL").write_text("smoke")
    order = {"person": "ada", "reason": "why", "passphrase": PASSPHRASE, "settings": settings}
    expected = (
        f"cannot be loosened while a kill condition holds: kill file {tmp_path}/KILL: smoke; "
        "feed never gave a sign of life"
    )
    with pytest.raises(ControlError, match=expected):
        set_mode(books, PAUSE, **order)
    assert set_mode(books, EMERGENCY, **order).mode is EMERGENCY


def test_a_mode_that_became_stricter_meanwhile_is_not_loosened_without_proof(
    books: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look that says no passphrase is needed and the change, a rule escalates."""
    operators.add(books, "ada", PASSPHRASE)

    def look(ledger: Ledger, mode: ControlMode) -> bool:
        answer = needs_operator(ledger, mode)
        put(ledger, EMERGENCY)
        return answer

    monkeypatch.setattr(control, "needs_operator", look)
    with pytest.raises(
        ControlError, match=r"^loosening the control mode takes an operator's passphrase; the mode stays as it is$"
    ):
        set_mode(books, REDUCE, person="ada", reason="why", passphrase="wrong", settings=settings)
    assert read_mode(books).mode is EMERGENCY


def test_a_mode_that_cannot_be_understood_is_an_error(books: Ledger, settings: Settings) -> None:
    put(books, None)
    with pytest.raises(RiskError, match=r"^control mode 'HALTED' in .* is unknown: no new orders until it is set$"):
        read_mode(books)
    with books.write() as connection, pytest.raises(RiskError, match="unknown"):
        escalate(connection, EMERGENCY, actor="x", reason="x", at=START)
    operators.add(books, "ada", PASSPHRASE)
    repaired = set_mode(books, PAUSE, person="ada", reason="repaired", passphrase=PASSPHRASE, settings=settings)
    assert repaired.mode is PAUSE
    with books.read() as connection:
        assert history(connection, 1)[0].previous is None


def test_a_mode_whose_time_cannot_be_read_is_an_error(books: Ledger) -> None:
    put(books, PAUSE)
    with books.write() as connection:
        connection.execute(text("UPDATE control_state SET recorded_at = 'yesterday'"))
    with pytest.raises(
        RiskError, match=r"^the control mode in the ledger cannot be read, so no new orders: .*yesterday"
    ):
        read_mode(books)


def test_a_ledger_that_cannot_be_read_is_an_error_not_normal(tmp_path: Path) -> None:
    with pytest.raises(RiskError, match=r"^the control mode cannot be read, so no new orders: .*none.db"):
        read_mode(Ledger(f"sqlite:///{tmp_path / 'none.db'}"))

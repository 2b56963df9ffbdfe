"""Control modes: escalation is automatic, de-escalation takes a person, unreadable means stop."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from quant_dagster.errors import ControlError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, current, escalate, read_mode, set_mode
from quant_dagster.storage.ledger import Ledger


def test_a_new_desk_is_normal(ledger: Ledger) -> None:
    assert read_mode(ledger).mode is ControlMode.NORMAL


def test_escalation_never_loosens(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert escalate(connection, ControlMode.REDUCE, actor="drawdown", reason="r", at=ledger.now())
        assert not escalate(connection, ControlMode.PAUSE, actor="x", reason="r", at=ledger.now())
        assert not escalate(connection, ControlMode.REDUCE, actor="x", reason="r", at=ledger.now())
        assert current(connection).mode is ControlMode.REDUCE


def test_a_person_can_go_back_and_is_remembered(ledger: Ledger) -> None:
    set_mode(ledger, ControlMode.EMERGENCY, person="ada", reason="fire drill")
    state = set_mode(ledger, ControlMode.NORMAL, person="ada", reason="drill over")
    assert (state.mode, state.actor, state.reason) == (ControlMode.NORMAL, "ada", "drill over")
    assert audit.verify(ledger).rows == 2


@pytest.mark.parametrize(("person", "reason"), [("", "why"), ("ada", " ")])
def test_a_mode_is_not_set_without_a_name_and_a_reason(ledger: Ledger, person: str, reason: str) -> None:
    with pytest.raises(ControlError, match="name of a person"):
        set_mode(ledger, ControlMode.NORMAL, person=person, reason=reason)


def test_a_mode_that_cannot_be_understood_is_an_error(ledger: Ledger) -> None:
    set_mode(ledger, ControlMode.PAUSE, person="ada", reason="r")
    with ledger.write() as connection:
        connection.execute(text("UPDATE control_state SET mode = 'HALTED'"))
    with pytest.raises(RiskError, match="unknown"):
        read_mode(ledger)
    assert set_mode(ledger, ControlMode.PAUSE, person="ada", reason="repaired").mode is ControlMode.PAUSE


def test_a_ledger_that_cannot_be_read_is_an_error_not_normal(tmp_path) -> None:
    with pytest.raises(RiskError, match="cannot be read"):
        read_mode(Ledger(f"sqlite:///{tmp_path / 'none.db'}"))

"""Whatever is done in whatever order: what may be traded never becomes more without an operator's passphrase."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import text

from quant_dagster.errors import ControlError, QuantError, RiskError
from quant_dagster.observability import audit
from quant_dagster.risk import operators
from quant_dagster.risk.control import ControlMode, escalate, set_mode
from quant_dagster.risk.kill_switch.conditions import kill_conditions
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.risk.permission import enforce_kill, kill, read_permission
from tests.unit.risk.kill_switch.desks import PASSPHRASE, Moment, desk_settings, new_ledger

MODES = st.sampled_from(ControlMode)
NOTHING = 9
"""Stricter than any mode: no orders at all, for the mode is unknown."""


class Desk(RuleBasedStateMachine):
    @initialize(of_a_kill=st.sampled_from(["PAUSE", "REDUCE", "EMERGENCY"]))
    def open(self, of_a_kill: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name)
        self.quick = mock.patch.dict(operators._SCRYPT, n=4)
        self.quick.start()
        self.moment = Moment()
        self.ledger = new_ledger(self.home, self.moment)
        self.settings = desk_settings(self.home, kill_switch={"mode": of_a_kill, "heartbeats": {"feed": 10}})
        self.of_a_kill = ControlMode[of_a_kill]
        operators.add(self.ledger, "ada", PASSPHRASE)
        with self.ledger.write() as connection:
            beat(connection, "feed", state="ok", detail="", at=self.moment.now)
        self.floor = self.look()
        self.stored = int(ControlMode.NORMAL)
        self.known = True

    def teardown(self) -> None:
        assert audit.verify(self.ledger).intact
        self.ledger.close()
        self.quick.stop()
        self.folder.cleanup()

    def look(self) -> int:
        try:
            return int(read_permission(self.ledger, self.settings, self.home).mode)
        except RiskError:
            return NOTHING

    def killed(self) -> bool:
        with self.ledger.read() as connection:
            return bool(kill_conditions(connection, self.settings.risk, self.home, self.moment.now))

    @rule(mode=MODES)
    def a_rule_escalates(self, mode: ControlMode) -> None:
        try:
            with self.ledger.write() as connection:
                escalate(connection, mode, actor="drawdown", reason="r", at=self.moment.now)
            self.stored = max(self.stored, mode)
        except RiskError:
            assert not self.known

    @rule(mode=MODES, passphrase=st.sampled_from([None, "wrong"]))
    def somebody_sets_the_mode(self, mode: ControlMode, passphrase: str | None) -> None:
        """Anybody, without the passphrase: stricter at most."""
        try:
            set_mode(self.ledger, mode, person="bo", reason="r", passphrase=passphrase, settings=self.settings)
            assert mode >= self.stored and self.known
            self.stored = int(mode)
        except ControlError:
            assert mode < self.stored or not self.known

    @rule(mode=MODES)
    def the_operator_sets_the_mode(self, mode: ControlMode) -> None:
        killed = self.killed()
        try:
            set_mode(self.ledger, mode, person="ada", reason="r", passphrase=PASSPHRASE, settings=self.settings)
        except ControlError:
            skipped = mode is ControlMode.NORMAL and (self.stored == ControlMode.EMERGENCY or not self.known)
            assert killed or skipped
            return
        assert not killed or (mode >= self.stored and self.known)
        self.stored, self.known, self.floor = int(mode), True, 0

    @rule()
    def the_desk_is_killed(self) -> None:
        try:
            kill(self.ledger, self.settings, self.home, actor="bo", reason="r", automatic=False)
            self.stored = max(self.stored, self.of_a_kill)
        except QuantError:
            assert not self.known
        assert (self.home / "KILL").exists()

    @rule()
    def the_kill_is_enforced(self) -> None:
        killed = self.killed()
        try:
            enforce_kill(self.ledger, self.settings, self.home)
            self.stored = max(self.stored, self.of_a_kill) if killed else self.stored
        except RiskError:
            assert not self.known

    @rule()
    def the_file_goes_after_it_was_enforced(self) -> None:
        self.the_kill_is_enforced()
        (self.home / "KILL").unlink(missing_ok=True)

    @rule(seconds=st.sampled_from([1, 10, 11, -1, -60]))
    def time_goes_by(self, seconds: int) -> None:
        self.the_kill_is_enforced()
        self.moment.move(seconds)

    @rule(state=st.sampled_from(["ok", "broken"]))
    def the_feed_beats(self, state: str) -> None:
        self.the_kill_is_enforced()
        with self.ledger.write() as connection:
            beat(connection, "feed", state=state, detail="", at=self.moment.now)

    @rule()
    def the_mode_becomes_unreadable(self) -> None:
        with self.ledger.write() as connection:
            done = connection.execute(text("UPDATE control_state SET mode = 'SLEEPY'")).rowcount
        self.known = self.known and not done

    @invariant()
    def what_is_allowed_never_grows_by_itself(self) -> None:
        if not hasattr(self, "ledger"):
            return
        now = self.look()
        assert now >= self.stored
        assert self.known or now == NOTHING
        if self.killed():
            assert now >= self.of_a_kill
        # A clock that is behind allows nothing only until it is right again.
        assert now >= self.floor
        self.floor = now if now < NOTHING else self.floor


TestDesk = Desk.TestCase
TestDesk.settings = hypothesis_settings(max_examples=15, stateful_step_count=20, deadline=None)

"""The connection's state machine: nothing is sent before what was missed is known, and no link is trusted blindly."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quant_dagster.errors import BrokerUnavailableError
from quant_dagster.execution.broker import LinkState
from quant_dagster.execution.connection import TRANSITIONS, Connection, ConnectionState, Transition, backoff
from quant_dagster.settings import ConnectionSettings

C = ConnectionState
SETTINGS = ConnectionSettings(backoff_jitter=0.0)


@dataclass
class ScriptedBroker:
    """A link that does what it is told; it counts what is asked of it."""

    name: str = "scripted"
    opens: bool = True
    answers: bool = True
    state: LinkState = LinkState.DOWN
    asked: list[str] = field(default_factory=list)

    def open(self) -> None:
        self.asked.append("open")
        if not self.opens:
            raise BrokerUnavailableError(self.name, "nobody listens")
        self.state = LinkState.UP

    def close(self) -> None:
        self.asked.append("close")
        self.state = LinkState.DOWN

    def ping(self, seconds: float) -> None:
        self.asked.append("ping")
        if not self.answers:
            raise BrokerUnavailableError(self.name, f"silent for {seconds:g} s")

    def link(self) -> LinkState:
        return self.state

    def refresh(self) -> None:
        self.asked.append("refresh")
        if not self.answers:
            raise BrokerUnavailableError(self.name, "silent")
        self.state = LinkState.UP

    def changes(self, seconds: float):
        raise AssertionError("the connection does not read news")

    def market_time(self):
        raise AssertionError("the connection has a clock of its own")


class Scene:
    """A connection with a clock in hand."""

    def __init__(self, settings: ConnectionSettings = SETTINGS) -> None:
        self.broker = ScriptedBroker()
        self.now = 1000.0
        self.seen: list[Transition] = []
        self.syncs = 0
        self.sync_fails = False
        self.connection = Connection(
            self.broker,
            settings,
            sync=self.sync,
            record=self.seen.append,
            clock=lambda: self.now,
            chance=random.Random(7),
        )

    def sync(self) -> None:
        assert not self.connection.can_send
        self.syncs += 1
        if self.sync_fails:
            raise BrokerUnavailableError("scripted", "gone in the middle of it")

    def states(self) -> list[ConnectionState]:
        return [one.state for one in self.seen]


def test_what_was_missed_is_asked_for_before_anything_may_be_sent() -> None:
    scene = Scene()
    assert scene.connection.step() is C.CONNECTED
    assert scene.states() == [C.CONNECTING, C.SYNCING, C.CONNECTED]
    assert (scene.syncs, scene.connection.can_send) == (1, True)


def test_tries_wait_1_2_4_up_to_60_seconds() -> None:
    scene = Scene()
    scene.broker.opens = False
    waits = []
    for _ in range(8):
        scene.connection.step()
        waits.append(scene.connection.seconds_to_next_try)
        scene.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert scene.broker.asked.count("open") == 8


def test_before_a_wait_is_over_nobody_is_called() -> None:
    scene = Scene()
    scene.broker.opens = False
    scene.connection.step()
    scene.now += 0.99
    scene.connection.step()
    assert scene.broker.asked.count("open") == 1


@given(st.integers(1, 2000), st.integers(0, 2**32 - 1), st.floats(0, 0.5))
def test_chance_moves_a_wait_by_no_more_than_its_share(attempt: int, seed: int, jitter: float) -> None:
    wait = backoff(attempt, ConnectionSettings(backoff_jitter=jitter), random.Random(seed))
    exact = min(60.0, 2.0 ** min(attempt - 1, 10))
    assert exact * (1 - jitter) <= wait <= exact * (1 + jitter)


def test_a_sign_of_life_is_asked_for_every_30_seconds() -> None:
    scene = Scene()
    scene.connection.step()
    for _ in range(61):
        scene.now += 1
        scene.connection.step()
    assert scene.broker.asked.count("ping") == 2


def test_a_half_dead_link_is_hung_up_and_made_anew() -> None:
    scene = Scene()
    scene.connection.step()
    scene.broker.answers = False
    scene.now += 30
    assert scene.connection.step() is C.RECONNECTING
    assert scene.broker.asked[-2:] == ["ping", "close"]
    assert "no sign of life: silent for 10 s" in scene.seen[-1].reason
    assert not scene.connection.can_send
    scene.now += 1
    assert scene.connection.step() is C.CONNECTED
    assert scene.syncs == 2


def test_a_closed_connection_is_noticed_at_once() -> None:
    scene = Scene()
    scene.connection.step()
    scene.broker.state = LinkState.DOWN
    assert not scene.connection.can_send
    assert scene.connection.step() is C.RECONNECTING


def test_while_the_gateway_has_lost_its_servers_nothing_is_sent_and_then_everything_is_asked_again() -> None:
    scene = Scene()
    scene.connection.step()
    scene.broker.state = LinkState.UPSTREAM_LOST
    assert scene.connection.step() is C.CONNECTED
    assert not scene.connection.can_send
    scene.broker.state = LinkState.RESTORED
    assert not scene.connection.can_send
    assert scene.connection.step() is C.CONNECTED
    assert scene.states()[-2:] == [C.SYNCING, C.CONNECTED]
    assert (scene.syncs, scene.broker.asked[-1], scene.connection.can_send) == (2, "refresh", True)


def test_a_sync_that_fails_is_no_connection() -> None:
    scene = Scene()
    scene.sync_fails = True
    assert scene.connection.step() is C.RECONNECTING
    assert scene.states() == [C.CONNECTING, C.SYNCING, C.RECONNECTING]
    assert not scene.connection.can_send


def test_a_connection_that_flaps_waits_longer_each_time_and_one_that_held_starts_anew() -> None:
    scene = Scene()
    for expected in (1, 2, 4):
        scene.connection.step()
        scene.broker.state = LinkState.DOWN
        scene.connection.step()
        assert scene.connection.seconds_to_next_try == expected
        scene.now += expected
    scene.connection.step()
    scene.now += 60
    scene.connection.step()
    scene.broker.state = LinkState.DOWN
    scene.connection.step()
    assert scene.connection.seconds_to_next_try == 1


def test_closing_is_final_and_may_be_repeated() -> None:
    scene = Scene()
    scene.connection.step()
    scene.connection.close("told to stop")
    scene.connection.close("told to stop")
    assert scene.states().count(C.DISCONNECTED) == 1


class AnythingHappens(RuleBasedStateMachine):
    """Whatever the link does: only legal transitions, and each CONNECTED directly after a SYNCING that was whole."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.scene.now += seconds
        self.scene.connection.step()

    @rule(opens=st.booleans(), answers=st.booleans(), fails=st.booleans())
    def the_world_changes(self, opens: bool, answers: bool, fails: bool) -> None:
        self.scene.broker.opens, self.scene.broker.answers, self.scene.sync_fails = opens, answers, fails

    @rule(state=st.sampled_from(LinkState))
    def the_link_changes(self, state: LinkState) -> None:
        if self.scene.broker.state is not LinkState.DOWN:
            self.scene.broker.state = state

    @rule()
    def closed(self) -> None:
        self.scene.connection.close("enough")

    @invariant()
    def only_legal(self) -> None:
        for one in self.scene.seen:
            assert one.state in TRANSITIONS[one.previous]
            assert one.reason
        states = self.scene.states()
        assert all(states[i - 1] is C.SYNCING for i, state in enumerate(states) if state is C.CONNECTED)
        assert self.scene.syncs >= states.count(C.CONNECTED)

    @invariant()
    def sending_needs_a_link(self) -> None:
        if self.scene.connection.can_send:
            assert self.scene.broker.state is LinkState.UP
            assert self.scene.connection.state is C.CONNECTED


TestAnythingHappens = AnythingHappens.TestCase


@pytest.mark.parametrize("state", list(ConnectionState))
def test_from_every_state_there_is_a_way_to_stop(state: ConnectionState) -> None:
    assert state is C.DISCONNECTED or C.DISCONNECTED in TRANSITIONS[state]

"""The connection to a broker: one state machine, from the first try to the last goodbye.

No order is sent before what was missed has been asked for: CONNECTED follows SYNCING, always. Tries to connect wait
1, 2, 4 … 60 seconds (with a little chance in it, so that many desks do not come back at once), and a link that no
longer answers is hung up rather than trusted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from quant_dagster.errors import BrokerUnavailableError
from quant_dagster.execution.broker import LinkState, RemoteBroker
from quant_dagster.settings import ConnectionSettings


class ConnectionState(StrEnum):
    """Where a connection stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    SYNCING = "syncing"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"


C = ConnectionState

TRANSITIONS: dict[ConnectionState, frozenset[ConnectionState]] = {
    C.DISCONNECTED: frozenset({C.CONNECTING}),
    C.CONNECTING: frozenset({C.SYNCING, C.RECONNECTING, C.DISCONNECTED}),
    C.SYNCING: frozenset({C.CONNECTED, C.RECONNECTING, C.DISCONNECTED}),
    C.CONNECTED: frozenset({C.SYNCING, C.RECONNECTING, C.DISCONNECTED}),
    C.RECONNECTING: frozenset({C.CONNECTING, C.DISCONNECTED}),
}


@dataclass(frozen=True)
class Transition:
    """A change of state; ``attempt`` counts the tries since the connection last worked."""

    state: ConnectionState
    previous: ConnectionState
    reason: str
    attempt: int


def backoff(attempt: int, settings: ConnectionSettings, chance: random.Random) -> float:
    """Seconds before the try after ``attempt`` failed ones: doubling up to the longest, a share of it random."""
    wait = settings.backoff_first_seconds * 2.0 ** min(max(attempt - 1, 0), 60)
    spread = settings.backoff_jitter * (2 * chance.random() - 1)
    return float(min(wait, settings.backoff_longest_seconds) * (1 + spread))


class Connection:
    """Keeps the way to a broker open.

    Parameters
    ----------
    sync
        Brings the ledger up to what the broker knows; raises `BrokerUnavailableError` where that cannot be told.
    record
        Told of every change of state.
    clock
        Monotonic seconds.
    chance
        Source of the jitter.
    """

    def __init__(
        self,
        broker: RemoteBroker,
        settings: ConnectionSettings,
        *,
        sync: Callable[[], None],
        record: Callable[[Transition], None] = lambda transition: None,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.state = C.DISCONNECTED
        self.attempt = 0
        self._sync = sync
        self._record = record
        self._clock = clock
        self._chance = chance or random.Random()
        self._next_try = clock()
        self._next_ping = clock()
        self._connected_at = clock()

    @property
    def can_send(self) -> bool:
        """May new orders go out now?"""
        return self.state is C.CONNECTED and self.broker.link() is LinkState.UP

    @property
    def seconds_to_next_try(self) -> float:
        """How long the next try to connect is away; 0 when nothing is waited for."""
        waiting = self.state in (C.DISCONNECTED, C.RECONNECTING)
        return max(0.0, self._next_try - self._clock()) if waiting else 0.0

    def step(self) -> ConnectionState:
        """Do what is due: connect, sync, ask for a sign of life, notice that the link is gone. Never waits for long."""
        if self.state in (C.DISCONNECTED, C.RECONNECTING):
            if self._clock() >= self._next_try:
                self._connect()
        elif self.state is C.CONNECTED:
            self._watch()
        return self.state

    def close(self, reason: str) -> None:
        """Hang up for good."""
        self.broker.close()
        if self.state is not C.DISCONNECTED:
            self._to(C.DISCONNECTED, reason)

    def _connect(self) -> None:
        self._to(C.CONNECTING, "first try" if not self.attempt else f"try {self.attempt + 1}")
        try:
            self.broker.open()
        except BrokerUnavailableError as error:
            self._lost(error.detail)
            return
        self._bring_up_to_date("connected: what was missed is asked for")

    def _bring_up_to_date(self, reason: str) -> None:
        self._to(C.SYNCING, reason)
        try:
            self._sync()
        except BrokerUnavailableError as error:
            self._lost(error.detail)
            return
        now = self._clock()
        self._connected_at, self._next_ping = now, now + self.settings.heartbeat_seconds
        self._to(C.CONNECTED, "the ledger knows what the broker knows")

    def _watch(self) -> None:
        match self.broker.link():
            case LinkState.DOWN:
                self._lost("the connection was closed")
                return
            case LinkState.RESTORED:
                self._refresh()
                return
            case _:
                pass
        now = self._clock()
        if now - self._connected_at >= self.settings.backoff_longest_seconds:
            self.attempt = 0  # it has held: the next failure is a first one
        if now < self._next_ping:
            return
        try:
            self.broker.ping(self.settings.answer_seconds)
        except BrokerUnavailableError as error:
            self._lost(f"no sign of life: {error.detail}")
            return
        self._next_ping = self._clock() + self.settings.heartbeat_seconds

    def _refresh(self) -> None:
        try:
            self.broker.refresh()
        except BrokerUnavailableError as error:
            self._lost(error.detail)
            return
        self._bring_up_to_date("the broker's servers are back: what was missed is asked for")

    def _lost(self, reason: str) -> None:
        self.broker.close()
        self.attempt += 1
        self._next_try = self._clock() + backoff(self.attempt, self.settings, self._chance)
        self._to(C.RECONNECTING, reason)

    def _to(self, state: ConnectionState, reason: str) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"a connection does not go from {self.state} to {state}")
        previous, self.state = self.state, state
        self._record(Transition(state, previous, reason, self.attempt))

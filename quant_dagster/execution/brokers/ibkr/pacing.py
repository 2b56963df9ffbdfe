"""No more messages in any second than allowed: the broker cuts off who sends more than 50."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

_SLACK_SECONDS = 0.1
"""Messages that leave evenly may arrive bunched: the window is longer than the second it protects by this much."""


class Loop(Protocol):
    """What pacing needs of an event loop."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle: ...


class Pacer:
    """Sends at once while the last second has room, else as soon as it has; first in, first out.

    Lives in one event loop's thread. The library's own throttle lets more than its limit through in a sliding second,
    because it forgets what it sent a second ago to the moment and stamps a whole batch with one time.

    Parameters
    ----------
    write
        Puts a message on the wire.
    sent
        Times of the last messages; handed from one connection to the next, as the broker counts on.
    """

    def __init__(self, loop: Loop, write: Callable[[str], None], per_second: int, sent: deque[float]) -> None:
        self._loop, self._write, self._per_second, self._sent = loop, write, per_second, sent
        self._waiting: deque[str] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Messages that are not on the wire yet."""
        return len(self._waiting)

    def send(self, message: str) -> None:
        """Put a message on the wire, now or in its turn. A sign of life overtakes: it must not wait for orders."""
        if message.startswith("49\0"):
            self._waiting.appendleft(message)
        else:
            self._waiting.append(message)
        self._drain()

    def stop(self) -> None:
        """Forget what waits: the connection it was meant for is gone."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drain(self) -> None:
        while self._waiting:
            now = self._loop.time()
            while self._sent and now - self._sent[0] >= 1 + _SLACK_SECONDS:
                self._sent.popleft()
            if len(self._sent) >= self._per_second:
                if self._timer is None:
                    delay = max(self._sent[0] + 1 + _SLACK_SECONDS - now, 0.001)
                    self._timer = self._loop.call_later(delay, self._again)
                return
            self._write(self._waiting.popleft())
            self._sent.append(self._loop.time())

    def _again(self) -> None:
        self._timer = None
        self._drain()

"""What goes wrong on the way to a client, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

Range = tuple[float, float]

ORDER_STATUS, ERROR, OPEN_ORDER, EXECUTION, COMMISSION = 3, 4, 5, 11, 59
ABOUT_ORDERS = frozenset({ORDER_STATUS, OPEN_ORDER, EXECUTION, COMMISSION})


@dataclass(frozen=True)
class FaultPlan:
    """Everything is off by default. Probabilities are per message unless said otherwise, times in seconds.

    Attributes
    ----------
    delay
        Each message waits between these; what follows waits with it, as on any stream.
    duplicate, reorder
        Probability that a message comes twice, or after its successor. Only messages of the types in ``only``.
    cut_after_sent
        A connection breaks after a number of outgoing bytes drawn between these, in the middle of a frame too.
    cut_after_received
        The same, of incoming bytes: what comes after them is lost.
    cut_share
        Share of connections that break at all, where one of the two is given.
    silence_after_sent, silence_for
        A connection falls silent after a number of outgoing bytes drawn between these: it stays open and requests act,
        but nothing is answered for a time drawn between those (None: for as long as it lasts).
    refuse_after_cut
        After a break nobody can connect for a time drawn between these.
    commission_never
        Probability that the report of a commission does not come by itself; asking for executions brings it.
    commission_delay
        A commission report comes this much after its execution, past other messages.
    fill_before_acknowledgement
        Probability that the acknowledgement of an order is held back until its first execution was sent (or
        ``acknowledgement_wait`` has passed).
    """

    seed: int = 0
    delay: Range | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    only: frozenset[int] = ABOUT_ORDERS
    cut_after_sent: tuple[int, int] | None = None
    cut_after_received: tuple[int, int] | None = None
    cut_share: float = 1.0
    silence_after_sent: tuple[int, int] | None = None
    silence_for: Range | None = None
    refuse_after_cut: Range | None = None
    commission_never: float = 0.0
    commission_delay: Range | None = None
    fill_before_acknowledgement: float = 0.0
    acknowledgement_wait: float = 0.2

    def randomness(self) -> random.Random:
        """The source all draws come from."""
        return random.Random(self.seed)


@dataclass(frozen=True)
class Cuts:
    """How many bytes a connection lives, each way; None: it does not break by itself."""

    sent: int | None
    received: int | None

    @classmethod
    def draw(cls, plan: FaultPlan, source: random.Random) -> Cuts:
        """Those of one connection."""
        if source.random() >= plan.cut_share:
            return cls(None, None)
        sent = source.randint(*plan.cut_after_sent) if plan.cut_after_sent else None
        received = source.randint(*plan.cut_after_received) if plan.cut_after_received else None
        return cls(sent, received)


class Outbox:
    """The outgoing stream of one connection, with what the plan does to it.

    Parameters
    ----------
    write
        Takes bytes towards the client.
    cut
        Called once, when the connection has to break.
    """

    def __init__(
        self, plan: FaultPlan, source: random.Random, write: Callable[[bytes], None], cut: Callable[[], None],
        sent_limit: int | None,
    ) -> None:  # fmt: skip
        self._plan, self._source = plan, source
        self._write, self._cut = write, cut
        self._limit = sent_limit
        self._silent_at = source.randint(*plan.silence_after_sent) if plan.silence_after_sent else None
        self._put_so_far = 0
        self._sent = 0
        self._kept: bytes | None = None
        self._waiting: list[bytes] = []
        self._silent = False
        self._buffer: list[bytes] = []
        self._scheduled = False
        self._free_at = 0.0
        self._closed = False

    def send(self, message: bytes, kind: int) -> None:
        """Send a message of a type."""
        copies = [message]
        if kind in self._plan.only and self._source.random() < self._plan.duplicate:
            copies.append(message)
        for one in copies:
            if self._kept is not None:
                earlier, self._kept = self._kept, None
                self._put(one)
                self._put(earlier)
            elif kind in self._plan.only and self._source.random() < self._plan.reorder:
                self._kept = one
                asyncio.get_running_loop().call_later(0.02, self._put_kept)
            else:
                self._put(one)

    def silence(self, on: bool) -> None:
        """Keep everything back, or send what was kept back."""
        self._silent = on
        if not on:
            kept, self._waiting = self._waiting, []
            for one in kept:
                self._pass(one)

    def close(self) -> None:
        """Nothing more leaves, what is kept back included."""
        self._closed = True
        self._waiting.clear()

    def flush(self) -> None:
        """Hand what is gathered to the socket now."""
        self._scheduled = False
        data = b"".join(self._buffer)
        self._buffer.clear()
        if self._closed or not data:
            return
        if self._limit is not None and self._sent + len(data) >= self._limit:
            self._write(data[: self._limit - self._sent])
            self._closed = True
            self._cut()
            return
        self._sent += len(data)
        self._write(data)

    def _put_kept(self) -> None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._put(kept)

    def _put(self, message: bytes) -> None:
        self._put_so_far += len(message)
        if self._silent_at is not None and self._put_so_far > self._silent_at:
            self._silent_at = None
            self._silent = True
            if self._plan.silence_for is not None:
                wait = self._source.uniform(*self._plan.silence_for)
                asyncio.get_running_loop().call_later(wait, self.silence, False)
        if self._silent:
            self._waiting.append(message)
        else:
            self._pass(message)

    def _pass(self, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        if self._plan.delay is not None:
            self._free_at = max(self._free_at, loop.time()) + self._source.uniform(*self._plan.delay)
            loop.call_at(self._free_at, self._gather, message)
            return
        self._gather(message)

    def _gather(self, message: bytes) -> None:
        # Gathered over one turn of the loop: one write for a burst, and the bytes are the same.
        self._buffer.append(message)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

"""One client's connection: handshake, frames in, messages out."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.gateway import messages
from quant_dagster.execution.gateway.faults import Cuts, FaultPlan, Outbox
from quant_dagster.execution.gateway.market import Quote
from quant_dagster.execution.gateway.wire import SERVER_VERSION, Fields, Frames

if TYPE_CHECKING:
    from quant_dagster.execution.gateway.server import TwsServer

START_API = 71


@dataclass
class Subscriptions:
    """What a client wants to go on hearing of."""

    positions: bool = False
    account: bool = False
    account_multi: set[int] = field(default_factory=set)
    account_summary: dict[int, tuple[str, ...]] = field(default_factory=dict)
    quotes: dict[int, str] = field(default_factory=dict)
    told: dict[int, Quote] = field(default_factory=dict)


class Session(asyncio.Protocol):
    """The server's end of a connection. ``client_id`` is -1 until the client started the API."""

    def __init__(self, server: TwsServer, plan: FaultPlan, source: random.Random) -> None:
        self.server = server
        self.client_id = -1
        self.subscriptions = Subscriptions()
        self.bound = False
        self._plan, self._source = plan, source
        self._frames = Frames()
        self._greeted = False
        self._received = 0
        self._cuts = Cuts(None, None)
        self._transport: asyncio.Transport
        self._outbox: Outbox
        self._ended = False

    @property
    def is_over(self) -> bool:
        """The connection was closed, though what was sent may still be leaving."""
        return self._ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._cuts = Cuts.draw(self._plan, self._source)
        self._outbox = Outbox(self._plan, self._source, self._transport.write, self._break, self._cuts.sent)
        self.server.connected(self)

    def data_received(self, data: bytes) -> None:
        broken = False
        if self._cuts.received is not None and self._received + len(data) >= self._cuts.received:
            data, broken = data[: self._cuts.received - self._received], True
        self._received += len(data)
        try:
            for fields in self._frames.feed(data):
                self._take(fields)
        except MalformedDataError as error:
            self.server.log(f"connection closed: {error}")
            self.close()
        if broken:
            self._break()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._outbox.close()
        self.server.disconnected(self)

    def send(self, message: bytes) -> None:
        """Send a framed message, as far as the faults let it."""
        if not self._ended:
            end = message.index(b"\0", 4)
            self._outbox.send(message, int(message[4:end]))

    def silence(self, on: bool, *, deaf: bool) -> None:
        """Keep all answers back; a deaf session does not read either."""
        if self._ended:
            return
        self._outbox.silence(on)
        if on and deaf:
            self._transport.pause_reading()
        elif not on and not self._transport.is_reading() and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection after what was sent has left."""
        self._ended = True
        self._outbox.flush()
        self._outbox.close()
        self._transport.close()

    def _break(self) -> None:
        self._ended = True
        self._transport.close()
        self.server.was_cut()

    def _take(self, fields: Fields) -> None:
        if self._ended:
            return
        if not self._greeted:
            self._greeted = True
            lowest, _, highest = fields[0].split(" ")[0].removeprefix("v").partition("..")
            asked = Fields([lowest, highest or lowest])
            if not asked.integer(0) <= SERVER_VERSION <= asked.integer(1):
                raise MalformedDataError(f"a client of versions {fields[0]} came; this is {SERVER_VERSION}")
            self.send(messages.handshake(self.server.now()))
        elif self.client_id < 0:
            if fields[:1] == [str(START_API)]:
                self.server.start(self, fields.integer(2))
        else:
            self.server.take(self, fields)

"""What the broker says of its own accord, taken from the wire before the client library sees it.

The library marks working orders as cancelled, turns amounts into floats and drops what it cannot decode: order status,
executions, commissions, messages and ticks are read from their fields by handlers put into its decoder's table. It goes
on decoding order listings, contracts, account values and positions.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from decimal import Decimal
from typing import Any

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.broker import LinkState
from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.brokers.ibkr import wire
from quant_dagster.execution.brokers.ibkr.codes import answer_to
from quant_dagster.execution.brokers.ibkr.pacing import Pacer
from quant_dagster.execution.brokers.ibkr.view import BrokerView
from quant_dagster.settings import ConnectionSettings, IbkrSettings

NAME = "ibkr"
REQUESTS_FROM = 1 << 30
"""Requests are numbered from here and orders below it, so that an error names the one or the other."""
_LOST, _RESTORED = (1100, 2110), (1101, 1102)
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class Hearing(ABC):
    """The listening half of a client. Everything but the attributes lives in the event loop.

    Attributes
    ----------
    state
        The way to the broker.
    account
        The account we trade; messages about others are not for us.
    next_number
        The lowest order number the broker takes, as told when we connected.
    executions_told
        Executions, without their corrections, that the last listing told of.
    """

    def __init__(self, settings: IbkrSettings, connection: ConnectionSettings, view: BrokerView) -> None:
        self.settings, self.connection, self.view = settings, connection, view
        self.state = LinkState.DOWN
        self.account = ""
        self.next_number = 0
        self.sent_at: deque[float] = deque()
        self.executions_told: frozenset[str] = frozenset()
        self._ib: Any = None
        self._pacer: Pacer | None = None
        self._asking = asyncio.Lock()
        self._refusal = ""
        self._told: set[str] = set()
        self._ticks: dict[int, dict[int, Decimal]] = {}

    @abstractmethod
    def _settle(self, *, always: bool = False) -> None:
        """Ask the broker soon about the orders that its messages leave open."""

    def _where(self) -> str:
        return f"{self.settings.host}:{self.settings.port}"

    def _listen(self, ib: Any) -> asyncio.Future[str]:
        """Take the messages about orders before the library; returns what ends when the socket is closed."""
        loop, client, wrapper, decoder = asyncio.get_running_loop(), ib.client, ib.wrapper, ib.client.decoder
        closed: asyncio.Future[str] = loop.create_future()
        pacer = Pacer(
            loop, lambda text: client.conn.sendMsg(client._prefix(text.encode())), self.settings.messages_per_second,
            self.sent_at,
        )  # fmt: skip
        self._pacer = pacer
        client.sendMsg = pacer.send
        handlers = decoder.handlers
        library_error = handlers[4]

        def error(fields: list[str]) -> None:
            self._heard(wire.read_error(fields))
            library_error(fields)

        def interpret(fields: list[str]) -> None:
            try:
                handlers[int(fields[0])](fields)
            except (MalformedDataError, *_UNREADABLE) as problem:
                self._unreadable(fields, problem)

        def listed(number: int, contract: Any, order: Any, state: Any) -> None:
            if not order.whatIf and self._is_ours(order.account):
                self.view.order(wire.read_order(number, contract, order, state, completed=False))
                self._settle()
            open_order(number, contract, order, state)

        def completed(contract: Any, order: Any, state: Any) -> None:
            # The library would make a Trade of each, which nobody here looks at.
            if self._is_ours(order.account):
                self.view.order(wire.read_order(0, contract, order, state, completed=True))

        def disconnected(message: str) -> None:
            if not closed.done():
                closed.set_result(message)
            pacer.stop()
            if self._ib is ib:
                self._ib, self.state = None, LinkState.DOWN
                self.view.notice(f"the connection to {self._where()} was lost: {message or 'closed by the other side'}")

        open_order = wrapper.openOrder
        wrapper.openOrder, wrapper.completedOrder = listed, completed
        wrapper.nextValidId = self._numbers_from
        decoder.interpret = interpret
        handlers[1] = self._tick
        handlers[3] = self._status
        handlers[4] = error
        handlers[11] = self._execution
        handlers[59] = lambda fields: self.view.commission(wire.read_commission(fields))
        client.conn.disconnected += disconnected
        return closed

    def _is_ours(self, account: str) -> bool:
        return not account or not self.account or account == self.account

    def _numbers_from(self, number: int) -> None:
        self.next_number = max(self.next_number, number)

    def _status(self, fields: list[str]) -> None:
        self.view.status(wire.read_status(fields))
        self._settle()

    def _execution(self, fields: list[str]) -> None:
        message = wire.read_execution(fields)
        if self._is_ours(message.account):
            self._told.add(message.key)
            self.view.execution(message)

    def _tick(self, fields: list[str]) -> None:
        _, _, number, kind, price, *_ = fields
        held = self._ticks.get(int(number))
        if held is not None and price and Decimal(price) > 0:
            held[int(kind)] = Decimal(price)

    def _heard(self, message: wire.ErrorMessage) -> None:
        code = answer_to(message.code)
        if 0 <= message.number < REQUESTS_FROM and message.code not in (*_LOST, *_RESTORED):
            self.view.error(message, self.settings.client_id)
            self._settle()
            return
        if message.code == 326:
            client_id = self.settings.client_id
            self._refusal = f"client id {client_id} is in use by another program: set execution.ibkr.client_id"
        if message.code in _LOST and self.state is not LinkState.DOWN:
            self.state = LinkState.UPSTREAM_LOST
        elif message.code in _RESTORED and self.state is not LinkState.DOWN:
            self.state = LinkState.RESTORED
        if message.number < 0 and code.told and message.code not in (326,):
            halt = "; nothing can be traded until this is changed" if code.answer is Answer.HALT else ""
            self.view.notice(f"{message.code}: {message.text}{halt}")

    def _unreadable(self, fields: list[str], problem: Exception) -> None:
        # What cannot be read in a listing that we asked for is not asked for again at once: it would not end.
        again = fields[:1] in (["3"], ["5"], ["11"]) and not self._asking.locked()
        asked = "; the broker is asked for orders and executions" if again else ""
        self.view.notice(f"a message of the broker could not be read{asked}: {problem}: {','.join(fields[:40])}")
        self._settle(always=again)

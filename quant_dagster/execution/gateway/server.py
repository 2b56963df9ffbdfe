"""The server: sessions by client id, requests to the venue, and what the venue answers to whom."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from quant_dagster.errors import MalformedDataError
from quant_dagster.execution.gateway import account_answers, answers, messages
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.market import Clock, Market
from quant_dagster.execution.gateway.records import (
    CommissionCharged,
    Event,
    Executed,
    Notice,
    OrderChanged,
    PositionChanged,
    VenueOrder,
)
from quant_dagster.execution.gateway.session import Session
from quant_dagster.execution.gateway.venue import Venue
from quant_dagster.execution.gateway.wire import Fields

FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
)
_ALWAYS_ANSWERED = 49
_REMEMBERED = 1_000_000


@dataclass(frozen=True)
class Received:
    """A request as it came in; ``at`` in seconds of the machine's monotonic clock."""

    at: float
    client_id: int
    fields: tuple[str, ...]


class TwsServer:
    """Serves one venue to any number of clients. Lives in one event loop; nothing in it is thread-safe.

    Parameters
    ----------
    log
        Hears a line for every order, trade and connection.
    monotonic
        Measures when requests came.
    """

    def __init__(
        self,
        venue: Venue,
        market: Market,
        clock: Clock,
        plan: FaultPlan,
        *,
        log: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self.venue, self.market, self.clock = venue, market, clock
        self.log = log
        self.plan = plan
        self.read_only = False
        self.master_client_id: int | None = None
        self.sessions: dict[int, Session] = {}
        self.received: deque[Received] = deque(maxlen=_REMEMBERED)
        self._monotonic = monotonic
        self._source = plan.randomness()
        self._connections: set[Session] = set()
        self._listener: asyncio.Server | None = None
        self._address: tuple[str, int] = ("127.0.0.1", 0)
        self._refusing = False
        self._silent: tuple[bool, bool] = (False, False)
        self._upstream = True
        self._held: list[tuple[Session, Fields]] = []
        self._kept_acks: dict[int, list[bytes]] = {}
        self._hold_acks = False
        self._account_dirty = False

    # Listening.

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Begin to accept clients; where."""
        self._address = (host, port)
        await self._open()
        return self._address

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._session, *self._address, reuse_address=True)
        name = self._listener.sockets[0].getsockname()
        self._address = (name[0], name[1])

    def _session(self) -> Session:
        return Session(self, self.plan, self._source)

    async def refuse(self, on: bool) -> None:
        """Stop or begin again to accept connections; those that are there stay."""
        if on and self._listener is not None:
            self._listener.close()
            self._listener = None
        elif not on and self._listener is None:
            await self._open()

    async def close(self) -> None:
        """Disconnect everybody and stop listening."""
        await self.refuse(True)
        self.disconnect_all()
        await asyncio.sleep(0)

    def disconnect_all(self) -> None:
        """Close every connection."""
        for session in list(self._connections):
            session.close()

    def was_cut(self) -> None:
        """A connection broke as planned: for a while there is nobody to connect to, where the plan says so."""
        if self.plan.refuse_after_cut is None or self._refusing:
            return
        self._refusing = True
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        loop.call_later(self._source.uniform(*self.plan.refuse_after_cut), lambda: loop.create_task(self._recover()))

    async def _recover(self) -> None:
        self._refusing = False
        await self.refuse(False)

    # Sessions.

    def now(self) -> datetime:
        """Market time."""
        return self.clock.now()

    def connected(self, session: Session) -> None:
        """A connection was made; the client has not said who it is."""
        self._connections.add(session)
        on, deaf = self._silent
        if on:
            session.silence(True, deaf=deaf)

    def disconnected(self, session: Session) -> None:
        """A connection ended."""
        self._connections.discard(session)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
            self.log(f"client {session.client_id} disconnected")

    def start(self, session: Session, client_id: int) -> None:
        """A client says who it is: it hears of the account, of its next order id and of the data farms."""
        other = self.sessions.get(client_id)
        if other is not None and not other.is_over:
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            session.send(messages.error(-1, 326, text))
            session.close()
            return
        session.client_id = client_id
        self.sessions[client_id] = session
        self.log(f"client {client_id} connected")
        session.send(messages.managed_accounts(self.venue.account.number))
        session.send(messages.next_valid_id(self.venue.next_order_id(client_id)))
        if self._upstream:
            for code, text in FARMS:
                session.send(messages.error(-1, code, text))
        else:
            session.send(messages.error(-1, 2103, "Market data farm connection is broken:usfarm"))
            session.send(messages.error(-1, 1100, _LOST))

    def silence(self, on: bool, *, deaf: bool) -> None:
        """Half-dead: connections stay, nothing is answered; what was kept back is sent when it ends."""
        self._silent = (on, deaf)
        for session in list(self._connections):
            session.silence(on, deaf=deaf)

    # The broker's own connection.

    def upstream_lost(self) -> None:
        """The gateway lost the broker: trading goes on there, but clients hear nothing and their requests wait."""
        self._upstream = False
        self._to_all(messages.error(-1, 1100, _LOST))

    def upstream_restored(self, *, data_lost: bool) -> None:
        """The gateway found the broker again; what happened meanwhile has to be asked for."""
        self._upstream = True
        if data_lost:
            for session in self.sessions.values():
                session.subscriptions.quotes.clear()
            text = "Connectivity between IBKR and Trader Workstation has been restored - data lost."
            self._to_all(messages.error(-1, 1101, text))
        else:
            text = (
                "Connectivity between IBKR and Trader Workstation has been restored - data maintained. "
                "All data farms are connected: usfarm; ushmds."
            )
            self._to_all(messages.error(-1, 1102, text))
        held, self._held = self._held, []
        for session, fields in held:
            self._handle(session, fields)

    def _to_all(self, message: bytes) -> None:
        for session in self.sessions.values():
            session.send(message)

    # Requests.

    def take(self, session: Session, fields: Fields) -> None:
        """A request came in."""
        self.received.append(Received(self._monotonic(), session.client_id, tuple(fields)))
        if not self._upstream and fields[0] != str(_ALWAYS_ANSWERED):
            self._held.append((session, fields))
            return
        self._handle(session, fields)

    def _handle(self, session: Session, fields: Fields) -> None:
        self.step()
        handler = answers.HANDLERS.get(fields[0])
        if handler is None:
            session.send(
                messages.error(
                    _number_at(fields, 2), 320, f"Error reading request: type {fields[0]} is not served here"
                )
            )
            return
        try:
            handler(self, session, fields)
        except MalformedDataError as error:
            session.send(messages.error(_number_at(fields, 1), 320, f"Error reading request: {error}"))
        self.step()

    def step(self) -> None:
        """Let the market come up to the clock."""
        self.publish(self.market.advance(self.venue, self.now()))

    # What happened, to whom it may concern.

    def publish(self, events: Iterable[Event]) -> None:
        """Tell clients what happened to their orders and to the account."""
        for event in events:
            if isinstance(event, OrderChanged):
                self._order_changed(event)
            elif isinstance(event, Executed):
                self._executed(event)
            elif isinstance(event, CommissionCharged):
                self._commission(event)
            elif isinstance(event, Notice):
                self._notice(event)
            else:
                self._position(event)

    def _hearing(self, client_id: int) -> list[Session]:
        """Sessions that hear of a client's orders: its own, and the master's."""
        if not self._upstream:
            return []
        wanted = {client_id, self.master_client_id}
        return [session for number, session in self.sessions.items() if number in wanted]

    def _order_changed(self, event: OrderChanged) -> None:
        order = event.order
        self.log(_order_line(order))
        told = [self.open_order(order), self.order_status(order)]
        waiting = self._kept_acks.get(order.perm_id)
        planned = self._source.random() < self.plan.fill_before_acknowledgement if event.acknowledges else False
        if waiting is not None and not order.filled:
            waiting += told
            return
        if event.acknowledges and (self._hold_acks or planned):
            self._kept_acks[order.perm_id] = told
            if not self._hold_acks:
                wait = self.plan.acknowledgement_wait
                asyncio.get_running_loop().call_later(wait, self._release_ack, order.perm_id)
            return
        for session in self._hearing(order.ticket.client_id):
            for one in told:
                session.send(one)

    def _release_ack(self, perm_id: int) -> None:
        kept = self._kept_acks.pop(perm_id, [])
        for session in self._hearing(self.venue.order(perm_id).ticket.client_id):
            for one in kept:
                session.send(one)

    def hold_acknowledgements(self, on: bool) -> None:
        """Keep acknowledgements of new orders back until an execution was sent, or until this is switched off."""
        self._hold_acks = on
        if not on:
            for perm_id in list(self._kept_acks):
                self._release_ack(perm_id)

    def _executed(self, event: Executed) -> None:
        execution = event.execution
        self.log(
            f"trade {execution.exec_id} {execution.side.value} {execution.quantity} {execution.symbol} at "
            f"{execution.price} for order {execution.order_ref or execution.perm_id}"
        )
        details = messages.execution_details(-1, execution, self.venue.instruments[execution.symbol], self._account)
        for session in self._hearing(execution.client_id):
            session.send(details)
        if execution.perm_id in self._kept_acks:
            self._release_ack(execution.perm_id)

    def _commission(self, event: CommissionCharged) -> None:
        if self._source.random() < self.plan.commission_never:
            return
        if self.plan.commission_delay is not None:
            wait = self._source.uniform(*self.plan.commission_delay)
            asyncio.get_running_loop().call_later(wait, self._send_commission, event)
            return
        self._send_commission(event)

    def _send_commission(self, event: CommissionCharged) -> None:
        currency = self.venue.instruments[event.execution.symbol].currency
        for session in self._hearing(event.execution.client_id):
            session.send(messages.commission_report(event.execution, currency))

    def _notice(self, event: Notice) -> None:
        self.log(f"code {event.code} to client {event.client_id}, order {event.order_id}: {event.text}")
        if self._upstream and (session := self.sessions.get(event.client_id)) is not None:
            session.send(messages.error(event.order_id or -1, event.code, event.text))

    def _position(self, event: PositionChanged) -> None:
        if not self._upstream:
            return
        instrument = self.venue.instruments[event.position.symbol]
        told = messages.position(event.position, instrument, self._account)
        for session in self.sessions.values():
            if session.subscriptions.positions:
                session.send(told)
        if not self._account_dirty:
            self._account_dirty = True
            asyncio.get_running_loop().call_soon(self._send_account)

    def _send_account(self) -> None:
        """Account values once for everything that happened in one turn."""
        self._account_dirty = False
        for session in self.sessions.values():
            account_answers.push_account(self, session)

    @property
    def _account(self) -> str:
        return self.venue.account.number

    def open_order(self, order: VenueOrder) -> bytes:
        """The message that describes an order."""
        return messages.open_order(order, self.venue.instruments[order.ticket.symbol], self._account)

    def order_status(self, order: VenueOrder) -> bytes:
        """The message that says where an order stands."""
        return messages.order_status(order, order.ticket.parent_id)


_LOST = "Connectivity between IBKR and Trader Workstation has been lost."


def _number_at(fields: Fields, position: int) -> int:
    """The id a request carries, as far as it can be read."""
    return int(fields[position]) if len(fields) > position and fields[position].isdecimal() else -1


def _order_line(order: VenueOrder) -> str:
    ticket = order.ticket
    price = {"LMT": f" {ticket.limit}", "STP": f" {ticket.stop}"}.get(ticket.order_type, "")
    return (
        f"order {ticket.order_ref or order.perm_id} {ticket.side.value} {ticket.quantity} {ticket.symbol} "
        f"{ticket.order_type}{price} {order.state.value}, {order.filled} filled"
    )

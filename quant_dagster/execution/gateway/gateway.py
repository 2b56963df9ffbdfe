"""A gateway in a thread of its own, and the hands on its switches: everything here may be called from any thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from quant_dagster.accounting.books import Side
from quant_dagster.errors import ConfigurationError
from quant_dagster.execution.gateway import market_answers
from quant_dagster.execution.gateway.account import Account, CommissionSchedule
from quant_dagster.execution.gateway.bar_market import BarMarket
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.market import Clock, ManualClock, Market, ScriptedMarket
from quant_dagster.execution.gateway.records import Event, Execution, Position, Ticket, VenueOrder
from quant_dagster.execution.gateway.server import Received, TwsServer
from quant_dagster.execution.gateway.venue import Venue

T = TypeVar("T")
_ANSWER_WITHIN = 30.0


class Gateway:
    """The gateway as one thing: server, venue and market in a thread.

    ``quant gateway simulate`` starts and stops it, makes it read-only and sums up what was traded. Every other switch,
    ``faults`` too, is the handle by which tests and the chaos run make a broker misbehave.

    Parameters
    ----------
    market
        What orders trade against; ``prices`` is short for a `ScriptedMarket` of these prices.
    clock
        Market time; default: stands still at ``start``.
    host, port
        Where to listen; port 0 takes a free one.
    account, cash, positions
        The account, what it starts with, and what it holds (shares and cost of one, by symbol).
    faults
        What goes wrong on the way to clients.
    tick_seconds
        Real seconds between looks at a clock that runs.
    log
        Hears a line for every order, trade and connection.
    """

    def __init__(
        self,
        market: Market | None = None,
        *,
        prices: Mapping[str, Decimal] | None = None,
        fills_at_once: bool = False,
        clock: Clock | None = None,
        start: datetime = datetime(2024, 1, 2, 15, 0, tzinfo=UTC),
        host: str = "127.0.0.1",
        port: int = 0,
        account: str = "DU0000000",
        cash: Decimal = Decimal(1_000_000),
        positions: Mapping[str, tuple[Decimal, Decimal]] | None = None,
        leverage: Decimal = Decimal(2),
        commissions: CommissionSchedule | None = None,
        faults: FaultPlan | None = None,
        master_client_id: int | None = None,
        tick_seconds: float = 0.02,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if market is None and prices is None:
            raise ConfigurationError("a gateway needs a market, or prices to make one of")
        self.market: Market = market or ScriptedMarket(prices or {}, fills_at_once=fills_at_once)
        self.clock: Clock = clock or ManualClock(start)
        self.host, self.port = host, port
        schedule = commissions or CommissionSchedule()
        self._venue = Venue(
            Account(account, cash, schedule, positions), self.market.instruments, self.market.mark, leverage=leverage
        )
        self._server = TwsServer(
            self._venue, self.market, self.clock, faults or FaultPlan(), log=log or _quiet, monotonic=time.monotonic
        )
        self._server.master_client_id = master_client_id
        self._tick_seconds = tick_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # Life.

    def start(self) -> tuple[str, int]:
        """Begin to listen; host and port.

        Raises
        ------
        ConfigurationError
            The port is taken, or the host is not of this machine.
        """
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=_run, args=(loop,), name="gateway", daemon=True)
        self._thread.start()
        try:
            self.host, self.port = self._await(self._server.listen(self.host, self.port))
        except OSError as error:
            self.stop()
            raise ConfigurationError(
                f"cannot listen on {self.host} port {self.port}: {error.strerror or error}; name another --port, or "
                "stop what listens there"
            ) from error
        if isinstance(self.market, BarMarket):
            begin = self.market.begin
            self._do(lambda: begin(self._venue, self.clock.now()))
        if not isinstance(self.clock, ManualClock):
            self._do(self._tick)
        return self.host, self.port

    def stop(self) -> None:
        """Disconnect everybody, stop listening, end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._await(self._server.close())
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_ANSWER_WITHIN)
        loop.close()

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # The market and the broker.

    def fill(self, order_ref: str, quantity: Decimal, price: Decimal) -> Execution:
        """Trade shares of the newest order with a reference, whatever its state: late and over is possible."""
        return self._do(lambda: self._fill(order_ref, quantity, price))

    def _fill(self, order_ref: str, quantity: Decimal, price: Decimal) -> Execution:
        order = self._venue.of_ref(order_ref)
        self._server.publish(self._venue.execute(order.perm_id, quantity, price, self.clock.now()))
        return self._venue.executions()[-1]

    def correct(self, exec_id: str, *, quantity: Decimal | None = None, price: Decimal | None = None) -> Execution:
        """Correct a trade; what is not given stays."""
        return self._do(lambda: self._correct(exec_id, quantity, price))

    def _correct(self, exec_id: str, quantity: Decimal | None, price: Decimal | None) -> Execution:
        old = self._venue.account.find(exec_id)
        new_quantity = old.quantity if quantity is None else quantity
        new_price = old.price if price is None else price
        self._server.publish(self._venue.correct(exec_id, new_quantity, new_price, self.clock.now()))
        return self._venue.executions()[-1]

    def bust(self, exec_id: str) -> Execution:
        """Undo a trade."""
        return self.correct(exec_id, quantity=Decimal(0))

    def reject_next(self, code: int, text: str) -> None:
        """Answer the next order, or modification, with a code; 399, 2109 and 10349 warn and let it work."""
        self._do(lambda: self._venue.answer_next(code, text))

    def reject_next_cancel(self, code: int, text: str) -> None:
        """Refuse the next cancellation; the order works on."""
        self._do(lambda: self._venue.answer_next_cancel(code, text))

    def cancel_by_broker(self, order_ref: str, text: str) -> None:
        """The broker cancels an order."""
        self._change(lambda: self._venue.end(self._venue.of_ref(order_ref).perm_id, text, self.clock.now()))

    def place_foreign(
        self, symbol: str, side: Side, quantity: Decimal, limit: Decimal | None = None, *, order_ref: str = "by hand"
    ) -> VenueOrder:
        """An order made by hand in the broker's own program: client 0, order 0."""
        kind = "MKT" if limit is None else "LMT"
        ticket = Ticket(0, 0, symbol, side, quantity, kind, limit=limit, order_ref=order_ref)
        self._change(lambda: self._venue.place(ticket, self.clock.now()))
        return self._do(lambda: self._venue.of_ref(order_ref))

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move a price of a scripted market."""
        market = self.market
        if not isinstance(market, ScriptedMarket):
            raise ConfigurationError("prices of a market of bars come from its bars; only a scripted one can be set")
        self._do(lambda: market.set_price(symbol, price))
        self._do(self._look)

    def market_open(self, on: bool) -> None:
        """Open or close the market."""
        self._change(lambda: self._venue.set_open(on))

    def presets_time_in_force(self, on: bool) -> None:
        """Whether an order without time in force is warned about (10349) before it works on as DAY."""
        self._do(lambda: setattr(self._venue, "sets_time_in_force", on))

    def advance(self, by: float | timedelta | None = None, *, to: datetime | None = None) -> datetime:
        """Move a manual clock by seconds or to an instant, and the market with it; where it stands then."""
        return self._do(lambda: self._advance(by, to))

    def _advance(self, by: float | timedelta | None, to: datetime | None) -> datetime:
        clock = self.clock
        if not isinstance(clock, ManualClock):
            raise ConfigurationError("a running clock cannot be moved; make the gateway with a ManualClock")
        step = by if isinstance(by, timedelta) else timedelta(seconds=by or 0)
        clock.move_to(to if to is not None else clock.now() + step)
        self._look()
        return clock.now()

    # The connections.

    def disconnect_all(self) -> None:
        """Close every connection; clients may connect again at once."""
        self._do(self._server.disconnect_all)

    def refuse_connections(self, on: bool) -> None:
        """Stop or begin again to listen; connections that are there stay."""
        self._await(self._server.refuse(on))

    def go_silent(self, on: bool, *, deaf: bool = False) -> None:
        """Half-dead: answers are kept back while on, requests still act; ``deaf``: they wait unread as well."""
        self._do(lambda: self._server.silence(on, deaf=deaf))

    def hold_acknowledgements(self, on: bool) -> None:
        """Acknowledgements of new orders come only after their first execution, or when this is switched off."""
        self._do(lambda: self._server.hold_acknowledgements(on))

    def upstream_lost(self) -> None:
        """Error 1100: the venue trades on, clients hear nothing, their requests wait."""
        self._do(self._server.upstream_lost)

    def upstream_restored(self, *, data_lost: bool = False) -> None:
        """Error 1102 (or 1101): what happened meanwhile is told only to those who ask."""
        self._do(lambda: self._server.upstream_restored(data_lost=data_lost))

    def daily_reset(self, back_after: float = 0.0) -> None:
        """The nightly restart: all are disconnected, DAY orders expire, the day's executions are no longer told.

        Clients can connect again after ``back_after`` real seconds.
        """
        self._await(self._daily_reset(back_after))

    async def _daily_reset(self, back_after: float) -> None:
        await self._server.refuse(True)
        self._server.disconnect_all()
        self._server.publish(self._venue.expire_day_orders(self.clock.now()))
        self._venue.forget_day()
        loop = asyncio.get_running_loop()
        if back_after > 0:
            loop.call_later(back_after, lambda: loop.create_task(self._server.refuse(False)))
        else:
            await self._server.refuse(False)

    def read_only(self, on: bool) -> None:
        """Refuse orders and cancellations with error 321."""
        self._do(lambda: setattr(self._server, "read_only", on))

    def change_faults(self, plan: FaultPlan) -> None:
        """Another plan, for connections that are made from now on and for what the venue tells."""
        self._do(lambda: setattr(self._server, "plan", plan))

    # Views.

    def orders(self) -> tuple[VenueOrder, ...]:
        """Every order that reached the venue, oldest first."""
        return self._see(self._venue.orders)

    def executions(self) -> tuple[Execution, ...]:
        """Every version of every trade, in the order they happened."""
        return self._see(self._venue.executions)

    def standing_executions(self) -> tuple[Execution, ...]:
        """Every trade as it stands after corrections; undone ones have quantity 0."""
        return self._see(lambda: tuple(self._venue.account.standing()))

    def positions(self) -> tuple[Position, ...]:
        """What the account holds."""
        return self._see(self._venue.account.positions)

    def cash(self) -> Decimal:
        """The account's cash."""
        return self._see(lambda: self._venue.account.cash)

    def commissions(self) -> Decimal:
        """All commissions charged."""
        return sum((one.commission for one in self.standing_executions()), Decimal(0))

    def equity(self) -> Decimal:
        """Cash and positions at their marks."""
        return self._see(self._venue.margin.equity)

    def messages_received(self) -> tuple[Received, ...]:
        """Every request, with when it came."""
        return self._see(lambda: tuple(self._server.received))

    def clients(self) -> tuple[int, ...]:
        """Ids of the clients that are connected."""
        return self._see(lambda: tuple(self._server.sessions))

    # How.

    def _change(self, act: Callable[[], list[Event]]) -> None:
        def change() -> None:
            self._server.publish(act())
            self._look()

        self._do(change)

    def _look(self) -> None:
        self._server.step()
        for session in self._server.sessions.values():
            for request, symbol in session.subscriptions.quotes.items():
                market_answers.send_quote(self._server, session, request, symbol)

    def _tick(self) -> None:
        self._look()
        asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    def _see(self, act: Callable[[], T]) -> T:
        """Look at something in the gateway's thread; before and after its life there is nobody else at work."""
        return act() if self._loop is None else self._do(act)

    def _do(self, act: Callable[[], T]) -> T:
        """Run in the gateway's thread and wait for the result."""
        loop = self._loop
        if loop is None:
            raise ConfigurationError("the gateway is not started: call start() first")
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(act())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result(_ANSWER_WITHIN)

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise ConfigurationError("the gateway is not started: call start() first")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_WITHIN)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _quiet(_line: str) -> None:
    """Nobody listens."""

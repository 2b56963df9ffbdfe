"""One login at TWS or IB Gateway: the connection, and the requests the adapter needs. Hides the client library.

Of the library we use the connection, the handshake, the encoding of requests and part of the decoding; its own picture
of orders and fills, stale after a reconnect and changed by error codes, is not used: see `hearing`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from quant_dagster.errors import BrokerError, BrokerUnavailableError, ConfigurationError
from quant_dagster.execution.broker import LinkState
from quant_dagster.execution.brokers.ibkr import library
from quant_dagster.execution.brokers.ibkr.hearing import NAME, REQUESTS_FROM, Hearing
from quant_dagster.execution.brokers.ibkr.loop_thread import LoopThread
from quant_dagster.execution.brokers.ibkr.view import BrokerView
from quant_dagster.settings import ConnectionSettings, IbkrSettings

_ASK_AFTER_SECONDS = 0.05
"""An error and the status that belongs to it come in either order: the broker is asked only after both can be in."""

Result = TypeVar("Result")


class IbkrClient(Hearing):
    """The connection and what is asked over it.

    Parameters
    ----------
    view
        Hears everything the broker says of orders and executions.
    """

    def __init__(self, settings: IbkrSettings, connection: ConnectionSettings, view: BrokerView) -> None:
        super().__init__(settings, connection, view)
        self.connections = 0
        self.clock: tuple[datetime, float] | None = None
        """The broker's time, and ours (monotonic) when it was told."""
        self._thread = LoopThread(NAME)
        self._library: Any = None
        self._ask_timer: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()

    # -- from outside the loop ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and learn everything. See `RemoteBroker.open`."""
        waits = self.connection.connect_seconds + 8 * self.connection.answer_seconds
        self._thread.run(self._open, waits, "connecting")

    def close(self) -> None:
        """Hang up and end the thread; safe to repeat."""
        if self._ib is not None:
            self._thread.run(self._hang_up_now, self.connection.answer_seconds, "hanging up")
        self._thread.stop()
        self.state = LinkState.DOWN

    def ask(
        self, work: Callable[[], Awaitable[Result]], doing: str, seconds: float | None = None, *, upstream: bool = True
    ) -> Result:
        """Run a request in the loop and wait for its answer; `BrokerUnavailableError` when none comes."""
        self.require_up(doing, upstream=upstream)
        limit = self.connection.answer_seconds if seconds is None else seconds

        async def limited() -> Result:
            try:
                return await asyncio.wait_for(work(), limit)
            except TimeoutError as error:
                raise BrokerUnavailableError(NAME, f"no answer within {limit:g} s while {doing}") from error
            except ConnectionError as error:
                raise BrokerUnavailableError(NAME, f"the connection was lost while {doing}: {error}") from error

        return self._thread.run(limited, limit + 5, doing)

    def hand_over(self, act: Callable[[], None], doing: str) -> None:
        """Run something that does not wait in the loop: when this returns, it is on its way or in its turn."""
        self.require_up(doing, upstream=True)

        async def acted() -> None:
            try:
                act()
            except ConnectionError as error:
                raise BrokerUnavailableError(NAME, f"the connection was lost while {doing}: {error}") from error

        self._thread.run(acted, self.connection.answer_seconds, doing)

    def require_up(self, doing: str, *, upstream: bool = False) -> None:
        """`BrokerUnavailableError` without a connection to the gateway, or (``upstream``) to the servers behind it."""
        if self.state is LinkState.DOWN or self._ib is None:
            raise BrokerUnavailableError(NAME, f"not connected: nothing can be known while {doing}; connect first")
        if upstream and self.state is LinkState.UPSTREAM_LOST:
            raise BrokerUnavailableError(
                NAME, f"the gateway has lost the broker's servers: nothing can be known while {doing}; wait for them"
            )

    # -- orders (in the loop) ----------------------------------------------------------------------------------------

    def place(self, number: int, contract: Any, fields: dict[str, Any]) -> None:
        """Hand an order, or the change of one, to the wire; it waits its turn where the pacing says so."""
        order = self._library.Order(orderId=number, clientId=self.settings.client_id, **fields)
        self._live().client.placeOrder(number, contract, order)

    def cancel(self, number: int) -> None:
        """Hand a request to cancel to the wire."""
        self._live().client.cancelOrder(number, "")

    # -- requests (in the loop) --------------------------------------------------------------------------------------

    async def learn(self) -> None:
        """Ask for open orders, completed orders and executions; returns when all answers are complete."""
        async with self._asking:
            asked = self.view.begin_listing()
            try:
                await self._answered("openOrders", self._live().client.reqAllOpenOrders)
                await self._answered("completedOrders", lambda: self._live().client.reqCompletedOrders(False))
                self._told = set()
                await self._numbered(
                    lambda number: self._live().client.reqExecutions(number, self._library.ExecutionFilter())
                )
                self.executions_told = frozenset(self._told)
            except BaseException as error:
                self.view.unsettled |= asked  # not answered: still to be asked
                if isinstance(error, self.request_error):
                    raise BrokerUnavailableError(NAME, f"orders and executions are not told: {error}") from error
                raise
            self.view.end_listing(asked)
            if self.state is LinkState.UP:
                self._settle()

    async def current_time(self) -> datetime:
        """The broker's clock."""
        told: datetime = await self._answered("currentTime", self._live().client.reqCurrentTime)
        self.clock = (told, time.monotonic())
        return told

    async def positions(self) -> list[Any]:
        """The library's positions of every account of the login."""
        found: list[Any] = await self._answered("positions", self._live().client.reqPositions)
        self._live().client.cancelPositions()
        return found

    async def account_values(self) -> list[tuple[str, str, str]]:
        """Tag, value and currency of everything the broker keeps of the account, as of now."""
        client, told = self._live().client, self._live().wrapper.accountValues
        number = await self._numbered(lambda n: client.reqAccountUpdatesMulti(n, self.account, "", False))
        client.cancelAccountUpdatesMulti(number)
        return [
            (v.tag, v.value, v.currency) for v in list(told.values()) if v.account == self.account and not v.modelCode
        ]

    async def details(self, contract: Any) -> list[Any]:
        """The library's details of every contract that fits; empty where the broker knows none."""
        try:
            found: list[Any] = await self._live().reqContractDetailsAsync(contract)
        except self._library.wrapper.RequestError as error:
            if error.code in (200, 203, 321):
                self.view.notice(f"{contract.symbol}: {error.code}: {error.message}")
                return []
            raise BrokerUnavailableError(NAME, f"{error.code}: {error.message}") from error
        return found

    def new_contract(self, **fields: Any) -> Any:
        """A contract of the library."""
        return self._library.Contract(**fields)

    async def bars(self, contract: Any, end: str, duration: str, size: str, seconds: float) -> list[Any]:
        """The library's historical bars; its request error where the broker says why there are none."""
        found: list[Any] = await self._live().reqHistoricalDataAsync(
            contract, endDateTime=end, durationStr=duration, barSizeSetting=size, whatToShow="TRADES", useRTH=True,
            formatDate=2, timeout=0,
        )  # fmt: skip
        return list(found)

    async def ticks(self, contract: Any) -> dict[int, Decimal]:
        """One snapshot of the market: prices by tick type (1 bid, 2 ask, 4 last)."""
        number = self._live().client.getReqId()
        self._ticks[number] = {}
        future = self._live().wrapper.startReq(number)
        try:
            self._live().client.reqMktData(number, contract, "", True, False, [])
            await future
        finally:
            found = self._ticks.pop(number)
        return found

    @property
    def request_error(self) -> type[Exception]:
        """The library's exception for a request that the broker refused."""
        kind: type[Exception] = self._library.wrapper.RequestError
        return kind

    def _live(self) -> Any:
        if self._ib is None:
            raise ConnectionError("there is no connection any more")
        return self._ib

    async def _answered(self, key: str, send: Callable[[], object]) -> Any:
        future = self._live().wrapper.startReq(key)
        send()
        try:
            return await future
        except asyncio.CancelledError:
            # The library tells answers of this kind apart by their kind only: a late one would end the next request.
            if key != "currentTime":
                self._hang_up(f"no answer to '{key}'")
            raise

    async def _numbered(self, send: Callable[[int], object]) -> int:
        number: int = self._live().client.getReqId()
        future = self._live().wrapper.startReq(number)
        send(number)
        await future
        return number

    # -- connecting --------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._hang_up("connecting anew", abort=False)
        self._library = library.load()
        self._asking = asyncio.Lock()
        self._refusal, self.next_number = "", 0
        ib = self._library.IB()
        ib.RaiseRequestErrors = True
        ib.wrapper.clientId = self.settings.client_id
        closed = self._listen(ib)
        await self._connect(ib, closed)
        self._ib, self.connections, self.state = ib, self.connections + 1, LinkState.UP
        ib.client.updateReqId(REQUESTS_FROM)
        try:
            self.account = self._chosen_account(ib.client.getAccounts())
            if self.settings.client_id == 0:
                ib.client.reqAutoOpenOrders(True)
            async with asyncio.timeout(4 * self.connection.answer_seconds):
                await self.current_time()
                await self.learn()
        except (TimeoutError, ConnectionError, BrokerError, ConfigurationError) as error:
            self._hang_up("the first requests failed")
            if isinstance(error, (BrokerError, ConfigurationError)):
                raise
            detail = f"{self._where()} accepted the connection, then did not answer: {error or 'time-out'}"
            raise BrokerUnavailableError(NAME, detail) from error

    async def _connect(self, ib: Any, closed: asyncio.Future[str]) -> None:
        where, seconds = self._where(), self.connection.connect_seconds
        connecting = asyncio.ensure_future(
            ib.client.connectAsync(self.settings.host, self.settings.port, self.settings.client_id, seconds)
        )
        await asyncio.wait({connecting, closed}, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done() and connecting.exception() is None:
            _set_no_delay(ib.client.conn.transport, self.connection.tcp_no_delay)
            return
        error = connecting.exception() if connecting.done() else None
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        client_id = self.settings.client_id
        if self._refusal:
            raise BrokerUnavailableError(NAME, self._refusal)
        if closed.done() and not isinstance(error, TimeoutError):
            raise BrokerUnavailableError(
                NAME,
                f"{where} closed the connection before it was ready: is client id {client_id} in use"
                " by another program (set execution.ibkr.client_id), or this address not among its trusted ones?",
            )
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise BrokerUnavailableError(
                NAME,
                f"nothing listens at {where} ({error}): start TWS or IB Gateway, enable its API, and check"
                " execution.ibkr.host and execution.ibkr.port",
            ) from error
        raise BrokerUnavailableError(NAME, f"{where} did not answer within {seconds:g} s") from error

    def _chosen_account(self, accounts: Sequence[str]) -> str:
        wanted = self.settings.account
        if wanted and wanted not in accounts:
            raise ConfigurationError(f"execution.ibkr.account is {wanted}, but the login has {', '.join(accounts)}")
        if not wanted and len(accounts) != 1:
            raise ConfigurationError(
                f"the login has several accounts ({', '.join(accounts)}): set execution.ibkr.account to one of them"
            )
        return wanted or accounts[0]

    # -- asking about what is unclear -------------------------------------------------------------------------------

    def _settle(self, *, always: bool = False) -> None:
        """Ask the broker soon, once, about the orders that its messages leave open."""
        asked_later = self._ask_timer is not None or self.state is LinkState.UPSTREAM_LOST or self._ib is None
        if asked_later or not (always or self.view.unsettled):
            return
        loop = asyncio.get_running_loop()
        self._ask_timer = loop.call_later(_ASK_AFTER_SECONDS, self._ask_now, always)

    def _ask_now(self, always: bool) -> None:
        self._ask_timer = None
        if self._ib is None or self.state is LinkState.UPSTREAM_LOST or self._asking.locked():
            return
        task = asyncio.ensure_future(self._ask_in_background())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _ask_in_background(self) -> None:
        try:
            async with asyncio.timeout(self.connection.answer_seconds):
                await self.learn()
        except (TimeoutError, ConnectionError, BrokerUnavailableError) as error:
            self.view.notice(f"the broker was asked about unclear orders and did not answer: {error or 'time-out'}")

    # -- hanging up --------------------------------------------------------------------------------------------------

    async def _hang_up_now(self) -> None:
        for task in self._background:
            task.cancel()
        self._hang_up("closed by us", abort=False)
        await asyncio.sleep(0.01)

    def _hang_up(self, why: str, *, abort: bool = True) -> None:
        ib, self._ib = self._ib, None
        if ib is not None and abort and self.state is not LinkState.DOWN:
            self.view.notice(f"the connection to {self._where()} was given up: {why}")
        self.state = LinkState.DOWN
        if self._ask_timer is not None:
            self._ask_timer.cancel()
            self._ask_timer = None
        if self._pacer is not None:
            self._pacer.stop()
        if ib is not None and ib.client.conn.transport is not None:
            transport = ib.client.conn.transport
            transport.abort() if abort else transport.close()


def _set_no_delay(transport: Any, wanted: bool) -> None:
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(wanted))

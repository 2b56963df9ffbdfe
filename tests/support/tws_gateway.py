"""The desk's own TWS gateway for tests, and the unmodified client library in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from quant_dagster.execution.gateway.gateway import Gateway

T = TypeVar("T")

PRICES = {"AAPL": Decimal("170.00"), "MSFT": Decimal("105.50"), "JPM": Decimal("99.80"), "SPY": Decimal("271.00")}


@contextmanager
def tws_gateway(**options: Any) -> Iterator[Gateway]:
    """A started gateway on a free port of this machine; a scripted market of four stocks unless told otherwise.

    Takes the parameters of `Gateway`. Its market time stands still until `Gateway.advance`.
    """
    if "market" not in options:
        options.setdefault("prices", PRICES)
    gateway = Gateway(**options)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def wait_until(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Poll until something is true; what it was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {condition}")
        time.sleep(0.002)
    return found


class InsyncClient:
    """``ib_insync.IB`` in a thread with its own event loop, called only from there.

    Attributes
    ----------
    ib
        The library's object. Reading its lists from the test's thread is safe; calling it is not: use `do`.
    errors
        Request id, code and text of every coded message.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.ib: Any = None
        self.errors: list[tuple[int, int, str]] = []
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="ib_insync", daemon=True)
        self._thread.start()
        ready.wait(20)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        import ib_insync  # its event module takes the thread's loop when it is imported

        async def make() -> None:
            self.ib = ib_insync.IB()
            self.ib.errorEvent += lambda request, code, text, contract: self.errors.append((request, code, text))

        self.loop.run_until_complete(make())
        ready.set()
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 10.0) -> T:
        """Run a coroutine of the library and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def ask(self, request: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Await what a call of the library's ``…Async`` methods returns; the call itself is made in its thread."""

        async def asked() -> Any:
            return await request()

        return self.run(asked(), seconds)

    def do(self, act: Callable[[], T], seconds: float = 10.0) -> T:
        """Run a plain call in the library's thread."""

        async def acted() -> T:
            return act()

        return self.run(acted(), seconds)

    def connect(self, gateway: Gateway, client_id: int = 1, timeout: float = 4.0) -> None:
        """Connect and synchronise, as every desk does."""
        self.run(self.ib.connectAsync(gateway.host, gateway.port, clientId=client_id, timeout=timeout))

    def codes(self) -> list[int]:
        """Codes of all coded messages so far."""
        return [code for _, code, _ in self.errors]

    def close(self) -> None:
        """Disconnect and end the thread."""
        self.do(self.ib.disconnect)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    def __enter__(self) -> InsyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

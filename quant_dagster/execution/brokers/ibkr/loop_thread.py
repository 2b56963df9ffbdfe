"""A thread with an event loop of its own, and the way in: nothing here waits longer than it was told to."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from quant_dagster.errors import BrokerUnavailableError

Result = TypeVar("Result")
_START_SECONDS = 30.0


class LoopThread:
    """Started on first use, by `asyncio.run`; a daemon, so that a program that forgets to stop it can end."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, Result]], seconds: float, doing: str) -> Result:
        """Run a coroutine in the loop and wait for its result.

        Raises
        ------
        BrokerUnavailableError
            It did not end within ``seconds``; it is cancelled then.
        """
        loop = self._started()
        if threading.current_thread() is self._thread:
            raise RuntimeError(f"broker '{self._broker}': {doing} from within its own event loop would wait for ever")
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError as error:
            if future.done():  # the work's own time-out, not ours
                raise
            future.cancel()
            raise BrokerUnavailableError(self._broker, f"no answer within {seconds:g} s while {doing}") from error
        except concurrent.futures.CancelledError as error:
            raise BrokerUnavailableError(self._broker, f"the connection was closed while {doing}") from error

    def stop(self) -> None:
        """End the loop and the thread; safe to repeat."""
        with self._lock:
            thread, loop, stop = self._thread, self._loop, self._stop
            self._thread = self._loop = self._stop = None
        if thread is None or loop is None or stop is None:
            return
        loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._main(ready)), name=f"{self._broker}-connection", daemon=True
                )
                self._thread.start()
                ready.wait(_START_SECONDS)
            if self._loop is None:
                raise BrokerUnavailableError(self._broker, "its thread could not be started")
            return self._loop

    async def _main(self, ready: threading.Event) -> None:
        self._stop = stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await stop.wait()

"""Bounded concurrency: one slow service must not take every thread of the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from quant_dagster.errors import BulkheadFullError
from quant_dagster.resilience.outcomes import service_label

_semaphores: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_semaphores_lock = threading.Lock()


class Bulkhead:
    """At most ``places`` requests to a service under way at once in this process.

    Bulkheads of the same service and size share their places, however many are made. A thread that holds a place must
    not ask for another of the same service: with one place it would wait for itself.

    Parameters
    ----------
    name
        The service.
    places
        Requests under way at once.
    wait_seconds
        Longest wait for a place.
    """

    def __init__(self, name: str, places: int, wait_seconds: float) -> None:
        self.name, self.places, self.wait_seconds = name, places, wait_seconds
        with _semaphores_lock:
            self._semaphore = _semaphores.setdefault((name, places), threading.BoundedSemaphore(places))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises
        ------
        BulkheadFullError
            None came free in time.
        """
        if not self._semaphore.acquire(timeout=self.wait_seconds):
            raise BulkheadFullError(
                service_label(self.name),
                f"not asked: {self.places} requests are under way in this process and none ended within "
                f"{self.wait_seconds:g} s; ask less at once, or raise its 'concurrency' setting",
            )
        try:
            yield
        finally:
            self._semaphore.release()

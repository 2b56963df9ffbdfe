"""The one way to ask a service: breaker, then bulkhead, then tries, each within the budget and each recorded."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from quant_dagster.errors import DataUnavailableError
from quant_dagster.resilience.breaker import CircuitBreaker, Permit
from quant_dagster.resilience.budget import RequestBudget
from quant_dagster.resilience.bulkhead import Bulkhead
from quant_dagster.resilience.health import record
from quant_dagster.resilience.outcomes import FAILURES, NOT_ASKED, detail_of, outcome_of
from quant_dagster.resilience.retry import Random, Sleep, call_with_retries
from quant_dagster.settings import LiveVendorSettings, ResilienceSettings
from quant_dagster.storage.ledger import Clock, Ledger

T = TypeVar("T")

_TRY_SECONDS = 60.0  # longest try of a service whose settings name no time-out


class ServiceGuard:
    """Calls to one service, protected. Safe to share between threads.

    Parameters
    ----------
    name
        ``vendor:yfinance``; what breaker, budget and observations are kept under.
    settings
        Tries, waits and the breaker's thresholds.
    live
        Request budgets, concurrency and time-out; None for a service without such limits.
    depends_on
        Services, or breakers of services, without which this one cannot work: see `CircuitBreaker`.
    clock
        Wall clock; the ledger's own by default.
    sleep, random
        What waits between tries, and what draws the jitter.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        settings: ResilienceSettings,
        live: LiveVendorSettings | None = None,
        *,
        depends_on: Sequence[str | CircuitBreaker] = (),
        clock: Clock | None = None,
        sleep: Sleep = time.sleep,
        random: Random = _random.random,
    ) -> None:
        self.ledger, self.name, self.settings = ledger, name, settings
        self.clock = clock or ledger.now
        self._sleep, self._random = sleep, random
        self._secrets = (live.api_key.get_secret_value(),) if live and live.api_key else ()
        self.breaker = CircuitBreaker(
            ledger,
            name,
            settings,
            depends_on=depends_on,
            probe_seconds=_longest_call(settings, live),
            clock=self.clock,
        )
        self.budget = RequestBudget(
            ledger,
            name,
            per_minute=live.requests_per_minute if live else None,
            per_day=live.requests_per_day if live else None,
            clock=self.clock,
        )
        self.bulkhead = Bulkhead(name, live.concurrency, settings.bulkhead_wait_seconds) if live else None

    def call(self, operation: str, work: Callable[[], T]) -> T:
        """Run ``work``, which sends one request and reads its answer, and return what it returns.

        The breaker counts a call once, after its tries: an answer without data (`DataUnavailableError`) as a success;
        an error that no vendor raises (a fault of the desk's own) and a refusal to ask not at all.

        Parameters
        ----------
        operation
            What is asked for, in a word; recorded with each try.

        Raises
        ------
        CircuitOpenError, BulkheadFullError, BudgetExhaustedError
            The service was not asked (any more).
        LedgerError
            How a try went cannot be recorded.
        QuantError
            Whatever else ``work`` raises, unchanged.
        """
        permit = self.breaker.admit()
        last_failure: list[Exception] = []
        with self._reported(permit, last_failure), self.bulkhead.place() if self.bulkhead else nullcontext():
            return call_with_retries(
                lambda: self._try(operation, work, last_failure),
                self.settings,
                sleep=self._sleep,
                random=self._random,
            )

    def _try(self, operation: str, work: Callable[[], T], last_failure: list[Exception]) -> T:
        self.budget.take()
        begun = time.perf_counter()
        try:
            result = work()
        except NOT_ASKED:  # by a guard inside `work`
            raise
        except Exception as error:  # whatever it is: recorded, and raised again
            self._record(operation, begun, error)
            if isinstance(error, FAILURES):
                last_failure[:] = [error]
            raise
        self._record(operation, begun, None)
        return result

    def _record(self, operation: str, begun: float, error: Exception | None) -> None:
        seconds = time.perf_counter() - begun
        detail = detail_of(error, self._secrets)
        record(self.ledger, self.name, operation, outcome_of(error), seconds, detail, self.clock())

    @contextmanager
    def _reported(self, permit: Permit, last_failure: list[Exception]) -> Iterator[None]:
        """Tell the breaker, exactly once, what came of the call."""
        reported = False
        try:
            yield
            reported = True
            self.breaker.succeeded(permit)
        except DataUnavailableError:
            reported = True
            self.breaker.succeeded(permit)
            raise
        except (*NOT_ASKED, *FAILURES) as error:
            # Refused after a try that failed (by the budget): that try's failure is what is known of the service.
            failure = last_failure[-1] if isinstance(error, NOT_ASKED) and last_failure else error
            if not isinstance(failure, NOT_ASKED):
                reported = True
                self.breaker.failed(permit, failure, detail_of(failure, self._secrets))
            raise
        finally:
            if not reported:
                self.breaker.abandoned(permit)


def _longest_call(settings: ResilienceSettings, live: LiveVendorSettings | None) -> float:
    """Seconds a call may take from its permit to its outcome: the wait for a place, every try, every wait between."""
    one_try = live.timeout_seconds if live else _TRY_SECONDS
    waits = (settings.attempts - 1) * settings.longest_wait_seconds
    return settings.bulkhead_wait_seconds + settings.attempts * one_try + waits

"""One request at a time to the venue: signed by ccxt, timed by the venue's clock, within the venue's limits.

ccxt signs, sends and decodes; its own conversions of orders and trades are not used, because they turn amounts into
floats. What a failure proves is decided here: nothing was done (`RefusedError`, `BrokerUnavailableError`), or nobody
knows (`OutcomeUnknownError`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from quant_dagster.errors import BrokerError, BrokerUnavailableError, ConfigurationError
from quant_dagster.execution.broker import LinkState
from quant_dagster.execution.brokers.binance_spot.codes import REFUSED_FOR_CERTAIN, TIMESTAMP, answer_to
from quant_dagster.execution.brokers.codes import Answer, Code
from quant_dagster.settings import BinanceSpotSettings, ConnectionSettings

NAME = "binance_spot"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEIGHT_HEADER = "x-mbx-used-weight-1m"
_USUAL_WEIGHT_LIMIT = 6000
_RESERVE = 0.95
"""Share of the weight after which only orders and cancellations go out."""
_DEFAULT_WAIT = 60.0
"""Seconds to keep quiet when the venue refuses without saying how long."""
_SPARED = ("privatePostOrder", "privateDeleteOrder", "publicGetTime")


class RefusedError(BrokerError):
    """The venue refuses what was asked; nothing was done."""

    def __init__(self, code: Code, text: str, doing: str) -> None:
        self.code, self.text = code, text
        super().__init__(NAME, f"{doing}: {code.meaning} ({code.number}: {text})")


class OutcomeUnknownError(BrokerUnavailableError):
    """The request may have been carried out; no answer says so or denies it."""


class BinanceClient:
    """The way to the venue.

    Parameters
    ----------
    now
        Our clock; only its difference from the venue's is used.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        settings: BinanceSpotSettings,
        connection: ConnectionSettings,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self.settings, self.connection = settings, connection
        self.state = LinkState.DOWN
        self.weight_limit = _USUAL_WEIGHT_LIMIT
        self._now, self._clock = now, clock
        self._lock = threading.RLock()
        self._exchange: Any = None
        self._offset: timedelta | None = None
        self._blocked_until = float("-inf")
        self._weight: tuple[int, int] = (0, 0)
        """The venue's minute, and the weight used in it."""

    def open(self) -> None:
        """Make the client and set its clock by the venue's."""
        import ccxt

        key, secret = self.settings.api_key, self.settings.api_secret
        if key is None or secret is None:
            raise ConfigurationError("execution.binance_spot.api_key and api_secret must be set to trade on binance")
        with self._lock:
            self.close()
            exchange = ccxt.binance(
                {
                    "apiKey": key.get_secret_value(), "secret": secret.get_secret_value(), "enableRateLimit": False,
                    "enableLastJsonResponse": True, "enableLastHttpResponse": True, "enableLastResponseHeaders": True,
                    "options": {"recvWindow": self.settings.receive_window_ms, "maxRetriesOnFailure": 0},
                }
            )  # fmt: skip
            base = self.settings.base_url.rstrip("/") + "/api/v3"
            exchange.urls["api"] = {"public": base, "private": base}
            self._exchange = exchange
            self.synchronise()

    def close(self) -> None:
        """Hang up; safe to repeat."""
        with self._lock:
            exchange, self._exchange = self._exchange, None
            self.state = LinkState.DOWN
            if exchange is not None:
                exchange.close()

    def synchronise(self) -> None:
        """Learn how far the venue's clock is from ours."""
        before = self._now()
        answer = self.ask("asking for the time", "publicGetTime", signed=False)
        middle = before + (self._now() - before) / 2
        try:
            told = _EPOCH + timedelta(milliseconds=int(answer["serverTime"]))
        except (KeyError, TypeError, ValueError) as error:
            self.state = LinkState.DOWN
            raise BrokerUnavailableError(NAME, f"its time cannot be read: {answer}") from error
        self._offset = told - middle

    def venue_time(self) -> datetime:
        """The venue's clock, estimated from ours.

        Raises
        ------
        BrokerUnavailableError
            It was never asked.
        """
        if self._offset is None:
            raise BrokerUnavailableError(NAME, "its clock is not known before the first connection")
        return self._now() + self._offset

    def stamp(self) -> int:
        """The venue's time in milliseconds since 1970."""
        return int((self.venue_time() - _EPOCH) / timedelta(milliseconds=1))

    @property
    def used_weight(self) -> float:
        """Share of the request weight used in the venue's present minute."""
        minute, used = self._weight
        return used / self.weight_limit if self._offset is not None and minute == self._minute() else 0.0

    def seconds_to_next_minute(self) -> float:
        """When the weight used starts at 0 again."""
        at = self.venue_time()
        return 60 - at.second - at.microsecond / 1e6

    def ask(
        self,
        doing: str,
        call: str,
        params: Mapping[str, Any] | None = None,
        *,
        signed: bool = True,
        seconds: float | None = None,
        on_send: Callable[[int], None] = lambda stamp: None,
    ) -> Any:
        """Send one request; the decoded answer.

        Parameters
        ----------
        doing
            What for, to be said in errors.
        call
            ccxt's name of the endpoint.
        on_send
            Told the request's timestamp before it goes out, again when it goes out again.

        Raises
        ------
        RefusedError
            The venue says no, and nothing was done.
        OutcomeUnknownError
            It may or may not have been done.
        BrokerUnavailableError
            It did not go out, or the venue refuses for now; nothing was done.
        """
        with self._lock:
            try:
                return self._ask(doing, call, params or {}, signed, seconds, on_send)
            except RefusedError as error:
                if error.code.number != TIMESTAMP:
                    raise
            # It was refused before it was looked at: with the right time it may go again.
            self.synchronise()
            try:
                return self._ask(doing, call, params or {}, signed, seconds, on_send)
            except RefusedError as error:
                if error.code.number != TIMESTAMP:
                    raise
                self.state = LinkState.DOWN
                raise BrokerUnavailableError(
                    NAME, f"{doing}: the way takes longer than execution.binance_spot.receive_window_ms"
                ) from error

    def _ask(
        self, doing: str, call: str, params: Mapping[str, Any], signed: bool, seconds: float | None,
        on_send: Callable[[int], None],
    ) -> Any:  # fmt: skip
        exchange = self._exchange
        if exchange is None:
            raise BrokerUnavailableError(NAME, f"{doing}: not connected")
        self._require_leave(doing, call)
        sent = dict(params)
        if signed:
            sent["timestamp"] = self.stamp()
            on_send(sent["timestamp"])
        exchange.timeout = int(1000 * (seconds or self.connection.answer_seconds))
        exchange.last_json_response = exchange.last_response_headers = None
        import ccxt

        try:
            answer = getattr(exchange, call)(sent)
        except ccxt.BaseError as error:
            self._note_limits(exchange.last_response_headers)
            raise self._explained(error, exchange, doing) from error
        self._note_limits(exchange.last_response_headers)
        if not isinstance(answer, dict | list):
            self.state = LinkState.DOWN
            raise OutcomeUnknownError(NAME, f"{doing}: the answer is not what the venue documents")
        return answer

    def _require_leave(self, doing: str, call: str) -> None:
        wait = self._blocked_until - self._clock()
        if wait > 0:
            self.state = LinkState.DOWN
            raise BrokerUnavailableError(NAME, f"{doing}: the venue takes no requests for another {wait:.0f} s")
        if call not in _SPARED and self.used_weight >= _RESERVE:
            raise BrokerUnavailableError(
                NAME,
                f"{doing}: this minute's request weight is used up; again in {self.seconds_to_next_minute():.0f} s",
            )

    def _note_limits(self, headers: Mapping[str, str] | None) -> None:
        for name, value in (headers or {}).items():
            if name.lower() == _WEIGHT_HEADER and value.isdigit() and self._offset is not None:
                self._weight = (self._minute(), int(value))

    def _minute(self) -> int:
        return self.stamp() // 60_000

    def _explained(self, error: Exception, exchange: Any, doing: str) -> BrokerError:
        status = _status(error)
        said = exchange.last_json_response
        code = said.get("code") if isinstance(said, dict) else None
        text = str(said.get("msg", "")) if isinstance(said, dict) else ""
        if status in (418, 429):
            seconds = _retry_after(exchange.last_response_headers)
            self._blocked_until = self._clock() + seconds
            self.state = LinkState.DOWN
            return BrokerUnavailableError(NAME, f"{doing}: too many requests ({status}); again in {seconds:.0f} s")
        if code is not None and (status is None or status < 500):
            known = answer_to(int(code))
            if known.answer in (Answer.REJECT, Answer.RECONCILE) or known.number == TIMESTAMP:
                if known.number in REFUSED_FOR_CERTAIN:
                    return RefusedError(known, text, doing)
            elif known.number in REFUSED_FOR_CERTAIN:
                self.state = LinkState.DOWN
                return BrokerUnavailableError(NAME, f"{doing}: {known.meaning} ({known.number}: {text})")
            self.state = LinkState.DOWN
            return OutcomeUnknownError(NAME, f"{doing}: {known.meaning} ({known.number}: {text})")
        self.state = LinkState.DOWN
        if status == 403:
            self._blocked_until = self._clock() + _DEFAULT_WAIT
            return BrokerUnavailableError(NAME, f"{doing}: refused by the venue's firewall (403)")
        if _never_left(error):
            return BrokerUnavailableError(NAME, f"{doing}: {self.settings.base_url} does not take connections")
        shown = f"HTTP {status}" if status is not None else type(error).__name__
        return OutcomeUnknownError(NAME, f"{doing}: no answer ({shown}); whether it was done is not known")


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    """HTTP status of the answer an error was made of; None: there was no answer."""
    for one in _chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _never_left(error: BaseException) -> bool:
    """Is it certain that no connection came about?"""
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

    certain = (ConnectTimeoutError, NameResolutionError, NewConnectionError)
    found: list[BaseException] = []
    for one in _chain(error):
        found += [one, *(part for part in one.args if isinstance(part, BaseException))]
    reasons = [getattr(one, "reason", None) for one in found]
    return any(isinstance(one, certain) for one in [*found, *reasons])


def _retry_after(headers: Mapping[str, str] | None) -> float:
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            with contextlib.suppress(ValueError):
                return max(float(value), 0.0)
    return _DEFAULT_WAIT

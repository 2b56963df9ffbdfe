"""JSON over HTTP with typed errors: what every vendor on the network refuses, breaks or leaves out has one name.

One request, one answer: nothing is retried here (the guard around a vendor does that), no redirect is followed, and
no status is read as "no data". A vendor's own wording for "there is none" is read in the vendor's module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

from quant_dagster.errors import (
    ConfigurationError,
    MalformedAnswerError,
    RateLimitedError,
    UnauthorisedError,
    UnreachableError,
    VendorError,
)
from quant_dagster.settings import LiveVendorSettings

Clock = Callable[[], datetime]
"""The time now, aware."""

_EXCERPT = 160
_RATE_LIMITED = frozenset({418, 429})  # 418: Binance's name for a 429 that was not heeded
_REFUSED = frozenset({401, 403, 407, 451})


@dataclass(frozen=True)
class HttpAnswer:
    """An answer that is no refusal: its status, and its body as text."""

    status: int
    text: str


class HttpApi:
    """A vendor's HTTP interface: GET requests below one address.

    Parameters
    ----------
    vendor
        Its name, for errors.
    base_url
        Address that paths are joined to.
    timeout_seconds
        Longest wait for a connection, and for each part of an answer.
    clock
        Time now, for ``Retry-After`` given as a date.
    headers
        Sent with each request.
    secrets
        Texts that never appear in an error.
    """

    def __init__(
        self,
        vendor: str,
        base_url: str,
        timeout_seconds: float,
        *,
        clock: Clock,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        import httpx

        self._vendor = vendor
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        # The transport adds none of the headers that the client would; compressed, a long history is a fifth.
        common = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "quant_dagster"}
        self._headers = {**common, **(headers or {})}
        self._secrets = secrets
        self._timeout = httpx.Timeout(timeout_seconds).as_dict()
        # The bare transport, not httpx.Client: the client logs the whole address of every request at INFO, and
        # Alpha Vantage wants its key in the address.
        self._transport = httpx.HTTPTransport(retries=0)

    def get(self, path: str, params: Mapping[str, str | int]) -> HttpAnswer:
        """Ask once.

        Raises
        ------
        RateLimitedError
            HTTP 429 or 418, or 503 with ``Retry-After``.
        UnauthorisedError
            HTTP 401, 403, 407 or 451.
        UnreachableError
            No answer in time, a broken connection, HTTP 5xx.
        MalformedAnswerError
            A body shorter than announced, or in no encoding; a redirect.
        """
        import httpx

        request = httpx.Request(
            "GET",
            f"{self._base_url}{path}",
            params=dict(params),
            headers=self._headers,
            extensions={"timeout": self._timeout},
        )
        try:
            response = self._transport.handle_request(request)
            try:
                response.read()
            finally:
                response.close()
        except httpx.DecodingError as error:
            raise MalformedAnswerError(self._vendor, f"{path}: body cannot be decoded: {error}") from error
        except httpx.RemoteProtocolError as error:
            raise UnreachableError(self._vendor, f"{path}: broken answer: {error}") from error
        except httpx.TransportError as error:
            raise UnreachableError(self._vendor, f"{path}: {type(error).__name__}: {error}") from error
        status, text = response.status_code, response.text
        problem = refusal(self._vendor, path, status, response.headers, text, self._clock(), self._secrets)
        if problem is not None:
            raise problem
        if 300 <= status < 400:
            raise MalformedAnswerError(self._vendor, f"{path}: redirected (HTTP {status}), which it does not document")
        return HttpAnswer(status, text)


def demanded_key(vendor: str, settings: LiveVendorSettings) -> str:
    """The vendor's key; a ConfigurationError says how to set it where there is none."""
    key = settings.api_key.get_secret_value() if settings.api_key is not None else ""
    if not key:
        raise ConfigurationError(
            f"vendor '{vendor}' needs market_data.live.{vendor}.api_key: "
            f"set QUANT_MARKET_DATA__LIVE__{vendor.upper()}__API_KEY"
        )
    return key


def refusal(
    vendor: str,
    where: str,
    status: int,
    headers: Mapping[str, str],
    text: str,
    now: datetime,
    secrets: tuple[str, ...] = (),
) -> VendorError | None:
    """The error a status and its headers stand for, the same for every vendor; None where the vendor must be read."""
    said = f"{where}: HTTP {status}" + (f": {excerpt(text, secrets)}" if text.strip() else "")
    wait = retry_after(headers, now)
    if status in _RATE_LIMITED or (status == 503 and wait is not None):
        return RateLimitedError(vendor, said, wait)
    if status in _REFUSED:
        return UnauthorisedError(vendor, said)
    if status >= 500:
        return UnreachableError(vendor, said)
    return None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from ``Retry-After`` (seconds or a date, RFC 9110 10.2.3) or ``X-Ratelimit-Reset`` (epoch)."""
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    if text := lowered.get("retry-after"):
        if text.isdecimal():
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - now).total_seconds())
    reset = lowered.get("x-ratelimit-reset", "")
    return max(0.0, int(reset) - now.timestamp()) if reset.isdecimal() else None


def parse_json(vendor: str, where: str, text: str, secrets: tuple[str, ...] = ()) -> Any:
    """What a body says.

    Raises
    ------
    MalformedAnswerError
        It is empty, truncated or no JSON.
    """
    if not text.strip():
        raise MalformedAnswerError(vendor, f"{where}: the body is empty")
    try:
        return json.loads(text)
    except ValueError as error:
        reason = f"{where}: not JSON or truncated ({len(text)} characters): {excerpt(text, secrets)}"
        raise MalformedAnswerError(vendor, reason) from error


def excerpt(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The beginning of a text on one line, with every secret struck out in each way it may be spelt."""
    for secret in filter(None, secrets):
        for spelling in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(spelling, "***")
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}..."

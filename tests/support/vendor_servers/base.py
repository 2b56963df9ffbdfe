"""What the vendors' loopback servers share: a port, a log of requests, and a queue of faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import polars as pl

KEY = "k3y+with/signs"
"""The one key the servers accept."""

RETRY_AFTER = 7
RETRY_DATE = "Sun, 10 Mar 2024 00:00:30 GMT"


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One answer; ``content`` is JSON unless it is text already."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return (self.content if isinstance(self.content, str) else json.dumps(self.content)).encode()


class VendorServer:
    """A vendor on a free loopback port, as a context manager.

    Faults
    ------
    429 (``Retry-After`` in seconds), 429_date (as a date), 429_bare, 500, 503, 503_retry_after, unauthorised,
    hang (accepts, never answers), cut (closes without an answer), short (closes amid the body), truncated (JSON cut in
    half, length right), empty (200 without body), empty_object (``{}``), html, partial (documented fields missing),
    text_price (a word where a price should be), no_data, unknown_symbol: the last ones as the vendor documents them.
    A server that was closed refuses connections.
    """

    data_paths: tuple[str, ...] = ("/",)
    """Faults spoil requests whose path holds one of these, unless ``fault`` names an endpoint."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.base_url = ""
        self.change: Callable[[Any], object] | None = None
        """Alters the content of every healthy answer to a request for data, in place."""
        self._faults: list[tuple[str, str | None, float]] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    def answer(self, request: Request) -> Reply:
        """What the vendor answers when all is well."""
        raise NotImplementedError

    def refused(self, request: Request) -> Reply:
        """The vendor's answer to a wrong or missing key."""
        return Reply({"error": "Unauthorized"}, 401)

    def no_data(self, request: Request) -> Reply:
        """The vendor's documented way to say that there is nothing."""
        raise NotImplementedError

    def unknown_symbol(self, request: Request) -> Reply:
        """The vendor's documented answer to a symbol it does not know."""
        raise NotImplementedError

    def partial(self, reply: Reply) -> Reply:
        """The reply without some of the fields it is documented to have."""
        raise NotImplementedError

    def text_price(self, reply: Reply) -> Reply:
        """The reply with a word where a number should be."""
        raise NotImplementedError

    def too_many(self, headers: dict[str, str]) -> Reply:
        """The vendor's answer to too many requests."""
        return Reply({"error": "Too Many Requests"}, 429, headers)

    def fault(self, name: str, times: float = 1, endpoint: str | None = None, after: int = 0) -> None:
        """Spoil the next ``times`` answers (``math.inf``: all) to requests for data, or for ``endpoint``.

        ``after``: so many requests are answered well before.
        """
        with self._lock:
            if after:
                self._faults.append(("ok", endpoint, after))
            self._faults.append((name, endpoint, times))

    def clear(self) -> None:
        """Forget the faults still to come."""
        with self._lock:
            self._faults.clear()
            self.change = None

    def close(self) -> None:
        """Stop listening: from now on connections are refused."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        state = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                state._serve(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                state._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        split = urlsplit(handler.path)
        request = Request(
            handler.command,
            split.path,
            dict(parse_qsl(split.query, keep_blank_values=True)),
            {name.lower(): value for name, value in handler.headers.items()},
        )
        with self._lock:
            self.requests.append(request)
            fault = self._next_fault(request.path)
        if fault == "hang":
            self._released.wait(30)
        if fault in ("hang", "cut"):
            handler.close_connection = True
            return
        reply = self.answer(request) if fault in (None, "ok") else self._spoilt(str(fault), request)
        if fault is None and self.change is not None and any(place in request.path for place in self.data_paths):
            self.change(reply.content)
        body = reply.body
        handler.send_response(reply.status)
        handler.send_header("Content-Type", "application/json")
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if fault == "short" else body)
        handler.close_connection = True

    def _next_fault(self, path: str) -> str | None:
        for position, (name, endpoint, times) in enumerate(self._faults):
            places = self.data_paths if endpoint is None else (endpoint,)
            if any(place in path for place in places):
                if times <= 1:
                    del self._faults[position]
                else:
                    self._faults[position] = (name, endpoint, times - 1)
                return name
        return None

    def _spoilt(self, fault: str, request: Request) -> Reply:
        fixed = {
            "429": self.too_many({"Retry-After": str(RETRY_AFTER)}),
            "429_date": self.too_many({"Retry-After": RETRY_DATE}),
            "429_bare": self.too_many({}),
            "500": Reply("Internal Server Error", 500),
            "503": Reply("Service Unavailable", 503),
            "503_retry_after": Reply("Service Unavailable", 503, {"Retry-After": str(RETRY_AFTER)}),
            "empty": Reply(""),
            "empty_object": Reply({}),
            "html": Reply("<html><body>Will be right back</body></html>"),
        }
        if fault in fixed:
            return fixed[fault]
        if fault == "truncated":
            text = self.answer(request).body.decode()
            return Reply(text[: len(text) // 2])
        named = {"unauthorised": self.refused, "no_data": self.no_data, "unknown_symbol": self.unknown_symbol}
        if fault in named:
            return named[fault](request)
        reply = self.answer(request)
        if fault == "short":
            return reply
        return {"partial": self.partial, "text_price": self.text_price}[fault](reply)


def of_symbol(frame: pl.DataFrame | None, symbol: str) -> pl.DataFrame | None:
    """The symbol's rows; None where there are none."""
    if frame is None:
        return None
    found = frame.filter(pl.col("symbol").cast(pl.String) == symbol)
    return None if found.is_empty() else found

"""Binance spot on a loopback port: its book (`binance_spot_book`) behind HTTP, and what may go wrong on the way.

Signatures, timestamps and receive windows are checked, weights counted. Resting orders trade when the test says so
(`BinanceSpotServer.fill`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.support.binance_spot_book import ZERO, BinanceSpotBook, Pair, Refusal, VenueOrder

KEY, SECRET = (
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZ",
)
WEIGHTS = {
    ("GET", "exchangeInfo"): 20, ("GET", "time"): 1, ("GET", "ping"): 1, ("GET", "account"): 20, ("POST", "order"): 1,
    ("GET", "order"): 4, ("DELETE", "order"): 1, ("GET", "openOrders"): 6, ("GET", "allOrders"): 20,
    ("GET", "myTrades"): 20, ("GET", "ticker/bookTicker"): 2, ("GET", "ticker/price"): 2, ("GET", "klines"): 2,
}  # fmt: skip
_PUBLIC = ("exchangeInfo", "time", "ping", "ticker/bookTicker", "ticker/price", "klines")


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    params: dict[str, str]


class BinanceSpotServer(BinanceSpotBook):
    """The venue on a free loopback port, as a context manager.

    Faults, for the next request to an endpoint (``fault``): ``lose_answer`` (acts, then closes without a word),
    ``lose_request`` (closes before acting), ``delay`` (answers when the client has hung up, having acted at once),
    ``late`` (acts only after ``seconds``, though the client has hung up), ``429``, ``418`` (with ``retry_after``),
    ``403`` (the firewall's page), ``500`` (acts, says 500), ``503`` (does nothing, says 503), ``timeout`` (acts, says
    -1007), ``html``, and any code (``-1021``: refused so).
    """

    def __init__(
        self,
        pairs: list[Pair] | None = None,
        balances: dict[str, Decimal] | None = None,
        start: datetime = datetime(2024, 1, 2, 15, 0, tzinfo=UTC),
    ) -> None:
        super().__init__(pairs, balances, start)
        self.received: list[Received] = []
        self.used_weight = 0
        self.extra_weight = 0
        """Shown as used by others of this address."""
        self.retry_after: str | None = "7"
        """The header of a 429 or 418; None: it has none."""
        self.base_url = ""
        self.port = 0
        self._faults: list[tuple[str, str, str, float]] = []
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._open: set[Any] = set()

    # -- what the test does ------------------------------------------------------------------------------------------

    def fill(
        self, client_order_id: str, quantity: Decimal, price: Decimal, *, commission: Decimal | None = None,
        commission_asset: str = "USDT", maker: bool = True,
    ) -> int:  # fmt: skip
        """Trade some of the newest order under an id; the trade's id."""
        with self._lock:
            order = [one for one in self.orders if one.client_order_id == client_order_id][-1]
            return self._trade(order, quantity, price, commission, commission_asset, maker)

    def place_by_hand(
        self, pair: str, side: str, quantity: Decimal, price: Decimal, name: str = "web_7c9f"
    ) -> VenueOrder:
        """An order made on the venue's own pages."""
        with self._lock:
            return self._place(pair, side, "LIMIT", quantity, price, ZERO, name)

    def expire(self, client_order_id: str) -> None:
        """The venue ends an order."""
        with self._lock:
            self._end([one for one in self.orders if one.client_order_id == client_order_id][-1], "EXPIRED")

    def fault(self, name: str, method: str = "POST", path: str = "order", seconds: float = 0.0) -> None:
        """Spoil the next request to an endpoint."""
        with self._lock:
            self._faults.append((name, method, path, seconds))

    def sent(self, method: str, path: str) -> list[Received]:
        """Requests to an endpoint."""
        return [one for one in self.received if (one.method, one.path) == (method, path)]

    def refuse_connections(self) -> None:
        """Stop listening, close every connection; what is on the book stays."""
        self._released.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """Listen (again), on the same port."""
        state = self
        self._released.clear()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                state._open.add(self.connection)

            def finish(self) -> None:
                state._open.discard(self.connection)
                super().finish()

            def do_GET(self) -> None:
                state._serve(self)

            do_POST = do_DELETE = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client hung up, as tests make it do

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self.base_url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse_connections()

    # -- a request ---------------------------------------------------------------------------------------------------

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        split = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
        path = split.path.removeprefix("/api/v3/")
        text = split.query + body
        params = dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(split.query, keep_blank_values=True))
        with self._lock:
            self.received.append(Received(handler.command, path, params))
            fault, seconds = self._next_fault(handler.command, path)
        if fault == "lose_request":
            return self._cut(handler)
        if fault == "late":
            self._released.wait(seconds)
        status, headers = 200, {}
        try:
            if fault in ("429", "418"):
                if self.retry_after is not None:
                    headers["Retry-After"] = self.retry_after
                raise Refusal(-1003, "Too much request weight used; current limit is 6000 request weight per 1 MINUTE.",
                              int(fault))  # fmt: skip
            if fault == "503":
                raise Refusal(-1001, "Internal error; unable to process your request. Please try again.", 503)
            if fault == "403":
                raise Refusal(0, "", 403)
            if fault.startswith("-"):
                raise Refusal(int(fault), "as the test asked")
            with self._lock:
                content = self._answer(handler.command, path, params, text, handler.headers.get("X-MBX-APIKEY"))
            if fault == "timeout":
                raise Refusal(-1007, "Timeout waiting for response from backend server. Send status unknown; execution "
                              "status unknown.", 408)  # fmt: skip
            if fault == "500":
                raise Refusal(-1000, "An unknown error occurred while processing the request.", 500)
        except Refusal as refusal:
            status, content = refusal.status, {"code": refusal.code, "msg": refusal.text}
        if fault == "delay":
            self._released.wait(seconds)
        if fault == "lose_answer":
            return self._cut(handler)
        answer = b"<html>Will be right back</html>" if fault in ("html", "403") else json.dumps(content).encode()
        headers["X-MBX-USED-WEIGHT-1M"] = str(self.used_weight + self.extra_weight)
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json;charset=UTF-8")
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)
        return None

    def _cut(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    def _next_fault(self, method: str, path: str) -> tuple[str, float]:
        for position, (name, of_method, of_path, seconds) in enumerate(self._faults):
            if (method, path) == (of_method, of_path):
                del self._faults[position]
                return name, seconds
        return "", 0.0

    def _answer(self, method: str, path: str, params: dict[str, str], text: str, key: str | None) -> Any:
        act = self._endpoint(method, path)
        weight = WEIGHTS[(method, path)]
        if path == "openOrders" and "symbol" not in params:
            weight = 80
        if path == "myTrades" and "orderId" in params:
            weight = 5
        self.used_weight += weight
        if path not in _PUBLIC:
            self._check(params, text, key)
        return act(params)

    def _check(self, params: dict[str, str], text: str, key: str | None) -> None:
        if key != KEY:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        payload, _, signature = text.partition("&signature=")
        if hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest() != signature:
            raise Refusal(-1022, "Signature for this request is not valid.")
        stamp, window = int(params["timestamp"]), float(params.get("recvWindow", "5000"))
        if stamp >= self._ms() + 1000:
            raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if self._ms() - stamp > window:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")

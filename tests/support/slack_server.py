"""A loopback Slack: answers ``chat.postMessage`` as Slack's Web API documents it, errors and rate limits included."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

TOKEN = "xoxb-test-token"


class SlackServer:
    """What was posted, and what the next answers are to be."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.failures: list[tuple[int, dict[str, Any], dict[str, str]]] = []
        self.requests = 0
        self.base_url = ""

    def fail_next(self, error: str, *, status: int = 200, retry_after: int | None = None) -> None:
        """Answer the next request with an error, as Slack does: usually HTTP 200 and ``ok: false``."""
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        self.failures.append((status, {"ok": False, "error": error}, headers))

    def answer(self, path: str, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.requests += 1
        if self.failures:
            return self.failures.pop(0)
        if token != f"Bearer {TOKEN}":
            return 200, {"ok": False, "error": "invalid_auth"}, {}
        if not path.endswith("/chat.postMessage"):
            return 200, {"ok": False, "error": "unknown_method"}, {}
        if len(body.get("blocks", [])) > 50:
            return 200, {"ok": False, "error": "invalid_blocks"}, {}
        self.messages.append(body)
        return 200, {"ok": True, "channel": "C1", "ts": f"1700000000.{len(self.messages):06d}", "message": body}, {}


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """Run the server on a free loopback port."""
    state = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if "json" in self.headers.get("Content-Type", ""):
                body = json.loads(raw)
            else:
                body = {key: values[0] for key, values in parse_qs(raw).items()}
                if "blocks" in body:
                    body["blocks"] = json.loads(body["blocks"])
            status, content, headers = state.answer(self.path, self.headers.get("Authorization", ""), body)
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.base_url = f"http://127.0.0.1:{server.server_port}/api/"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()

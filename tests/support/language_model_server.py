"""A loopback server that speaks Ollama's chat interface and the OpenAI-compatible one, with faults on request.

Forms of question and answer: Ollama's docs/api.md ("Generate a chat completion", structured outputs) and OpenAI's chat
completions reference (response_format json_schema). What it answers is given by the test, per prompt.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class LanguageModelServer:
    """``answer`` maps a prompt to what the model says; ``faults`` are statuses or 'hang'/'garbage', used up in turn."""

    answer: Callable[[str], str]
    faults: list[int | str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def language_model_server(answer: Callable[[str], str], *faults: int | str) -> Iterator[LanguageModelServer]:
    """The server on a free port of 127.0.0.1."""
    state = LanguageModelServer(answer, list(faults))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.headers.append(dict(self.headers))
            fault = state.faults.pop(0) if state.faults else None
            if fault == "hang":
                state.released.wait(30)
                return
            if isinstance(fault, int):
                self._send(fault, json.dumps({"error": "as asked"}))
                return
            if fault == "garbage":
                self._send(200, "<html>gateway</html>")
                return
            prompt = body["messages"][-1]["content"]
            if self.path == "/api/chat":
                assert body["stream"] is False and "format" in body
                reply = {
                    "model": body["model"], "created_at": "2024-01-01T00:00:00Z", "done": True,
                    "message": {"role": "assistant", "content": state.answer(prompt)},
                }  # fmt: skip
            elif self.path == "/v1/chat/completions":
                assert body["response_format"]["type"] == "json_schema"
                message = {"role": "assistant", "content": state.answer(prompt)}
                reply = {
                    "id": "chatcmpl-1", "object": "chat.completion", "created": int(time.time()),
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                }  # fmt: skip
            else:
                self._send(404, json.dumps({"error": "no such path"}))
                return
            self._send(200, json.dumps(reply))

        def _send(self, status: int, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()

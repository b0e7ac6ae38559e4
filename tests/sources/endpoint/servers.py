"""A server of chat completions that does what a test wants."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Body = dict[str, Any]


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands a request to the server's ``answer``, which says what to send."""

    server: FakeServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
            number = len(self.server.asked)
        self.server.answer(self, body, number)

    def send(self, content: bytes | Body, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole response."""
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client has given up
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


Answer = Callable[[Handler, Body, int], None]


class FakeServer(http.server.ThreadingHTTPServer):
    """Listens on a free port of this machine.

    Attributes:
        answer: What is done with a request and its number, from 1.
        asked: Bodies of all requests.
        headers: Their headers.
    """

    daemon_threads = True

    def __init__(self, answer: Answer | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer or says("2")
        self.asked: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that a client has dropped."""


@contextmanager
def serving(answer: Answer | None = None) -> Iterator[FakeServer]:
    server = FakeServer(answer)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None, finish_reason: str | None = "stop", **message: Any) -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return {"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": 5}}


def says(text: str | None, finish_reason: str | None = "stop", **message: Any) -> Answer:
    return lambda handler, body, number: handler.send(completion(text, finish_reason, **message))


def in_turn(*answers: Answer) -> Answer:
    """Answer the first request by the first, and all from the last on by the last."""
    return lambda handler, body, number: answers[min(number, len(answers)) - 1](handler, body, number)


def fails(status: int, message: str = "no", **headers: str) -> Answer:
    return lambda handler, body, number: handler.send({"error": {"message": message}}, status, **headers)


def hangs_up(handler: Handler, body: Body, number: int) -> None:
    """Promise more than is sent, and close the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def trickles(stopped: threading.Event) -> Answer:
    """Send white space for ever, so that each wait for bytes is short."""

    def answer(handler: Handler, body: Body, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            while not stopped.wait(0.02):
                handler.wfile.write(b" ")
                handler.wfile.flush()
        except OSError:
            handler.close_connection = True

    return answer

"""A service that scores, and one that misbehaves: real HTTP on this machine."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lightning_gft.rewards import HTTPReward

PATIENCE = 120.0
"""Seconds for an answer, on a machine that is busy."""


class Service:
    """A server that answers each request by the next of its behaviours; the last one stays."""

    def __init__(self) -> None:
        self.behaviours: list[Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]] = [answer()]
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.bodies.append(body)
                service.headers.append(dict(self.headers))
                behave = service.behaviours.pop(0) if len(service.behaviours) > 1 else service.behaviours[0]
                behave(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def reward(self, **options: Any) -> HTTPReward:
        return HTTPReward(self.url, **{"timeout": PATIENCE, **options})


def send(handler: BaseHTTPRequestHandler, text: str, status: int = 200, **headers: str) -> None:
    data = text.encode()
    handler.send_response(status)
    given = {"Content_Type": "application/json", "Content_Length": str(len(data)), **headers}
    for name, value in given.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def answer(text: str | None = None, status: int = 200, **headers: str) -> Callable[..., None]:
    """Return a behaviour: the length of each response as its score, or what is given."""

    def behave(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        scores = json.dumps({"scores": [len(response) for response in body["responses"]]})
        send(handler, scores if text is None else text, status, **headers)

    return behave


def reset_connection(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def half(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.close_connection = True


def silence(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.rfile.read(1)  # until the client goes
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    try:
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.02)
    except OSError:
        handler.close_connection = True


def score(reward: HTTPReward, *responses: str, **columns: list[Any]) -> list[float | None]:
    count = len(responses)
    return list(reward(prompts=["p"] * count, responses=responses, references=["r"] * count, **columns))

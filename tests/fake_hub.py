"""A hub on this machine, which answers as the real one does to what the libraries ask of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Repositories = dict[str, dict[str, bytes]]
"""Files by their paths, by the name of the data set; an empty one stands for a gated data set."""


@contextmanager
def serve(repositories: Repositories) -> Iterator[str]:
    """Serve data sets, and yield the address of the hub."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._asked = self.rfile.read(length)
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            parts = unquote(urlparse(self.path).path).strip("/").split("/")
            if parts == [""]:
                return self._send(b"hub", body=body)
            name = "/".join(parts[2:4] if parts[0] == "api" else parts[1:3])
            files = repositories.get(name)
            if files is None:
                return self._send(b"", 401, {"X-Error-Code": "RepoNotFound"}, body=body)
            if not files:
                return self._send(b"", 401, {"X-Error-Code": "GatedRepo"}, body=body)
            if parts[0] == "api":
                return self._api(parts[4:], files, body=body)
            path = "/".join(parts[5:])
            if path not in files:
                return self._send(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body=body)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(files[path]).hexdigest()}"'}  # noqa: S324
            return self._send(files[path], headers=headers, body=body)

        def _api(self, rest: list[str], files: dict[str, bytes], *, body: bool) -> None:
            if not rest or rest[0] == "revision":
                siblings = [{"rfilename": path} for path in files]
                answer: object = {"id": "x", "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            else:  # the tree of files
                answer = [_entry(path, content) for path, content in files.items()]
            self._send(json.dumps(answer).encode(), headers={"Content-Type": "application/json"}, body=body)

        def _send(
            self, content: bytes, status: int = 200, headers: dict[str, str] | None = None, *, body: bool
        ) -> None:
            self.send_response(status)
            for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324

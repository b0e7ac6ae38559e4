"""HTTP requests to a server: one or many at once, each of them sent once."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from functools import cache
from threading import Thread
from typing import Any, Literal, TypeVar

import httpx2

from lightning_gft.address import Address
from lightning_gft.waiting import check_wait

Outcome = TypeVar("Outcome")
Body = dict[str, Any]
Arrived = Callable[[Any], None]

_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.5
_MAY_PASS = (408, 409, 425, 429)
"""Status codes in addition to 5xx after which the same request may succeed."""


class ServerFault(Exception):  # noqa: N818 (an engine raises an error of this package in its place)
    """The reason why a server has not replied.

    Args:
        text: What happened instead, as errors show it.
        kind: ``lost`` without a connection, ``late`` after the time limit, ``failed`` for a failure of the server,
            ``refused`` if the same request would fail again.
        status: HTTP status; 0 if there was no response.
    """

    def __init__(self, text: str, kind: Literal["lost", "late", "failed", "refused"], status: int = 0) -> None:
        super().__init__(text)
        self.kind, self.status = kind, status


class Client:
    """Sends requests to a server.

    Args:
        address: Address of the server without ``/v1``.
        timeout: Time limit of one request in seconds.
        concurrency: Largest number of simultaneous requests.
    """

    def __init__(self, address: Address, timeout: float, concurrency: int) -> None:
        self.address, self.timeout, self.concurrency = address, timeout, concurrency

    def call(self, method: Literal["GET", "POST"], path: str, body: Body | None = None) -> Any:
        """Return the JSON of the server's reply; ``None`` if it is not JSON.

        Raises:
            ServerFault: If the server does not reply, or replies with an error.
        """
        [outcome] = self._ask_all(method, path, [body], lambda outcome: None)
        if isinstance(outcome, ServerFault):
            raise outcome
        return outcome

    def complete(self, bodies: Sequence[Body], arrived: Arrived) -> list[Any]:
        """Return the completion of each request, or the :class:`ServerFault` in its place.

        Once one is late, waiting requests are not sent: a hanging server takes its time limit once.

        Args:
            bodies: Requests of one completion each.
            arrived: Called with each outcome as soon as it is known, in another thread.
        """
        return self._ask_all("POST", "/v1/completions", bodies, arrived)

    def _ask_all(self, method: str, path: str, bodies: Sequence[Body | None], arrived: Arrived) -> list[Any]:
        return _outside(self._gather(method, path, bodies, arrived))

    async def _gather(self, method: str, path: str, bodies: Sequence[Body | None], arrived: Arrived) -> list[Any]:
        async def ask(body: Body | None) -> Any:
            outcome = await self._ask(http, slots, method, path, body)
            arrived(outcome)
            return outcome

        key, slots, trust_env = self.address.key(), _Slots(self.concurrency), not self.address.is_local
        async with httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(None, connect=min(_CONNECT_SECONDS, self.timeout)),
            limits=httpx2.Limits(max_connections=self.concurrency),
            trust_env=trust_env,
            verify=_trusted(trust_env),
        ) as http:
            return await asyncio.gather(*(ask(body) for body in bodies))

    async def _ask(self, http: httpx2.AsyncClient, slots: _Slots, method: str, path: str, body: Body | None) -> Any:
        async with slots.free:
            if slots.late is not None:
                return slots.late
            try:
                async with asyncio.timeout(self.timeout):
                    answer = await http.request(method, self.address.base_url + path, json=body)
            except (TimeoutError, httpx2.TimeoutException):
                slots.late = ServerFault(f"no reply within timeout={self.timeout:g} s", "late")
                return slots.late
            except httpx2.RequestError as error:
                return ServerFault(f"no connection ({type(error).__name__}: {self.address.scrub(error)})", "lost")
        return self._read(answer)

    def _read(self, answer: httpx2.Response) -> Any:
        status = answer.status_code
        if status != 200:
            passes = status in _MAY_PASS or status >= 500
            said = self.address.scrub(_message(answer.text))
            return ServerFault(f"status {status}: {said}", "failed" if passes else "refused", status)
        try:
            return json.loads(answer.content)
        except ValueError:
            return None


class _Slots:
    """Slots of simultaneous requests, and the fault of the first late one."""

    def __init__(self, concurrency: int) -> None:
        self.free = asyncio.Semaphore(concurrency)
        self.late: ServerFault | None = None


@cache
def _trusted(trust_env: bool) -> ssl.SSLContext:
    """Return the certificates that servers are checked by; reading them takes longer than most requests."""
    return httpx2.create_ssl_context(trust_env=trust_env)


def _message(text: str) -> object:
    """Return the message of an error in OpenAI's form, or the whole text."""
    try:
        body = json.loads(text)
    except ValueError:
        return text
    error = body.get("error", body) if isinstance(body, dict) else body
    return error.get("message", error) if isinstance(error, dict) else error


def _outside(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run a coroutine in another thread: the caller may have an event loop, and must notice a request to stop."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="VLLMEngine", daemon=True)
    thread.start()
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        while not wait([future], _POLL_SECONDS).done:
            check_wait()
        return future.result()
    finally:
        future.cancel()
        asyncio.run_coroutine_threadsafe(_settle(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _settle() -> None:
    """Wait until all cancelled tasks have ended."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*tasks, return_exceptions=True)

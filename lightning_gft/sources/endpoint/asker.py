"""Sending requests to a server in the background."""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, wait
from threading import Lock, Thread, current_thread
from typing import Any

import httpx2
import openai

from lightning_gft.sources.endpoint.cache import ReplyCache
from lightning_gft.sources.endpoint.faults import EndpointFault, describe, describe_malformed
from lightning_gft.sources.endpoint.questions import Question
from lightning_gft.sources.endpoint.replies import MalformedReplyError, Reply, read_reply
from lightning_gft.sources.endpoint.server import Server
from lightning_gft.sources.endpoint.telling import Teller
from lightning_gft.waiting import check_wait

_FutureReply = Future[tuple[Reply, bool]]
_CONNECT_SECONDS = 10.0
_JOIN_SECONDS = 10.0
_POLL_SECONDS = 0.5
_MAY_PASS = (408, 409, 429)
"""Status codes that the client retries in addition to 5xx."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
"""Seconds between tries, doubled each time, as in the client."""


class Asker:
    """Sends each question to a server once, several concurrently, and stores the replies on disk.

    A thread of its own owns the connections, so any thread may ask, with or without an event loop. The thread ends with
    the process and abandons pending requests. The client retries transient failures: no connection, 408, 409, 429 and
    5xx. It waits for the time that the server names, or for one that doubles. A body that cannot be read is requested
    again as well, within the same number of tries.

    Args:
        server: The server with its limits of time and tries.
        cache: Cache of earlier replies. Each new reply is stored there first.
        concurrency: Largest number of concurrent requests.
        counts: Counter of ``requests``, ``retries`` and ``tokens``, which nothing else may increment.
    """

    def __init__(self, server: Server, cache: ReplyCache, concurrency: int, counts: defaultdict[str, float]) -> None:
        self.server, self.cache, self.counts = server, cache, counts
        self.process = os.getpid()  # a forked process has the object but not the thread
        self._lock = Lock()
        self._futures: dict[str, _FutureReply] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._teller = Teller(server.base_url, server.max_retries)
        self._client = _make_client(server, concurrency, counts, self._teller)
        loop = asyncio.new_event_loop()
        thread = Thread(target=_run, args=(loop, self._client), name="EndpointSource", daemon=True)
        self._loop = loop
        self.close = weakref.finalize(self, _stop, loop, thread, self.process)
        thread.start()

    def ask(self, questions: Sequence[Question]) -> None:
        """Send the questions without a reply, in order and without waiting."""
        self._begin(questions)

    def replies(self, questions: Sequence[Question]) -> list[tuple[Reply, bool]]:
        """Wait for the replies, and return each with a flag whether it was on disk before.

        Raises:
            EndpointFault: If a question has no reply. A later call sends the question again.
        """
        futures = self._begin(questions)
        since = time.monotonic()
        try:
            return [self._await(future, since) for future in futures]
        finally:
            with self._lock:
                for question, future in zip(questions, futures, strict=True):
                    if future.done() and self._futures.get(question.key) is future:
                        del self._futures[question.key]

    def _await(self, future: _FutureReply, since: float) -> tuple[Reply, bool]:
        """Wait for a reply and return it; report long waits, and stop waiting when the run is stopped."""
        while not wait([future], _POLL_SECONDS).done:
            check_wait()
            self._teller.waiting(since, sum(not other.done() for other in self._futures.copy().values()))
        return future.result()

    def _begin(self, questions: Sequence[Question]) -> list[_FutureReply]:
        with self._lock:
            for question in questions:
                if question.key not in self._futures:
                    self._futures[question.key] = self._start(question)
            return [self._futures[question.key] for question in questions]

    def _start(self, question: Question) -> _FutureReply:
        known = self.cache.get(question.key)
        if known is None:
            return asyncio.run_coroutine_threadsafe(self._answer(question), self._loop)
        future: _FutureReply = Future()
        future.set_result((known, True))
        return future

    async def _answer(self, question: Question) -> tuple[Reply, bool]:
        async with self._slots:
            outcome = await self._ask(question)
        if isinstance(outcome, EndpointFault):
            raise outcome  # outside of the `except` block: the client's error, as its context, holds the key
        self.cache.put(question.key, outcome)
        self.counts["tokens"] += outcome.tokens
        return outcome, False

    async def _ask(self, question: Question) -> Reply | EndpointFault:
        tries_left, unreadable = self.server.max_retries + 1, 0
        while True:
            try:
                response = await self._post(question.body, tries_left - 1)
                return self.server.keyless(read_reply(self.server.hide_key(response.content)))
            except MalformedReplyError as error:
                fault = describe_malformed(error, self.server)
            except openai.BadRequestError as error:
                if error.code == "content_filter":  # some servers report a filtered prompt so
                    return Reply("", "", "content_filter")
                return describe(error, self.server, question.body["model"])
            except Exception as error:  # noqa: BLE001 (raised where the reply is needed, without the key)
                return describe(error, self.server, question.body["model"])
            tries_left -= 1 + _retries_before(response.request)
            if tries_left < 1:
                return fault
            unreadable += 1
            self.counts["retries"] += 1
            self._teller.failed("a reply that is not a chat completion")
            await asyncio.sleep(min(_FIRST_WAIT * 2**unreadable, _LONGEST_WAIT) * random.uniform(0.75, 1))

    async def _post(self, body: dict[str, Any], max_retries: int) -> httpx2.Response:
        key = self.server.key()
        authorization = f"Bearer {key}" if key else openai.Omit()
        return await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=body,
            options={"headers": {"Authorization": authorization}, "max_retries": max_retries},
        )


def _retries_before(request: httpx2.Request) -> int:
    """Return the number of times that the client has sent a request before."""
    return int(request.headers.get("x-stainless-retry-count", "0"))


def _make_client(
    server: Server, concurrency: int, counts: defaultdict[str, float], teller: Teller
) -> openai.AsyncOpenAI:
    server.warn_of_open_key()
    seconds = server.timeout
    return openai.AsyncOpenAI(
        base_url=server.base_url,
        api_key="",  # otherwise the client would read one from the environment and send it to any server
        admin_api_key="",
        _enforce_credentials=False,
        max_retries=server.max_retries,
        timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
        http_client=_TimedClient(seconds, counts, teller, limits=httpx2.Limits(max_connections=concurrency)),
    )


class _TimedClient(openai.DefaultAsyncHttpxClient):
    """A client with a time limit for the whole request, not for each wait in it; it counts and reports failures."""

    def __init__(self, seconds: float, counts: defaultdict[str, float], teller: Teller, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seconds, self._counts, self._teller = seconds, counts, teller

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        self._counts["requests"] += 1
        self._counts["retries"] += _retries_before(request) > 0
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, **kwargs)
        except TimeoutError:
            self._teller.failed(f"no reply within {self._seconds:g} s")
            raise httpx2.ReadTimeout("the request took too long", request=request) from None
        except httpx2.TransportError as error:
            self._teller.failed(f"no reply ({type(error).__name__})")
            raise
        if response.status_code in _MAY_PASS or response.status_code >= 500:
            later = response.headers.get("Retry-After")
            self._teller.failed(f"status {response.status_code}" + (f", Retry-After: {later[:40]}" if later else ""))
        return response


def _run(loop: asyncio.AbstractEventLoop, client: openai.AsyncOpenAI) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_give_up(client))
        loop.close()


async def _give_up(client: openai.AsyncOpenAI) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: Thread, process: int) -> None:
    if os.getpid() == process and not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        if thread is not current_thread():  # the garbage collector may run in that thread
            thread.join(_JOIN_SECONDS)

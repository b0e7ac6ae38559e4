"""Asking a server in the background."""

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
"""What the client retries beside 5xx."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
"""Seconds between tries, doubled each time, as the client does it."""


class Asker:
    """Puts questions to a server, several at once, each of them once, and keeps the replies on disk.

    One thread of its own has the connections, so any thread may ask, whatever event loop it has. It ends with the
    process, and what is under way then is given up. The client retries what may pass: no connection, 408, 409, 429 and
    5xx, after the time that the server names or one that doubles. A body that cannot be read is asked for again too,
    within the same number of tries.

    Args:
        server: Is asked.
        cache: Knows earlier replies, and is given each new one before anything else happens to it.
        concurrency: Most requests at once.
        counts: ``requests``, ``retries`` and ``tokens`` are added to; nothing else may add to these.
    """

    def __init__(self, server: Server, cache: ReplyCache, concurrency: int, counts: defaultdict[str, float]) -> None:
        self.server, self.cache, self.counts = server, cache, counts
        self.process = os.getpid()  # a fork has the object and not the thread
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
        """Begin with those that are not answered, in their order; do not wait."""
        self._begin(questions)

    def replies(self, questions: Sequence[Question]) -> list[tuple[Reply, bool]]:
        """Return each reply, with whether it was on disk before; wait for those that are missing.

        Raises:
            EndpointFault: Where there is none. Asked again, the question is sent again.
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
        """Return a reply; say from time to time that it is waited for, and end the wait when the run is to stop."""
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
            raise outcome  # outside of what it was caught in: the client's errors have the headers with the key
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
                if error.code == "content_filter":  # so some say that they filtered the prompt
                    return Reply("", "", "content_filter")
                return describe(error, self.server, question.body["model"])
            except Exception as error:  # noqa: BLE001 (raised where the reply is needed, in words without the key)
                return describe(error, self.server, question.body["model"])
            tries_left -= 1 + _retries_before(response.request)
            if tries_left < 1:
                return fault
            unreadable += 1
            self.counts["retries"] += 1
            self._teller.failed("a reply that is no chat completion")
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
    """Return how often the client has sent a request before."""
    return int(request.headers.get("x-stainless-retry-count", "0"))


def _make_client(
    server: Server, concurrency: int, counts: defaultdict[str, float], teller: Teller
) -> openai.AsyncOpenAI:
    server.warn_of_open_key()
    seconds = server.timeout
    return openai.AsyncOpenAI(
        base_url=server.base_url,
        api_key="",  # or the client would look for one itself, and send it anywhere
        admin_api_key="",
        _enforce_credentials=False,
        max_retries=server.max_retries,
        timeout=httpx2.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
        http_client=_TimedClient(seconds, counts, teller, limits=httpx2.Limits(max_connections=concurrency)),
    )


class _TimedClient(openai.DefaultAsyncHttpxClient):
    """Limits a request as a whole, where the library limits each wait within it; counts, and tells of failures."""

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
        if thread is not current_thread():  # which may have found the asker to be garbage
            thread.join(_JOIN_SECONDS)

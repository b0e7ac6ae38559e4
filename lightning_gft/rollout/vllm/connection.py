"""Sends a policy's weights to a server and draws responses from it, also if the server fails in between."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lightning_gft.checks import check_count, check_number
from lightning_gft.counts import Counts
from lightning_gft.distributed import is_first_rank
from lightning_gft.phases import DrawCounts, draw_counts
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.adapter import AdapterSync, unserved
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.completions import num_tokens, was_aborted
from lightning_gft.rollout.vllm.endpoint import Endpoint, Served
from lightning_gft.rollout.vllm.reload import ReloadSync
from lightning_gft.rollout.vllm.sleep import put_to_sleep, wake
from lightning_gft.rollout.vllm.sync import WeightSync
from lightning_gft.waiting import check_wait

_OF = "VLLMEngine"
_FIGURES = ("requests", "retries", "restarts", "tokens", "seconds", "syncs", "sync_seconds")
_FIRST_WAIT, _LONGEST_WAIT, _POLL = 0.5, 8.0, 0.5
"""Seconds before the first retry, doubled for each further one up to a limit, and between two polls."""


class Connection:
    """The connection of an engine to its server; the settings are those of the engine.

    Args:
        weights: How the server receives weights; ``None`` chooses by the policy.
        max_retries: Number of times that a failed call is repeated.
        start_timeout: Time limit in seconds until a started server is ready.
        sleep: Whether the server sleeps between two draws.
        settings: Those of :class:`Endpoint`.

    Attributes:
        counts: Requests, retries, restarts, tokens, syncs and their seconds.
        faults: Builds the errors about this server.
    """

    def __init__(
        self, weights: WeightSync | None, max_retries: int, start_timeout: float, sleep: bool, **settings: Any
    ) -> None:
        self._max_retries = check_count("max_retries", max_retries, least=0, of=_OF)
        self._start_timeout = check_number("start_timeout", start_timeout, above=0, of=_OF)
        self._weights = weights
        self.counts = Counts(_FIGURES)
        self._endpoint = Endpoint(
            **settings, max_retries=max_retries, start_timeout=start_timeout, sleep=sleep, counts=self.counts
        )
        self.faults = self._endpoint.faults
        self._run, self._written = "", ""
        self._served: Served | None = None

    def check(self, policy: EnginePolicy) -> None:
        """Check that the weights of a policy can be sent to the server, and that the run's own server can be started.

        Raises:
            ValueError: If the weights cannot be sent.
            RuntimeError: If the server's program is missing, or its log cannot be written.
        """
        self._weights = self._weights or _choose_sync(policy)
        self._weights.check(policy)
        if self._endpoint.sleeps:
            self._weights.sleep_level()  # raises if the server cannot share a GPU
        if is_first_rank():
            self._endpoint.check()

    @property
    def served_as(self) -> str:
        """Name of the current weights at the server."""
        served = self._now()
        return self._sync.served_as(served.model, served.version)

    def bring(self, policy: EnginePolicy, number: int) -> Served:
        """Write the weights of a policy and make the server load them; only the first rank calls it.

        Args:
            policy: Policy with whole weights.
            number: Number of changes of the weights so far, which becomes part of their version.

        Raises:
            RuntimeError: If the server does not load them.
        """
        began = time.monotonic()
        self._sync.check(policy)  # again, because sharding is known only now
        self._run = self._run or uuid.uuid4().hex[:8]
        version = f"{self._run}-{number}"
        if version != self._written:  # otherwise the server was only asleep
            self._sync.write(policy, version)
            self._written = version
        for attempt in range(self._max_retries + 1):
            try:
                served = self._endpoint.connect(policy, version, self._served, self._sync)
                self._load(self._endpoint.client(served), version)
                break
            except ServerFault as fault:
                if fault.kind == "refused" or attempt == self._max_retries:
                    raise self.faults.no_replies(fault) from None
                self._revive(fault, attempt)
        self.counts.totals["syncs"] += 1
        self.counts.totals["sync_seconds"] += time.monotonic() - began
        return served

    def rest(self) -> None:
        """Let the server sleep until the next :meth:`bring`; only the first rank calls it, when no rank draws.

        Raises:
            RuntimeError: If the server does not give its memory back.
        """
        try:
            put_to_sleep(self._endpoint.client(self._now()), self._sync.sleep_level())
        except ServerFault as fault:
            if fault.kind != "lost":  # a server that has ended has no memory; the next draw restarts it
                raise self.faults.no_replies(fault) from None

    def take(self, served: Served) -> None:
        """Draw from the weights that the first rank has sent from now on."""
        if served.url_file is not None and not served.url_file.is_file():
            raise self.faults.other_machine()
        self._served = served

    def draw(self, requests: Sequence[dict[str, Any]], ahead: bool = False) -> list[Any]:
        """Return the completion of each request, all from the weights that were sent last.

        Args:
            requests: Requests of one completion each.
            ahead: Whether the policy trains meanwhile.

        Raises:
            RuntimeError: If the server does not return them.
        """
        began = time.monotonic()
        counts = draw_counts()
        done: dict[int, Any] = {}
        for attempt in range(self._max_retries + 1):
            missing = [number for number in range(len(requests)) if number not in done]
            counts.responses, counts.tokens = len(done), sum(map(num_tokens, done.values()))
            replies, fault = self._ask([requests[number] for number in missing], counts)
            done.update({missing[place]: reply for place, reply in replies.items()})
            self.counts.totals["requests"] += len(missing)
            self.counts.totals["retries"] += len(missing) if attempt else 0
            if fault is None:
                break
            if fault.kind == "refused" or attempt == self._max_retries:
                raise self.faults.no_replies(fault)
            self._revive(fault, attempt)
            if not self._restored(can_send=not ahead or self._sync.keeps_written()):
                raise self.faults.no_replies(fault)
        self.counts.totals["seconds"] += time.monotonic() - began
        return [done[number] for number in range(len(requests))]

    def close(self) -> None:
        """End the run's own server, and remove the written weights."""
        self._endpoint.stop()
        if self._weights is not None:
            self._weights.close()
        self._served, self._written = None, ""

    def __getstate__(self) -> dict[str, Any]:
        # Weights of a copy have versions of their own, because they may change differently.
        return {**self.__dict__, "_run": "", "_written": "", "_served": None}

    def _ask(self, requests: Sequence[dict[str, Any]], counts: DrawCounts) -> tuple[dict[int, Any], ServerFault | None]:
        """Return the completions by position, and the fault of a missing one; none if the server had other weights."""

        def count(reply: Any) -> None:
            if not (isinstance(reply, ServerFault) or was_aborted(reply)):
                counts.add(responses=1, tokens=num_tokens(reply))

        served = self._now()
        aborted = ServerFault("an aborted completion", "failed")
        try:
            client = self._endpoint.client(served)
            self._check_served(client, served)
            replies = [aborted if was_aborted(reply) else reply for reply in client.complete(requests, count)]
            self._check_served(client, served)
        except ServerFault as fault:
            return {}, fault
        faults = [reply for reply in replies if isinstance(reply, ServerFault)]
        lost = next((fault for fault in faults if fault.kind == "lost"), None)
        if lost is not None and served.url_file is None:
            return {}, lost  # it may have been restarted, and replied until the first rank sent the weights again
        good = {place: reply for place, reply in enumerate(replies) if not isinstance(reply, ServerFault)}
        return good, faults[0] if faults else None

    def _check_served(self, client: Client, served: Served) -> None:
        if not self._sync.serves(client, served.version):
            raise ServerFault("other weights than were sent", "failed")

    def _revive(self, fault: ServerFault, attempt: int) -> None:
        """Restart the run's own server if it has ended or hangs; otherwise wait."""
        if not (is_first_rank() and self._endpoint.restart(str(fault), hung=fault.kind == "late")):
            _sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT))

    def _load(self, client: Client, version: str) -> None:
        """Make a server load what was written last; a sleeping one takes the memory for it first."""
        if not self._endpoint.sleeps:
            self._sync.send(client, version)
            return
        wake(client, "weights")
        if not self._sync.serves(client, version):
            self._sync.send(client, version)
        wake(client, "kv_cache")

    def _restored(self, can_send: bool) -> bool:
        """Send the weights to a restarted server; other ranks wait for them, and return whether they have arrived."""
        served = self._now()
        if not is_first_rank():
            return self._has_come(served)
        self._serve_again(served, can_send)
        return True

    def _serve_again(self, served: Served, can_send: bool) -> None:
        try:
            client = self._endpoint.client(served)
            if self._sync.serves(client, served.version):
                return
            if not can_send:
                raise self.faults.lost_weights()
            self._sync.send(client, served.version)
        except ServerFault:
            return  # the next attempt reports it

    def _has_come(self, served: Served) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            with suppress(ServerFault):  # the first rank is still starting it
                if self._sync.serves(self._endpoint.client(served), served.version):
                    return True
            _sleep(_POLL)
        return False

    @property
    def _sync(self) -> WeightSync:
        assert self._weights is not None  # noqa: S101 (chosen when the policy was made)
        return self._weights

    def _now(self) -> Served:
        assert self._served is not None  # noqa: S101 (the engine prepares before it draws)
        return self._served


def _choose_sync(policy: EnginePolicy) -> WeightSync:
    """Return the way of sending a policy's weights that moves the least."""
    return AdapterSync() if policy.adapters is not None and not unserved(policy.adapters) else ReloadSync()


def _sleep(seconds: float) -> None:
    """Wait; a request to stop the run ends the wait."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_wait()
        time.sleep(min(left, _POLL))

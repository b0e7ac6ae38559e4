"""Sends a policy's weights to a server and draws responses from it, also if the server fails in between."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.address import Address
from lightning_gft.checks import check_count, check_number
from lightning_gft.counts import Counts
from lightning_gft.distributed import is_first_rank
from lightning_gft.errors import GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.adapter import SERVED_AS, AdapterSync, unserved
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.completions import was_aborted
from lightning_gft.rollout.vllm.faults import Faults
from lightning_gft.rollout.vllm.own_server import OwnServer
from lightning_gft.rollout.vllm.probe import tokenizes_alike
from lightning_gft.rollout.vllm.reload import ReloadSync
from lightning_gft.rollout.vllm.sync import WeightSync, served_models
from lightning_gft.waiting import check_wait

_OF = "VLLMEngine"
_FIGURES = ("requests", "retries", "restarts", "tokens", "seconds", "syncs", "sync_seconds")
_FIRST_WAIT, _LONGEST_WAIT, _POLL = 0.5, 8.0, 0.5
"""Seconds before the first retry, doubled for each further one up to a limit, and between two polls."""


@dataclass(frozen=True)
class Served:
    """What the first rank sends to the other ranks.

    Args:
        model: Name of the policy's model at the server.
        version: Version of the weights that the server has.
        url_file: File with the address of the server that the first rank has started; ``None`` for one at ``url``.
    """

    model: str
    version: str
    url_file: Path | None


class Connection:
    """The connection of an engine to its server; the settings are those of the engine.

    Attributes:
        counts: Requests, retries, restarts, tokens, syncs and their seconds.
        faults: Builds the errors about this server.
    """

    def __init__(
        self,
        *,
        url: str | None,
        command: str | list[str] | None,
        env: Mapping[str, str],
        weights: WeightSync | None,
        model: str | None,
        api_key_env: str,
        timeout: float,
        max_retries: int,
        concurrency: int,
        start_timeout: float,
        log: str,
    ) -> None:
        if (url is None) == (command is None):
            got = "neither" if url is None else "both"
            raise GFTValueError(
                f"`url` or `command` of {_OF}: expected one of them, got {got}; give the address of a running server, "
                "or the command that starts one"
            )
        self._timeout = check_number("timeout", timeout, above=0, of=_OF)
        self._max_retries = check_count("max_retries", max_retries, least=0, of=_OF)
        self._concurrency = check_count("concurrency", concurrency, of=_OF)
        self._start_timeout = check_number("start_timeout", start_timeout, above=0, of=_OF)
        self._api_key_env, self._model, self._weights = api_key_env, model, weights
        self._address = None if url is None else self._at(_without_v1(url))
        self._own = None if command is None else OwnServer(command, env, log, self._start_timeout)
        self.faults = Faults(self._address, None if self._own is None else self._own.log, self._max_retries)
        self._run = ""
        self._served: Served | None = None
        self.counts = Counts(_FIGURES)

    def check(self, policy: EnginePolicy) -> None:
        """Check that the weights of a policy can be sent to the server.

        Raises:
            ValueError: If they cannot.
        """
        self._weights = self._weights or _choose_sync(policy)
        self._weights.check(policy)

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
        self._sync.write(policy, version)
        for attempt in range(self._max_retries + 1):
            try:
                served = self._connect(policy, version)
                self._sync.send(self._client(served), version)
                break
            except ServerFault as fault:
                if fault.kind == "refused" or attempt == self._max_retries:
                    raise self.faults.no_replies(fault) from None
                self._revive(fault, attempt)
        self.counts.totals["syncs"] += 1
        self.counts.totals["sync_seconds"] += time.monotonic() - began
        return served

    def take(self, served: Served) -> None:
        """Draw from the weights that the first rank has sent from now on."""
        if served.url_file is not None and not served.url_file.is_file():
            raise self.faults.other_machine()
        self._served = served

    def draw(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Return the completion of each request, all from the weights that were sent last.

        Raises:
            RuntimeError: If the server does not return them.
        """
        began = time.monotonic()
        done: dict[int, Any] = {}
        for attempt in range(self._max_retries + 1):
            missing = [number for number in range(len(requests)) if number not in done]
            replies, fault = self._ask([requests[number] for number in missing])
            done.update({missing[place]: reply for place, reply in replies.items()})
            self.counts.totals["requests"] += len(missing)
            self.counts.totals["retries"] += len(missing) if attempt else 0
            if fault is None:
                break
            if fault.kind == "refused" or attempt == self._max_retries:
                raise self.faults.no_replies(fault)
            self._revive(fault, attempt)
            if not self._restored():
                raise self.faults.no_replies(fault)
        self.counts.totals["seconds"] += time.monotonic() - began
        return [done[number] for number in range(len(requests))]

    def close(self) -> None:
        """End the run's own server, and remove the written weights."""
        if self._own is not None:
            self._own.stop()
        if self._weights is not None:
            self._weights.close()
        self._served = None

    def _ask(self, requests: Sequence[dict[str, Any]]) -> tuple[dict[int, Any], ServerFault | None]:
        """Return the completions by position, and the fault of a missing one; none if the server had other weights."""
        served = self._now()
        aborted = ServerFault("an aborted completion", "failed")
        try:
            client = self._client(served)
            self._check_served(client, served)
            replies = [aborted if was_aborted(reply) else reply for reply in client.complete(requests)]
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
        if not (is_first_rank() and self._restart(str(fault), hung=fault.kind == "late")):
            _sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT))

    def _restart(self, why: str, hung: bool = False) -> bool:
        """Restart the run's own server if it has ended or hangs, and return whether it was restarted."""
        if self._own is None or not self._own.revive(hung):
            return False
        self.counts.totals["restarts"] += 1
        rank_zero_warn(f"{_OF}: the server was restarted after {why}; its log is {self._own.log}")
        return True

    def _restored(self) -> bool:
        """Send the weights to a restarted server; other ranks wait for them, and return whether they have arrived."""
        served = self._now()
        if is_first_rank():
            self._serve_again(served)
            return True
        return self._has_come(served)

    def _serve_again(self, served: Served) -> None:
        try:
            client = self._client(served)
            if not self._sync.serves(client, served.version):
                self._sync.send(client, served.version)
        except ServerFault:
            return  # the next attempt reports it

    def _has_come(self, served: Served) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            with suppress(ServerFault):  # the first rank is still starting it
                if self._sync.serves(self._client(served), served.version):
                    return True
            _sleep(_POLL)
        return False

    def _connect(self, policy: EnginePolicy, version: str) -> Served:
        """Return the server of the policy: the run's own, which is started if necessary, or the one at ``url``."""
        sync = self._sync
        if self._own is not None:
            self._restart("it had ended between two draws")
            file = self._own.start(sync.model(policy), SERVED_AS, sync.arguments(), sync.environment())
            return Served(SERVED_AS, version, file)
        if self._served is not None:
            return Served(self._served.model, version, None)
        assert self._address is not None  # noqa: S101 (one of the two was given)
        self._address.warn_of_open_key()
        return Served(self._find_model(self._client(None), policy), version, None)

    def _find_model(self, client: Client, policy: EnginePolicy) -> str:
        models = served_models(client)
        name = self._model or (models[0] if models else "")
        if name not in models:
            raise GFTValueError(
                f"`model` of {_OF}: expected one that {client.address.base_url} serves ({', '.join(models)}), got "
                f"{name!r}; choose one of these"
            )
        if not tokenizes_alike(client, name, policy.tokenizer):
            raise self.faults.other_tokenizer()
        return name

    def _client(self, served: Served | None) -> Client:
        if served is not None and served.url_file is not None:
            try:
                address = self._at(served.url_file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise ServerFault("no address: the first rank has ended the server", "lost") from None
        else:
            assert self._address is not None  # noqa: S101 (without a file the server is at an address)
            address = self._address
        return Client(address, self._timeout, self._concurrency)

    def _at(self, url: str) -> Address:
        return Address(url, self._api_key_env, field="url", of=_OF)

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


def _without_v1(url: object) -> Any:
    return url.strip().rstrip("/").removesuffix("/v1") if isinstance(url, str) else url


def _sleep(seconds: float) -> None:
    """Wait; a request to stop the run ends the wait."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_wait()
        time.sleep(min(left, _POLL))

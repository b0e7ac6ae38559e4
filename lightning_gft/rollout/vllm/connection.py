"""A policy's weights at a server, and responses from there, whatever happens to the server in between."""

from __future__ import annotations

import shlex
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_gft.address import Address
from lightning_gft.checks import check_count, check_number, shorten
from lightning_gft.distributed import is_first_rank
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.adapter import SERVED_AS, AdapterSync, unserved
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.faults import Faults
from lightning_gft.rollout.vllm.own_server import OwnServer
from lightning_gft.rollout.vllm.probe import tokenizes_alike
from lightning_gft.rollout.vllm.reload import ReloadSync
from lightning_gft.rollout.vllm.sync import WeightSync, served_models
from lightning_gft.waiting import check_wait

_OF = "VLLMEngine"
_FIGURES = ("requests", "retries", "restarts", "tokens", "seconds", "syncs", "sync_seconds")
_FIRST_WAIT, _LONGEST_WAIT, _POLL = 0.5, 8.0, 0.5
"""Seconds between tries, doubled each time, and between two looks at what is waited for."""


@dataclass(frozen=True)
class Served:
    """What the first rank tells the others.

    Args:
        model: What the server calls the policy's model.
        version: Of the weights that it has.
        url_file: File with the address of a server that the first rank has started.
    """

    model: str
    version: str
    url_file: Path | None


class Connection:
    """Everything between an engine and its server; the settings are those of the engine.

    Attributes:
        counts: What was counted since it was cleared last.
        faults: The errors of this server.
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
                f"`url` or `command` of {_OF}: expected one of them, got {got}; give the address of a server that "
                "runs, or the command that starts one"
            )
        self._timeout = check_number("timeout", timeout, above=0, of=_OF)
        self._max_retries = check_count("max_retries", max_retries, least=0, of=_OF)
        self._concurrency = check_count("concurrency", concurrency, of=_OF)
        self._start_timeout = check_number("start_timeout", start_timeout, above=0, of=_OF)
        self._api_key_env, self._model, self._weights = api_key_env, model, weights
        self._address = None if url is None else self._at(url.strip().rstrip("/").removesuffix("/v1"))
        self._own = None if command is None else OwnServer(_words(command), env, log, self._start_timeout)
        self.faults = Faults(self._address, None if self._own is None else self._own.log, self._max_retries)
        self._run = ""
        self._served: Served | None = None
        self.counts: defaultdict[str, float] = defaultdict(float)

    def check(self, policy: EnginePolicy) -> None:
        """Refuse a policy whose weights cannot be brought to the server.

        Raises:
            ValueError: If so.
        """
        self._weights = self._weights or _choose_sync(policy)
        self._weights.check(policy)

    @property
    def served_as(self) -> str:
        """What the server calls the weights that it has."""
        served = self._now()
        return self._sync.served_as(served.model, served.version)

    def figures(self) -> dict[str, float]:
        """Return all counts by name, also those that are 0."""
        return {name: self.counts[name] for name in _FIGURES}

    def bring(self, policy: EnginePolicy, number: int) -> Served:
        """Write the weights of a policy and let the server load them; the first rank calls it.

        Args:
            policy: With whole weights.
            number: How often they had changed.

        Raises:
            RuntimeError: If the server does not load them.
        """
        began = time.monotonic()
        self._sync.check(policy)  # again: how weights are sharded is known by now
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
        self.counts["syncs"] += 1
        self.counts["sync_seconds"] += time.monotonic() - began
        return served

    def take(self, served: Served) -> None:
        """Draw from what the first rank has brought from now on."""
        self._served = served

    def draw(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        """Return the completion of each request, all from the weights that were brought last.

        Raises:
            RuntimeError: If the server does not give them.
        """
        began = time.monotonic()
        done: dict[int, Any] = {}
        for attempt in range(self._max_retries + 1):
            missing = [number for number in range(len(requests)) if number not in done]
            replies, fault = self._ask([requests[number] for number in missing])
            done.update({missing[place]: reply for place, reply in replies.items()})
            self.counts["requests"] += len(missing)
            self.counts["retries"] += len(missing) if attempt else 0
            if fault is None:
                break
            if fault.kind == "refused" or attempt == self._max_retries:
                raise self.faults.no_replies(fault)
            self._revive(fault, attempt)
            if not self._restored():
                raise self.faults.no_replies(fault)
        self.counts["seconds"] += time.monotonic() - began
        return [done[number] for number in range(len(requests))]

    def close(self) -> None:
        """End a server of the run's own, and remove the weights that were written."""
        if self._own is not None:
            self._own.stop()
        if self._weights is not None:
            self._weights.close()
        self._served = None

    def _ask(self, requests: Sequence[dict[str, Any]]) -> tuple[dict[int, Any], ServerFault | None]:
        """Return the completions that came, by place, and why others did not; none of them if weights were others."""
        served = self._now()
        try:
            client = self._client(served)
            replies = client.complete(requests)
            if not self._sync.serves(client, served.version):
                return {}, ServerFault("other weights than were sent", "failed")
        except ServerFault as fault:
            return {}, fault
        faults = [reply for reply in replies if isinstance(reply, ServerFault)]
        good = {place: reply for place, reply in enumerate(replies) if not isinstance(reply, ServerFault)}
        return good, faults[0] if faults else None

    def _revive(self, fault: ServerFault, attempt: int) -> None:
        """Start a server of the run's own anew if it has ended or hangs; else wait."""
        if is_first_rank() and self._own is not None and self._own.revive(hung=fault.kind == "late"):
            self.counts["restarts"] += 1
            rank_zero_warn(f"{_OF}: the server gave {fault}, and was started anew; its log is {self._own.log}")
        else:
            _sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT))

    def _restored(self) -> bool:
        """Send the weights to a server which was started anew; other ranks wait, and say whether that has come."""
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
            return  # the next try says why

    def _has_come(self, served: Served) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            with suppress(ServerFault):  # while the first rank is starting it
                if self._sync.serves(self._client(served), served.version):
                    return True
            _sleep(_POLL)
        return False

    def _connect(self, policy: EnginePolicy, version: str) -> Served:
        """Return what serves the policy from now on: the run's own server, or the one at the address."""
        sync = self._sync
        if self._own is not None:
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
                f"{name!r}; correct it"
            )
        if not tokenizes_alike(client, name, policy.tokenizer):
            raise self.faults.other_tokenizer()
        return name

    def _client(self, served: Served | None) -> Client:
        if served is not None and served.url_file is not None:
            try:
                address = self._at(served.url_file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise ServerFault("no server: the first rank has ended it", "lost") from None
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
    """Return what brings a policy's weights to a server with the least to move."""
    return AdapterSync() if policy.adapters is not None and not unserved(policy.adapters) else ReloadSync()


def _words(command: object) -> list[str]:
    words = shlex.split(command) if isinstance(command, str) else command
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise GFTTypeError(
            f"`command` of {_OF}: expected a program and its arguments, got {shorten(command)}; write a text or a list "
            "of texts"
        )
    return [str(Path(words[0]).expanduser()), *words[1:]]


def _sleep(seconds: float) -> None:
    """Wait, unless the run is asked to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_wait()
        time.sleep(min(left, _POLL))

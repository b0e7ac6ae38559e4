"""Sending the weights of a policy to a server."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from lightning_gft.distributed import is_first_rank
from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.client import Client, ServerFault


class WeightSync(ABC):
    """Sends the weights of a policy to a server. The first rank writes and sends; all ranks may ask what is served.

    A version is a text that identifies one update of one run.
    """

    @abstractmethod
    def check(self, policy: EnginePolicy) -> None:
        """Check that the weights of a policy can be sent to a server in this way.

        Raises:
            ValueError: If they cannot; the message contains the remedy.
        """

    @abstractmethod
    def write(self, policy: EnginePolicy, version: str) -> None:
        """Write the current weights, which are whole on this rank, to a place that a server can read."""

    @abstractmethod
    def send(self, client: Client, version: str) -> None:
        """Make a server load the weights that were written last; repeated calls change nothing.

        Raises:
            ServerFault: If the server does not load them.
        """

    @abstractmethod
    def serves(self, client: Client, version: str) -> bool:
        """Return whether a server has the weights of a version.

        Raises:
            ServerFault: If the server does not reply.
        """

    def served_as(self, model: str, version: str) -> str:
        """Return the name of a version's weights at the server, where the model's name is ``model``."""
        return model

    @abstractmethod
    def model(self, policy: EnginePolicy) -> str:
        """Return the model that a server is started with after a first :meth:`write`: a folder, or a hub name."""

    def arguments(self) -> Sequence[str]:
        """Return further arguments that the server's command needs."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that a server needs."""
        return {}

    def keeps_written(self) -> bool:
        """Return whether :meth:`send` can repeat the weights that were written last while the policy trains."""
        return True

    def sleep_level(self) -> Literal[1, 2]:
        """Return how deeply a server sleeps between two draws.

        Level 1 keeps its weights in the CPU's memory; level 2 drops them, and they are sent again before the next draw.

        Raises:
            ValueError: If a server that receives weights in this way cannot share the policy's GPU.
        """
        return 1

    @abstractmethod
    def close(self) -> None:
        """Remove the written weights."""


class NoSync(WeightSync):
    """Sends nothing, because the server already has the policy's weights and they do not change.

    It serves to evaluate an exported policy, or to sample groups from it, with any server that returns token ids and
    log-probabilities.

    Example:
        >>> NoSync().served_as("exported", "1")
        'exported'
    """

    def __init__(self) -> None:
        self._first = ""

    @override
    def check(self, policy: EnginePolicy) -> None:
        pass  # the engine compares the first response with the policy

    @override
    def write(self, policy: EnginePolicy, version: str) -> None:
        if self._first and version != self._first:
            raise GFTRuntimeError(
                "`weights` of VLLMEngine: expected ReloadSync or AdapterSync for a policy that trains, got NoSync, and "
                "the weights have changed since the first draw; choose one of these, or do not train"
            )
        self._first = version

    @override
    def send(self, client: Client, version: str) -> None:
        pass

    @override
    def serves(self, client: Client, version: str) -> bool:
        return True

    @override
    def close(self) -> None:
        self._first = ""

    @override
    def model(self, policy: EnginePolicy) -> str:
        if name := policy.model.name_or_path:
            return name
        raise GFTValueError(
            "`weights` of VLLMEngine: expected ReloadSync or AdapterSync with `command` for a policy that was not "
            "loaded from files, got NoSync, which writes no model for a server to start with; leave weights out"
        )


class FolderSync(WeightSync):
    """Writes to a folder that the server can read by the same path."""

    def __init__(self, folder: str | None) -> None:
        self._given = None if folder is None else Path(folder).expanduser().absolute()
        self._made: tempfile.TemporaryDirectory[str] | None = None

    @override
    def check(self, policy: EnginePolicy) -> None:
        if is_first_rank() and self._made is None:
            self._make().cleanup()

    def _folder(self) -> Path:
        """Return the temporary folder of this engine, which is created at the first call."""
        if self._made is None:
            self._made = self._make()
            Path(self._made.name).chmod(0o755)  # the server may be another user's
        return Path(self._made.name)

    def _make(self) -> tempfile.TemporaryDirectory[str]:
        try:
            if self._given is not None:
                self._given.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(
                prefix="lightning-gft-weights-", dir=self._given, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise GFTValueError(
                f"`folder` of {type(self).__name__}: expected a folder that can be written to, got "
                f"{self._given or tempfile.gettempdir()} ({error.strerror}); choose another"
            ) from None

    def _base(self, policy: EnginePolicy) -> str:
        """Return the name of the policy's model without adapters; a model without a name is written once."""
        if name := policy.model.name_or_path:
            return name
        written = self._folder() / "base"
        if not written.exists():
            policy.save_plain(written, with_adapters=False)
        return str(written)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}  # a copy writes into a folder of its own

    @override
    def close(self) -> None:
        if self._made is not None:
            self._made.cleanup()
        self._made = None


def served_models(client: Client) -> list[str]:
    """Return the names of a server's models and adapters."""
    listed = client.call("GET", "/v1/models")
    try:
        return [str(entry["id"]) for entry in listed["data"]]
    except (LookupError, TypeError):
        raise ServerFault("a malformed list of models", "refused") from None

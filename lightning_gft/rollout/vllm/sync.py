"""How the weights of a policy come to a server."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.client import Client, ServerFault


class WeightSync(ABC):
    """Brings the weights of a policy to a server. The first rank writes and sends; every rank may ask what is served.

    A version is a text that no other run and no other update has.
    """

    @abstractmethod
    def check(self, policy: EnginePolicy) -> None:
        """Refuse a policy whose weights cannot be brought to a server so.

        Raises:
            ValueError: With what to do.
        """

    @abstractmethod
    def write(self, policy: EnginePolicy, version: str) -> None:
        """Write the weights as they are now, whole on this rank, where a server will find them."""

    @abstractmethod
    def send(self, client: Client, version: str) -> None:
        """Let a server load what was written last; doing so again changes nothing.

        Raises:
            ServerFault: If it does not.
        """

    @abstractmethod
    def serves(self, client: Client, version: str) -> bool:
        """Return whether a server has the weights of a version.

        Raises:
            ServerFault: If it does not say.
        """

    def served_as(self, model: str, version: str) -> str:
        """Return what the server calls the weights of a version, of a model that it calls ``model``."""
        return model

    @abstractmethod
    def model(self, policy: EnginePolicy) -> str:
        """Return what a server is started with after a first :meth:`write`: a folder, or a name."""

    def arguments(self) -> Sequence[str]:
        """Return the arguments that a server needs beside that."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that a server needs."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Remove what was written."""


class NoSync(WeightSync):
    """Sends nothing: the server has the policy's weights already, and they do not change.

    For an exported policy that is measured, or draws groups, behind any server that returns token ids and
    log-probabilities.

    Example:
        >>> NoSync().served_as("exported", "1")
        'exported'
    """

    def __init__(self) -> None:
        self._first = ""

    @override
    def check(self, policy: EnginePolicy) -> None:
        pass  # the first response is compared with the policy

    @override
    def write(self, policy: EnginePolicy, version: str) -> None:
        if self._first and version != self._first:
            raise GFTRuntimeError(
                "`weights` of VLLMEngine: expected ReloadSync or AdapterSync where the policy trains, got NoSync, and "
                "the policy's weights have changed since the server was first asked; choose one of these, or do not "
                "train"
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
        raise GFTValueError(
            "`weights` of VLLMEngine: expected ReloadSync or AdapterSync with `command`, got NoSync, which writes "
            "nothing that a server could be started with; leave weights out, or start the server yourself (`url`)"
        )


class FolderSync(WeightSync):
    """Writes into a folder that the server can read by the same path."""

    def __init__(self, folder: str | None) -> None:
        self._given = None if folder is None else Path(folder).expanduser().absolute()
        self._made: Path | None = None

    def _folder(self) -> Path:
        """Return a folder of this engine's own, made when it is first needed."""
        if self._made is None:
            if self._given is not None:
                self._given.mkdir(parents=True, exist_ok=True)
            self._made = Path(tempfile.mkdtemp(prefix="lightning-gft-weights-", dir=self._given))
            self._made.chmod(0o755)  # the server may be another user's
        return self._made

    @override
    def close(self) -> None:
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        self._made = None


def served_models(client: Client) -> list[str]:
    """Return what a server calls the models and adapters that it has."""
    listed = client.call("GET", "/v1/models")
    try:
        return [str(entry["id"]) for entry in listed["data"]]
    except (LookupError, TypeError):
        raise ServerFault("a list of models that is none", "refused") from None


def needing(fault: ServerFault, needs: str) -> ServerFault:
    """Return a fault with what the server needs for a call that it does not know; the same fault without any."""
    return ServerFault(f"{fault}; it needs {needs}", fault.kind, fault.status) if needs else fault

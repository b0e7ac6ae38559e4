"""Sending weights as a folder that vLLM reloads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.client import Client
from lightning_gft.rollout.vllm.development import MODE, complete_update, dev_call, served_version
from lightning_gft.rollout.vllm.sync import FolderSync


class ReloadSync(FolderSync):
    """Writes the whole model to a folder, from which vLLM reloads its weights.

    This works on any device and takes as long as writing and reading the model once. Adapters are merged into the
    written weights, so they do not slow down a token. The server needs ``VLLM_SERVER_DEV_MODE=1``, which an engine that
    starts it sets.

    Args:
        folder: Parent of a temporary folder that the server must read by the same path; default the system's folder of
            temporary files. ``/dev/shm`` is fast because it is in memory; a server on another machine needs a shared
            folder.
        torch_dtype: Data type of the written weights; default their own.

    Example:
        >>> sync = ReloadSync(folder="/dev/shm")
        >>> sync.environment()
        {'VLLM_SERVER_DEV_MODE': '1'}
    """

    def __init__(
        self, folder: str | None = None, torch_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    ) -> None:
        super().__init__(folder)
        self._torch_dtype = torch_dtype

    @override
    def check(self, policy: EnginePolicy) -> None:
        super().check(policy)
        if policy.adapters is not None and (policy.is_quantised or policy.sharding.is_split):
            why = "quantised" if policy.is_quantised else "sharded"
            raise GFTValueError(
                f"`weights` of VLLMEngine: expected AdapterSync for adapters on {why} weights, got ReloadSync, which "
                "merges adapters; leave weights out"
            )

    @override
    def write(self, policy: EnginePolicy, version: str) -> None:
        folder, current = self._folder(), self._current()
        before = current.resolve() if current.is_symlink() else None
        policy.save_plain(folder / version, self._torch_dtype)
        link = folder / f".{version}"
        link.symlink_to(version)
        link.replace(current)  # atomically: a server never reads a partial model
        if before is not None and before != current.resolve():
            shutil.rmtree(before)

    @override
    def send(self, client: Client, version: str) -> None:
        arguments = {"weights_path": str(self._current())}
        dev_call(client, "/collective_rpc", {"method": "reload_weights", "kwargs": arguments})
        complete_update(client, version)

    @override
    def serves(self, client: Client, version: str) -> bool:
        return served_version(client) == version

    @override
    def model(self, policy: EnginePolicy) -> str:
        return str(self._current())

    @override
    def sleep_level(self) -> Literal[1, 2]:
        return 2

    @override
    def environment(self) -> Mapping[str, str]:
        return MODE

    def _current(self) -> Path:
        return self._folder() / "current"

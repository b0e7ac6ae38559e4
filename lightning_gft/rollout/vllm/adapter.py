"""Sending weights as an adapter that vLLM loads in addition to its model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.development import needing
from lightning_gft.rollout.vllm.sync import FolderSync, served_models

SERVED_AS = "policy"
"""Name of the policy at a server that an engine starts."""
_MAX_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for --max-lora-rank."""


class AdapterSync(FolderSync):
    """Writes the adapter to a folder, from which vLLM loads it in addition to its model.

    An update moves only the adapter, about a hundredth of the model, but an unmerged adapter makes each token slower.
    Each update has a name of its own, so that caches and replies of another update are never mistaken for it. The
    server needs ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``, which an engine that starts it sets.

    Args:
        folder: As in :class:`ReloadSync`.
        base_model: Folder or hub name of the model that a started server loads; default the policy's own. The model of
            a policy without a name is written once.

    Example:
        >>> AdapterSync().served_as("base", "a1-7")
        'policy-a1-7'
    """

    def __init__(self, folder: str | None = None, base_model: str | None = None) -> None:
        super().__init__(folder)
        self._base_model = base_model
        self._rank = 0
        self._loaded = ""

    @override
    def check(self, policy: EnginePolicy) -> None:
        super().check(policy)
        if policy.adapters is None:
            raise GFTValueError(
                "`weights` of VLLMEngine: expected ReloadSync for a policy without adapters, got AdapterSync; leave "
                "weights out, or set the policy's lora"
            )
        if unfit := unserved(policy.adapters):
            raise GFTValueError(
                f"`weights` of VLLMEngine: expected ReloadSync for adapters with {unfit}, which vLLM does not support, "
                "got AdapterSync; leave weights out"
            )

    @override
    def write(self, policy: EnginePolicy, version: str) -> None:
        self._rank = max(_ranks(policy.adapters))
        partial = self._folder() / f".{version}"
        policy.save_pretrained(partial)
        partial.replace(self._path(version))

    @override
    def send(self, client: Client, version: str) -> None:
        if not self.serves(client, version):
            body = {"lora_name": self._name(version), "lora_path": str(self._path(version))}
            try:
                client.call("POST", "/v1/load_lora_adapter", body)
            except ServerFault as fault:
                needs = "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" if fault.status in (404, 405) else ""
                raise needing(fault, needs) from None
        if self._loaded and self._loaded != version:
            self._forget(client, self._loaded)
        self._loaded = version

    @override
    def serves(self, client: Client, version: str) -> bool:
        return self._name(version) in served_models(client)

    @override
    def served_as(self, model: str, version: str) -> str:
        return self._name(version)

    @override
    def model(self, policy: EnginePolicy) -> str:
        return self._base_model or self._base(policy)

    @override
    def arguments(self) -> Sequence[str]:
        largest = next((size for size in _MAX_RANKS if size >= self._rank), self._rank)
        return ("--enable-lora", "--max-lora-rank", str(largest))

    @override
    def environment(self) -> Mapping[str, str]:
        return {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}

    @override
    def close(self) -> None:
        super().close()
        self._loaded = ""

    def _forget(self, client: Client, version: str) -> None:
        if self.serves(client, version):  # a restarted server never had it
            client.call("POST", "/v1/unload_lora_adapter", {"lora_name": self._name(version)})
        shutil.rmtree(self._path(version))

    def _name(self, version: str) -> str:
        return f"{SERVED_AS}-{version}"

    def _path(self, version: str) -> Path:
        return self._folder() / version


def unserved(adapters: Any) -> str:
    """Return the option of adapters that vLLM does not support; empty if it supports them."""
    config = adapters.peft_model.peft_config["default"]
    if config.use_dora:
        return "use_dora"
    return "modules_to_save" if config.modules_to_save else ""


def _ranks(adapters: Any) -> list[int]:
    config = adapters.peft_model.peft_config["default"]
    return [config.r, *(config.rank_pattern or {}).values()]

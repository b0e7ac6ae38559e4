"""Sending weights straight into the memory of a server's GPUs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.rollout.engine import EnginePolicy
from lightning_gft.rollout.vllm.adapter import unserved
from lightning_gft.rollout.vllm.client import Client, ServerFault
from lightning_gft.rollout.vllm.development import MODE, complete_update, dev_call, needing, served_version
from lightning_gft.rollout.vllm.nccl import NCCLTransport
from lightning_gft.rollout.vllm.plain import PlainWeight, plain_weights
from lightning_gft.rollout.vllm.sync import FolderSync
from lightning_gft.rollout.vllm.transport import Transport, while_moving

_NEEDS = 'the option --weight-transfer-config \'{"backend":"nccl"}\' and vLLM 0.32'


class TransferSync(FolderSync):
    """Moves one weight after another from this process to a server by a transport, which subclasses open.

    The calls are those of vLLM: ``/init_weight_transfer_engine`` lets the server's processes join a new group, and for
    each update ``/start_weight_update``, ``/update_weights`` with names, data types and shapes, and
    ``/finish_weight_update``. While the server executes the second one, the tensors are broadcast in the same order.

    Args:
        torch_dtype: As in :class:`ReloadSync`.
    """

    def __init__(self, torch_dtype: Literal["float32", "bfloat16", "float16"] | None = None) -> None:
        super().__init__(None)
        self._torch_dtype = torch_dtype
        self._policy: EnginePolicy | None = None
        self._transport: Transport | None = None
        self._address, self._sent = "", ""

    @abstractmethod
    def open(self, world_size: int) -> Transport:
        """Return a transport to ``world_size - 1`` processes of a server."""

    @override
    def check(self, policy: EnginePolicy) -> None:
        if policy.adapters is not None:
            if policy.is_quantised or policy.sharding.is_split:
                why = "quantised" if policy.is_quantised else "sharded"
                raise self._refusal("AdapterSync", f"adapters on {why} weights", "merges adapters")
            if "modules_to_save" in unserved(policy.adapters):
                raise self._refusal("ReloadSync", "adapters with modules_to_save", "merges each layer by itself")
        plain_weights(policy)  # raises if names differ

    @override
    def write(self, policy: EnginePolicy, version: str) -> None:
        self._policy = policy

    @override
    def send(self, client: Client, version: str) -> None:
        try:
            self._join(client)
            self._move(client)
            complete_update(client, version)
        except BaseException:
            self._leave()  # a transport that failed once is of no use
            raise
        self._sent = version

    @override
    def serves(self, client: Client, version: str) -> bool:
        return served_version(client) == version

    @override
    def keeps_written(self) -> bool:
        return False

    @override
    def sleep_level(self) -> Literal[1, 2]:
        raise self._refusal("ReloadSync or AdapterSync", "a server that sleeps", "needs a GPU for each side")

    @override
    def model(self, policy: EnginePolicy) -> str:
        return self._base(policy)

    @override
    def arguments(self) -> Sequence[str]:
        return ("--weight-transfer-config", '{"backend":"nccl"}')

    @override
    def environment(self) -> Mapping[str, str]:
        return MODE

    @override
    def close(self) -> None:
        self._leave()
        self._policy, self._sent = None, ""
        super().close()

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_policy": None, "_transport": None, "_address": "", "_sent": ""}

    def _join(self, client: Client) -> None:
        """Let a server join, unless it still has the weights that were sent to it last, and so is in the group."""
        address = client.address.base_url
        if self._transport is not None and self._address == address and self.serves(client, self._sent):
            return
        self._leave()
        world_size = 1 + _processes(client)
        dev_call(client, "/shutdown_weight_transfer_engine")  # a group of an earlier run, or one that has failed
        transport = self._transport = self.open(world_size)
        joining = {**transport.invitation(), "rank_offset": 1, "world_size": world_size, "packed": False}
        try:
            while_moving(
                transport,
                transport.join,
                lambda: dev_call(client, "/init_weight_transfer_engine", {"init_info": joining}),
                client.timeout,
            )
        except ServerFault as fault:
            raise needing(fault, _NEEDS if fault.status else "") from None
        self._address = address

    def _move(self, client: Client) -> None:
        assert self._policy is not None  # noqa: S101 (weights are written before they are sent)
        assert self._transport is not None  # noqa: S101 (the server has joined)
        transport, weights = self._transport, plain_weights(self._policy)
        dtypes = {name: self._dtype(weight) for name, weight in weights.items()}
        described = {
            "names": list(weights),
            "dtype_names": [str(dtype).removeprefix("torch.") for dtype in dtypes.values()],
            "shapes": [list(weight.held.shape) for weight in weights.values()],
        }

        def broadcast() -> None:
            with torch.no_grad(), _on(transport.device):
                for name, weight in weights.items():
                    transport.broadcast(weight.value().to(transport.device, dtypes[name]).contiguous())
                transport.settle()

        dev_call(client, "/start_weight_update")
        while_moving(
            transport,
            broadcast,
            lambda: dev_call(client, "/update_weights", {"update_info": described}),
            client.timeout,
        )
        dev_call(client, "/finish_weight_update")

    def _dtype(self, weight: PlainWeight) -> torch.dtype:
        if self._torch_dtype is None or not weight.held.is_floating_point():
            return weight.held.dtype
        dtype: torch.dtype = getattr(torch, self._torch_dtype)
        return dtype

    def _leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._transport, self._address = None, ""

    def _refusal(self, expected: str, got: str, why: str) -> GFTValueError:
        name = type(self).__name__
        return GFTValueError(
            f"`weights` of VLLMEngine: expected {expected} for {got}, got {name}, which {why}; use {expected}, or "
            "leave weights out"
        )


class NCCLSync(TransferSync):
    """Sends the whole model from this process's GPU to those of the server by NCCL, without files.

    It needs a GPU for each side, and the same version of NCCL in both environments. Adapters are merged on the way, one
    layer at a time. The server needs ``VLLM_SERVER_DEV_MODE=1`` and ``--weight-transfer-config``, which an engine that
    starts it sets. The weights of a draw that :class:`~lightning_gft.SelfSource` begins ahead cannot be sent again if
    the server is lost, because no copy of them is kept.

    Args:
        torch_dtype: As in :class:`ReloadSync`.

    Raises:
        ValueError: When the policy is loaded, if this machine has no GPU for CUDA, or the policy's weights have other
            names in its files than in memory.

    Example:
        >>> NCCLSync(torch_dtype="bfloat16").arguments()
        ('--weight-transfer-config', '{"backend":"nccl"}')
    """

    @override
    def check(self, policy: EnginePolicy) -> None:
        if not torch.cuda.is_available():
            raise self._refusal("ReloadSync or AdapterSync", "a machine without CUDA", "sends from a GPU")
        super().check(policy)

    @override
    def open(self, world_size: int) -> Transport:
        return NCCLTransport(world_size)


def _processes(client: Client) -> int:
    """Return the number of a server's processes that hold weights."""
    told = dev_call(client, "/get_world_size", method="GET")
    try:
        return int(told["world_size"])
    except (LookupError, TypeError, ValueError):
        raise ServerFault("a malformed number of processes at /get_world_size", "refused") from None


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which a GPU is the current device of this thread."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

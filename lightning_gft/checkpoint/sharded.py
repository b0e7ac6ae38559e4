"""Checkpoints that every process writes its part of, and that any number of processes can go on from.

A folder holds the parts' tensors as safetensors and, in ``meta.pt``, what is no tensor. Nothing in it is unpickled.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lightning_gft.checkpoint.integrity import FILES, NAMES, TIED, check_parts, check_sums, rank_and_size, settled
from lightning_gft.checkpoint.room import unfinished_name, writing
from lightning_gft.errors import GFTValueError

META = "meta.pt"
"""The file that makes a folder a checkpoint; Lightning's name for it."""

_WEIGHT, _STATE = "weight", "optimizer"

LayoutFn = Callable[[str, torch.Size, torch.dtype], Tensor]
"""What a tensor is read into, by the name of its weight, its whole shape and its data type."""


def is_sharded(path: str | Path) -> bool:
    """Tell whether a path is a checkpoint in parts.

    Args:
        path: Any path of this machine.

    Example:
        >>> is_sharded("/dev")
        False
    """
    return (Path(path) / META).is_file()


def parameter_names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """Return the names of an optimizer's parameters, in its order.

    Args:
        module: Whose parameters they are.
        optimizer: Theirs.
    """
    names = {parameter: name for name, parameter in module.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def write_parts(checkpoint: Mapping[str, Any], module: nn.Module, names: Sequence[Sequence[str]], path: Path) -> None:
    """Write this process's part of a checkpoint. All processes do so together, and the folder appears when it is whole.

    Args:
        checkpoint: Lightning's, of weights and optimizer states that are split.
        module: Whose checkpoint it is.
        names: For each optimizer those of its parameters.
        path: Folder to write; what is there is replaced.
    """
    weights = checkpoint["state_dict"]
    tied = {name: first for name, first in _tied_names(module).items() if name in weights}
    tensors = {f"{_WEIGHT}.{name}": weight for name, weight in weights.items() if name not in tied}
    rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
    rest |= {"optimizer_states": [], NAMES: [list(of_one) for of_one in names], TIED: tied}
    for number, (state, of_one) in enumerate(zip(checkpoint.get("optimizer_states", []), names, strict=False)):
        others: dict[int, dict[str, Any]] = {}
        for index, values in state["state"].items():
            _check_state(of_one[index], values)
            prefix = f"{_STATE}.{number}.{of_one[index]}"
            tensors |= {f"{prefix}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
            others[index] = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
        rest["optimizer_states"].append({**state, "state": others})
    unfinished = Path(_from_first(str(unfinished_name(path))))
    with writing(path):
        try:
            save(tensors, storage_writer=HuggingFaceStorageWriter(str(unfinished), save_distributed=True))
            rest[FILES] = settled(unfinished)
            if rank_and_size()[0] == 0:
                with (unfinished / META).open("wb") as file:
                    torch.save(rest, file)
                    file.flush()
                    os.fsync(file.fileno())
                _put_in_place(unfinished, path)
            _wait()
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # which every process may come to do


def read_parts(path: str | Path, layout: LayoutFn | None = None, optimizers: bool = True) -> dict[str, Any]:
    """Read a checkpoint that was written in parts, by however many processes; each process reads what it needs.

    Args:
        path: Folder.
        layout: What tensors are read into; by default all of each, on the CPU.
        optimizers: Whether to read what optimizers keep, too.

    Returns:
        Lightning's checkpoint.

    Raises:
        ValueError: If parts are missing or were cut short.
    """
    path = Path(path)
    checkpoint: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=True)
    check_parts(path, checkpoint)
    check_sums(path, checkpoint[FILES])
    names, tied, _ = (checkpoint.pop(noted) for noted in (NAMES, TIED, FILES))
    reader = HuggingFaceStorageReader(str(path))
    tensors = {
        key: (layout or _whole)(_weight_name(key), stored.size, stored.properties.dtype)  # type: ignore[union-attr]
        for key, stored in reader.read_metadata().state_dict_metadata.items()
        if optimizers or key.startswith(f"{_WEIGHT}.")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*single process.*")  # as each of several does, for itself
        load(tensors, storage_reader=reader, no_dist=True)
    checkpoint["state_dict"] = {}
    for key, tensor in tensors.items():
        if key.startswith(_WEIGHT):
            checkpoint["state_dict"][_weight_name(key)] = tensor
        else:
            number = int(key.split(".")[1])
            index = names[number].index(_weight_name(key))
            checkpoint["optimizer_states"][number]["state"][index][key.rpartition(".")[2]] = tensor
    weights = checkpoint["state_dict"]
    weights |= {name: weights[first] for name, first in tied.items()}
    return checkpoint


def layout_of(module: nn.Module) -> LayoutFn:
    """Return what tensors are read into where weights are split: the same parts as this process's.

    Args:
        module: Whose weights are split already.
    """
    own = module.state_dict()

    def layout(name: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        weight = own.get(name)
        if isinstance(weight, DTensor) and weight.shape == size:
            return torch.empty_like(weight, dtype=dtype)
        return torch.empty(size, dtype=dtype)

    return layout


def split(checkpoint: dict[str, Any], module: nn.Module, names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a checkpoint of whole tensors with this process's part of each.

    Args:
        checkpoint: Lightning's.
        module: Whose weights are split already.
        names: For each optimizer those of its parameters.
    """
    own = module.state_dict()

    def part(name: str, tensor: Any) -> Any:
        weight = own.get(name)
        if not isinstance(weight, DTensor) or not isinstance(tensor, Tensor) or tensor.shape != weight.shape:
            return tensor
        # From nobody: each process has all of it.
        return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)

    weights = {name: part(name, weight) for name, weight in checkpoint["state_dict"].items()}
    states = [
        {**state, "state": {i: {k: part(of_one[i], v) for k, v in kept.items()} for i, kept in state["state"].items()}}
        for state, of_one in zip(checkpoint.get("optimizer_states", []), names, strict=False)
    ]
    return {**checkpoint, "state_dict": weights, "optimizer_states": states or checkpoint.get("optimizer_states", [])}


def join(values: Any, keep: bool) -> Any:
    """Return containers with whole tensors, on the CPU, in the place of split ones. All processes do so together.

    Args:
        values: A tensor, a container or anything else.
        keep: Whether this process wants the tensors, and not only has to help with them.
    """
    if isinstance(values, DTensor):
        whole = values.full_tensor()
        return whole.cpu() if keep else None
    if isinstance(values, dict):
        return {key: join(value, keep) for key, value in values.items()}
    return [join(value, keep) for value in values] if isinstance(values, list) else values


def join_state(state: Mapping[str, Any], module: nn.Module, keep: bool) -> dict[str, Any]:
    """Return a module's state with whole tensors, as :func:`join` does; tied weights are one tensor, as in the module.

    Args:
        state: The module's, or a part of it.
        module: Whose it is.
        keep: Whether this process wants the tensors.
    """
    tied = {name: first for name, first in _tied_names(module).items() if name in state and first in state}
    joined: dict[str, Any] = join({name: value for name, value in state.items() if name not in tied}, keep)
    return joined | {name: joined[first] for name, first in tied.items()}


def _tied_names(module: nn.Module) -> dict[str, str]:
    """Return for each further name of a weight the first."""
    first = {weight: name for name, weight in module.named_parameters()}
    named = module.named_parameters(remove_duplicate=False)
    return {name: first[weight] for name, weight in named if first[weight] != name}


def _weight_name(key: str) -> str:
    kind, _, rest = key.partition(".")
    return rest if kind == _WEIGHT else rest.partition(".")[2].rpartition(".")[0]


def _whole(_: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(size, dtype=dtype)


def _check_state(name: str, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(key, str) or "." in key or not isinstance(value, Tensor | int | float | bool | str | None):
            raise GFTValueError(
                f"the optimizer keeps {key!r} of {name} as a {type(value).__name__}, which a checkpoint in parts "
                "cannot hold: use torch.optim.AdamW, say, or save_distributed_checkpoint: false of the fsdp2 strategy"
            )


def _put_in_place(unfinished: Path, path: Path) -> None:
    """Let a folder have its name; what had it before keeps it until then."""
    old = path.with_name(f"{path.name}.old")
    _remove(old)
    if path.exists() or path.is_symlink():
        path.replace(old)
    unfinished.replace(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _from_first(text: str) -> str:
    """Return the first process's text, on all of them."""
    texts = [text]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(texts, src=0)
    return texts[0]


def _wait() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()

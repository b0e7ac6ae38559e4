"""Checkpoints that are folders: every rank writes its shards, and any number of ranks can resume from them.

A folder holds the tensors as safetensors and everything else in ``meta.pt``. Nothing in it is unpickled.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from lightning_gft.checkpoint.integrity import FILES, NAMES, TIED, check_shards, check_sums, rank_and_size, sync_shards
from lightning_gft.checkpoint.resharding import LayoutFn, tied_names, whole_layout
from lightning_gft.checkpoint.room import unfinished_name, writing
from lightning_gft.errors import GFTValueError

META = "meta.pt"
"""The file that marks a folder as a checkpoint, by Lightning's name for it."""

_WEIGHT, _STATE = "weight", "optimizer"


def is_sharded(path: str | Path) -> bool:
    """Return whether a path is a folder of shards.

    Args:
        path: Any local path.

    Example:
        >>> is_sharded("/dev")
        False
    """
    return (Path(path) / META).is_file()


def write_shards(checkpoint: Mapping[str, Any], module: nn.Module, names: Sequence[Sequence[str]], path: Path) -> None:
    """Write this rank's shards of a checkpoint. All ranks do so together, and the folder appears when it is complete.

    Args:
        checkpoint: Lightning's checkpoint, with sharded weights and optimizer states.
        module: The module whose state is in it.
        names: The parameters' names of each optimizer, in its order.
        path: Folder to write; an existing one is replaced.

    Raises:
        ValueError: If an optimizer's state holds anything except tensors and plain values.
    """
    tensors, rest = _flattened(checkpoint, names, tied_names(module))
    unfinished = Path(_from_rank_zero(str(unfinished_name(path))))
    with writing(path):
        try:
            save(tensors, storage_writer=HuggingFaceStorageWriter(str(unfinished), save_distributed=True))
            rest[FILES] = sync_shards(unfinished)
            if rank_and_size()[0] == 0:
                with (unfinished / META).open("wb") as file:
                    torch.save(rest, file)
                    file.flush()
                    os.fsync(file.fileno())
                _put_in_place(unfinished, path)
            _barrier()
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # another rank may have removed it


def read_shards(path: str | Path, layout: LayoutFn | None = None, optimizers: bool = True) -> dict[str, Any]:
    """Read a folder of shards that any number of ranks wrote; each rank reads what it needs.

    Args:
        path: Folder of shards.
        layout: Returns the tensors to read into; by default whole tensors on the CPU.
        optimizers: Whether to read the optimizers' states too.

    Returns:
        The checkpoint in Lightning's layout.

    Raises:
        ValueError: If a shard is missing or damaged.
    """
    path = Path(path)
    checkpoint: dict[str, Any] = torch.load(path / META, map_location="cpu", weights_only=True)
    check_shards(path, checkpoint)
    check_sums(path, checkpoint[FILES])
    reader = HuggingFaceStorageReader(str(path))
    tensors = {
        key: (layout or whole_layout)(_weight_name(key), stored.size, stored.properties.dtype)  # type: ignore[union-attr]
        for key, stored in reader.read_metadata().state_dict_metadata.items()
        if optimizers or key.startswith(f"{_WEIGHT}.")
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*single process.*")  # each rank reads by itself
        load(tensors, storage_reader=reader, no_dist=True)
    return _nested(tensors, checkpoint)


def _flattened(
    checkpoint: Mapping[str, Any], names: Sequence[Sequence[str]], tied: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's tensors by flat names, and everything else with the notes that :func:`_nested` needs."""
    weights = checkpoint["state_dict"]
    tied = {name: first for name, first in tied.items() if name in weights}
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
    return tensors, rest


def _nested(tensors: Mapping[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`_flattened`."""
    names, tied, _ = (rest.pop(note) for note in (NAMES, TIED, FILES))
    weights: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key.startswith(f"{_WEIGHT}."):
            weights[_weight_name(key)] = tensor
        else:
            number = int(key.split(".")[1])
            index = names[number].index(_weight_name(key))
            rest["optimizer_states"][number]["state"][index][key.rpartition(".")[2]] = tensor
    return {**rest, "state_dict": weights | {name: weights[first] for name, first in tied.items()}}


def _weight_name(key: str) -> str:
    kind, _, rest = key.partition(".")
    return rest if kind == _WEIGHT else rest.partition(".")[2].rpartition(".")[0]


def _check_state(name: str, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(key, str) or "." in key or not isinstance(value, Tensor | int | float | bool | str | None):
            raise GFTValueError(
                f"`model.optimizer`: expected one whose state is tensors and plain values, got {key!r} of {name} as a "
                f"{type(value).__name__}; use torch.optim.AdamW, or save_distributed_checkpoint: false of FSDP2Strategy"
            )


def _put_in_place(unfinished: Path, path: Path) -> None:
    """Rename the folder that was written; an existing folder keeps its name until then."""
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


def _from_rank_zero(text: str) -> str:
    """Return rank 0's text on all ranks."""
    texts = [text]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(texts, src=0)
    return texts[0]


def _barrier() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()

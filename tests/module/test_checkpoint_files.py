"""Checkpoints on a full disk, and of two runs in one folder."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_gft.checkpoint import AtomicCheckpointIO
from lightning_gft.checkpoint.room import unfinished_name
from lightning_gft.checkpoint.sharded import read_shards, write_shards

CHECKPOINT = {"state_dict": {"weight": torch.zeros(1 << 20)}, "optimizer_states": []}


def write(kind: str, path: Path, checkpoint: dict[str, Any]) -> None:
    if kind == "file":
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    else:
        write_shards(checkpoint, nn.Module(), [], path)


def write_little(kind: str, path: Path) -> None:
    """Write where no file may be larger than a MiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        write(kind, path, CHECKPOINT)
    except OSError as error:
        (path.parent / "told.txt").write_text(str(error))


@pytest.mark.filterwarnings("ignore:.*assuming the intent is to save in a single process")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_leaves_what_was_there(kind: str, tmp_path: Path):
    path = tmp_path / "last.ckpt"
    small = {"state_dict": {"weight": torch.ones(2)}, "optimizer_states": []}
    write(kind, path, small)
    writer = multiprocessing.get_context("fork").Process(target=write_little, args=(kind, path))
    writer.start()
    writer.join(60)
    told = (tmp_path / "told.txt").read_text()
    assert told.startswith(f"cannot write checkpoint {path} (File too large); ")
    assert f" MiB are free in {tmp_path}. Earlier checkpoints are kept" in told
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "told.txt"]
    kept = torch.load(path, weights_only=True) if kind == "file" else read_shards(path)
    assert torch.equal(kept["state_dict"]["weight"], torch.ones(2))


def test_other_errors_are_left_as_they_are(tmp_path: Path):
    class Broken:
        def __reduce__(self) -> Any:
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        AtomicCheckpointIO().save_checkpoint({"part": Broken()}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_what_is_unfinished_has_a_name_of_its_own(tmp_path: Path):
    first, second = (unfinished_name(tmp_path / "last.ckpt") for _ in range(2))
    assert first != second
    assert first.parent == tmp_path
    assert str(os.getpid()) in first.name
    assert first.suffix == ".part"

"""What is written has the permissions of any new file, so that another account can read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

from lightning_gft import LoRA, Policy
from lightning_gft.sources.endpoint.cache import ReplyCache
from lightning_gft.sources.endpoint.replies import Reply
from tests.tiny import tiny_loader


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def permissions(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode)[-3:] for path in folder.rglob("*") if path.is_file()}


def whole(policy: Policy, folder: Path) -> None:
    policy.save_pretrained(folder, "bfloat16")


def plain(policy: Policy, folder: Path) -> None:
    policy.save_plain(folder)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("write", [whole, plain])
@pytest.mark.parametrize("lora", [None, LoRA(r=2)])
def test_weights_follow_the_umask(write: Callable[[Policy, Path], None], lora: LoRA | None, tmp_path: Path):
    folder, loader = tmp_path / "made", tiny_loader()
    loader.lora = lora
    write(loader.load(), folder)
    given = permissions(folder)
    assert sum(name.endswith(".safetensors") for name in given) == 1
    assert set(given.values()) == {"640"}
    assert oct(folder.stat().st_mode)[-3:] == "750"


@pytest.mark.usefixtures("umask")
def test_replies_follow_the_umask(tmp_path: Path):
    ReplyCache(tmp_path).put("a1b2", Reply("2", "", "stop"))
    assert set(permissions(tmp_path).values()) == {"640"}


@pytest.mark.usefixtures("umask")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_shards_of_a_checkpoint_follow_the_umask(tmp_path: Path):
    # The checkpoint leaves this to PyTorch, which does not write by safetensors' own function.
    save({"weight": torch.zeros(3)}, storage_writer=HuggingFaceStorageWriter(str(tmp_path)), no_dist=True)
    assert set(permissions(tmp_path).values()) == {"640"}

"""Folders of shards: any strategy and any number of ranks resumes from what any other has written."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

from lightning_gft import FSDP2Strategy, GFTLoss, LoRA, PretrainedPolicy, SelfSource, TeacherSource
from lightning_gft.callbacks import HuggingFaceExport
from lightning_gft.checkpoint import AtomicCheckpointIO, check_checkpoint
from lightning_gft.checkpoint.__main__ import main as consolidate
from lightning_gft.checkpoint.sharded import is_sharded, read_shards, write_shards
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, double_loader, fit, make_module, weights
from tests.tiny import tiny_policy

STRATEGIES: dict[str, Callable[[], Any]] = {
    "fsdp2": lambda: "fsdp2",
    "fsdp2-one-file": lambda: FSDP2Strategy(save_distributed_checkpoint=False),
    "lightnings": lambda: ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
    "ddp": lambda: "ddp",
}
KINDS: dict[str, Callable[[], LoRA | None]] = {
    "whole": lambda: None,
    "adapters-and-embeddings": lambda: LoRA(r=4, modules_to_save=["lm_head"]),
}
ONE = "one"
SAVED_AT = 2
STEPS = 4


class Save(Callback):
    """Writes a checkpoint after a step."""

    def __init__(self, path: str | None) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self.path is not None and trainer.global_step == SAVED_AT:
            trainer.save_checkpoint(self.path)


def train(rank: int, kind: str, writer: str, save: str | None = None, resume: str | None = None) -> dict[str, Tensor]:
    """Return the weights after all steps, those before the checkpoint included."""
    policy = double_loader()
    policy.lora = KINDS[kind]()
    sources = {"self": SelfSource(2, max_new_tokens=6), "teacher": TeacherSource(4)}
    module = make_module(GFTLoss(), sources, policy, optimizer=partial(AdamW, lr=1e-3))
    several = {} if writer == ONE else {"strategy": STRATEGIES[writer](), "devices": 2}
    data = Rows(ROWS[:2] * STEPS, batch_size=2 if writer == ONE else 1)
    fit(
        module,
        data,
        ckpt_path=resume,
        callbacks=[Save(save)],
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        **several,
    )
    return weights(module)


def export(rank: int, base: str, folder: Path) -> None:
    """Train a policy from a folder with and without adapters, and export each at its end."""
    lora = LoRA(r=4)
    # Under bf16-mixed, blocks are gathered in another data type than embeddings and head.
    for name, settings, merge, precision in (
        ("whole", {}, False, "bf16-mixed"),
        ("adapter", {"lora": lora}, False, "32-true"),
        ("merged", {"lora": lora}, True, "bf16-mixed"),
    ):
        module = make_module(policy=PretrainedPolicy(base, **settings))
        callbacks = [HuggingFaceExport(str(folder / name), merge=merge)]
        arguments = {"strategy": "fsdp2", "devices": 2, "precision": precision, "use_distributed_sampler": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*could not be compared")
            fit(module, Rows(ROWS[:2], batch_size=1), callbacks=callbacks, **arguments)
        trained = weights(module)
        if torch.distributed.get_rank() == 0:
            torch.save(trained, folder / f"{name}.weights")


class Runs:
    """Runs whose checkpoints lie in one folder, each run once.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trained: dict[tuple[str, str], list[dict[str, Tensor]]] = {}

    def written(self, kind: str, writer: str) -> str:
        """Return the checkpoint of an uninterrupted run."""
        self.weights(kind, writer)
        return str(self.folder / f"{kind}-{writer}.ckpt")

    def weights(self, kind: str, writer: str) -> list[dict[str, Tensor]]:
        """Return the weights of an uninterrupted run at its end, on each rank."""
        if (kind, writer) not in self.trained:
            save = str(self.folder / f"{kind}-{writer}.ckpt")
            self.trained[kind, writer] = on_ranks(kind, writer, save)
        return self.trained[kind, writer]

    def resumed(self, kind: str, writer: str, reader: str) -> list[dict[str, Tensor]]:
        """Return the weights of a run that has resumed from the checkpoint of another."""
        return on_ranks(kind, reader, None, self.written(kind, writer))


def on_ranks(kind: str, writer: str, *paths: str | None) -> list[dict[str, Tensor]]:
    return [train(0, kind, ONE, *paths)] if writer == ONE else run_two_processes(train, kind, writer, *paths)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("shards"))


QUICK = {
    *(("whole", "fsdp2"), ("adapters-and-embeddings", "fsdp2"), ("whole", "fsdp2-one-file")),
    *(("whole", "fsdp2", "ddp"), ("adapters-and-embeddings", "ddp", "fsdp2"), ("whole", ONE, "fsdp2")),
}


def cases(*names: Any) -> list[Any]:
    """Return all combinations, those that are not in ``QUICK`` for the slow run."""
    return [pytest.param(*each, marks=() if each in QUICK else pytest.mark.slow) for each in product(*names)]


@pytest.mark.parametrize(("kind", "writer"), cases(KINDS, STRATEGIES))
def test_a_resumed_run_is_the_same_run(kind: str, writer: str, runs: Runs):
    for resumed, uninterrupted in zip(runs.resumed(kind, writer, writer), runs.weights(kind, writer), strict=True):
        torch.testing.assert_close(resumed, uninterrupted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "writer", "reader"), cases(KINDS, ["fsdp2"], ["ddp"]) + cases(KINDS, ["ddp", ONE], ["fsdp2"])
)
def test_another_strategy_resumes(kind: str, writer: str, reader: str, runs: Runs):
    (alone,) = runs.weights(kind, ONE)
    for resumed in runs.resumed(kind, writer, reader):
        torch.testing.assert_close(resumed, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "writer"), cases(KINDS, STRATEGIES))
def test_one_process_resumes(kind: str, writer: str, runs: Runs):
    assert is_sharded(runs.written(kind, writer)) == (writer in ("fsdp2", "lightnings"))
    torch.testing.assert_close(runs.resumed(kind, writer, ONE), runs.weights(kind, ONE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_joined_into_one_file(kind: str, runs: Runs):
    file = runs.folder / f"{kind}-joined.ckpt"
    consolidate([runs.written(kind, "fsdp2"), str(file)])
    resumed = on_ranks(kind, ONE, None, str(file))
    torch.testing.assert_close(resumed, runs.weights(kind, ONE), rtol=0, atol=1e-9)


def test_tied_weights_are_written_once(runs: Runs):
    for writer in ("fsdp2", "fsdp2-one-file"):
        path = Path(runs.written("whole", writer))
        state = (read_shards(path) if path.is_dir() else torch.load(path, weights_only=True))["state_dict"]
        assert (
            state["policy.model.lm_head.weight"].data_ptr() == state["policy.model.transformer.wte.weight"].data_ptr()
        )


def test_what_is_not_trained_is_not_kept(runs: Runs):
    path = Path(runs.written("adapters-and-embeddings", "fsdp2"))
    kept = [name for name in read_shards(path)["state_dict"] if name.startswith("policy.")]
    assert kept
    assert all("lora_" in name or "modules_to_save" in name for name in kept)
    shards = sorted(path.glob("*.safetensors"))
    assert len(shards) == 2
    assert all(shard.stat().st_size > 1000 for shard in shards)


def test_a_shard_with_other_contents_is_refused(runs: Runs, tmp_path: Path):
    path = shutil.copytree(runs.written("whole", "fsdp2"), tmp_path / "copied.ckpt")
    shard = sorted(path.glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-8] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=f"got {shard.name}, damaged"):
        read_shards(path)
    (path / "meta.pt").write_bytes((path / "meta.pt").read_bytes()[:-100])
    with pytest.raises(ValueError, match="expected a checkpoint, got a file that"):
        check_checkpoint(path)


@pytest.mark.parametrize("harm", ["remove", "cut"])
def test_a_shard_that_is_missing_or_cut_is_refused(harm: str, runs: Runs, tmp_path: Path):
    path = shutil.copytree(runs.written("whole", "fsdp2"), tmp_path / "copied.ckpt")
    shard = sorted(path.glob("*.safetensors"))[1]
    check_checkpoint(path)
    if harm == "remove":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(ValueError, match=rf"got {shard.name}, which {'is missing' if harm == 'remove' else 'was cut'}"):
        check_checkpoint(path)
    with pytest.raises(ValueError, match=f"got {shard.name}, which"):
        read_shards(path)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="got a folder that holds no shards of one"):
        check_checkpoint(tmp_path)
    (tmp_path / "meta.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="expected a checkpoint, got a file that"):
        check_checkpoint(tmp_path)


def test_folders_of_other_programs_are_refused(tmp_path: Path):
    torch.save({"state_dict": {}}, tmp_path / "meta.pt")
    with pytest.raises(ValueError, match=r"expected a folder that FSDP2Strategy wrote, got one without "):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize("state", [{"parts": [torch.zeros(2)]}, {"a.b": torch.zeros(2)}, {1: torch.zeros(2)}])
def test_optimizer_states_that_shards_cannot_hold_are_refused(state: dict[Any, Any], tmp_path: Path):
    checkpoint = {"state_dict": {}, "optimizer_states": [{"state": {0: state}, "param_groups": []}]}
    with pytest.raises(
        ValueError, match=r"expected one whose state is tensors and plain values, got .* of weight as a \w+; use"
    ):
        write_shards(checkpoint, torch.nn.Linear(1, 2), [["weight"]], tmp_path / "new.ckpt")
    assert not list(tmp_path.iterdir())


def test_states_stay_with_weights_that_are_offloaded():
    strategy, weight = FSDP2Strategy(cpu_offload=True), torch.nn.Parameter(torch.ones(2))
    strategy.parallel_devices = [torch.device("meta")]  # stands for a GPU
    strategy.optimizers = [AdamW([weight])]
    weight.grad = torch.ones(2)
    strategy.optimizers[0].step()
    strategy.load_optimizer_state_dict({"optimizer_states": [strategy.optimizers[0].state_dict()]})
    assert {value.device.type for value in strategy.optimizers[0].state[weight].values()} == {"cpu"}


def test_joining_refuses_what_it_cannot(runs: Runs, tmp_path: Path):
    for given in ((runs.written("whole", ONE), tmp_path / "new.ckpt"), (runs.written("whole", "fsdp2"), tmp_path)):
        with pytest.raises(SystemExit, match=r"error: .* which (is one file already|exists)"):
            consolidate([str(path) for path in given])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    tiny_policy().save_pretrained(folder / "base")
    run_two_processes(export, str(folder / "base"), folder)
    return folder


def test_whole_policies_are_exported(exported: Path):
    trained = torch.load(exported / "whole.weights", weights_only=True)
    loaded = AutoModelForCausalLM.from_pretrained(exported / "whole")
    torch.testing.assert_close(dict(loaded.named_parameters()), trained, rtol=0, atol=0)


def test_adapters_are_exported(exported: Path):
    trained = torch.load(exported / "adapter.weights", weights_only=True)
    adapter = load_file(exported / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == 28
    for name, weight in adapter.items():
        own = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        torch.testing.assert_close(weight, trained[own], rtol=0, atol=0)


def test_merged_policies_are_exported(exported: Path):
    trained = torch.load(exported / "merged.weights", weights_only=True)
    merged = AutoModelForCausalLM.from_pretrained(exported / "merged").get_parameter(
        "model.layers.0.mlp.up_proj.weight"
    )
    base = AutoModelForCausalLM.from_pretrained(exported / "base").get_parameter("model.layers.0.mlp.up_proj.weight")
    a, b = (trained[f"model.layers.0.mlp.up_proj.lora_{side}.default.weight"] for side in "AB")
    torch.testing.assert_close(merged, base + (32 / 4) * b @ a, rtol=0, atol=1e-6)

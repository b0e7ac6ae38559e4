"""Checkpoints in parts: whoever has written them, with however many processes, any other goes on from them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import partial
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
from lightning_gft.checkpoint.sharded import is_sharded, read_parts, write_parts
from tests.conftest import tiny_policy
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, double_loader, fit, make_module, weights

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


def train(kind: str, writer: str, save: str | None = None, resume: str | None = None) -> dict[str, Tensor]:
    """Return the weights after all steps, begun anew or from a checkpoint."""
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


def export(base: str, folder: Path) -> None:
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


def on_rank(rank: int, folder: Path) -> dict[tuple[str, str, str], dict[str, Tensor]]:
    results = {}
    for kind in KINDS:
        for writer in STRATEGIES:
            results[kind, writer, "uninterrupted"] = train(kind, writer, save=str(folder / f"{kind}-{writer}.ckpt"))
            results[kind, writer, writer] = train(kind, writer, resume=str(folder / f"{kind}-{writer}.ckpt"))
        results[kind, "fsdp2", "ddp"] = train(kind, "ddp", resume=str(folder / f"{kind}-fsdp2.ckpt"))
        results[kind, "ddp", "fsdp2"] = train(kind, "fsdp2", resume=str(folder / f"{kind}-ddp.ckpt"))
        results[kind, ONE, "fsdp2"] = train(kind, "fsdp2", resume=str(folder / f"{kind}-{ONE}.ckpt"))
    export(str(folder / "base"), folder)
    return results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts")
    tiny_policy().save_pretrained(path / "base")
    return path


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {kind: train(kind, ONE, save=str(folder / f"{kind}-{ONE}.ckpt")) for kind in KINDS}


@pytest.fixture(scope="module")
def ranks(folder: Path, alone: Any) -> list[dict[tuple[str, str, str], dict[str, Tensor]]]:
    return run_two_processes(on_rank, folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", STRATEGIES)
def test_a_run_that_goes_on_is_the_same_run(kind: str, writer: str, ranks: Any):
    for rank in ranks:
        torch.testing.assert_close(rank[kind, writer, writer], rank[kind, writer, "uninterrupted"], rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("writer", "reader"), [("fsdp2", "ddp"), ("ddp", "fsdp2"), (ONE, "fsdp2")])
def test_another_strategy_goes_on(kind: str, writer: str, reader: str, ranks: Any, alone: Any):
    for rank in ranks:
        torch.testing.assert_close(rank[kind, writer, reader], alone[kind], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", STRATEGIES)
def test_one_process_goes_on(kind: str, writer: str, folder: Path, ranks: Any, alone: Any):
    path = folder / f"{kind}-{writer}.ckpt"
    assert is_sharded(path) == (writer in ("fsdp2", "lightnings"))
    torch.testing.assert_close(train(kind, ONE, resume=str(path)), alone[kind], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_joined_into_one_file(kind: str, folder: Path, ranks: Any, alone: Any):
    file = folder / f"{kind}-joined.ckpt"
    consolidate([str(folder / f"{kind}-fsdp2.ckpt"), str(file)])
    torch.testing.assert_close(train(kind, ONE, resume=str(file)), alone[kind], rtol=0, atol=1e-9)


def test_what_is_not_trained_is_not_kept(folder: Path, ranks: Any):
    path = folder / "adapters-and-embeddings-fsdp2.ckpt"
    kept = [name for name in read_parts(path)["state_dict"] if name.startswith("policy.")]
    assert kept
    assert all("lora_" in name or "modules_to_save" in name for name in kept)
    parts = sorted(path.glob("*.safetensors"))
    assert len(parts) == 2
    assert all(part.stat().st_size > 1000 for part in parts)


def test_a_part_with_other_contents_is_told(folder: Path, ranks: Any, tmp_path: Path):
    path = shutil.copytree(folder / "whole-fsdp2.ckpt", tmp_path / "copied.ckpt")
    part = sorted(path.glob("*.safetensors"))[1]
    content = bytearray(part.read_bytes())
    content[-8] ^= 1
    part.write_bytes(content)
    with pytest.raises(ValueError, match=f"its part {part.name} is damaged"):
        read_parts(path)
    (path / "meta.pt").write_bytes((path / "meta.pt").read_bytes()[:-100])
    with pytest.raises(ValueError, match="is no checkpoint"):
        check_checkpoint(path)


@pytest.mark.parametrize("harm", ["remove", "cut"])
def test_a_part_that_is_missing_or_cut_is_told(harm: str, folder: Path, ranks: Any, tmp_path: Path):
    path = shutil.copytree(folder / "whole-fsdp2.ckpt", tmp_path / "copied.ckpt")
    part = sorted(path.glob("*.safetensors"))[1]
    check_checkpoint(path)
    if harm == "remove":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-8])
    with pytest.raises(ValueError, match=rf"its part {part.name} {'is missing' if harm == 'remove' else 'was cut'}"):
        check_checkpoint(path)
    with pytest.raises(ValueError, match=f"its part {part.name}"):
        read_parts(path)


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match="is a folder, but no checkpoint in parts"):
        check_checkpoint(tmp_path)
    (tmp_path / "meta.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no checkpoint"):
        check_checkpoint(tmp_path)


def test_folders_of_other_programs_are_told(tmp_path: Path):
    torch.save({"state_dict": {}}, tmp_path / "meta.pt")
    with pytest.raises(ValueError, match=r"notes no .*, so the fsdp2 strategy has not written it"):
        check_checkpoint(tmp_path)


@pytest.mark.parametrize("state", [{"parts": [torch.zeros(2)]}, {"a.b": torch.zeros(2)}, {1: torch.zeros(2)}])
def test_optimizer_states_that_parts_cannot_hold_are_refused(state: dict[Any, Any], tmp_path: Path):
    checkpoint = {"state_dict": {}, "optimizer_states": [{"state": {0: state}, "param_groups": []}]}
    with pytest.raises(ValueError, match=r"the optimizer keeps .* of weight as a \w+, which a checkpoint in parts"):
        write_parts(checkpoint, torch.nn.Linear(1, 2), [["weight"]], tmp_path / "new.ckpt")
    assert not list(tmp_path.iterdir())


def test_states_stay_with_weights_that_are_offloaded():
    strategy, weight = FSDP2Strategy(cpu_offload=True), torch.nn.Parameter(torch.ones(2))
    strategy.parallel_devices = [torch.device("meta")]  # stands for a GPU
    strategy.optimizers = [AdamW([weight])]
    weight.grad = torch.ones(2)
    strategy.optimizers[0].step()
    strategy.load_optimizer_state_dict({"optimizer_states": [strategy.optimizers[0].state_dict()]})
    assert {value.device.type for value in strategy.optimizers[0].state[weight].values()} == {"cpu"}


def test_joining_refuses_what_it_cannot(folder: Path, ranks: Any, capsys: Any):
    for given in ((folder / f"whole-{ONE}.ckpt", folder / "new.ckpt"), (folder / "whole-fsdp2.ckpt", folder / "base")):
        with pytest.raises(SystemExit, match=r"error: .* is (one file already|there already)"):
            consolidate([str(path) for path in given])


def test_whole_policies_are_exported(folder: Path, ranks: Any):
    trained = torch.load(folder / "whole.weights", weights_only=True)
    exported = AutoModelForCausalLM.from_pretrained(folder / "whole")
    torch.testing.assert_close(dict(exported.named_parameters()), trained, rtol=0, atol=0)


def test_adapters_are_exported(folder: Path, ranks: Any):
    trained = torch.load(folder / "adapter.weights", weights_only=True)
    exported = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert len(exported) == 28
    for name, weight in exported.items():
        own = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        torch.testing.assert_close(weight, trained[own], rtol=0, atol=0)


def test_merged_policies_are_exported(folder: Path, ranks: Any):
    trained = torch.load(folder / "merged.weights", weights_only=True)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged").get_parameter("model.layers.0.mlp.up_proj.weight")
    base = AutoModelForCausalLM.from_pretrained(folder / "base").get_parameter("model.layers.0.mlp.up_proj.weight")
    a, b = (trained[f"model.layers.0.mlp.up_proj.lora_{side}.default.weight"] for side in "AB")
    torch.testing.assert_close(merged, base + (32 / 4) * b @ a, rtol=0, atol=1e-6)

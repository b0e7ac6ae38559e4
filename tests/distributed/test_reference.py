"""A reference that is moved on two ranks: each holds its share of it, in memory and in checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from lightning_gft import (
    Evaluation,
    FSDP2Strategy,
    GFTLoss,
    KLPenalty,
    LoRA,
    Policy,
    SamplingParams,
    SelfSource,
    TeacherSource,
)
from lightning_gft.checkpoint import AtomicCheckpointIO
from lightning_gft.checkpoint.__main__ import main as consolidate
from lightning_gft.distributed.sharding import FullySharded
from tests.conftest import quick
from tests.distributed.launch import run_two_processes
from tests.distributed.test_shards import ONE, Save
from tests.module.runs import ROWS, Rows, double_loader, fit, make_module, weights
from tests.module.test_reference import MOVED, MovesReference
from tests.policy.test_adapters import stir
from tests.tiny import tiny_policy

Seen = tuple[dict[str, Tensor], list[float], float]

STRATEGIES: dict[str, Callable[[], Any]] = {
    "fsdp2": lambda: "fsdp2",
    "fsdp2-offloaded": lambda: FSDP2Strategy(reshard_after_forward=False, cpu_offload=True),
    "fsdp2-one-file": lambda: FSDP2Strategy(save_distributed_checkpoint=False),
    "ddp": lambda: "ddp",
}
KINDS = {"whole": None, "adapters": LoRA(r=4, modules_to_save=["ln_f"])}


def train(rank: int, kind: str, ranks: str, save: str | None = None, resume: str | None = None) -> Seen:
    """Return trained weights, each step's divergence from a reference that moves after one, and that in evaluation."""
    policy = double_loader()
    policy.lora = KINDS[kind]
    module = make_module(
        KLPenalty(GFTLoss(), beta=0.5),
        {"self": SelfSource(2, max_new_tokens=6), "teacher": TeacherSource(4)},
        policy,
        optimizer=partial(AdamW, lr=1e-3),
        evaluation=Evaluation(num_samples=2, max_new_tokens=4),
    )
    moves = MovesReference(1)
    several = {} if ranks == ONE else {"strategy": STRATEGIES[ranks](), "devices": 2, "use_distributed_sampler": False}
    trainer = fit(
        module,
        Rows(ROWS[:2] * 4, ROWS[:3], batch_size=2 if ranks == ONE else 1),
        ckpt_path=resume,
        callbacks=[moves, Save(save)],
        plugins=[AtomicCheckpointIO()],
        **several,
    )
    return weights(module), moves.seen, float(trainer.callback_metrics["val/kl"])


def on_ranks(kind: str, ranks: str, *paths: str | None) -> list[Seen]:
    return [train(0, kind, ONE, *paths)] if ranks == ONE else run_two_processes(train, kind, ranks, *paths)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[str, Seen]]:
    """Return a checkpoint after two steps, and what the run that wrote it has seen; each is run once."""
    folder, seen = tmp_path_factory.mktemp("written"), {}

    def run(kind: str, ranks: str) -> tuple[str, Seen]:
        path = str(folder / f"{kind}-{ranks}.ckpt")
        if path not in seen:
            seen[path] = on_ranks(kind, ranks, path)[0]
        return path, seen[path]

    return run


def assert_alike(actual: Seen, expected: Seen, exactly: bool = False) -> None:
    torch.testing.assert_close(actual[0], expected[0], rtol=0, atol=0 if exactly else 1e-9)
    # Figures are means in single precision.
    torch.testing.assert_close(actual[1:], expected[1:], rtol=0 if exactly else 1e-5, atol=0 if exactly else 1e-8)


CASES = [(kind, ranks) for kind in KINDS for ranks in STRATEGIES]


@pytest.mark.parametrize("case", quick(CASES, ("whole", "ddp")))
def test_two_ranks_compare_with_what_one_compares_with(case: tuple[str, str], written: Any):
    (kind, ranks), (_, expected) = case, written(case[0], ONE)
    actual = written(kind, ranks)[1]
    assert expected[1][1] == actual[1][1] == 0
    assert_alike(actual, expected)


RESUMED = [
    *(("whole", "fsdp2", "fsdp2"), ("whole", "fsdp2", "ddp"), ("whole", "fsdp2", ONE), ("whole", ONE, "fsdp2")),
    *(("whole", "ddp", "fsdp2"), ("whole", "fsdp2-one-file", "fsdp2"), ("adapters", "fsdp2", "fsdp2")),
    *(("adapters", "ddp", "fsdp2"), ("whole", "ddp", "ddp"), ("adapters", "fsdp2", ONE)),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", RESUMED)
def test_any_number_of_ranks_resumes_with_it(case: tuple[str, str, str], written: Any):
    kind, writer, reader = case
    path, expected = written(kind, writer)
    for resumed in on_ranks(kind, reader, None, path):
        assert_alike(resumed, (expected[0], expected[1][2:], expected[2]), exactly=writer == reader)


@pytest.mark.slow
def test_shards_of_it_are_joined_into_the_file(written: Any, tmp_path: Path):
    path, expected = written("whole", "fsdp2")
    consolidate([path, str(tmp_path / "one.ckpt")])
    state = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"]
    moved = {name.removeprefix(MOVED): value for name, value in state.items() if name.startswith(MOVED)}
    assert {name: value.shape for name, value in moved.items()} == {
        name: value.shape for name, value in expected[0].items() if name in moved
    }
    (resumed,) = on_ranks("whole", ONE, None, str(tmp_path / "one.ckpt"))
    assert_alike(resumed, (expected[0], expected[1][2:], expected[2]))


def observed(policy: Policy) -> Any:
    """Return what every rank can ask for at the same time: log-probabilities and responses."""
    logits = []
    with policy.sharding.whole(policy.references.acting_model), torch.no_grad():
        logits.append(policy.references.acting_model(torch.arange(6)[None]).logits)
    drawn = policy.generate([[3, 4], [5]], 2, SamplingParams(max_new_tokens=5), 0)
    return logits[0], [[response.token_ids for response in own] for own in drawn]


def move(rank: int, kept_whole: bool) -> dict[str, Any]:
    """Return what a sharded policy says as itself, and as its moved reference, and how that is held."""
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    policy = stir(tiny_policy(keep_reference=True, seed=0))
    policy.sharding = FullySharded(policy, [policy.model, policy.reference_model], mesh)
    seen = {"before": observed(policy)}
    with policy.sharding.whole(*([policy.model] if kept_whole else [])), torch.inference_mode(kept_whole):
        policy.move_reference()
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.1)
    seen["after"] = observed(policy)
    with policy.sharding.whole(*([policy.model] if kept_whole else [])), torch.inference_mode(kept_whole):
        with policy.reference():
            seen["reference"] = observed(policy)
            with policy.as_loaded():
                seen["start"] = observed(policy)
        seen["itself"] = observed(policy)
    held = policy.references.state().values()
    seen["sharded"] = all(isinstance(value, DTensor) for value in held)
    seen["split"] = all(isinstance(weight, DTensor) for weight in policy.parameters())
    seen["local"] = sum(value.to_local().numel() for value in held) / sum(value.numel() for value in held)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kept_whole", [False, True], ids=["", "within-whole"])
def test_shards_change_places_wherever_it_is_entered(kept_whole: bool):
    for seen in run_two_processes(move, kept_whole):
        torch.testing.assert_close(seen["reference"], seen["before"], rtol=0, atol=0)
        torch.testing.assert_close(seen["itself"], seen["after"], rtol=0, atol=0)
        assert not torch.equal(seen["after"][0], seen["before"][0])
        torch.testing.assert_close(seen["start"][0], observed(tiny_policy())[0])
        assert seen["sharded"]
        assert seen["split"]
        assert seen["local"] < 0.6

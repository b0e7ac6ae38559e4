"""Policy gradients against TRL's own losses, computed by its trainer from the same log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from benchmarks.job import write_model
from lightning_gft import CISPOLoss, GroupLoss, GRPOLoss, GSPOLoss
from lightning_gft.types import GroupBatch, Source
from tests import reference
from tests.extending.examples.off_policy_mask import OffPolicyMaskedGRPOLoss
from tests.extending.examples.sapo import SAPOLoss

NUMBER, LONGEST = 24, 8
CASES: dict[str, tuple[dict[str, Any], GroupLoss, float]] = {  # how far ratios stray
    "grpo": ({"loss_type": "grpo"}, GRPOLoss(), 0.4),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, GRPOLoss(epsilon_high=0.28, reduction="token-mean"), 0.4),
    "dr_grpo": (
        {"loss_type": "dr_grpo"},
        GRPOLoss(reduction="constant-length", max_completion_length=LONGEST),
        0.4,
    ),
    "two-sided": ({"loss_type": "grpo", "epsilon_high": 0.28, "delta": 1.5}, GRPOLoss(0.2, 0.28, delta=1.5), 0.4),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 5.0}, CISPOLoss(), 1.5),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        GSPOLoss(),
        3e-3,
    ),
    "sapo": ({"loss_type": "sapo"}, SAPOLoss(), 0.4),
    "off-policy mask": (
        {"loss_type": "grpo", "off_policy_mask_threshold": 0.1},
        OffPolicyMaskedGRPOLoss(threshold=0.1),
        0.4,
    ),
}
MakeTrainer = Callable[..., GRPOTrainer]


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory: pytest.TempPathFactory) -> MakeTrainer:
    model = tmp_path_factory.mktemp("model")
    write_model(model, "minuscule", seed=0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")

    def make(output: Path, **settings: Any) -> GRPOTrainer:
        trainer = GRPOTrainer(
            model=str(model),
            args=GRPOConfig(
                output_dir=str(output),
                report_to="none",
                use_cpu=True,
                bf16=False,
                beta=0.0,
                per_device_train_batch_size=NUMBER,
                num_generations=NUMBER,
                max_completion_length=LONGEST,
                **settings,
            ),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_list([{"prompt": "w1"}]),
            processing_class=tokenizer,
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1  # the training loop would say so
        return trainer

    return make


def own_samples(stray: float) -> tuple[GroupBatch, Tensor, Tensor]:
    groups, logprobs = reference.random_groups(0, sizes=(4, 9, 6, 5), length=LONGEST + 3)
    groups = replace(groups, source=torch.full_like(groups.source, Source.SELF))
    noise = torch.randn(logprobs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return groups, logprobs.requires_grad_(), logprobs.detach() - stray * noise


def theirs(trainer: GRPOTrainer, groups: GroupBatch, logprobs: Tensor, old: Tensor) -> Tensor:
    """Return the loss that TRL's trainer computes, completions beginning in the first column as it has them."""
    mask = torch.arange(LONGEST) < groups.response_lengths[:, None]

    def completions(values: Tensor) -> Tensor:
        return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values[groups.response_mask])

    now = completions(logprobs)
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (now, torch.zeros_like(now), None)
    prompt = torch.ones(len(groups), 1, dtype=torch.long)
    inputs = {
        **{"prompt_ids": prompt, "prompt_mask": prompt, "completion_ids": mask.long(), "completion_mask": mask.long()},
        **{"advantages": groups.advantages, "old_per_token_logps": completions(old)},
        "num_items_in_batch": mask.sum(),
    }
    return trainer.compute_loss(trainer.model, inputs)


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_figures_are_those_of_trl(name: str, make_trainer: MakeTrainer, tmp_path: Path):
    settings, loss, stray = CASES[name]
    groups, logprobs, old = own_samples(stray)
    trainer = make_trainer(tmp_path, **settings)
    expected = theirs(trainer, groups, logprobs, old)
    ours = loss(logprobs, groups, old_logprobs=old)
    gradients = [torch.autograd.grad(value, logprobs)[0] for value in (ours, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)
    assert gradients[1].any(dim=1).sum() > NUMBER // 3
    if name == "cispo":  # of the others the gradient alone is the same
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    tokens = groups.tokens(logprobs[groups.response_mask])
    tokens = replace(tokens, old_logprobs=old[groups.response_mask]).with_sequence_logratio()
    loss.update(tokens, loss.coefficients(tokens))
    logged = trainer._metrics["train"]
    shared = {figure: value.item() for figure, value in loss.compute().items() if figure in logged}
    if name == "two-sided":
        del shared["clip_ratio/region_mean"]  # ours counts what is beyond `delta` too
    assert shared or name == "sapo"  # for which TRL logs nothing
    assert all(value > 0 for value in shared.values())
    assert shared == {figure: pytest.approx(logged[figure][0], rel=1e-5) for figure in shared}

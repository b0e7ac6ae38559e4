"""Policy gradients against TRL: its own losses of the same log-probabilities, and its updates on the same responses."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from benchmarks import ours, peer, update
from benchmarks.harness import StepLog
from benchmarks.job import given_job, model_and_workplace, write_model
from lightning_gft import CISPOLoss, GroupLoss, GRPOLoss, GSPOLoss, KLPenalty
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
    "kl": (
        {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": False},
        KLPenalty(GRPOLoss(), beta=0.1, direction="forward"),
        0.4,
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
                per_device_train_batch_size=NUMBER,
                num_generations=NUMBER,
                max_completion_length=LONGEST,
                **{"beta": 0.0, **settings},
            ),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_list([{"prompt": "w1"}]),
            processing_class=tokenizer,
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1  # the training loop would say so
        return trainer

    return make


def own_samples(stray: float) -> tuple[GroupBatch, Tensor, Tensor, Tensor]:
    """Return groups and the log-probabilities of their tokens: now, before the first update, at the start."""
    groups, logprobs = reference.random_groups(0, sizes=(4, 9, 6, 5), length=LONGEST + 3)
    groups = replace(groups, source=torch.full_like(groups.source, Source.SELF))
    noise = torch.randn((2, *logprobs.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    old, ref = logprobs.detach() - stray * noise
    return groups, logprobs.requires_grad_(), old, ref


def theirs(trainer: GRPOTrainer, groups: GroupBatch, logprobs: Tensor, old: Tensor, ref: Tensor) -> Tensor:
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
        **{"ref_per_token_logps": completions(ref)},
        "num_items_in_batch": mask.sum(),
    }
    return trainer.compute_loss(trainer.model, inputs)


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_figures_are_those_of_trl(name: str, make_trainer: MakeTrainer, tmp_path: Path):
    settings, loss, stray = CASES[name]
    groups, logprobs, old, ref = own_samples(stray)
    trainer = make_trainer(tmp_path, **settings)
    expected = theirs(trainer, groups, logprobs, old, ref)
    ours = loss(logprobs, groups, old_logprobs=old, ref_logprobs=ref)
    gradients = [torch.autograd.grad(value, logprobs)[0] for value in (ours, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)
    assert gradients[1].any(dim=1).sum() > NUMBER // 3
    if name == "cispo":  # of the others the gradient alone is the same
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    mask = groups.response_mask
    tokens = replace(groups.tokens(logprobs[mask]), old_logprobs=old[mask], ref_logprobs=ref[mask])
    tokens = tokens.with_logratios(frozenset({"sequence_logratio"}))
    loss.update(tokens, loss.coefficients(tokens))
    logged = trainer._metrics["train"]
    shared = {figure: value.item() for figure, value in loss.compute().items() if figure in logged}
    if name == "two-sided":
        del shared["clip_ratio/region_mean"]  # ours counts what is beyond `delta` too
    assert shared or name == "sapo"  # for which TRL logs nothing
    assert all(value > 0 for value in shared.values())
    assert shared == {figure: pytest.approx(logged[figure][0], rel=1e-5) for figure in shared}


class Gradients(StepLog):
    """Keeps the gradient of every update."""

    def __init__(self) -> None:
        super().__init__()
        self.of_updates: list[dict[str, torch.Tensor]] = []

    def before_optimizer(self, model: Any) -> None:
        self._keep_gradient, self.gradient = True, {}
        super().before_optimizer(model)
        self.of_updates.append(self.gradient)


class Clipped(Callback):
    """Remembers the share of tokens that were clipped."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.share = float(trainer.callback_metrics["train/clip_ratio/region_mean"])


def test_updates_on_a_batch_have_the_gradients_that_trl_trains_with():
    sizes = {"group_size": 4, "prompt_length": 6, "rows_per_pass": 4, "steps": 1, "warmup": 0}
    options = Namespace(size="minuscule", seed=0, vocab_size=None, device="cpu", **sizes)
    mine, other, clipped = Gradients(), Gradients(), Clipped()
    with model_and_workplace(options) as (model, workplace):
        job = given_job(options, model, workplace, 2, (1, 9))
        job = replace(job, max_grad_norm=None, updates_per_batch=4, learning_rate=5e-3)
        ours.train(job, mine, clipped)
        peer.train(job, other)
    assert clipped.share > 0.1
    assert len(mine.of_updates) == len(other.of_updates) == 4
    same = {"cosine": pytest.approx(1, abs=1e-3), "norm_ratio": pytest.approx(1, abs=1e-2)}
    for gradients in zip(other.of_updates, mine.of_updates, strict=True):
        assert update.similarity(*gradients) == same
    first, *_, last = mine.of_updates
    assert update.similarity(last, first)["cosine"] < 0.9

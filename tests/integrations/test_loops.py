"""Loss, sampler and advantages in loops of other projects: the update is that of the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader

from lightning_gft import GFTLoss, GroupBatch, GroupNormalizedAdvantage, GroupSampler, SelfSource, TeacherSource
from lightning_gft.functional import gft_loss, group_normalized_advantages, label_logprobs
from tests.module.runs import DigitSum, Rows, fit, make_module, make_trainer, weights
from tests.tiny import prompt_batch, tiny_policy

LR = 0.1


def by_loss(groups: GroupBatch, logprobs: Tensor) -> Tensor:
    loss: Tensor = GFTLoss()(logprobs, groups)
    return loss


def by_labels(groups: GroupBatch, logprobs: Tensor) -> Tensor:
    """From what another project has of its own: labels, advantages and sources."""
    advantages = group_normalized_advantages(groups.rewards, groups.group_index)
    loss: Tensor = GFTLoss()(logprobs, GroupBatch.from_labels(groups.labels, advantages, groups.source))
    return loss


def by_function(groups: GroupBatch, logprobs: Tensor) -> Tensor:
    return gft_loss(logprobs, groups.advantages, groups.response_mask, threshold=0.1)  # that of GFTLoss


LOSSES: list[Callable[[GroupBatch, Tensor], Tensor]] = [by_loss, by_labels, by_function]


def logprobs_of(model: Any, groups: GroupBatch) -> Tensor:
    logits = model(input_ids=groups.input_ids, attention_mask=groups.attention_mask).logits
    return label_logprobs(logits, groups.labels)


class Automatic(LightningModule):
    """Trains by Lightning's automatic optimisation."""

    def __init__(self, model: Any, objective: Any) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def training_step(self, groups: GroupBatch, batch_idx: int) -> Tensor:
        loss: Tensor = self.objective(groups, logprobs_of(self.model, groups))
        self.log("loss", loss, batch_size=len(groups))
        return loss

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=LR)


def automatic(model: Any, groups: GroupBatch, objective: Any) -> None:
    make_trainer(max_steps=1).fit(Automatic(model, objective), DataLoader([groups], batch_size=None))  # type: ignore[arg-type]


def bare(model: Any, groups: GroupBatch, objective: Any) -> None:
    objective(groups, logprobs_of(model, groups)).backward()
    SGD(model.parameters(), lr=LR).step()


def fabric(model: Any, groups: GroupBatch, objective: Any) -> None:
    runner = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = runner.setup(model, SGD(model.parameters(), lr=LR))
    (groups,) = runner.setup_dataloaders(DataLoader([groups], batch_size=None))  # type: ignore[arg-type, misc]
    runner.backward(objective(groups, logprobs_of(wrapped, groups)))
    optimizer.step()


@pytest.fixture(scope="module")
def trained() -> tuple[GroupBatch, dict[str, Tensor]]:
    """Groups of demonstrations, and the weights after the module's update on them."""
    module = make_module(sources={"teacher": TeacherSource(4)})
    fit(module)
    return module.sampler.made[0], weights(module)


@pytest.mark.parametrize("objective", LOSSES)
@pytest.mark.parametrize("loop", [automatic, bare, fabric])
def test_an_update_is_that_of_the_module(loop: Any, objective: Any, trained: Any):
    groups, expected = trained
    model = tiny_policy().model
    loop(model, groups, objective)
    updated = {name: weight.detach() for name, weight in model.named_parameters()}
    torch.testing.assert_close(updated, expected, rtol=1e-4, atol=1e-6)


def test_a_sampler_alone_draws_scores_and_compares():
    policy = tiny_policy()
    sampler = GroupSampler(
        {"teacher": TeacherSource(2), "self": SelfSource(3, max_new_tokens=4)},
        {"score": DigitSum()},
        GroupNormalizedAdvantage(),
    )
    texts = {"teacher": [["12", "9"], ["3", "1"]]}
    prompts = prompt_batch(policy.tokenizer, ["1+1=", "5="], demonstrations=texts)
    optimizer, rewards = SGD(policy.parameters(), lr=LR), []
    for step in range(2):
        groups = sampler.sample(prompts, policy, seed=step)
        by_loss(groups, logprobs_of(policy.model, groups)).backward()
        optimizer.step()
        policy.weights_changed()
        rewards.append(groups.rewards)
    assert [len(values) for values in rewards] == [10, 10]
    advantages = group_normalized_advantages(groups.rewards, groups.group_index)
    torch.testing.assert_close(groups.advantages, advantages)
    assert not torch.equal(rewards[0], rewards[1])


def test_labels_of_groups_are_those_of_their_responses(trained: Any):
    groups, _ = trained
    again = GroupBatch.from_labels(groups.labels)
    assert torch.equal(again.response_mask, groups.response_mask)
    assert torch.equal(again.input_ids[again.response_mask], groups.input_ids[groups.response_mask])
    assert again.advantages.tolist() == [1.0] * len(groups)


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (torch.zeros(3), {}, r"`labels`: expected \[N, T\], got \[3\]"),
        (torch.zeros(2, 3), {"advantages": torch.ones(3)}, r"`advantages`: expected \[2\], got \[3\]; give one value"),
        (torch.zeros(2, 3), {"group_index": torch.zeros(2, 3)}, r"`group_index`: expected \[2\], got \[2, 3\]"),
        (torch.zeros(2, 3), {"source": torch.ones(2, 1)}, r"`source`: expected \[2\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(labels: Tensor, given: Any, message: str):
    with pytest.raises(ValueError, match=message):
        GroupBatch.from_labels(labels, **given)


def test_the_fit_of_the_module_begins_with_the_weights_of_the_other_loops(trained: Any):
    groups, expected = trained
    start = {name: weight.detach() for name, weight in tiny_policy().model.named_parameters()}
    assert any(not torch.equal(start[name], value) for name, value in expected.items())
    assert Rows().rows[0]["prompt"] in groups.prompts

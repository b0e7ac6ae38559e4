"""What the updates on one batch of groups have in common is worked out once."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from lightning_gft import (
    DynamicCoefficientRectifier,
    GFTLoss,
    GroupBatch,
    GroupLoss,
    SelfSource,
    TokenBatch,
)
from lightning_gft.policy import Policy
from lightning_gft.types import Need
from tests.module.runs import Passes, Rows, fit, make_module


class CountingRectifier(DynamicCoefficientRectifier):
    """Counts the tokens that it is asked about."""

    num_asked = 0

    def rectify(self, logprobs: Tensor) -> Tensor:
        self.num_asked += logprobs.numel()
        return super().rectify(logprobs)


def trained_tokens(groups: GroupBatch) -> int:
    return int(groups.response_mask[groups.advantages != 0].sum())


@pytest.mark.parametrize("max_tokens", [40, 10_000])
@pytest.mark.parametrize("updates", [1, 3])
def test_every_token_is_rectified_once_an_update(max_tokens: int, updates: int):
    rectifier = CountingRectifier(0.3)
    module = make_module(GFTLoss(rectifier), micro_batch_tokens=max_tokens, updates_per_batch=updates)
    trainer = fit(module, Rows(batch_size=2))
    expected = updates * sum(trained_tokens(groups) for groups in module.sampler.made)
    assert rectifier.num_asked == expected > 0
    assert trainer.callback_metrics["train/rectified_fraction"] > 0


class Needing(GroupLoss):
    """Remembers the tokens that it is asked about; needs all that a run can know."""

    def __init__(self, *needs: Need) -> None:
        super().__init__()
        self.wanted = frozenset(needs)
        self.asked: list[TokenBatch] = []
        self.counted: list[TokenBatch] = []

    def needs(self) -> frozenset[Need]:
        return self.wanted

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        self.asked.append(tokens)
        return tokens.advantages

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        assert torch.equal(coefficients, tokens.advantages)
        self.counted.append(tokens)


@pytest.mark.parametrize("loss", [GFTLoss(), Needing("old_logprobs", "ref_logprobs", "sequence_logratio")])
def test_micro_batches_are_planned_once_for_all_updates(loss: GroupLoss):
    planned: list[int] = []
    plan = Policy.micro_batches

    def counting(self: Policy, sequences: Any, max_tokens: int) -> Any:
        planned.append(len(sequences))
        return plan(self, sequences, max_tokens)

    module = make_module(loss, updates_per_batch=3, micro_batch_tokens=60)
    with patch.object(Policy, "micro_batches", counting):
        trainer = fit(module, Rows(batch_size=2))
    assert trainer.global_step == 6
    assert len(planned) == 2  # batches of groups


def test_what_a_loss_needs_is_known_when_it_is_asked_and_when_it_counts():
    needs: tuple[Need, ...] = ("entropy", "old_logprobs", "ref_logprobs", "sequence_logratio")
    loss, passes = Needing(*needs), Passes()
    fit(make_module(loss, updates_per_batch=2), callbacks=[passes])
    first, second = loss.counted
    assert passes.sizes == [16, 16]  # equal groups too, as nothing may be skipped
    for tokens in (first, second):
        assert all(getattr(tokens, need).isfinite().all() for need in needs)
        assert (tokens.entropy > 0).all()
    torch.testing.assert_close(first.old_logprobs, first.logprobs, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.ref_logprobs, first.logprobs, rtol=0, atol=1e-5)
    torch.testing.assert_close(second.old_logprobs, first.old_logprobs, rtol=0, atol=0)
    assert (second.logprobs - second.old_logprobs).abs().max() > 0.01
    # What was asked about chunk by chunk is what is counted.
    for update, tokens in enumerate((first, second)):
        asked = loss.asked[update]
        torch.testing.assert_close(asked.sequence_logratio, tokens.sequence_logratio, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(asked.entropy, tokens.entropy)


@pytest.mark.parametrize("updates", [1, 3])
def test_old_logprobs_are_those_of_the_first_update_and_cost_no_pass(updates: int):
    loss = Needing("old_logprobs", "sequence_logratio")
    with patch.object(Policy, "score", side_effect=AssertionError("one more forward")):
        fit(make_module(loss, updates_per_batch=updates, evaluation=None, micro_batch_tokens=60))
    size = len(loss.counted) // updates
    passes = [loss.counted[number * size : (number + 1) * size] for number in range(updates)]
    first = torch.cat([tokens.logprobs for tokens in passes[0]])
    for number, counted in enumerate(passes):
        assert torch.equal(torch.cat([tokens.old_logprobs for tokens in counted]), first)
        assert torch.equal(torch.cat([tokens.logprobs for tokens in counted]), first) == (number == 0)
    assert all((tokens.sequence_logratio == 0).all() for tokens in passes[0])


def test_sampling_logprobs_are_known_in_every_update_and_compared_in_the_first():
    loss, own = Needing(), SelfSource(4, max_new_tokens=4)
    trainer = fit(make_module(loss, {"own": own}, updates_per_batch=2))
    first, second = loss.counted
    assert torch.equal(first.sampling_logprobs, second.sampling_logprobs)
    assert (second.logprobs - second.sampling_logprobs).abs().max() > 0.01
    assert trainer.callback_metrics["train/sampling/logprob_difference"] < 1e-4


def test_what_a_loss_does_not_need_is_not_there():
    loss = Needing()
    module = make_module(loss, evaluation=None)
    fit(module)
    [tokens] = loss.asked
    assert tokens.entropy is tokens.old_logprobs is tokens.ref_logprobs is tokens.sequence_logratio is None


def test_a_source_must_give_what_a_teacher_says():
    with pytest.raises(ValueError, match=r"`sampler.sources`: expected one that gives teacher_logprobs, which Needing"):
        make_module(Needing("teacher_logprobs"))


def test_an_unknown_need_is_refused_before_weights_are_loaded():
    module = make_module(Needing("ref_logprob"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`Needing.needs`: expected some of .*ref_logprobs.*, got ref_logprob;"):
        fit(module)
    assert not hasattr(module, "policy")

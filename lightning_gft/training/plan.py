"""What the updates on one batch of groups have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_gft.lm.micro_batch import MicroBatch
from lightning_gft.losses import GroupLoss, check_known
from lightning_gft.phases import phase
from lightning_gft.policy import Policy
from lightning_gft.types import OLD, GroupBatch, LossOutput, Need, TokenBatch

ReduceFn = Callable[[Tensor, str], Tensor]
"""Reduces a value over ranks, by "sum", "mean" or "max"."""


@dataclass(frozen=True)
class StepPlan:
    """The sequences that carry a gradient, laid out once for all updates on them.

    Args:
        micro_batches: As many on every rank.
        tokens: What is known of the ``M`` response tokens; each micro-batch has the numbers of its own.
        normalizer: ``Z`` over all micro-batches and ranks, divided by the number of ranks: strategies average
            gradients over ranks, where the sum is wanted.
        groups: All of the step.
        rows: ``[n]``, those of the groups that run.
        fresh: Whether the policy is still the one that drew the groups, as in the first update.
    """

    micro_batches: list[MicroBatch]
    tokens: TokenBatch
    normalizer: Tensor
    groups: GroupBatch
    rows: Tensor
    fresh: bool = True

    def after_update(self, logprobs: Tensor, needs: frozenset[Need]) -> StepPlan:
        """Return the plan of the next update, which compares with the log-probabilities ``[M]`` of the first.

        Args:
            logprobs: What the update's pass gave.
            needs: What the loss needs; its ratio to the log-probabilities of sampling stays that of the first update.
        """
        tokens = self.tokens
        if self.fresh:
            tokens = replace(tokens, old_logprobs=logprobs).with_logratios(needs & {"sampling_logratio"})
        return replace(self, tokens=tokens, fresh=False)

    def joined(self, passes: Sequence[LossOutput]) -> LossOutput:
        """Return the passes over all micro-batches as one, in the order of the tokens.

        So tokens are counted once an update: counting may wait for a GPU, which should not stop between two passes.

        Args:
            passes: One for each micro-batch.
        """
        index = torch.cat([micro_batch.index for micro_batch in self.micro_batches])

        def in_order(values: list[Tensor]) -> Tensor:
            joined = torch.cat(values)
            return torch.empty_like(joined).index_copy(0, index, joined)

        return LossOutput(
            torch.stack([each.loss for each in passes]).sum(),
            in_order([each.logprobs for each in passes]),
            in_order([each.coefficients for each in passes]),
            in_order([each.entropy for each in passes if each.entropy is not None]),
        )


@phase("update")
def plan_step(
    groups: GroupBatch, loss: GroupLoss, policy: Policy, max_tokens: int, reduce: ReduceFn, world_size: int
) -> StepPlan:
    """Return what the updates on a batch of groups need, with the log-probabilities that the loss compares with.

    Args:
        groups: As sampled.
        loss: Says which sequences take part, and what it needs to know of their tokens.
        policy: As it was when it drew the groups.
        max_tokens: Tokens to run at once.
        reduce: Reduces over ranks.
        world_size: Number of ranks.

    Raises:
        ValueError: If the loss needs what the sources have not given.
        RuntimeError: If the loss needs a reference, and the policy keeps none.
    """
    weights, counts = loss.reduce(groups)
    weights, normalizer = loss.normalize(groups, weights, reduce(counts, "sum"))
    rows = loss.trained(groups).nonzero().squeeze(1)
    chosen = groups.select(rows)
    micro_batches = policy.micro_batches(chosen, max_tokens)
    wanted = int(reduce(torch.tensor(max(len(micro_batches), 1), device=policy.device), "max"))
    micro_batches += [policy.empty_micro_batch() for _ in range(wanted - len(micro_batches))]
    tokens = chosen.tokens(weights=weights[rows])
    check_known(loss, tokens, later={"entropy", "ref_logprobs", *OLD})
    if "ref_logprobs" in loss.needs():
        with policy.reference():
            tokens = replace(tokens, ref_logprobs=policy.score(micro_batches, len(tokens))[0])
    return StepPlan(micro_batches, tokens, normalizer / world_size, groups, rows)

"""The plan that all updates on one batch of groups share."""

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
"""A function that reduces a tensor over ranks by "sum", "mean" or "max"."""


@dataclass(frozen=True)
class StepPlan:
    """The sequences that carry a gradient, split into micro-batches once for all updates on them.

    Args:
        micro_batches: Micro-batches of this rank, the same number on every rank.
        tokens: The ``M`` response tokens with all inputs of the loss; each micro-batch holds the indices of its own.
        normalizer: ``Z`` over all micro-batches and ranks, divided by the number of ranks, because strategies average
            gradients over ranks where the sum is needed.
        groups: All groups of the step, including sequences that are skipped.
        rows: ``[n]``, indices of the sequences in ``groups`` that run through the policy.
        fresh: Whether the policy is unchanged since before the first update on the batch.
    """

    micro_batches: list[MicroBatch]
    tokens: TokenBatch
    normalizer: Tensor
    groups: GroupBatch
    rows: Tensor
    fresh: bool = True

    def after_update(self, logprobs: Tensor, needs: frozenset[Need]) -> StepPlan:
        """Return the plan of the next update, whose ratios compare with the log-probabilities of the first one.

        Args:
            logprobs: ``[M]``, log-probabilities from the first update's forward pass.
            needs: Inputs of the loss. The ratio to the sampling policy keeps its value of the first update.
        """
        tokens = self.tokens
        if self.fresh:
            tokens = replace(tokens, old_logprobs=logprobs).with_logratios(needs & {"sampling_logratio"})
        return replace(self, tokens=tokens, fresh=False)

    def joined(self, passes: Sequence[LossOutput]) -> LossOutput:
        """Return the outputs of all micro-batches as one, in the order of ``tokens``.

        So tokens are counted once per update: counting may synchronise with a GPU, which should not happen between two
        passes.

        Args:
            passes: The output of each micro-batch.
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
    """Return the plan of the updates on a batch of groups, with the log-probabilities that the loss compares with.

    Args:
        groups: The sampled groups of this rank.
        loss: The objective, which selects the sequences and names its inputs.
        policy: The policy, before the first update on the groups.
        max_tokens: Most tokens of a micro-batch.
        reduce: Function that reduces a tensor over ranks.
        world_size: Number of ranks that gradients are averaged over.

    Raises:
        ValueError: If the loss needs an input that the sources did not provide.
        RuntimeError: If the loss needs a reference policy, and the policy does not keep one.
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

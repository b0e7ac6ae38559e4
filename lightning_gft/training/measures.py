"""Measurements of a step's updates, which are made only if the step's row is written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_gft.distributed.sharding import transformer_blocks
from lightning_gft.functional.logprobs import k3_divergence, log_ratio
from lightning_gft.policy import Policy
from lightning_gft.training.plan import ReduceFn
from lightning_gft.types import GroupBatch, Source

BLOCK_NORMS = "grad_norm_by_block/"
UPDATE_NAMES = ("update_ratio", "kl_step", BLOCK_NORMS)
"""Names of the figures; a name that ends in ``/`` is a prefix."""
DIVERGENCE_EACH = 20
"""Least number of steps between two measurements of the divergence, each of which takes two passes of ``_TOKENS``."""
_TOKENS = 256  # tokens of prompts and responses that the divergence of a step is measured on


def norms_by_block(policy: Policy) -> dict[str, Tensor]:
    """Return the gradient norm of each block of a model over the shards of all ranks, by the figure's name.

    Call it on all ranks. Blocks are the embedding (with the head, if they share weights), each transformer block with
    its adapters, the head, and all other weights, such as the last normalisation. Frozen blocks are left out.

    Args:
        policy: The policy, after the backward pass.
    """
    parts = _parts(policy)
    norms = policy.sharding.norms([[weight.grad for weight in weights] for weights in parts.values()])
    return {f"{BLOCK_NORMS}{name}": norm for name, norm in zip(parts, norms, strict=True)}


def _parts(policy: Policy) -> dict[str, list[nn.Parameter]]:
    """Return the trainable weights by the block of the model that they belong to; each belongs to one."""
    model: Any = policy.model
    modules = {
        "embedding": model.get_input_embeddings(),
        **{f"block_{number}": block for number, block in enumerate(transformer_blocks(model))},
        "head": model.get_output_embeddings(),
        "other": policy,
    }
    seen: set[nn.Parameter] = set()
    parts: dict[str, list[nn.Parameter]] = {}
    for name, module in modules.items():
        own = [weight for weight in ([] if module is None else module.parameters()) if weight not in seen]
        seen.update(own)
        if trained := [weight for weight in own if weight.requires_grad]:
            parts[name] = trained
    return parts


class StepDivergence:
    """``KL(before || after)`` of a step's updates, measured on some of its tokens.

    The tokens are those of own samples if the step has any, because on them the mean of Schulman's k3 estimates the
    divergence. Create it and call :meth:`measure` on all ranks, including ranks without responses.

    Args:
        policy: The policy, before the updates.
        groups: Groups of the step.
    """

    def __init__(self, policy: Policy, groups: GroupBatch) -> None:
        chosen = groups.select(_few(groups))
        self._policy = policy
        self._micro_batches = policy.micro_batches(chosen, _TOKENS)
        self._number = int(chosen.response_mask.sum())
        self._before = self._score()

    def measure(self, reduce: ReduceFn) -> Tensor:
        """Return the mean divergence per token over all ranks, in nats; NaN if no rank has a response."""
        k3 = k3_divergence(log_ratio(self._before, self._score()))
        total, number = reduce(torch.stack([k3.sum(), torch.ones_like(k3).sum()]), "sum").unbind()
        mean: Tensor = total / number
        return mean

    def _score(self) -> Tensor:
        return self._policy.score(self._micro_batches, self._number)[0]


def _few(groups: GroupBatch) -> Tensor:
    """Return the indices of sequences with about ``_TOKENS`` tokens in total, spread over the groups."""
    is_own = groups.source == Source.SELF
    rows = (is_own if bool(is_own.any()) else is_own.new_ones(len(groups))).nonzero().squeeze(1)
    if not len(rows):
        return rows
    wanted = _TOKENS / float(groups.lengths[rows].float().mean())
    count = min(max(int(wanted), 1), len(rows))
    return rows[torch.arange(count, device=rows.device) * len(rows) // count]

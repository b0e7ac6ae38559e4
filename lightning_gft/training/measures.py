"""What is measured of the updates of a step whose row is written."""

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
"""Names of the figures; one that ends in ``/`` is the beginning of several."""
DIVERGENCE_EACH = 20
"""Steps from one measurement of the divergence to the next, at least: it takes two passes of ``_TOKENS``."""
_TOKENS = 256  # tokens, prompts too, that the divergence of a step is measured on


def norms_by_block(policy: Policy) -> dict[str, Tensor]:
    """Return the norm of the gradient of each part of a model over the shards of all ranks, by the figure's name.

    All ranks call it together. Parts are the embedding, whose weights the head may share, each transformer block with
    its adapters, the head, and what is left, such as the last normalisation. Parts that do not train are left out.

    Args:
        policy: Has gradients.
    """
    parts = _parts(policy)
    norms = policy.sharding.norms([[weight.grad for weight in weights] for weights in parts.values()])
    return {f"{BLOCK_NORMS}{name}": norm for name, norm in zip(parts, norms, strict=True)}


def _parts(policy: Policy) -> dict[str, list[nn.Parameter]]:
    """Return the weights that train by the part of the model that they are in; a weight has one."""
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
    """KL(before || after) of the updates of a step, on a few of its tokens.

    Those are the policy's own samples where there are some: on them the mean of Schulman's k3 is the divergence. All
    ranks make one together, also one that has no responses, and call :meth:`measure` together.

    Args:
        policy: Before the updates.
        groups: The step's.
    """

    def __init__(self, policy: Policy, groups: GroupBatch) -> None:
        chosen = groups.select(_few(groups))
        self._policy = policy
        self._micro_batches = policy.micro_batches(chosen, _TOKENS)
        self._number = int(chosen.response_mask.sum())
        self._before = self._score()

    def measure(self, reduce: ReduceFn) -> Tensor:
        """Return the divergence a token in nats, over all ranks; NaN where no rank has a response."""
        k3 = k3_divergence(log_ratio(self._before, self._score()))
        total, number = reduce(torch.stack([k3.sum(), torch.ones_like(k3).sum()]), "sum").unbind()
        mean: Tensor = total / number
        return mean

    def _score(self) -> Tensor:
        return self._policy.score(self._micro_batches, self._number)[0]


def _few(groups: GroupBatch) -> Tensor:
    """Return rows of about ``_TOKENS`` tokens in all, spread over the groups."""
    is_own = groups.source == Source.SELF
    rows = (is_own if bool(is_own.any()) else is_own.new_ones(len(groups))).nonzero().squeeze(1)
    if not len(rows):
        return rows
    wanted = _TOKENS / float(groups.lengths[rows].float().mean())
    count = min(max(int(wanted), 1), len(rows))
    return rows[torch.arange(count, device=rows.device) * len(rows) // count]

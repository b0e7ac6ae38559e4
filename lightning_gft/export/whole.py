"""A policy with all of its weights on one rank, to be written."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gft.checkpoint import join_state
from lightning_gft.export.comparison import Comparison, coarsest, probe_logits
from lightning_gft.module import GFTLitModule
from lightning_gft.policy import Policy
from lightning_gft.rollout import TransformersEngine


@dataclass(frozen=True)
class WholePolicy:
    """A policy with all of its weights, and what it says.

    Args:
        comparison: How the export compares with the policy that was trained.
        logits: ``[P, T, V]``, what the policy that was trained says to a few tokens; ``None`` if it could not be run.
        dtype: The coarsest data type that had a part in ``logits``.
    """

    policy: Policy
    comparison: Comparison
    logits: Tensor | None
    dtype: torch.dtype


def whole_policy(module: GFTLitModule, is_first: bool = True) -> WholePolicy | None:
    """Return a module's policy with all of its weights, on rank 0; all ranks ask for it together.

    Where weights are split, rank 0 loads the policy anew and copies into it what was trained.

    Args:
        is_first: Whether this is rank 0; the others get ``None``.
    """
    policy, comparison = module.policy, Comparison()
    is_split = policy.sharding.is_split
    with policy.sharding.whole(policy.model):
        dtype = coarsest(policy.model)
        # Blocks may be gathered in half precision though embeddings and head are not: autocast casts between them.
        autocast = dtype if is_split and dtype.itemsize < torch.float32.itemsize else None
        logits = comparison.attempt(probe_logits, policy.model, policy.device, autocast)
    if is_split:
        state = module.state_dict()
        module.run.frozen.take_out(state, module)
        joined = join_state(state, module, keep=is_first)
        if is_first:
            trained = {name.removeprefix("policy."): weight for name, weight in joined.items()}
            policy = module.policy_loader.load()
            policy.engine = TransformersEngine()  # the run's need not know of these weights
            for name, weight in policy.named_parameters():  # data types that the trainer's precision has set
                if name in trained and weight.requires_grad:
                    weight.data = weight.data.to(trained[name].dtype)
            policy.load_state_dict(trained, strict=False)
    return WholePolicy(policy, comparison, logits, dtype) if is_first else None

"""A policy with unsharded weights on one rank, ready to be written."""

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
    """A policy with unsharded weights, and the logits of the trained policy.

    Args:
        comparison: Comparison of the export with the trained policy.
        logits: ``[P, T, V]``, the trained policy's logits of a few tokens; ``None`` if it could not be run.
        dtype: The least precise data type that was used to compute ``logits``.
    """

    policy: Policy
    comparison: Comparison
    logits: Tensor | None
    dtype: torch.dtype


def whole_policy(module: GFTLitModule, is_first: bool = True) -> WholePolicy | None:
    """Return a module's policy with unsharded weights on rank 0. All ranks must call this together.

    If weights are sharded, rank 0 loads the policy again and copies the trained weights into it.

    Args:
        is_first: Whether this is rank 0; other ranks get ``None``.
    """
    policy, comparison = module.policy, Comparison()
    is_split = policy.sharding.is_split
    with policy.sharding.whole(policy.model):
        dtype = coarsest(policy.model)
        # FSDP may gather blocks, but not embeddings and head, in half precision: autocast casts between them.
        autocast = dtype if is_split and dtype.itemsize < torch.float32.itemsize else None
        logits = comparison.attempt(probe_logits, policy.model, policy.device, autocast)
    if is_split:
        state = module.state_dict()
        module.run.frozen.take_out(state, module)
        joined = join_state(state, module, keep=is_first)
        if is_first:
            trained = {name.removeprefix("policy."): weight for name, weight in joined.items()}
            policy = module.policy_loader.load()
            policy.engine = TransformersEngine()  # the run's engine keeps its own weights
            for name, weight in policy.named_parameters():  # the trainer's precision may have changed data types
                if name in trained and weight.requires_grad:
                    weight.data = weight.data.to(trained[name].dtype)
            policy.load_state_dict(trained, strict=False)
    return WholePolicy(policy, comparison, logits, dtype) if is_first else None

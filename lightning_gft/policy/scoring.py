"""From a batch of groups to loss and log-probabilities: one pass of the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.functional import floor_logprobs, linear_logprob_loss, token_entropy, token_logprobs
from lightning_gft.functional.linear_head import LinearHead
from lightning_gft.functional.linear_logprob import ChunkCoefficientsFn
from lightning_gft.policy.heads import head_operands, output_projection
from lightning_gft.types import GroupBatch, LossOutput


def score(
    model: PreTrainedModel,
    head: LinearHead | None,
    groups: GroupBatch,
    coefficients: ChunkCoefficientsFn,
    entropy: bool,
) -> LossOutput:
    """Return ``-sum_t c_t * log p_t`` over the response tokens of ``groups``.

    Args:
        model: The language model.
        head: Its head, fused with the loss; ``None`` goes through the model's own logits.
        groups: The sequences.
        coefficients: See :func:`~lightning_gft.functional.linear_logprob_loss`.
        entropy: Whether to return entropies.
    """
    # The state at t - 1 predicts token t: shift the mask by one and only response tokens reach the head.
    mask, targets = groups.response_mask[:, 1:], groups.input_ids[:, 1:][groups.response_mask[:, 1:]]
    inputs = {"input_ids": groups.input_ids, "attention_mask": groups.attention_mask.long(), "use_cache": False}
    if head is None:
        logits = model(**inputs).logits[:, :-1][mask]
        return _plain_loss(logits, targets, coefficients, entropy)
    projection = output_projection(model)
    assert isinstance(projection, nn.Linear)  # noqa: S101 (else no head would have been found)
    states = model.base_model(**inputs).last_hidden_state[:, :-1][mask]
    with head_operands(projection, states) as (hidden, weight, bias):
        loss, logprobs, entropies = linear_logprob_loss(
            hidden,
            weight,
            targets,
            coefficients,
            bias=bias,
            softcap=head.softcap,
            logit_scale=head.logit_scale,
            entropy=entropy,
        )
    return LossOutput(loss, logprobs, entropies)


def _plain_loss(logits: Tensor, targets: Tensor, coefficients: ChunkCoefficientsFn, entropy: bool) -> LossOutput:
    logprobs = token_logprobs(logits, targets)
    detached = logprobs.detach()
    scale = coefficients(detached, slice(0, len(targets))).to(logprobs.dtype)
    loss = -torch.where(scale == 0, 0.0, scale * floor_logprobs(logprobs)).sum()
    return LossOutput(loss, detached, token_entropy(logits.detach()) if entropy else None)

"""From a batch of groups to loss and log-probabilities: one pass of the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.functional import floor_logprobs, linear_logprob_loss, token_entropy, token_logprobs
from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.head.linear_logprob import ChunkCoefficientsFn
from lightning_gft.lm.attention import RedirectionError, attention_name, no_mask, redirect_attention
from lightning_gft.lm.heads import head_operands, output_projection
from lightning_gft.lm.packing import Pack, PackedAttention, pack
from lightning_gft.types import GroupBatch, LossOutput


def score(
    model: PreTrainedModel,
    head: LinearHead | None,
    groups: GroupBatch,
    coefficients: ChunkCoefficientsFn,
    entropy: bool,
    packed: bool,
) -> LossOutput:
    """Return ``-sum_t c_t * log p_t`` over the response tokens of ``groups``.

    Args:
        model: The language model.
        head: Its head, fused with the loss; ``None`` goes through the model's own logits.
        groups: The sequences.
        coefficients: See :func:`~lightning_gft.functional.linear_logprob_loss`.
        entropy: Whether to return entropies.
        packed: Whether to put the sequences into one row, without padding, in which they share what they begin with.
    """
    targets = groups.input_ids[:, 1:][groups.response_mask[:, 1:]]
    states = packed_states(model, head, pack(groups)) if packed else padded_states(model, head, groups)
    if head is None:
        return _plain_loss(states, targets, coefficients, entropy)
    projection = output_projection(model)
    assert isinstance(projection, nn.Linear)  # noqa: S101 (else no head would have been found)
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


def padded_states(model: PreTrainedModel, head: LinearHead | None, groups: GroupBatch) -> Tensor:
    """Run padded sequences and return what the response tokens are predicted from.

    Args:
        model: The language model.
        head: Its head, where that is fused with the loss.
        groups: ``N`` sequences.

    Returns:
        Hidden states ``[M, H]``, or logits ``[M, V]`` where no head is fused. What is at ``t - 1`` predicts token
        ``t``, and only what predicts response tokens is needed.
    """
    body, output = _body(model, head)
    result = body(input_ids=groups.input_ids, attention_mask=groups.attention_mask.long(), use_cache=False)
    states: Tensor = getattr(result, output)[:, :-1][groups.response_mask[:, 1:]]
    return states


def packed_states(model: PreTrainedModel, head: LinearHead | None, packing: Pack) -> Tensor:
    """Run a pack and return what the response tokens are predicted from, as :func:`padded_states` does.

    Args:
        model: The language model.
        head: Its head, where that is fused with the loss.
        packing: A row of ``S`` tokens.

    Raises:
        RedirectionError: If its attention function is one that cannot be redirected.
    """
    if not redirect_attention(model):
        raise RedirectionError(
            f"attn_implementation={attention_name(model)!r} knows no packs; choose it before the policy is made"
        )
    body, output = _body(model, head)
    result = body(
        input_ids=packing.input_ids,
        position_ids=packing.position_ids,
        attention_mask=no_mask(packing.input_ids.device),
        attending=PackedAttention(packing),
        use_cache=False,
    )
    states: Tensor = getattr(result, output).squeeze(0).index_select(0, packing.predictors)
    return states


def _body(model: PreTrainedModel, head: LinearHead | None) -> tuple[nn.Module, str]:
    """Return what to run, and the name of what to take of its output."""
    return (model, "logits") if head is None else (model.base_model, "last_hidden_state")


def _plain_loss(logits: Tensor, targets: Tensor, coefficients: ChunkCoefficientsFn, entropy: bool) -> LossOutput:
    logprobs = token_logprobs(logits, targets)
    detached = logprobs.detach()
    scale = coefficients(detached, slice(0, len(targets))).to(logprobs.dtype)
    loss = -torch.where(scale == 0, 0.0, scale * floor_logprobs(logprobs)).sum()
    return LossOutput(loss, detached, token_entropy(logits.detach()) if entropy else None)

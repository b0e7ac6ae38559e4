"""From a batch of groups to loss and log-probabilities: one pass of the language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.functional import floor_logprobs, linear_logprob_loss, token_entropy, token_logprobs
from lightning_gft.functional.linear_head import LinearHead
from lightning_gft.functional.linear_logprob import ChunkCoefficientsFn
from lightning_gft.packing import Pack, pack
from lightning_gft.policy.heads import head_operands, output_projection
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
        packed: Whether to put the sequences into one row, without padding and with one copy of a group's prompt.
    """
    targets = groups.input_ids[:, 1:][groups.response_mask[:, 1:]]
    body, output = (model, "logits") if head is None else (model.base_model, "last_hidden_state")
    states = packed_run(body, pack(groups), output) if packed else padded_run(body, groups, output)
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


def padded_run(body: nn.Module, groups: GroupBatch, output: str) -> Tensor:
    """Run padded sequences and return what the response tokens are predicted from.

    Args:
        body: The model, or what it has below its head.
        groups: ``N`` sequences.
        output: Name of what to take, ``[N, T, H]``.

    Returns:
        ``[M, H]``: the state at ``t - 1`` predicts token ``t``, and only those of response tokens are needed.
    """
    result = body(input_ids=groups.input_ids, attention_mask=groups.attention_mask.long(), use_cache=False)
    states: Tensor = getattr(result, output)[:, :-1][groups.response_mask[:, 1:]]
    return states


def packed_run(body: nn.Module, packing: Pack, output: str) -> Tensor:
    """Run a pack and return what the response tokens are predicted from.

    Args:
        body: The model, or what it has below its head.
        packing: A row of ``S`` tokens.
        output: Name of what to take, ``[1, S, H]``.

    Returns:
        ``[M, H]``.
    """
    result = body(
        input_ids=packing.input_ids,
        position_ids=packing.position_ids,
        # One that is four-dimensional is passed on as it is, where another would be made, as large as S * S.
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=packing.input_ids.device),
        packing=packing,
        use_cache=False,
    )
    states: Tensor = getattr(result, output).squeeze(0).index_select(0, packing.predictors)
    return states


def _plain_loss(logits: Tensor, targets: Tensor, coefficients: ChunkCoefficientsFn, entropy: bool) -> LossOutput:
    logprobs = token_logprobs(logits, targets)
    detached = logprobs.detach()
    scale = coefficients(detached, slice(0, len(targets))).to(logprobs.dtype)
    loss = -torch.where(scale == 0, 0.0, scale * floor_logprobs(logprobs)).sum()
    return LossOutput(loss, detached, token_entropy(logits.detach()) if entropy else None)

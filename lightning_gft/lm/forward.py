"""From a micro-batch to loss and log-probabilities: one pass of the language model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lightning_gft.functional import token_entropy, token_logprobs
from lightning_gft.functional.head.linear_head import LinearHead
from lightning_gft.functional.head.linear_logprob import ChunkCoefficientsFn, check_coefficients, head_loss
from lightning_gft.functional.losses import weighted_nll
from lightning_gft.lm.heads import head_operands, output_projection
from lightning_gft.lm.micro_batch import MicroBatch
from lightning_gft.types import LossOutput, Need, TokenObjective

Losses = tuple[Tensor, Tensor, Tensor | None]
"""Scalar loss, log-probabilities ``[m]`` and, if requested, entropies ``[m]``."""


def forward(
    model: PreTrainedModel, head: LinearHead | None, micro_batch: MicroBatch, objective: TokenObjective, entropy: bool
) -> LossOutput:
    """Run a model once and return the loss of an objective, which computes the coefficient of each token once.

    Without a ``head`` to fuse the loss with, the loss is taken from the model's own logits.
    """
    states = micro_batch.states(model, head)
    tokens = objective.tokens
    if missing := _missing_logratios(objective):
        with torch.no_grad():
            _, logprobs, _ = _loss(model, head, states.detach(), micro_batch.targets, _no_coefficients)
        tokens = replace(tokens, logprobs=logprobs).with_logratios(missing)
    with_entropy = "entropy" in objective.needs
    given: list[Tensor] = []

    def scaled(logprobs: Tensor, entropies: Tensor | None, index: slice) -> Tensor:
        chunk = tokens[index].after_pass(logprobs, entropies if with_entropy else None, objective.needs)
        coefficients = objective.coefficients(chunk)
        check_coefficients(coefficients, len(chunk))
        given.append(coefficients.detach())
        return chunk.weights * given[-1] / objective.normalizer

    loss, logprobs, entropies = _loss(model, head, states, micro_batch.targets, scaled, entropy or with_entropy)
    return LossOutput(loss, logprobs, torch.cat(given) if given else torch.zeros_like(logprobs), entropies)


def score(model: PreTrainedModel, head: LinearHead | None, micro_batch: MicroBatch) -> tuple[Tensor, Tensor]:
    """Run a model once and return log-probabilities ``[m]`` and entropies ``[m]``, without gradient."""
    with torch.no_grad():
        states = micro_batch.states(model, head)
        _, logprobs, entropies = _loss(model, head, states, micro_batch.targets, _no_coefficients, entropy=True)
    assert entropies is not None  # noqa: S101 (requested above)
    return logprobs, entropies


def _missing_logratios(objective: TokenObjective) -> frozenset[Need]:
    """Return the log-ratios of whole responses that a loss needs, and that only a pass of the head can tell.

    In the first update on a batch all ratios to the old log-probabilities are 1. In later ones the old are known, and
    with them the ratio to those of sampling.
    """
    tokens = objective.tokens
    known = tokens.sampling_logratio is not None or tokens.sampling_logprobs is None
    later = tokens.old_logprobs is not None
    missing = {"sequence_logratio": later, "sampling_logratio": not known}
    return frozenset(need for need in objective.needs if missing.get(need))


def _loss(
    model: PreTrainedModel,
    head: LinearHead | None,
    states: Tensor,
    targets: Tensor,
    coefficients: ChunkCoefficientsFn,
    entropy: bool = False,
) -> Losses:
    if head is None:
        return _loss_of_logits(states, targets, coefficients, entropy)
    projection = output_projection(model)
    assert isinstance(projection, nn.Linear)  # noqa: S101 (otherwise there would be no head)
    with head_operands(projection, states) as (hidden, weight, bias):
        return head_loss(hidden, weight, bias, targets, coefficients, head, entropy)


def _loss_of_logits(logits: Tensor, targets: Tensor, coefficients: ChunkCoefficientsFn, entropy: bool) -> Losses:
    logprobs = token_logprobs(logits, targets)
    entropies = token_entropy(logits.detach()) if entropy else None
    scale = coefficients(logprobs.detach(), entropies, slice(0, len(targets)))
    return weighted_nll(logprobs, scale), logprobs.detach(), entropies


def _no_coefficients(logprobs: Tensor, _: Tensor | None, __: slice) -> Tensor:
    return torch.zeros_like(logprobs)

"""What an objective is: a detached coefficient per token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Set
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor, nn

from lightning_gft.checks import check_choice
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.functional import Reduction, masked_loss, reduction_weights, widen
from lightning_gft.functional.head.linear_logprob import check_coefficients
from lightning_gft.functional.reductions import check_length
from lightning_gft.parts import Part
from lightning_gft.types import GroupBatch, Need, TokenBatch, TokenObjective


class GroupLoss(Part, nn.Module, ABC):
    """The objective ``-(1 / Z) * sum_t c_t * log p_t`` with coefficients that carry no gradient.

    A subclass gives :meth:`coefficients` and, where they are not the rule, :meth:`takes_part`, :meth:`can_skip` and
    :meth:`needs`. To log figures of its own it counts in :meth:`update` and returns them from :meth:`compute`; both
    are empty here. Inside :class:`~lightning_gft.GFTLitModule` the policy's fused head asks for coefficients chunk by
    chunk; :meth:`forward` does the same for log-probabilities that you have.

    Args:
        reduction: What ``Z`` counts, see :func:`~lightning_gft.functional.reduction_weights`.
        max_completion_length: Divides each response with ``reduction="constant-length"``.

    Raises:
        ValueError: If ``reduction`` is unknown, or the length does not go with it.
    """

    def __init__(self, reduction: Reduction = "token-mean", max_completion_length: int | None = None) -> None:
        super().__init__()
        check_choice("reduction", reduction, get_args(Reduction))
        self.reduction: Reduction = reduction
        check_length(reduction, max_completion_length)
        self.max_completion_length = max_completion_length

    @abstractmethod
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        """Return detached coefficients ``[m]`` of ``m`` tokens, elementwise: pure, it counts and changes nothing."""

    def takes_part(self, groups: GroupBatch) -> Tensor:
        """Return ``[N]``, true for sequences that are in the sum and in ``Z``; by default all."""
        return torch.ones_like(groups.source, dtype=torch.bool)

    def can_skip(self, groups: GroupBatch) -> Tensor:
        """Return ``[N]``, true where all coefficients are certainly 0, so that the policy need not run; none here."""
        return torch.zeros_like(groups.source, dtype=torch.bool)

    def needs(self) -> frozenset[Need]:
        """Return what the coefficients depend on beside log-probabilities and source; what is not named is ``None``.

        ``"advantages"`` are always there; naming them lets a run refuse groups that are too small for them.
        """
        return frozenset()

    def check_group(self, num_responses: int, num_own: int) -> None:
        """Refuse groups that the loss cannot learn from, before a run begins; by default none.

        Args:
            num_responses: Responses of a group where no demonstration is missing.
            num_own: Those of them that are the policy's own samples.

        Raises:
            ValueError: In one line, with the option or the source to change.
        """

    def update_groups(self, groups: GroupBatch) -> None:
        """Count the groups of a step, once, before the first update on them."""

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        """Count the tokens of an update, once, before :meth:`step`.

        Args:
            tokens: All ``m`` tokens, as :meth:`coefficients` got them chunk by chunk.
            coefficients: ``[m]``, what it returned.
        """

    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        """Return ``[m]`` what the loss makes of each token's weight ``1 / p`` beside its advantage.

        1 leaves the weight of maximum likelihood, as in SFT. Figures, tables and reports compare with that. By default
        coefficients are divided by the advantage where the loss needs it.

        Args:
            tokens: All ``m`` tokens of an update.
            coefficients: ``[m]``, of :meth:`coefficients`; with an advantage of 0 the factor is NaN, as not known.
        """
        # A * 1 / A is exactly 1.
        return coefficients / tokens.advantages if "advantages" in self.needs() else coefficients

    def step(self) -> None:
        """Adapt after an optimizer step, on every rank; not after an update that was skipped."""

    def shares(self, groups: GroupBatch) -> list[Tensor]:
        """Return masks ``[N]``, which split the sequences into shares that each have their own ``Z``; one here."""
        return [torch.ones_like(groups.source, dtype=torch.bool)]

    def reduce(self, groups: GroupBatch) -> tuple[Tensor, Tensor]:
        """Return each sequence's weight ``[N]`` and this batch's part of each share's ``Z`` ``[S]``, to be added up."""
        mask, dtype = groups.response_mask & self._taken(groups)[:, None], widen(groups.advantages).dtype
        weights, counts = torch.zeros_like(groups.advantages, dtype=dtype), list[Tensor]()
        for share in self.shares(groups):
            of_share, count = reduction_weights(
                mask & share[:, None], self.reduction, groups.group_index, dtype, self.max_completion_length
            )
            weights, counts = weights + of_share, [*counts, count]
        return weights, torch.stack(counts)

    def normalize(self, groups: GroupBatch, weights: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights ``[N]`` under one common ``Z``, and that.

        Args:
            groups: As :meth:`reduce` got them.
            weights: ``[N]``, from there.
            counts: ``[S]``, from there, added up over all that is averaged over.
        """
        counts = counts.clamp(min=1)
        for share, count in zip(self.shares(groups)[1:], counts[1:], strict=True):
            weights = torch.where(share, weights * (counts[0] / count), weights)
        return weights, counts[0]

    def trained(self, groups: GroupBatch) -> Tensor:
        """Return ``[N]``, true for sequences that may carry a gradient: only these run through the policy."""
        skipped = _one_a_sequence(f"{type(self).__name__}.can_skip", self.can_skip(groups), groups)
        return self._taken(groups) & groups.response_mask.any(dim=1) & ~skipped

    def _taken(self, groups: GroupBatch) -> Tensor:
        taken = _one_a_sequence(f"{type(self).__name__}.takes_part", self.takes_part(groups), groups)
        return taken if groups.set_aside is None else taken & ~groups.set_aside

    def objective(self, tokens: TokenBatch, normalizer: Tensor | float) -> TokenObjective:
        """Return what the policy needs to train on tokens.

        Args:
            tokens: Those of one micro-batch.
            normalizer: Scalar ``Z``.
        """
        return TokenObjective(self.coefficients, tokens, normalizer, self.needs())

    def forward(self, logprobs: Tensor, groups: GroupBatch, **known: Tensor) -> Tensor:
        """Return the scalar loss of log-probabilities that you have computed yourself.

        Args:
            logprobs: ``[N, T]`` with gradient, aligned with ``groups.input_ids``.
            groups: The sequences.
            known: What the loss needs beside, ``[N, T]`` by its name in :class:`~lightning_gft.TokenBatch`.

        Raises:
            ValueError: If the loss needs something that is not given, or gives coefficients of another shape.
        """
        logprobs = widen(logprobs)
        weights, normalizer = self.normalize(groups, *self.reduce(groups))
        mask = groups.response_mask & self._taken(groups)[:, None]
        tokens = replace(groups, response_mask=mask).tokens(logprobs.detach()[mask], weights)
        tokens = replace(tokens, **{name: value.detach()[mask] for name, value in known.items()})
        tokens = tokens.with_logratios(self.needs())
        check_known(self, tokens)
        coefficients = torch.zeros_like(logprobs)
        coefficients[mask] = check_coefficients(self.coefficients(tokens), len(tokens)).to(logprobs.dtype)
        return masked_loss(logprobs, coefficients, mask, weights, normalizer)


def check_known(loss: GroupLoss, tokens: TokenBatch, later: Collection[Need] = ()) -> None:
    """Refuse tokens of which something is not known that a loss needs.

    Args:
        loss: Says what it needs.
        tokens: About to be handed to it.
        later: What comes about only while the policy runs.

    Raises:
        ValueError: With the names of what is missing, or of what no token has.
    """
    if not isinstance(loss.needs(), Set):
        raise GFTTypeError(
            f"`{type(loss).__name__}.needs`: expected a set of names, got {loss.needs()!r}; return a frozenset"
        )
    if unknown := sorted(loss.needs() - set(get_args(Need))):
        raise GFTValueError(
            f"`{type(loss).__name__}.needs`: expected some of {', '.join(get_args(Need))}, got {', '.join(unknown)}; "
            "use these names"
        )
    missing = sorted(name for name in loss.needs() - set(later) if getattr(tokens, name) is None)
    if missing:
        raise GFTValueError(
            f"`{type(loss).__name__}`: expected tokens with {', '.join(missing)}, got None; give them as [N, T] by "
            "these names, or let the source that drew the responses give them"
        )


def _one_a_sequence(where: str, chosen: Tensor, groups: GroupBatch) -> Tensor:
    shape, dtype = getattr(chosen, "shape", None), getattr(chosen, "dtype", type(chosen).__name__)
    if shape != groups.source.shape or dtype != torch.bool:
        raise GFTValueError(
            f"`{where}`: expected a tensor [{len(groups)}] of booleans, got {dtype} of shape {shape and list(shape)}; "
            "return one for each sequence"
        )
    return chosen

"""The base class of objectives: a detached coefficient per token."""

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
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch, TokenObjective


class GroupLoss(Part, nn.Module, ABC):
    """The objective ``-(1 / Z) * sum_t c_t * log p_t`` with coefficients that carry no gradient.

    A subclass implements :meth:`coefficients`, and overrides :meth:`trains_on`, :meth:`takes_part`, :meth:`can_skip`
    and :meth:`needs` where their defaults do not fit. To log figures of its own, it accumulates them in :meth:`update`
    and returns them from :meth:`compute`; both do nothing by default. Inside :class:`~lightning_gft.GFTLitModule` the
    policy's fused head calls :meth:`coefficients` chunk by chunk. Outside of it, :meth:`forward` computes the loss from
    log-probabilities that you provide.

    Args:
        reduction: How the sum over tokens becomes a mean: it sets the weight of a sequence and what ``Z`` counts, see
            :func:`~lightning_gft.functional.reduction_weights`.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.

    Raises:
        ValueError: If ``reduction`` is unknown, or if another one than ``"constant-length"`` has a
            ``max_completion_length``.
    """

    def __init__(self, reduction: Reduction = "token-mean", max_completion_length: int | None = None) -> None:
        super().__init__()
        check_choice("reduction", reduction, get_args(Reduction))
        self.reduction: Reduction = reduction
        if max_completion_length is not None:
            check_length(reduction, max_completion_length)
        self.max_completion_length = max_completion_length

    @abstractmethod
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        """Return the detached coefficients ``[m]`` of ``m`` tokens, elementwise and without side effects."""

    def trains_on(self) -> frozenset[Source]:
        """Return the sources whose responses may take part; by default all.

        A run warns of the other sources, unless the loss uses advantages, which compare with their responses. An
        override of :meth:`takes_part` alone changes no warning.

        Example:
            >>> from lightning_gft import SFTLoss
            >>> sorted(source.name for source in SFTLoss().trains_on())
            ['EXPERT', 'TEACHER']
        """
        return frozenset(Source)

    def takes_part(self, groups: GroupBatch) -> Tensor:
        """Return a mask ``[N]`` of the sequences that count in the sum and in ``Z``; by default :meth:`trains_on`'s."""
        taken = torch.zeros_like(groups.source, dtype=torch.bool)
        for source in self.trains_on():
            taken |= groups.source == source
        return taken

    def can_skip(self, groups: GroupBatch) -> Tensor:
        """Return a mask ``[N]`` of sequences without a forward pass, as all coefficients are 0; by default none."""
        return torch.zeros_like(groups.source, dtype=torch.bool)

    def needs(self) -> frozenset[Need]:
        """Return the fields of a token batch that the coefficients use in addition to log-probabilities and source.

        Fields that are not named may be ``None``. ``"advantages"`` are always present; naming them makes a run reject
        groups that are too small for an advantage.
        """
        return frozenset()

    def check_group(self, num_responses: int, num_own: int) -> None:
        """Reject groups that the loss cannot learn from, before a run begins; by default accepts all.

        Args:
            num_responses: Number of responses in a group without missing demonstrations.
            num_own: Number of own samples among them.

        Raises:
            ValueError: If the loss cannot learn from such groups; the message names the option or source to change.
        """

    def update_groups(self, groups: GroupBatch) -> None:
        """Accumulate figures of a step's groups; called once, before the first update on them."""

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        """Accumulate figures of an update's tokens; called once, before :meth:`step`.

        Args:
            tokens: All ``m`` tokens, which :meth:`coefficients` received chunk by chunk.
            coefficients: ``[m]``, the coefficients that it returned.
        """

    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        """Return the factors ``[m]``: the part of each coefficient besides the advantage.

        A factor of 1 keeps the token weight ``1 / p`` of maximum likelihood, as in SFT; figures and reports compare
        with that. By default coefficients are divided by the advantage if the loss needs it.

        Args:
            tokens: All ``m`` tokens of an update.
            coefficients: ``[m]``, from :meth:`coefficients`. Where the advantage is 0 the factor is unknown: NaN.
        """
        # A * 1 / A is exactly 1.
        return coefficients / tokens.advantages if "advantages" in self.needs() else coefficients

    def step(self) -> None:
        """Advance schedules of the loss after an optimizer step, on every rank; not called after a skipped update."""

    def shares(self, groups: GroupBatch) -> list[Tensor]:
        """Return masks ``[N]`` that split the sequences into shares with a ``Z`` each; by default a single one."""
        return [torch.ones_like(groups.source, dtype=torch.bool)]

    def reduce(self, groups: GroupBatch) -> tuple[Tensor, Tensor]:
        """Return the weight of each sequence, ``[N]``, and this batch's summand of each share's ``Z``, ``[S]``."""
        mask, dtype = groups.response_mask & self._taken(groups)[:, None], widen(groups.advantages).dtype
        weights, counts = torch.zeros_like(groups.advantages, dtype=dtype), list[Tensor]()
        length = self.max_completion_length
        if length is None and self.reduction == "constant-length":
            length = groups.longest_response or None
        for share in self.shares(groups):
            of_share, count = reduction_weights(
                mask & share[:, None], self.reduction, groups.group_index, dtype, length
            )
            weights, counts = weights + of_share, [*counts, count]
        return weights, torch.stack(counts)

    def normalize(self, groups: GroupBatch, weights: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights ``[N]`` rescaled to one common ``Z``, and that ``Z``.

        Args:
            groups: The groups that :meth:`reduce` was called with.
            weights: ``[N]``, weights of the sequences from :meth:`reduce`.
            counts: ``[S]``, from :meth:`reduce`, summed over all micro-batches and ranks of the mean.
        """
        counts = counts.clamp(min=1)
        for share, count in zip(self.shares(groups)[1:], counts[1:], strict=True):
            weights = torch.where(share, weights * (counts[0] / count), weights)
        return weights, counts[0]

    def trained(self, groups: GroupBatch) -> Tensor:
        """Return a mask ``[N]`` of the sequences that may carry a gradient; only these run through the policy."""
        skipped = _one_a_sequence(f"{type(self).__name__}.can_skip", self.can_skip(groups), groups)
        return self._taken(groups) & groups.response_mask.any(dim=1) & ~skipped

    def _taken(self, groups: GroupBatch) -> Tensor:
        taken = _one_a_sequence(f"{type(self).__name__}.takes_part", self.takes_part(groups), groups)
        return taken if groups.excluded is None else taken & ~groups.excluded

    def objective(self, tokens: TokenBatch, normalizer: Tensor | float) -> TokenObjective:
        """Return the objective that the policy's fused head evaluates for some tokens.

        Args:
            tokens: The tokens of one micro-batch.
            normalizer: Scalar ``Z`` of the whole update.
        """
        return TokenObjective(self.coefficients, tokens, normalizer, self.needs())

    def forward(self, logprobs: Tensor, groups: GroupBatch, **known: Tensor) -> Tensor:
        """Return the scalar loss of log-probabilities that you have computed yourself.

        Args:
            logprobs: ``[N, T]`` with gradient, aligned with ``groups.input_ids``.
            groups: ``N`` sequences with masks, sources and advantages.
            known: Further inputs ``[N, T]`` that :meth:`needs` names, by their names in
                :class:`~lightning_gft.TokenBatch`.

        Raises:
            ValueError: If an input that the loss needs is missing, or its coefficients have another shape.
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
    """Reject tokens that lack an input of a loss.

    Args:
        loss: The objective, whose :meth:`~GroupLoss.needs` names its inputs.
        tokens: The tokens that the loss will receive.
        later: Inputs that only the forward pass computes.

    Raises:
        ValueError: If an input is missing, or ``needs`` names an unknown one.
        TypeError: If ``needs`` does not return a set.
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
            "these names, or use a source that provides them"
        )


def _one_a_sequence(where: str, chosen: Tensor, groups: GroupBatch) -> Tensor:
    shape, dtype = getattr(chosen, "shape", None), getattr(chosen, "dtype", type(chosen).__name__)
    if shape != groups.source.shape or dtype != torch.bool:
        raise GFTValueError(
            f"`{where}`: expected a tensor [{len(groups)}] of booleans, got {dtype} of shape {shape and list(shape)}; "
            "return one for each sequence"
        )
    return chosen

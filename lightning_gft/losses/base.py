"""What an objective is: a detached coefficient per token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from lightning_gft.errors import GFTValueError
from lightning_gft.functional import Reduction, masked_loss, reduction_weights, widen
from lightning_gft.rectifiers import CoefficientRectifier
from lightning_gft.types import GroupBatch, Source, TokenBatch


class GroupLoss(nn.Module, ABC):
    """The objective ``-(1 / Z) * sum_t c_t * log p_t`` with coefficients that carry no gradient.

    A subclass gives :meth:`coefficients`; everything else is shared. Inside :class:`~lightning_gft.GFTLitModule` the
    policy's fused head asks for them chunk by chunk; :meth:`forward` does the same for log-probabilities that you have.

    Args:
        rectifier: Bounds the inverse-probability weight and counts it.
        reduction: What ``Z`` counts, see :func:`~lightning_gft.functional.reduction_weights`.

    Attributes:
        uses_advantages: Whether a sequence with an advantage of 0 has coefficients of 0.
        demonstrations_only: Whether the policy's own samples take no part, neither in the sum nor in ``Z``.
        needs_old_logprobs: Whether tokens must carry ``old_logprobs``.
        needs_ref_logprobs: Whether tokens must carry ``ref_logprobs``.
    """

    uses_advantages: ClassVar[bool] = True
    demonstrations_only: ClassVar[bool] = False
    needs_old_logprobs: ClassVar[bool] = False
    needs_ref_logprobs: ClassVar[bool] = False

    def __init__(self, rectifier: CoefficientRectifier, reduction: Reduction = "token-mean") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise GFTValueError(f"reduction={reduction!r} is unknown; use one of {', '.join(get_args(Reduction))}")
        self.rectifier = rectifier
        self.reduction: Reduction = reduction

    @abstractmethod
    def coefficients(self, logprobs: Tensor, tokens: TokenBatch) -> Tensor:
        """Return detached coefficients, elementwise in the tokens.

        Args:
            logprobs: ``[m]`` log-probabilities under the policy.
            tokens: The same ``m`` tokens.

        Returns:
            ``[m]``.
        """

    def reduce(self, groups: GroupBatch) -> tuple[Tensor, Tensor]:
        """Return each sequence's weight ``[N]`` and the batch's share of ``Z``, which adds up over processes."""
        mask = groups.response_mask & self._takes_part(groups)[:, None]
        return reduction_weights(mask, self.reduction, groups.group_index, dtype=widen(groups.advantages).dtype)

    def informative(self, groups: GroupBatch) -> Tensor:
        """Return ``[N]``, true for sequences that carry a gradient: only these need to be run through the policy."""
        taken = self._takes_part(groups) & groups.response_mask.any(dim=1)
        return taken & (groups.advantages != 0) if self.uses_advantages else taken

    def forward(self, logprobs: Tensor, groups: GroupBatch) -> Tensor:
        """Return the scalar loss of log-probabilities that you have computed yourself.

        Args:
            logprobs: ``[N, T]`` with gradient, aligned with ``groups.input_ids``.
            groups: The sequences.
        """
        logprobs, mask = widen(logprobs), groups.response_mask
        weights, count = self.reduce(groups)
        coefficients = torch.zeros_like(logprobs)
        coefficients[mask] = self.coefficients(logprobs.detach()[mask], groups.tokens()).to(logprobs.dtype)
        return masked_loss(logprobs, coefficients, mask, weights, count)

    def _takes_part(self, groups: GroupBatch) -> Tensor:
        if self.demonstrations_only:
            return groups.source != Source.SELF
        return torch.ones_like(groups.source, dtype=torch.bool)

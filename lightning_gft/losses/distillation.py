"""On-policy distillation."""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.metrics import TeacherStatistics
from lightning_gft.types import GroupBatch, Need, Source, TokenBatch


class DistillationLoss(GroupLoss):
    r"""Reverse KL from a teacher on the policy's own samples, by the sampled token: OPD, and SDFT (arXiv 2601.19897).

    .. math:: c_t = (l_{T,t} - l_t) \, \min(e^{l_t - l_{old,t}}, \text{clip})

    With :math:`l` the log-probabilities under the policy, :math:`l_T` under the teacher and :math:`l_{old}` before the
    first update on the batch: the gradient of :math:`KL(\pi \| T)` at each prefix, as its own draws estimate it (TRL's
    ``distillation_mode="sampled_token"``). Rewards play no part. A :class:`~lightning_gft.SelfSource` with a teacher
    gives :math:`l_T`; own samples without it, to a prompt without a demonstration, take no part.

    Args:
        clip: Largest ratio, TRL's ``distillation_is_clip``; ``None`` for no limit.
        reduction: What the mean is taken over.
        max_completion_length: Divides each response with ``reduction="constant-length"``.

    Raises:
        ValueError: If ``clip`` is below 1, or ``reduction`` unknown.

    Example:
        >>> sorted(DistillationLoss().needs())
        ['old_logprobs', 'teacher_logprobs']
    """

    def __init__(
        self, clip: float | None = 2.0, reduction: Reduction = "token-mean", max_completion_length: int | None = None
    ) -> None:
        super().__init__(reduction, max_completion_length)
        self.clip = math.inf if clip is None else check_number("clip", clip, least=1, otherwise="null for no limit")
        self.statistics = TeacherStatistics()

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        known = True if groups.teacher_logprobs is None else ~groups.teacher_logprobs.isnan().any(dim=1)
        return (groups.source == Source.SELF) & known

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_logprobs", "teacher_logprobs"})

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        difference, ratio = _compared(tokens)
        return difference * ratio.clamp(max=self.clip)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        difference, ratio = _compared(tokens)
        self.statistics.update(-difference, ratio > self.clip)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return dict(self.statistics.compute())

    @override
    def reset(self) -> None:
        self.statistics.reset()


def _compared(tokens: TokenBatch) -> tuple[Tensor, Tensor]:
    """Return ``l_T - l`` and the ratio, both ``[m]``."""
    assert tokens.teacher_logprobs is not None and tokens.old_logprobs is not None  # noqa: S101, PT018 (needed)
    return tokens.teacher_logprobs - tokens.logprobs, (tokens.logprobs - tokens.old_logprobs).exp()

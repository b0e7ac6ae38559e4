"""On-policy distillation from a teacher's log-probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_number
from lightning_gft.functional import Reduction
from lightning_gft.functional.logprobs import log_ratio
from lightning_gft.losses.ratio import RatioLoss
from lightning_gft.metrics import TeacherStatistics
from lightning_gft.types import GroupBatch, Need, TokenBatch


class DistillationLoss(RatioLoss):
    r"""Reverse KL to a teacher, estimated at the tokens of own samples: OPD, and SDFT (arXiv 2601.19897).

    The coefficient is ``(l_T - l) * min(r, clip)``, where ``l`` and ``l_T`` are log-probabilities of the policy and the
    teacher and ``r = p / p_old``. Its expectation gives the gradient of :math:`KL(\pi \| T)` at each prefix, as in
    TRL's ``"sampled_token"`` mode. A :class:`~lightning_gft.SelfSource` with a teacher provides ``l_T``; own samples
    without it are excluded. The figures are ``teacher_kl``, ``ratio_mean``, ``ratio_max`` and ``clip_ratio/high_mean``,
    the share of tokens whose ratio is above ``clip``.

    Args:
        clip: Largest ratio, TRL's ``distillation_is_clip``; ``None`` sets no limit.
        reduction: How the sum over tokens becomes a mean, see :class:`~lightning_gft.GroupLoss`.
        max_completion_length: Number of tokens that each response is divided by with ``reduction="constant-length"``;
            by default the largest ``max_new_tokens`` of the sources that sample.
        mask_truncated_completions: Exclude truncated own samples from the loss and from ``Z``.

    Raises:
        ValueError: If ``clip`` is below 1; before training, if there are no own samples or no teacher.

    Example:
        >>> sorted(DistillationLoss().needs())
        ['old_logprobs', 'teacher_logprobs']
    """

    def __init__(
        self,
        clip: float | None = 2.0,
        reduction: Reduction = "token-mean",
        max_completion_length: int | None = None,
        mask_truncated_completions: bool = False,
    ) -> None:
        super().__init__((), reduction, max_completion_length, mask_truncated_completions)
        if clip is not None:
            check_number("clip", clip, least=1, of=type(self).__name__, otherwise="null for no limit")
        self.clip = math.inf if clip is None else clip
        self.statistics: TeacherStatistics = TeacherStatistics(["clip_ratio/high_mean"])

    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"old_logprobs", "teacher_logprobs"})

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        own = super().takes_part(groups)
        return own if groups.teacher_logprobs is None else own & ~groups.teacher_logprobs.isnan().any(dim=1)

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return torch.zeros_like(groups.finished)

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        return -log_ratio(tokens.logprobs, tokens.teacher_logprobs) * self._clipped_ratio(tokens)

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        return self._clipped_ratio(tokens)  # the teacher's log-ratio takes the place of the advantage

    def _clipped_ratio(self, tokens: TokenBatch) -> Tensor:
        return self.ratio(tokens).clamp(max=self.clip)

    @override
    def clipped(self, tokens: TokenBatch) -> tuple[Tensor, ...]:
        return (self.ratio(tokens) > self.clip,)

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        difference = -log_ratio(tokens.logprobs, tokens.teacher_logprobs)
        self.statistics.update(self.logratio(tokens), *self.clipped(tokens), difference=difference)

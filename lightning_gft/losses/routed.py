"""Choosing the objective of each prompt by its difficulty."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import count_correct
from lightning_gft.losses.hpt import HPTLoss
from lightning_gft.metrics import ExactMean
from lightning_gft.types import GroupBatch


class RoutedLoss(HPTLoss):
    """Routing by difficulty, after DYPO (arXiv 2604.08926): the own samples of a prompt decide how it is trained.

    * all wrong: supervised fine-tuning on all demonstrations of the prompt
    * some correct: GRPO on the own samples
    * all correct: the prompt is excluded from the loss and from ``Z``

    DYPO's third term, which aligns pairs of correct and wrong samples, is left out. The figures ``frac_sft_prompts``
    and ``frac_solved_prompts`` are the shares of prompts of the first and the last kind.

    Args:
        correct_reward: Smallest total reward of a correct sample.
        own: Objective for own samples; default :class:`~lightning_gft.GRPOLoss`.
        reduction: How the sum over tokens becomes a mean; the reduction of ``own`` is ignored.

    Raises:
        ValueError: If ``correct_reward`` is not finite.

    Example:
        >>> sorted(RoutedLoss().needs())
        ['advantages', 'old_logprobs']
    """

    def __init__(
        self, correct_reward: float = 1.0, own: GroupLoss | None = None, reduction: Reduction = "group-mean"
    ) -> None:
        super().__init__(0, correct_reward, own, reduction)
        self.frac_solved_prompts = ExactMean()

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        correct, own, prompt = count_correct(groups, self.correct_reward)
        return super().takes_part(groups) & ((correct == 0) | (correct < own))[prompt]

    @override
    def update_groups(self, groups: GroupBatch) -> None:
        super().update_groups(groups)
        correct, own, _ = count_correct(groups, self.correct_reward)
        self.frac_solved_prompts.update((correct == own) & (own > 0))

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), "frac_solved_prompts": self.frac_solved_prompts.compute()}

    @override
    def reset(self) -> None:
        super().reset()
        self.frac_solved_prompts.reset()

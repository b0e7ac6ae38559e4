"""Supervised fine-tuning on prompts that the policy does not solve, policy gradients on the others (HPT)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_count, check_number
from lightning_gft.errors import GFTValueError
from lightning_gft.functional import Reduction
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import count_correct
from lightning_gft.losses.grpo import GRPOLoss
from lightning_gft.losses.mixed import MixedLoss
from lightning_gft.losses.sft import SFTLoss
from lightning_gft.metrics import ExactMean
from lightning_gft.types import GroupBatch, Source


class HPTLoss(MixedLoss):
    """HPT (arXiv 2509.04419): SFT on prompts with at most ``gate`` correct own samples, GRPO on the others.

    Own samples of the former prompts and demonstrations of the latter are excluded from the loss and from ``Z``. The
    mean is over prompts, as in the paper. Advantages in the paper compare own samples only, without the standard
    deviation: choose an advantage estimator that does so. The figure ``frac_sft_prompts`` is the share of prompts that
    SFT trains on.

    Args:
        gate: Largest number of correct own samples with which a prompt is trained by SFT; 0 in the paper, 2 of 8 for
            weak models. It must be below the number of own samples per prompt.
        correct_reward: Smallest total reward of a correct sample.
        own: Objective for own samples; default :class:`~lightning_gft.GRPOLoss`.
        reduction: How the sum over tokens becomes a mean; the reduction of ``own`` is ignored.

    Raises:
        ValueError: If ``gate`` is negative or ``correct_reward`` is not finite; before training, if ``gate`` is not
            below the number of own samples.

    Example:
        >>> HPTLoss(gate=2).check_group(num_responses=9, num_own=8)
    """

    def __init__(
        self,
        gate: int = 0,
        correct_reward: float = 1.0,
        own: GroupLoss | None = None,
        reduction: Reduction = "group-mean",
    ) -> None:
        super().__init__(SFTLoss(), own or GRPOLoss(), reduction)
        self.gate = check_count("gate", gate, least=0, of=type(self).__name__)
        self.correct_reward = check_number("correct_reward", correct_reward, of=type(self).__name__)
        self.frac_sft_prompts = ExactMean()

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        super().check_group(num_responses, num_own)
        if self.gate >= num_own:
            raise GFTValueError(
                f"`gate` of {type(self).__name__}: expected less than the {num_own} own samples of a prompt, got "
                f"{self.gate}, with which SFT takes every prompt; lower it or raise num_generations"
            )

    @override
    def takes_part(self, groups: GroupBatch) -> Tensor:
        correct, _, prompt = count_correct(groups, self.correct_reward)
        imitated = (correct <= self.gate)[prompt]
        return super().takes_part(groups) & ((groups.source != Source.SELF) == imitated)

    @override
    def update_groups(self, groups: GroupBatch) -> None:
        super().update_groups(groups)
        self.frac_sft_prompts.update(count_correct(groups, self.correct_reward)[0] <= self.gate)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), "frac_sft_prompts": self.frac_sft_prompts.compute()}

    @override
    def reset(self) -> None:
        super().reset()
        self.frac_sft_prompts.reset()

"""What groups are made of, and must be for an objective."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.types import GroupBatch, Source


def check_demonstrations(loss: object, num_responses: int, num_own: int) -> None:
    """Refuse groups without a demonstration.

    Args:
        loss: The objective that learns from them.
        num_responses: Responses of a group.
        num_own: Those of them that are the policy's own samples.

    Raises:
        ValueError: If there is none.

    Example:
        >>> check_demonstrations(None, num_responses=8, num_own=7)
    """
    if num_responses == num_own:
        raise GFTValueError(
            f"`sampler.sources`: expected demonstrations for {type(loss).__name__}, got own samples alone; add an "
            "ExpertSource or a TeacherSource"
        )


def check_own_samples(loss: object, num_own: int) -> None:
    """Refuse groups without a sample of the policy's own.

    Args:
        loss: The objective that learns from them.
        num_own: Own samples of a group.

    Raises:
        ValueError: If there is none.

    Example:
        >>> check_own_samples(None, num_own=1)
    """
    if num_own == 0:
        raise GFTValueError(
            f"`sampler.sources`: expected own samples for {type(loss).__name__}, got demonstrations alone; add a "
            "SelfSource"
        )


def by_source(source: Tensor, demonstrations: Tensor, own: Tensor) -> Tensor:
    """Return the values of own samples where the source is the policy, those of demonstrations elsewhere.

    Args:
        source: A :class:`~lightning_gft.Source` each.
        demonstrations: Of the same shape.
        own: The same.

    Example:
        >>> by_source(torch.tensor([Source.EXPERT, Source.SELF]), torch.tensor([1, 2]), torch.tensor([3, 4]))
        tensor([1, 4])
    """
    return torch.where(source == Source.SELF, own, demonstrations)


def count_correct(groups: GroupBatch, correct_reward: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return correct own samples ``[G]`` and own samples ``[G]`` of each prompt, and each sequence's prompt ``[N]``.

    Args:
        groups: Scored groups, of ``G`` prompts in any order.
        correct_reward: Smallest reward of a correct sample.
    """
    names, prompt = groups.group_index.unique(return_inverse=True)
    own = groups.source == Source.SELF
    samples = torch.stack([own & (groups.rewards >= correct_reward), own]).long()
    correct, total = samples.new_zeros(2, len(names)).index_add(1, prompt, samples)
    return correct, total, prompt

"""The composition of groups: which sources their responses come from, and which of them an objective requires."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.types import GroupBatch, Source

OWN = frozenset({Source.SELF})
DEMONSTRATIONS = frozenset(Source) - OWN


def check_demonstrations(loss: object, num_responses: int, num_own: int) -> None:
    """Reject groups without a demonstration.

    Args:
        loss: The objective, which the message names.
        num_responses: Number of responses in a group.
        num_own: Number of own samples among them.

    Raises:
        ValueError: If all responses are own samples.

    Example:
        >>> check_demonstrations(None, num_responses=8, num_own=7)
    """
    if num_responses == num_own:
        raise GFTValueError(
            f"`sampler.sources`: expected demonstrations for {type(loss).__name__}, got own samples alone; add an "
            "ExpertSource or a TeacherSource"
        )


def check_own_samples(loss: object, num_own: int) -> None:
    """Reject groups without an own sample.

    Args:
        loss: The objective, which the message names.
        num_own: Number of own samples in a group.

    Raises:
        ValueError: If ``num_own`` is 0.

    Example:
        >>> check_own_samples(None, num_own=1)
    """
    if num_own == 0:
        raise GFTValueError(
            f"`sampler.sources`: expected own samples for {type(loss).__name__}, got demonstrations alone; add a "
            "SelfSource"
        )


def by_source(source: Tensor, demonstrations: Tensor, own: Tensor) -> Tensor:
    """Return values from ``own`` where the source is the policy, and from ``demonstrations`` elsewhere.

    Args:
        source: :class:`~lightning_gft.Source` values, of any shape.
        demonstrations: Values for demonstrations, of the shape of ``source``.
        own: Values for own samples, of the shape of ``source``.

    Example:
        >>> by_source(torch.tensor([Source.EXPERT, Source.SELF]), torch.tensor([1, 2]), torch.tensor([3, 4]))
        tensor([1, 4])
    """
    return torch.where(source == Source.SELF, own, demonstrations)


def count_correct(groups: GroupBatch, correct_reward: float) -> tuple[Tensor, Tensor, Tensor]:
    """Count correct own samples per prompt.

    Returns the number of correct own samples ``[G]``, the number of all own samples ``[G]``, and the index ``[N]`` of
    each sequence's prompt in these.

    Args:
        groups: Scored groups of ``G`` prompts, whose sequences may be in any order.
        correct_reward: Smallest total reward of a correct sample.
    """
    names, prompt = groups.group_index.unique(return_inverse=True)
    own = groups.source == Source.SELF
    samples = torch.stack([own & (groups.rewards >= correct_reward), own]).long()
    correct, total = samples.new_zeros(2, len(names)).index_add(1, prompt, samples)
    return correct, total, prompt

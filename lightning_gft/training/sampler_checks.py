"""Refusing a sampler whose groups a loss could not learn from."""

from __future__ import annotations

from lightning_gft.errors import GFTValueError
from lightning_gft.losses import GroupLoss
from lightning_gft.sampler import GroupSampler
from lightning_gft.types import Source


def check_sampler(sampler: GroupSampler, loss: GroupLoss) -> None:
    """Refuse a sampler that does not give a loss what it needs.

    Args:
        sampler: Says what its groups are.
        loss: Says what it needs.

    Raises:
        ValueError: If groups are too small, no source gives log-probabilities of a teacher, or prompts are sampled
            until rewards differ that the loss does not look at.
    """
    check_group_size(sampler, loss)
    if sampler.num_groups is not None and "advantages" not in loss.needs():
        raise GFTValueError(
            f"`num_groups`: expected null for {type(loss).__name__}, which uses no advantages, got "
            f"{sampler.num_groups}; leave it out, as groups whose rewards are all equal teach this loss as much"
        )
    if "teacher_logprobs" in loss.needs() - sampler.gives():
        raise GFTValueError(
            f"`sampler.sources`: expected one that gives teacher_logprobs, which {type(loss).__name__} needs, got none "
            f"({', '.join(sampler.sources)}); give the SelfSource a teacher, or let a source of your own name them in "
            "its gives()"
        )


def check_group_size(sampler: GroupSampler, loss: GroupLoss) -> None:
    """Refuse groups that the loss cannot learn from, or that are too small for the advantage that it uses.

    Args:
        sampler: Says how large groups are, and of what.
        loss: Says what it needs of them, and whether advantages matter.

    Raises:
        ValueError: If groups will not do.
    """
    own = sum(source.num_responses for source in sampler.sources.values() if source.source == Source.SELF)
    loss.check_group(sampler.group_size, own)
    if "advantages" not in loss.needs():
        return
    try:
        sampler.advantage.check_group(sampler.group_size, own)
    except ValueError as error:
        raise GFTValueError(
            f"`sampler`: {error} from the sources ({', '.join(sampler.sources)}); add a source, raise num_generations, "
            "or use RewardAdvantage (the reward itself) or SFTLoss (no advantages)"
        ) from None

"""Rejecting a sampler whose groups a loss could not learn from, and finding the sources that it does not use."""

from __future__ import annotations

from lightning_gft.errors import GFTValueError
from lightning_gft.losses import GroupLoss
from lightning_gft.sampler import GroupSampler
from lightning_gft.sources import ResponseSource
from lightning_gft.types import Source


def check_sampler(sampler: GroupSampler, loss: GroupLoss) -> None:
    """Reject a sampler that does not meet the requirements of a loss.

    Args:
        sampler: The sampler that builds the groups.
        loss: The objective that trains on them.

    Raises:
        ValueError: If groups are too small, if no source provides the teacher's log-probabilities or the length that
            the loss or a reward needs, or if sampling is dynamic and the loss does not use advantages.
    """
    _check_group_size(sampler, loss)
    _check_longest_response(sampler, loss)
    if sampler.num_groups is not None and "advantages" not in loss.needs():
        raise GFTValueError(
            f"`sampler.num_groups`: expected null for {type(loss).__name__}, which uses no advantages, got "
            f"{sampler.num_groups}; leave it out: this loss learns from groups with equal rewards, too"
        )
    if "teacher_logprobs" in loss.needs() - sampler.gives():
        raise GFTValueError(
            f"`sampler.sources`: expected one that gives teacher_logprobs, which {type(loss).__name__} needs, got none "
            f"({', '.join(sampler.sources)}); give the SelfSource a teacher, or name teacher_logprobs in gives() of "
            "your own source"
        )


def _check_longest_response(sampler: GroupSampler, loss: GroupLoss) -> None:
    """Reject a loss or a reward that takes its length from the sources if none of them samples."""
    if sampler.longest_response():
        return
    takers = {f"rewards.{name}": "response_limit" in reward.needs() for name, reward in sampler.rewards.items()}
    takers["loss"] = loss.reduction == "constant-length" and loss.max_completion_length is None
    for name, takes in takers.items():
        if takes:
            raise GFTValueError(
                f"`{name}`: expected a max_completion_length, since no source samples ({', '.join(sampler.sources)}), "
                "got null; set it to the longest response, in tokens"
            )


def unused_sources(sampler: GroupSampler, loss: GroupLoss) -> dict[str, ResponseSource]:
    """Return the sources, by name, whose responses a loss neither trains on nor compares with others.

    Example:
        >>> from lightning_gft import ExactMatchReward, ExpertSource, GFTLoss, SelfSource, SFTLoss
        >>> sampler = GroupSampler({"expert": ExpertSource(), "self": SelfSource()}, {"accuracy": ExactMatchReward()})
        >>> list(unused_sources(sampler, SFTLoss())), list(unused_sources(sampler, GFTLoss()))
        (['self'], [])
    """
    if "advantages" in loss.needs():
        return {}
    return {name: source for name, source in sampler.sources.items() if source.source not in loss.trains_on()}


def _check_group_size(sampler: GroupSampler, loss: GroupLoss) -> None:
    """Reject groups that the loss cannot learn from, or that are too small for the advantage that it uses."""
    own = sum(source.num_responses for source in sampler.sources.values() if source.source == Source.SELF)
    loss.check_group(sampler.group_size, own)
    if "advantages" not in loss.needs():
        return
    try:
        sampler.advantage.check_group(sampler.group_size, own)
    except ValueError as error:
        raise GFTValueError(
            f"`sampler.sources`: {error} from the sources ({', '.join(sampler.sources)}); add a source, raise "
            "num_generations, or use RewardAdvantage (the reward itself) or SFTLoss (no advantages)"
        ) from None

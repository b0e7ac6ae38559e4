"""The size of a training step in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from itertools import groupby
from typing import NamedTuple

from lightning.pytorch import Trainer

from lightning_gft.module import GFTLitModule
from lightning_gft.sampler import GroupSampler
from lightning_gft.sources import ResponseSource
from lightning_gft.types import Source


class Prompts(NamedTuple):
    """The fewest and the most prompts of a batch, over all ranks; dynamic sampling decides the number.

    Example:
        >>> Prompts(8, 8).times(4), Prompts(2, 8).times(4)
        ('32', '8 to 32')
    """

    fewest: int
    most: int

    def times(self, each: int) -> str:
        """Return in words how many there are if each prompt has some."""
        few, many = self.fewest * each, self.most * each
        return f"{many:,}" if few == many else f"{few:,} to {many:,}"


def step_size(trainer: Trainer, module: GFTLitModule) -> str:
    """Return the prompts and responses of a step of the current stage over all ranks, as far as they are known.

    Args:
        trainer: A trainer that trains.
        module: Its module.
    """
    sampler, updates, stage = module.sampler, module.updates_per_batch, module.rows.stage
    step = "step" if updates == 1 else f"batch, which makes {updates} steps,"
    of_stage = "" if stage is None else f" of stage {stage[1]}"
    size = rows_of_batch(trainer.train_dataloader)
    begin = f"Each {step}{of_stage} has"
    if size is None:
        return f"{begin} groups of {describe_responses(sampler, Prompts(1, 1))}"
    each = Prompts(min(sampler.num_groups or size, size), size)
    prompts = Prompts(*(count * trainer.world_size for count in each))
    ranks = f" on {trainer.world_size} ranks" if trainer.world_size > 1 else ""
    return f"{begin} {_several(prompts.times(1), 'prompt')}{ranks} and {describe_responses(sampler, prompts)}"


def rows_of_batch(loader: object) -> int | None:
    """Return the number of rows in a whole batch of a dataloader, or ``None`` if it is not known.

    Args:
        loader: Dataloader of a rank.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> rows_of_batch(DataLoader([1, 2, 3], batch_size=2))
        2
    """
    batches = getattr(loader, "batch_sampler", None)
    size, order = getattr(batches, "batch_size", None), getattr(batches, "sampler", None)
    if not isinstance(size, int):
        return None
    return min(size, len(order)) if isinstance(order, Sized) else size


def describe_responses(sampler: GroupSampler, prompts: Prompts) -> str:
    """Return in words how many responses there are, how many the policy samples and how many are demonstrations.

    Args:
        sampler: Determines the responses of a group.
        prompts: Number of prompts.

    Example:
        >>> from lightning_gft import ExactMatchReward, ExpertSource, SelfSource
        >>> sources = {"expert": ExpertSource(), "self": SelfSource(num_generations=7, max_new_tokens=64)}
        >>> sampler = GroupSampler(sources, {"accuracy": ExactMatchReward()})
        >>> describe_responses(sampler, Prompts(4, 4))
        'up to 32 responses: 28 sampled by the policy with up to 64 tokens each, up to 4 demonstrations'
    """
    sources = list(sampler.sources.values())
    own = [source for source in sources if _samples(source)]
    shown = sum(source.num_responses for source in sources if source.source != Source.SELF)
    parts = [*_own_samples(own, prompts)]
    if shown:
        parts.append(f"up to {_several(prompts.times(shown), 'demonstration')}")
    exact = len(own) == len(sources) and not any(map(_chooses, sources))
    total = f"{'' if exact else 'up to '}{_several(prompts.times(sampler.group_size), 'response')}"
    return f"{total}: {', '.join(parts)}" if parts else total


def _own_samples(own: Sequence[ResponseSource], prompts: Prompts) -> Iterable[str]:
    """Yield in words the own samples of each length limit, which is 0 where a source does not name it."""
    by_limit = groupby(sorted(own, key=_limit), key=_limit)
    for limit, sources in ((limit, list(alike)) for limit, alike in by_limit):
        count = prompts.times(sum(source.most_given() for source in sources))
        kept = prompts.times(sum(source.num_responses for source in sources))
        choice = f" (at most {kept} kept)" if any(map(_chooses, sources)) else ""
        length = f" with up to {_several(f'{limit:,}', 'token')} each" if limit else ""
        yield f"{count} sampled by the policy{length}{choice}"


def _several(count: str, noun: str) -> str:
    return f"{count} {noun}{'' if count == '1' else 's'}"


def _samples(source: ResponseSource) -> bool:
    return source.source == Source.SELF and source.draws()


def _chooses(source: ResponseSource) -> bool:
    return source.most_given() > source.num_responses


def _limit(source: ResponseSource) -> int:
    return source.longest_response()

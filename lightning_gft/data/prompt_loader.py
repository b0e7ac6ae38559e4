"""A dataloader of prompts, which knows those to come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

from lightning_gft.data.examples import Example
from lightning_gft.phases import phase
from lightning_gft.types import PromptBatch, ResponseEncoder

Position = tuple[int | None, int]
"""An epoch of the sampler, and how many of its batches were handed out."""


class PromptLoader(DataLoader[Example]):
    """A ``DataLoader`` whose batches can encode further responses, and which can look ahead.

    Args:
        args: Passed on to ``DataLoader``.
        encoder: What batches get as theirs. They get it here, as it would be sent from a worker with each of them.
        kwargs: Passed on to ``DataLoader``.

    Example:
        >>> loader = PromptLoader(list("abcd"), batch_size=2)
        >>> next(iter(loader)), loader.upcoming(5)
        (['a', 'b'], [['c', 'd']])
    """

    def __init__(self, *args: Any, encoder: ResponseEncoder | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.encoder = encoder
        self._position: Position = (None, 0)

    def upcoming(self, count: int) -> list[PromptBatch]:
        """Return the batches that come next in the epoch, at most ``count``.

        Nothing is taken from the iterator, and no random number is drawn. An order that cannot be gone through a
        second time, as a ``RandomSampler``'s, gives none.
        """
        batches: Any = self.batch_sampler
        order = self._order
        if not isinstance(order, DistributedSampler | SequentialSampler):
            return []
        epoch, handed_out = self._position
        start = handed_out if epoch == getattr(order, "epoch", None) else 0
        rows = islice(BatchSampler(order, batches.batch_size, batches.drop_last), start, start + count)
        return [self.collate_fn([self.dataset[index] for index in indices]) for indices in rows]

    def __iter__(self) -> Iterator[PromptBatch]:  # type: ignore[override]  # a generator is all that is asked of it
        # Lightning asks for the iterator before it sets the epoch of the sampler. A generator looks when it is used.
        epoch = getattr(self._order, "epoch", None)
        skipped = self._skip(epoch)
        for number, batch in enumerate(_awaited(super().__iter__()), start=1):
            if number > skipped:
                self._position = (epoch, number)
                yield batch if self.encoder is None else replace(batch, encoder=self.encoder)

    @property
    def _order(self) -> Any:
        """The sampler of rows; in prediction it is within Lightning's, and ``self.sampler`` is another."""
        return getattr(self.batch_sampler, "sampler", None)

    def _skip(self, epoch: int | None) -> int:
        """Return how many batches of an epoch have been handed out in an earlier run."""
        return 0


def _awaited(batches: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while True:
        with phase("waiting"):
            batch = next(batches, end)
        if batch is end:
            return
        yield batch

"""A dataloader of prompts that can look ahead."""

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
"""The sampler's epoch, and the number of its batches that were returned."""


class PromptLoader(DataLoader[Example]):
    """A ``DataLoader`` that can look ahead, and whose batches can encode further responses.

    Args:
        args: Passed on to ``DataLoader``.
        encoder: Encoder to attach to each batch. It is attached here, because workers would send it with every batch.
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
        """Return the next batches of the epoch, at most ``count``.

        The iterator does not advance, and no random number is drawn. An order that cannot be repeated, such as a
        ``RandomSampler``'s, gives an empty list.
        """
        batches: Any = self.batch_sampler
        order = self._order
        if not isinstance(order, DistributedSampler | SequentialSampler):
            return []
        epoch, handed_out = self._position
        start = handed_out if epoch == getattr(order, "epoch", None) else 0
        rows = islice(BatchSampler(order, batches.batch_size, batches.drop_last), start, start + count)
        return [self.collate_fn([self.dataset[index] for index in indices]) for indices in rows]

    def __iter__(self) -> Iterator[PromptBatch]:  # type: ignore[override]  # Lightning needs no more than a generator
        # Lightning creates the iterator before it sets the sampler's epoch; a generator reads the epoch when it starts.
        epoch = getattr(self._order, "epoch", None)
        skipped = self._skip(epoch)
        for number, batch in enumerate(_awaited(super().__iter__()), start=1):
            if number > skipped:
                self._position = (epoch, number)
                yield batch if self.encoder is None else replace(batch, encoder=self.encoder)

    @property
    def _order(self) -> Any:
        """The sampler of rows; in prediction, Lightning wraps it, and ``self.sampler`` is another."""
        return getattr(self.batch_sampler, "sampler", None)

    def _skip(self, epoch: int | None) -> int:
        """Return the number of batches of an epoch that an earlier run returned."""
        return 0


def _awaited(batches: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while True:
        with phase("waiting"):
            batch = next(batches, end)
        if batch is end:
            return
        yield batch

"""A dataloader that resumes in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

from typing_extensions import override

from lightning_gft.data.prompt_loader import Position, PromptLoader
from lightning_gft.errors import GFTValueError


class ResumableDataLoader(PromptLoader):
    """A ``PromptLoader`` whose position in the epoch is part of Lightning's checkpoints.

    Lightning saves and restores any training dataloader that has ``state_dict`` and ``load_state_dict``. The order of
    an epoch follows from the sampler's seed and epoch, so the number of returned batches is the position.
    It applies to that epoch only: from a checkpoint at an epoch's end, the next epoch starts at its beginning.

    Example:
        >>> from torch.utils.data import DistributedSampler
        >>> loader = ResumableDataLoader(list("abcd"), sampler=DistributedSampler("abcd", 1, 0, shuffle=False))
        >>> batches = iter(loader)
        >>> next(batches), loader.state_dict()["batches"]
        (['a'], 1)
    """

    _resume_from: Position = (None, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's epoch, the number of its returned batches, and what determines the batches."""
        epoch, batches = self._position
        return {"epoch": epoch, "batches": batches, "order": self._identity()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Make the next pass over the same epoch begin at the saved position."""
        there, here = state_dict["order"], self._identity()
        if there != here and 0 < state_dict["batches"] < there["batches_an_epoch"]:
            differences = [
                f"{name} was {there.get(name)} and is {here[name]}" for name in here if there.get(name) != here[name]
            ]
            raise GFTValueError(
                f"the checkpoint: expected the same batches in the middle of an epoch, got: {', '.join(differences)}; "
                "resume with the same data, seed_everything and batch_size times ranks, or from a checkpoint at an "
                "epoch's end"
            )
        self._position = self._resume_from = (state_dict["epoch"], state_dict["batches"])

    def _identity(self) -> dict[str, int]:
        sampler: Any = self.sampler
        return {
            "rows": len(cast(Sized, self.dataset)),
            "prompts_a_step": (self.batch_size or 1) * getattr(sampler, "num_replicas", 1),  # over all ranks
            "batches_an_epoch": len(self),
            "order_seed": getattr(sampler, "seed", 0),
        }

    @override
    def _skip(self, epoch: int | None) -> int:
        resume_epoch, resume_batches = self._resume_from
        self._resume_from = (None, 0)
        return resume_batches if epoch is not None and epoch == resume_epoch else 0

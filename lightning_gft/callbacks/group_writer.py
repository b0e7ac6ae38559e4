"""Writes sampled groups to a folder that a datamodule can read."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_gft.callbacks.group_settings import gathered, prediction_info
from lightning_gft.errors import GFTValueError
from lightning_gft.export import check_target, check_writable_folder
from lightning_gft.module import GFTLitModule
from lightning_gft.stored import StoredInfo, is_stored, stored_groups, write_shard
from lightning_gft.stored.folder import ShardSettings, set_aside_damaged
from lightning_gft.stored.writing import is_named_as_shard, remove_unfinished, written_shards
from lightning_gft.types import GroupBatch, PromptBatch


class GroupWriter(Callback):
    """Writes the groups that ``predict`` samples to a folder of Parquet files, with one row for each response.

    Each rank writes a file for each batch as soon as it is scored, so a killed run loses at most the current batch. The
    same run, started again, samples only the missing batches and completes the folder as if it had never been
    interrupted. :class:`~lightning_gft.GroupDataModule` reads the folder, :class:`~lightning_gft.StoredSource` supplies
    its responses, and any reader of Parquet sees one table.

    Args:
        path: Folder to write to: new, empty, or begun by a run with the same policy, data, sampler, seed, batch size
            and number of ranks.

    Raises:
        FileExistsError: When a run starts, if ``path`` is a file or holds anything else.
        PermissionError: When a run starts, if ``path`` cannot be created.
        ValueError: When a run starts, if a run with other settings has begun the folder.

    Example:
        >>> GroupWriter("runs/groups").path.name
        'groups'
    """

    def __init__(self, path: str) -> None:
        if not str(path).strip():
            raise GFTValueError("`path` of GroupWriter: expected a folder to write to, got an empty text; name one")
        self.path = Path(path)
        self._info: StoredInfo | None = None
        self._settings = ShardSettings(self.path)
        self._first_steps = [0]
        self._counts = torch.zeros(3, dtype=torch.long)
        self._resumable = False

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "predict" and not self._is_begun():
            check_target(self.path)

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        self._counts.zero_()
        self._info = prediction_info(trainer, pl_module)
        self._settings = ShardSettings(self.path)
        self._check_begun(self._info)
        trainer.strategy.barrier()  # no rank writes before all ranks have read the folder
        if self._is_begun():
            remove_unfinished(self.path, trainer.global_rank)
            for fault in set_aside_damaged(self.path, trainer.global_rank):
                print(f"{fault}; its batch is sampled again")
        pl_module.stored_batches = self._find_stored(trainer)
        self._resumable = True

    @override
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: GroupBatch | None,
        batch: PromptBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is None:
            return
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101
        assert self._info is not None  # noqa: S101 (set when prediction started)
        step = self._first_steps[dataloader_idx] + batch_idx
        policy = pl_module.policy
        groups = stored_groups(outputs, batch, lambda ids: policy.decode(ids, skip_special_tokens=False), step)
        if groups:
            self._check_not_mixed(self._info)
            write_shard(self.path, groups, self._info, step, trainer.global_rank)
        truncated = len(outputs) - int(outputs.finished.sum())
        self._counts += torch.tensor([len(groups), len(outputs), truncated])

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        groups, responses, truncated = torch.stack(gathered(self._counts)).sum(dim=0).tolist()
        self._leave(pl_module)
        if not groups:
            _print_on_first_rank(f"All groups are in {self.path} already: nothing was sampled")
            return
        _print_on_first_rank(
            f"{groups} groups written to {self.path}; {truncated} of {responses} responses are truncated"
        )

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._resumable and is_stored(self.path):
            _print_on_first_rank(f"The groups sampled so far are in {self.path}; the same command resumes there")
        elif self._resumable and isinstance(exception, SystemExit):
            _print_on_first_rank("Stopped before the first batch was complete; the same command begins again")
        self._leave(pl_module)

    def _leave(self, module: Any) -> None:
        """Let the module sample every batch again in whatever it does next."""
        module.stored_batches = frozenset()
        self._resumable = False

    def _is_begun(self) -> bool:
        """Return whether the folder holds groups, or a partial file of a run that was killed at its first batch."""
        if not self.path.is_dir():
            return False
        files = [*self.path.iterdir()]
        return is_stored(self.path) or (bool(files) and all(map(is_named_as_shard, files)))

    def _check_begun(self, info: StoredInfo) -> None:
        """Raise an error if a run with other settings has begun the folder."""
        if found := self._settings.find_other(info):
            raise GFTValueError(
                f"`path`: expected a new folder, or one that a run with the same settings has begun, got {self.path} "
                f"with other {'; '.join(found[1])}; choose another path, or the earlier settings"
            )

    def _check_not_mixed(self, info: StoredInfo) -> None:
        """Raise an error if another run with other settings writes to the folder at the same time."""
        if found := self._settings.find_other(info):
            self._resumable = False
            raise GFTValueError(
                f"`path`: expected a folder that no other run writes to, got {self.path}, where one with other "
                f"settings has written {found[0].name} meanwhile ({'; '.join(found[1])}); give each its own path"
            )

    def _find_stored(self, trainer: Trainer) -> frozenset[tuple[int, int]]:
        """Return the batches that all ranks have written, by data loader and number.

        A batch that one rank skips and another samples would leave the collectives within sampling hanging.
        """
        own = [*map(float, trainer.num_predict_batches)], {*written_shards(self.path, trainer.global_rank)}
        of_ranks: list[tuple[list[float], set[int]]] = gathered(own)
        longest = [max(numbers) for numbers in zip(*(counts for counts, _ in of_ranks), strict=True)]
        self._first_steps = [int(first) for first in accumulate(longest[:-1], initial=0) if math.isfinite(first)]
        stored = frozenset(
            (loader, step - first)
            for step in set().union(*(written for _, written in of_ranks))
            for loader, first in enumerate(self._first_steps)
            if 0 <= step - first < longest[loader]
            and all(step in written or step - first >= counts[loader] for counts, written in of_ranks)
        )
        if len(stored) < sum(longest):
            check_writable_folder(self.path)  # before sampling
        return stored


@rank_zero_only
def _print_on_first_rank(message: str) -> None:
    print(message)

"""Writing sampled groups to a file that a datamodule can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from datasets import Dataset
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.export import check_target, move_to_free
from lightning_gft.module import GFTLitModule
from lightning_gft.types import GroupBatch, PromptBatch, Source


class GroupWriter(Callback):
    """Writes the groups that ``predict`` samples, one row a prompt, as Parquet.

    A row holds all columns of the data and, for each source, ``<source>_responses`` and ``<source>_rewards``, both
    lists. Distilling a teacher is ``predict`` with the teacher as the policy; training then reads the file with
    ``teacher_column: self_responses``. Responses that did not end in time are left out and counted: as demonstrations
    they would teach to stop in the middle. What was sampled before an interruption goes to a file ``<name>-partial``.

    Args:
        path: New file to write. With several processes each writes its own, its rank before the suffix.

    Raises:
        FileExistsError: When a run starts, if there is something at ``path``.
        PermissionError: Likewise, if it cannot be made.

    Example:
        >>> GroupWriter("groups.parquet").path.name
        'groups.parquet'
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        self.unfinished = 0

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "predict":
            check_target(self._own_path(trainer))

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows, self.unfinished = [], 0

    @override
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: GroupBatch,
        batch: PromptBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        # Every row gets every column: the file takes its columns from the first one.
        wanted = {source.source.name.lower() for source in pl_module.sampler.sources.values()}
        rows = [{name: values[i] for name, values in batch.columns.items()} for i in range(len(batch))]
        new = [f"{name}_{what}" for name in sorted(wanted) for what in ("responses", "rewards")]
        if taken := [name for name in new if name in batch.columns]:
            raise ValueError(
                f"the data has a column {taken[0]!r} already, which would be lost: rename it, or leave it out"
            )
        for row in rows:
            row.update({name: [] for name in new})
        names = [Source(value).name.lower() for value in outputs.source.tolist()]
        finished, rewards = outputs.finished.tolist(), outputs.rewards.tolist()
        for n, prompt in enumerate(outputs.group_index.tolist()):
            if finished[n]:
                rows[prompt][f"{names[n]}_responses"].append(outputs.responses[n])
                rows[prompt][f"{names[n]}_rewards"].append(rewards[n])
        self.unfinished += finished.count(False)
        self.rows += rows

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.rows:  # what was sampled before the failure is not lost
            self._write(trainer, suffix="-partial")

    def _write(self, trainer: Trainer, suffix: str = "") -> None:
        path = self._own_path(trainer)
        path = path.with_stem(path.stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}-{os.getpid()}")
        Dataset.from_list(self.rows).to_parquet(unfinished)
        path = move_to_free(unfinished, path)
        others = f", of {trainer.world_size} such files" if trainer.world_size > 1 else ""
        print(  # every process tells of its own file
            f"{len(self.rows)} groups written to {path}{others}; {self.unfinished} unfinished responses left out"
        )

    def _own_path(self, trainer: Trainer) -> Path:
        if trainer.world_size == 1:
            return self.path
        return self.path.with_stem(f"{self.path.stem}-{trainer.global_rank}")

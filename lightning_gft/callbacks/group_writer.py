"""Writing sampled groups to a file that a datamodule can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_gft.checks import shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.export import check_target, move_to_free
from lightning_gft.module import GFTLitModule
from lightning_gft.types import GroupBatch, PromptBatch, Source


class GroupWriter(Callback):
    """Writes the groups that ``predict`` samples, one row a prompt, as Parquet.

    A row holds all columns of the data and, for each source, these lists with an entry for each of its responses:

    - ``<source>_responses``: text, with special tokens, without the token that ended it
    - ``<source>_finished``: whether it ended before the length limit
    - ``<source>_rewards``, ``<source>_advantages``: in total, and within the group
    - ``<source>_rewards/<name>``: each reward unweighted

    Distilling a teacher is ``predict`` with the teacher as the policy; training then reads the file with
    ``teacher_column: self_responses``, where :class:`~lightning_gft.GroupDataModule` leaves out what is unfinished: as
    a demonstration it would teach to stop in the middle.

    The file gets its name when it is whole. What was sampled before an interruption goes to a file ``<name>-partial``.
    Parquet has no type for a column that mixes texts and numbers, say; all rows then go to JSON Lines, with the suffix
    ``.jsonl``, as they do if ``path`` has that suffix. What JSON does not know, such as a date, is a text there.

    Args:
        path: New file to write. Each of several ranks writes its own, its number before the suffix.

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
        self.responses = 0
        self.unfinished = 0

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "predict":
            check_target(self._own_path(trainer))

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows, self.responses, self.unfinished = [], 0, 0

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
        entries = _entries(outputs, pl_module)
        # Every row gets every column: the file takes its columns from the first one.
        wanted = sorted({source.source.name.lower() for source in pl_module.sampler.sources.values()})
        new = [f"{source}_{what}" for source in wanted for what in entries]
        if taken := [name for name in new if name in batch.columns]:
            raise GFTValueError(
                f"the data has a column {taken[0]!r} already, which would be lost: rename it, or leave it out"
            )
        rows = [{name: values[i] for name, values in batch.columns.items()} for i in range(len(batch))]
        for row in rows:
            row.update({name: [] for name in new})
        sources = [Source(value).name.lower() for value in outputs.source.tolist()]
        for n, (prompt, source) in enumerate(zip(outputs.group_index.tolist(), sources, strict=True)):
            for what, values in entries.items():
                rows[prompt][f"{source}_{what}"].append(values[n])
        self.responses += len(outputs)
        self.unfinished += entries["finished"].count(False)
        self.rows += rows

    @override
    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, together=True)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.rows:  # what was sampled before the failure is not lost
            self._write(trainer, suffix="-partial")

    def _write(self, trainer: Trainer, suffix: str = "", together: bool = False) -> None:
        path = self._own_path(trainer)
        path = path.with_stem(path.stem + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            hint = "" if path.suffix == ".jsonl" else _write_parquet(self.rows, unfinished)
            fits = path.suffix != ".jsonl" and not hint
            # All ranks write one format, so that one glob reads their files; after an exception the others may be gone.
            if together and not trainer.strategy.reduce_boolean_decision(fits) and fits:
                fits, hint = False, "; JSON Lines, as another rank has rows that Parquet cannot hold"
            if not fits:
                _write_json_lines(self.rows, unfinished)
                path = path.with_suffix(".jsonl")
            path = move_to_free(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)  # of a disk that is full, say
        others = f", of {trainer.world_size} such files" if trainer.world_size > 1 else ""
        print(  # every rank reports its own file
            f"{len(self.rows)} groups written to {path}{others}; {self.unfinished} of {self.responses} responses are "
            f"unfinished{hint}"
        )

    def _own_path(self, trainer: Trainer) -> Path:
        if trainer.world_size == 1:
            return self.path
        return self.path.with_stem(f"{self.path.stem}-{trainer.global_rank}")


def _entries(groups: GroupBatch, module: GFTLitModule) -> dict[str, list[Any]]:
    """Return what is written of ``N`` responses, by the end of its column's name."""
    token_ids = [ids[mask].tolist() for ids, mask in zip(groups.input_ids, groups.response_mask, strict=True)]
    return {
        # With special tokens: they belong to what a demonstration teaches.
        "responses": [module.policy.decode(ids, skip_special_tokens=False) for ids in token_ids],
        "finished": groups.finished.tolist(),
        "rewards": groups.rewards.tolist(),
        "advantages": groups.advantages.tolist(),
        **{f"rewards/{name}": part.tolist() for name, part in groups.reward_parts.items()},
    }


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> str:
    """Write rows as Parquet, or return why it cannot hold them as they are."""
    import pyarrow as pa  # seldom needed, where all callbacks are imported
    from pyarrow import parquet

    # What Arrow raises where the values of a column have no type in common.
    no_type = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)
    columns: dict[str, pa.Array] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        try:
            columns[name] = pa.array(values)
        except no_type as error:
            return f"; JSON Lines, as Parquet has no type for the column {name!r} ({str(error).splitlines()[0]})"
        for value, other in zip(values, columns[name].to_pylist(), strict=True):
            if repr(value) != repr(other):  # 1 as 1.0, or a nested key that only other rows have
                return (
                    f"; JSON Lines, as Parquet would write {shorten(value)} of the column {name!r} as {shorten(other)}"
                )
    try:
        parquet.write_table(pa.table(columns), path)
    except no_type as error:
        return f"; JSON Lines, as Parquet cannot hold the rows ({str(error).splitlines()[0]})"
    return ""


def _write_json_lines(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

"""The prompts that the policy has not solved yet, as data of their own."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gft import PromptBatch, Source


class Unsolved(Callback):
    """Writes the rows to which no sample of the policy was right in the last step that drew some, as JSON lines.

    ``GroupDataModule`` reads the file: so the next run trains on them alone.

    Args:
        path: File to write.
        correct_reward: A response with at least this reward is right.
    """

    def __init__(self, path: str, correct_reward: float = 1.0) -> None:
        self.path = Path(path)
        self.correct_reward = correct_reward
        self.rows: dict[str, dict[str, Any]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PromptBatch, batch_idx: int
    ) -> None:
        groups = outputs["groups"]
        own = groups.source == Source.SELF
        solved = set(groups.group_index[own & (groups.rewards >= self.correct_reward)].tolist())
        for prompt in set(groups.group_index[own].tolist()):
            row = {"prompt": batch.prompts[prompt], "answer": batch.references[prompt]}
            if prompt in solved:
                self.rows.pop(row["prompt"], None)
            else:
                self.rows[row["prompt"]] = row

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.write_text("".join(f"{json.dumps(row)}\n" for row in self.rows.values()), encoding="utf-8")

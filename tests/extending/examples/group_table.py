"""The groups of a step as a table that one can read."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gft import GroupBatch, PromptBatch, Source


class GroupTable(Callback):
    """Writes the groups of every step, and what an evaluation has drawn, as Markdown.

    Args:
        path: File to append to.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PromptBatch, batch_idx: int
    ) -> None:
        self.write(f"step {trainer.global_step}", outputs["groups"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for dataset, evaluated in pl_module.evaluator.evaluated.items():
            for drawn in evaluated:
                self.write(f"validation {dataset}".strip(), drawn.samples)

    def write(self, title: str, groups: GroupBatch) -> None:
        columns = (groups.prompts, groups.source.tolist(), groups.responses, groups.rewards.tolist())
        rows = [
            f"| {prompt} | {Source(source).name.lower()} | {response} | {reward:g} |"
            for prompt, source, response, reward in zip(*columns, strict=True)
        ]
        header = ["| prompt | source | response | reward |", "|---|---|---|---|"]
        with self.path.open("a") as file:
            file.write("\n".join([f"## {title}", "", *header, *rows, "", ""]))

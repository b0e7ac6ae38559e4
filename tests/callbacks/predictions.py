"""Small predictions whose groups are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from lightning_gft import (
    FormatReward,
    GFTLitModule,
    GroupDataModule,
    GroupSampler,
    NumericReward,
    PromptBatch,
    Reward,
    RFTLoss,
    SelfSource,
    TeacherSource,
    TransformersEngine,
)
from lightning_gft.callbacks import GroupWriter
from lightning_gft.stored import StoredGroup, StoredGroups
from tests.tiny import tiny_loader

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
NUM_ROWS, BATCH = 10, 4


def write_rows(folder: Path) -> Path:
    """Return a file of rows, of which some have no teacher's response, and one column mixes types."""
    path = folder / "rows.jsonl"
    lines = [
        {"prompt": f"{n}+1=", "answer": n + 1, "teacher": [str(n)] * (n % 3), "given": "007" if n % 2 else n}
        for n in range(NUM_ROWS)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


class Counting(TransformersEngine):
    """Notes how many prompts it is asked about."""

    asked = 0

    def generate(self, model: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        type(self).asked += len(prompt_ids)
        return super().generate(model, prompt_ids, *args, **kwargs)


def module_of(reward: Reward | None = None, temperature: float = 1.0, **config: Any) -> GFTLitModule:
    loader = tiny_loader(**config)
    loader.rollout = Counting()
    sampler = GroupSampler(
        {"teacher": TeacherSource(), "self": SelfSource(6, max_new_tokens=8, temperature=temperature)},
        {"accuracy": reward or NumericReward(), "digits": FormatReward("[0-9]+", weight=0.5)},
    )
    return GFTLitModule(loader, sampler, RFTLoss())


def predict(
    rows: Path, out: Path, module: GFTLitModule | None = None, seed: int = 0, limit: int | None = None, **options: Any
) -> list[Any]:
    """Return what a prediction returns; ``Counting.asked`` is how many prompts it has asked the engine about."""
    Counting.asked = 0
    data = GroupDataModule(str(rows), **{"teacher_column": "teacher", "batch_size": BATCH, **options})
    seed_everything(seed, verbose=False)
    trainer = Trainer(accelerator="cpu", callbacks=[GroupWriter(str(out))], limit_predict_batches=limit, **QUIET)  # type: ignore[arg-type]
    predictions = trainer.predict(module or module_of(), data)
    assert predictions is not None
    return predictions


def untimed(folder: Path) -> list[StoredGroup]:
    return [replace(group, sampling_seconds=0.0, scoring_seconds=0.0) for group in StoredGroups(folder)]


class Foreign(LightningDataModule):
    """Someone else's: two data loaders, and batches that know neither rows nor places."""

    def __init__(self, batches: list[PromptBatch]) -> None:
        super().__init__()
        self.batches = batches

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        return [DataLoader(self.batches[:2], batch_size=None), DataLoader(self.batches[2:], batch_size=None)]  # type: ignore[arg-type]

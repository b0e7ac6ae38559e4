"""Short runs in stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor
from torch.optim import SGD, AdamW

from lightning_gft import (
    AdaptiveCoefficientRectifier,
    DFTLoss,
    Evaluation,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    SFTLoss,
    TokenBatch,
    WarmupSchedule,
)
from lightning_gft.callbacks import Stage, StageSchedule, Until
from tests.module.runs import ROWS, Rows, fit, make_module, of_the_run
from tests.training.test_exchange import Recorder

Stages = Callable[[], dict[str, Stage]]

SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


class TowardsReference(SFTLoss):
    """Imitates, and keeps the reference's log-probabilities of the first tokens that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first: tuple[Tensor, Tensor] | None = None

    def needs(self) -> frozenset[Any]:
        return frozenset({"ref_logprobs"})

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        assert tokens.ref_logprobs is not None
        return 1 + 0.5 * (tokens.ref_logprobs - tokens.logprobs)

    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        if self.first is None:
            assert tokens.ref_logprobs is not None
            self.first = tokens.logprobs.clone(), tokens.ref_logprobs.clone()


class Compared(Callback):
    """Notes whether each batch was compared with the policy as it was then, and whether the reference has moved."""

    def __init__(self) -> None:
        self.equal: list[bool] = []
        self.moved: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        first: tuple[Tensor, Tensor] = pl_module.loss.first
        pl_module.loss.first = None
        self.equal.append(torch.equal(*first))
        self.moved.append(bool(pl_module.policy.references.state()))


def adaptive() -> GFTLoss:
    return GFTLoss(AdaptiveCoefficientRectifier(0.3, momentum=0.5))


def adam(lr: float = 0.01) -> Callable[..., AdamW]:
    return lambda weights: AdamW(weights, lr=lr)


def all_kinds() -> dict[str, Stage]:
    """Return stages that differ in all that a stage can set: 2 steps, 4 or fewer, and 3 in two batches."""
    return {
        "sft": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=2),
        "gft": Stage(
            adaptive(),
            learning_rate=0.05,
            lr_scheduler=WarmupSchedule("linear"),
            max_epochs=1,
            until=Until("val/entropy", "min", patience=4),
        ),
        "near": Stage(TowardsReference(), optimizer=lambda w: SGD(w, lr=0.1), updates_per_batch=2, max_steps=3,
                      reference="stage"),
        "again": Stage(DFTLoss(), reset_optimizer=True, max_steps=1),
    }  # fmt: skip


class Finished:
    """A run in stages of one prompt a batch, which validates after every second batch of an epoch of four."""

    def __init__(
        self, root: Path, stages: Stages = all_kinds, ckpt_path: Path | None = None, policy: Any = None,
        callbacks: tuple[Callback, ...] = (), save: bool = True, module: GFTLitModule | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.module = module or make_module(SFTLoss(), evaluation=SHORT, optimizer=adam(), policy=policy)
        self.schedule = StageSchedule(stages(), dirpath=str(root / "ends"), save=save)
        recorder = Recorder()
        kept = ModelCheckpoint(root / "kept", "{step}", every_n_train_steps=1, save_top_k=-1)
        defaults: dict[str, Any] = {"max_epochs": -1, "log_every_n_steps": 1, "val_check_interval": 2}
        self.trainer: Trainer = fit(
            self.module, Rows(val_rows=ROWS[:1], batch_size=1), ckpt_path=ckpt_path and str(ckpt_path), logger=recorder,
            callbacks=[*callbacks, self.schedule, kept], enable_checkpointing=True, **{**defaults, **settings},
        )  # fmt: skip
        self.rows = [of_the_run(row) for row in recorder.rows]

    def logged(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


def checkpoint(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content

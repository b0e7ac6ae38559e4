"""What the figures of a run cost: steps of the quickstart with all of them, beside the same steps without any.

python -m benchmarks.figures --device cpu --output figures.json

All three runs draw the same responses and train to the same weights, step by step.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim import AdamW

import lightning_gft as gft
from benchmarks import harness
from benchmarks.harness import StepLog
from lightning_gft.losses import GroupLoss
from lightning_gft.training import TrainingStatistics, UpdateFigures
from lightning_gft.types import GroupBatch, LossOutput, TokenBatch, TrainedTokens

GOAL = 0.02
"""Largest share of a step that figures may take."""
CONTESTANTS = {"all": (True, 1), "between two rows": (True, 0), "none": (False, 0)}
"""Whether groups and tokens are counted, and every how many steps a row is written."""


class NoStatistics(TrainingStatistics):
    """Counts nothing, and hands tokens on."""

    def count_groups(self, loss: GroupLoss, groups: GroupBatch, num_prompts: int) -> None:
        """Count nothing."""

    def count_pass(self, loss: GroupLoss, tokens: TokenBatch, output: LossOutput, fresh: bool = True) -> TrainedTokens:
        """Return the tokens with what the pass gave."""
        tokens = tokens.after_pass(output.logprobs, output.entropy, loss.needs())
        return TrainedTokens(tokens, output.coefficients, output.coefficients)

    def collect(self, num_tokens: Tensor, seconds: float, update: UpdateFigures) -> dict[str, Tensor | float]:
        """Return what the progress bar asks for."""
        return {"reward": 0.0, "tokens_per_second": 0.0}


class NoteSteps(Callback):
    """Notes each training step in a log, and at the end the weights."""

    def __init__(self, log: StepLog) -> None:
        self.notes = log  # Lightning gives callbacks a `log` of its own

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step."""
        self.notes.begin()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """End a step."""
        self.notes.end()
        self.notes.steps[-1]["weights"] = sum(float(weight.double().sum()) for weight in pl_module.policy.parameters())


def main(args: Sequence[str] | None = None) -> int:
    """Time all in turn, print a table and write the record; return 1 if they did not train alike."""
    options = harness.command_line(
        __doc__, "figures", args, prompts=16, max_new_tokens=48, rounds=3, steps=10, warmup=2
    )
    trainings = {name: partial(train, options, *setting) for name, setting in CONTESTANTS.items()}
    turns = harness.take_turns(trainings, options.rounds, options.device, warmup_steps=options.warmup)
    alike = len({tuple(harness.steps_of({"": logs}, "weights")[""]) for logs in turns.values()}) == 1
    shares = {name: share(turns[name], turns["none"]) for name in turns}
    results = {name: {**row, **shares[name]} for name, row in harness.compare_times(turns, "all").items()}
    title = f"figures, {options.device}; at most {GOAL:.0%} are wanted" + ("" if alike else " (not trained alike)")
    harness.print_table(title, results)
    harness.write_record(options, results=results, alike=alike, seconds=harness.steps_of(turns))
    return 0 if alike else 1


def train(options: Any, counts: bool, log_every: int, log: StepLog) -> None:
    """Train as configs/quickstart/gft.yaml does."""
    seed_everything(options.seed, verbose=False)
    sampled = gft.SelfSource(num_generations=4, max_new_tokens=options.max_new_tokens)
    module = gft.GFTLitModule(
        policy=gft.ArithmeticPolicy(),
        sampler=gft.GroupSampler(
            {"expert": gft.ExpertSource(), "teacher": gft.TeacherSource(num_responses=3), "self": sampled},
            {"accuracy": gft.ExactMatchReward(marker="#")},
        ),
        loss=gft.GFTLoss(gft.DynamicCoefficientRectifier(threshold=0.7)),
        optimizer=lambda weights: AdamW(weights, lr=3e-5, weight_decay=0.01),
    )
    if not counts:
        module.statistics = NoStatistics()
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator=options.device.replace("cuda", "gpu"),
            devices=1,
            max_steps=options.warmup + options.steps,
            limit_val_batches=0,
            log_every_n_steps=log_every,
            logger=CSVLogger(folder) if log_every else False,
            callbacks=[NoteSteps(log), *([gft.Watchdog()] if log_every else [])],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=gft.ArithmeticDataModule(batch_size=options.prompts, seed=options.seed))


def share(logs: Sequence[StepLog], without: Sequence[StepLog]) -> Mapping[str, str]:
    """Return by how much steps take longer than the same steps without figures, in processor time.

    Of each step the round counts in which it took least: all that other work adds is time.

    Example:
        >>> one, other = StepLog(), StepLog()
        >>> one.steps, other.steps = [{"cpu_seconds": 3.0}], [{"cpu_seconds": 2.0}]
        >>> share([one], [other])
        {'figures_take': '50.0%'}
    """

    def least(logs: Sequence[StepLog]) -> Tensor:
        return torch.tensor([[step["cpu_seconds"] for step in log.steps] for log in logs]).min(dim=0).values.sum()

    return {"figures_take": f"{float(least(logs) / least(without) - 1):.1%}"}


if __name__ == "__main__":
    sys.exit(main())

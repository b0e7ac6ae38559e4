"""The callback that runs the stages of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import override

from lightning_gft.callbacks.stages.lengths import Progress, warn_of_limit
from lightning_gft.callbacks.stages.plan import Plan, check_stages, naming_stage
from lightning_gft.callbacks.stages.stage import Stage
from lightning_gft.checkpoint import OptimizerChoice, stage_row
from lightning_gft.errors import GFTRuntimeError, GFTValueError
from lightning_gft.module import GFTLitModule


class StageSchedule(Callback):
    """Trains with one objective after another in one fit, such as SFT, then GFT, then GRPO.

    A stage begins with the first batch after the previous stage has ended; a validation between them belongs to the
    previous stage. All figures are logged as usual, and once more under the stage's name (``sft/train/loss``).
    ``train/stage`` is the stage's number. The run ends with its last stage, or earlier at the trainer's ``max_steps``
    or ``max_epochs``. Each stage ends with a checkpoint ``<number>-<name>.ckpt``. A run that resumes from it, or from
    a checkpoint within a stage, continues bit for bit.

    Args:
        stages: The stages in their order, each under a name of your choice.
        dirpath: Folder of the stages' checkpoints; by default ``checkpoints`` beside the logs of the run.
        save: Whether to write a checkpoint at the end of each stage.

    Raises:
        ValueError: If there is no stage, if a stage has no length or a value out of range, or if a name cannot be
            part of a figure's name. When a run starts: if a stage cannot be trained on the data, or waits for a
            figure that is never logged.
        TypeError: If one of ``stages`` is no :class:`Stage`, or a value has another type.

    Example:
        >>> from lightning_gft import GFTLoss, SFTLoss
        >>> from lightning_gft.callbacks import Stage
        >>> schedule = StageSchedule({"sft": Stage(SFTLoss(), max_steps=100), "gft": Stage(GFTLoss(), max_epochs=2)})
        >>> list(schedule.stages)
        ['sft', 'gft']
    """

    def __init__(self, stages: dict[str, Stage], dirpath: str | None = None, save: bool = True) -> None:
        check_stages(stages)
        self.stages = stages
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.save = save
        self.paths: list[Path] = []
        self._plan: Plan | None = None
        self._choices: dict[str, OptimizerChoice] = {}
        self._progress = Progress(next(iter(stages)))
        self._max_steps = -1

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self._progress.stage]

    @override
    def state_dict(self) -> dict[str, Any]:
        return asdict(self._progress)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["stage"] not in self.stages:
            raise GFTValueError(
                f"`stages`: expected {state_dict['stage']!r}, the stage of the checkpoint, got "
                f"{', '.join(self.stages)}; use the stages of the checkpoint's run"
            )
        self._progress = Progress(**state_dict)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (this package's callbacks serve its module)
        if self._plan is None or self._plan.module is not pl_module:
            self._plan = Plan(self.stages, pl_module)
        self._choices = self._plan.choices(trainer, self._begun)
        self.paths, self._max_steps, self._progress = [], trainer.max_steps, Progress(next(iter(self.stages)))
        pl_module.stages.planned = self._plan.parts()
        pl_module.needs_reference = any(
            "ref_logprobs" in parts.loss.needs() and self.stages[name].reference == "run"
            for name, parts in pl_module.stages.planned.items()
        )
        pl_module.run.on_resume = partial(self._resume, trainer, pl_module)
        self._use(pl_module)
        pl_module.run.optimizer.choice = self._choices[self._progress.stage]

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (checked before)
        run = pl_module.run.optimizer
        for name, choice in self._choices.items():
            if run.settings is None and self.stages[name].sets_optimizer:
                with naming_stage(name):
                    raise GFTValueError(
                        "`optimizer`: expected no setting of it beside configure_optimizers of your own module, got "
                        "one; let the module configure optimizers, or omit optimizer and learning rate"
                    )
            if name != self._progress.stage:
                choice.make(run.weights)  # raises a mistake before training

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (checked before)
        self._progress.epoch_batches = trainer.num_training_batches
        if not _batches(trainer):  # otherwise the checkpoint contains it
            self._set_reference(pl_module)
        warn_of_limit(self.stages, trainer, self._updates_per_batch)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, GFTLitModule)  # noqa: S101 (checked before)
        if self._is_over(trainer):
            self._keep(trainer)
            self._enter(trainer, pl_module, self._names[self._number])

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._end_with_last(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or self.stage.until is None:
            return
        until, progress = self.stage.until, self._progress
        if until.monitor not in trainer.callback_metrics:
            raise GFTRuntimeError(
                f"`stages.{progress.stage}.until.monitor`: expected a validation figure, got {until.monitor!r}, which "
                "was not logged; name one that is"
            )
        value = float(trainer.callback_metrics[until.monitor])
        if trainer.strategy.reduce_boolean_decision(until.is_better(value, than=progress.best), all=False):
            progress.best, progress.waited = value, 0
        else:
            progress.waited += 1
        self._end_with_last(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_over(trainer):
            self._keep(trainer)

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._leave(trainer, pl_module)

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._leave(trainer, pl_module)

    @property
    def _names(self) -> list[str]:
        return list(self.stages)

    @property
    def _number(self) -> int:
        """Return the number of the current stage, counted from 1."""
        return self._names.index(self._progress.stage) + 1

    def _begun(self, name: str) -> Progress:
        # The beginning of a later stage may not be known yet.
        return self._progress if name == self._progress.stage else Progress(name)

    def _updates_per_batch(self, name: str) -> int:
        assert self._plan is not None  # noqa: S101 (set in `setup`)
        return self._plan.updates_per_batch(name)

    def _resume(self, trainer: Trainer, module: GFTLitModule, checkpoint: Mapping[str, Any]) -> None:
        """Switch to the stage of a checkpoint, before optimizer and loss load their state from it."""
        state = checkpoint.get("callbacks", {}).get(self.state_key)
        if state is None:
            raise GFTValueError(
                "`StageSchedule`: expected a checkpoint of a run in stages, got one of a run without; start a new run "
                "from exported weights"
            )
        self.load_state_dict(state)
        self._use(module)
        module.run.optimizer.choice = self._choices[self._progress.stage]
        if trainer.strategy.restore_checkpoint_after_setup:  # the first stage's optimizers exist already
            trainer.strategy.setup_optimizers(trainer)
        step, batches = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        if self._progress.is_over(self.stage, step, batches["total"]["processed"]) and self._number == len(self.stages):
            trainer.fit_loop.epoch_loop.max_steps = step

    def _use(self, module: GFTLitModule) -> None:
        """Make the parts of the current stage those of the module."""
        progress, stage = self._progress, self.stage
        parts = module.stages.planned[progress.stage]
        module.loss, module.sampler = parts.loss.to(module.device), parts.sampler
        module.updates_per_batch = self._updates_per_batch(progress.stage)
        module.updates.max_steps = -1 if stage.max_steps is None else progress.step + stage.max_steps
        module.rows.stage = self._number, progress.stage
        within = f"{progress.stage}, {self._number} of {len(self.stages)}"
        module.run.stage_parts = {**progress.earlier, "stage": within}

    def _enter(self, trainer: Trainer, module: GFTLitModule, name: str) -> None:
        before, run = self._progress, module.run
        described = {stage_row(before.stage): run.describe_since(before.step)}
        self._progress = Progress(
            name, trainer.global_step, _batches(trainer), before.epoch_batches, earlier={**before.earlier, **described}
        )
        self._use(module)
        if run.optimizer.settings is not None:
            module.updates.end()
            run.optimizer.exchange(self._choices[name], keep=self.stage.keeps_optimizer)
            module.updates.start(run.optimizer.weights)
        self._set_reference(module)

    def _set_reference(self, module: GFTLitModule) -> None:
        if self.stage.reference == "stage" and "ref_logprobs" in module.loss.needs():
            module.policy.move_reference()
        else:
            module.policy.reset_reference()

    def _is_over(self, trainer: Trainer) -> bool:
        return self._progress.is_over(self.stage, trainer.global_step, _batches(trainer))

    def _end_with_last(self, trainer: Trainer) -> None:
        """End the run with its last stage in the way of `max_steps`, so that it can be resumed like any other."""
        if self._number == len(self.stages) and self._is_over(trainer):
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def _keep(self, trainer: Trainer) -> None:
        if self._progress.kept or not self.save or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = self.dirpath or Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"
        name = f"{self._number}-{self._progress.stage}"
        paths = (folder / f"{each}.ckpt" for each in chain([name], (f"{name}-v{n}" for n in count(1))))
        path = trainer.strategy.broadcast(next(path for path in paths if not path.exists()))
        self._progress.kept = True
        trainer.save_checkpoint(path, weights_only=False)
        self.paths.append(path)
        rank_zero_info(f"The stage {self._progress.stage} ended after step {trainer.global_step}: {path}")

    def _leave(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore everything but the parts of the last stage: a checkpoint may still be written with their state."""
        if not isinstance(module, GFTLitModule) or not module.stages.planned:
            return
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        module.stages.planned, module.rows.stage, module.updates.max_steps = {}, None, -1
        module.needs_reference = None
        module.run.on_resume = lambda checkpoint: None


def _batches(trainer: Trainer) -> int:
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(total.processed)

"""State that a run keeps in its checkpoints, and how it resumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed, nn

from lightning_gft.checkpoint.contents import NOTE, check_contents, check_same_run, shape_differences
from lightning_gft.checkpoint.describing import describe_parts, without_stages
from lightning_gft.checkpoint.files import check_checkpoint, load_checkpoint
from lightning_gft.checkpoint.frozen import FrozenWeights
from lightning_gft.checkpoint.optimizer import RunOptimizer
from lightning_gft.checkpoint.references import take_moved, with_moved
from lightning_gft.checkpoint.resuming import Resumption, check_same_path, keep_best, leave_out_unread
from lightning_gft.errors import GFTValueError
from lightning_gft.optimization.optimizer import OptimizerFn, check_optimizer
from lightning_gft.schedules import Schedule, SchedulerFn

MEASURED_AT = "measured at step"
"""Key of the step at which the accompanying figures were measured."""
_MEASURED = re.compile(r"([^/]+/)?(val|test)/")
"""Prefix of the names of an evaluation's figures, perhaps after the name of a stage."""
_LOSS = "loss."
"""Prefix of the names of the loss's state."""


def _of_all_ranks(value: Mapping[str, Any]) -> list[Any]:
    """Return what each rank has, if any may have something; all ranks call it together."""
    if not value or not (distributed.is_available() and distributed.is_initialized()):
        return [value] if value else []
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


class Run:
    """A fit of a module with one optimizer: its settings, its notes in checkpoints, and where it resumes.

    Args:
        module: A :class:`~lightning_gft.GFTLitModule`.
        optimizer: Function from the trainable parameters to an optimizer.
        lr_scheduler: A schedule, or a function from an optimizer to one; stepped after every optimizer step.

    Attributes:
        optimizer: The optimizer and its schedule.
        on_resume: Called with the checkpoint of a resumed fit before it is compared with the run, so that a callback
            that exchanges parts can restore those of the checkpoint.
        stage_parts: The current stage, and descriptions of the parts of earlier stages.

    Raises:
        TypeError: If the optimizer is not a function.
    """

    def __init__(
        self, module: LightningModule, optimizer: OptimizerFn, lr_scheduler: Schedule | SchedulerFn | None
    ) -> None:
        self._module: Any = module
        self.optimizer = RunOptimizer(module, optimizer, lr_scheduler)
        self.on_resume: Callable[[Mapping[str, Any]], None] = lambda checkpoint: None
        self.stage_parts: dict[str, str] = {}
        self._frozen: FrozenWeights | None = None
        self._measured_at = 0
        self._has_validated = False
        self._earlier_steps = 0
        self._validated_batches = 0
        self._resumed_from: dict[str, Any] | None = None
        self._resumption: Resumption | None = None
        self._loss_state: dict[str, Any] | None = None
        self._drawn_ahead: list[Any] = []

    @property
    def frozen(self) -> FrozenWeights:
        """Weights that are not trained, as they were right after loading or at the first access."""
        if self._frozen is None:
            self._frozen = FrozenWeights(self._module)
        return self._frozen

    def load_policy(self) -> Any:
        """Load and return the module's policy, and record the weights that are not trained."""
        module = self._module
        module.policy = module.policy_loader.load(module.keeps_reference)
        self._frozen = FrozenWeights(module)
        return module.policy

    def steps(self) -> int:
        """Return the optimizer steps of this fit; before its first step, those of the last fit or the checkpoint."""
        return self._module.global_step or self._earlier_steps

    def measured(self) -> dict[str, float]:
        """Return the last figures of validation and test, of this run or those in the checkpoint."""
        logged = {} if self._module._trainer is None else self._module._trainer.callback_metrics
        own = {name: float(value) for name, value in logged.items() if _MEASURED.match(name)}
        if own:
            tested = self._module._trainer.state.fn == TrainerFn.TESTING
            own[MEASURED_AT] = float(self.steps() if tested else self._measured_at)
        before = {} if self._resumed_from is None else self._resumed_from["measured"]
        return own or dict(before)

    def last_validation(self) -> tuple[int, bool]:
        """Return the step of the last validation, and whether this fit has done it rather than the one it resumes."""
        return self._measured_at, self._has_validated

    def prompt_settings(self) -> dict[str, Any]:
        """Return the settings of the prompts that were trained on: of the data, or those in the checkpoint."""
        data = None if self._module._trainer is None else getattr(self._module._trainer, "datamodule", None)
        before = {} if self._resumed_from is None else self._resumed_from.get("prompts", {})
        return dict(getattr(data, "prompt_settings", None) or before)

    def parts(self) -> dict[str, str]:
        """Describe the parts that were trained: the module's, or those of a checkpoint that was only loaded."""
        noted = {} if self._resumed_from is None else self._resumed_from.get("parts", {})
        return dict(noted) if noted and self.optimizer.settings is None else self.parts_now()

    def parts_now(self) -> dict[str, str]:
        """Describe the module's current parts, by the names that a model card shows."""
        module = self._module
        data = None if module._trainer is None else getattr(module._trainer, "datamodule", None)
        now = describe_parts(module.policy_loader, module.sampler, module.loss, module.updates_per_batch, data)
        return now | self.stage_parts

    def describe_since(self, step: int) -> str:
        """Describe the run's parts since an optimizer step, with the number of steps taken since then."""
        own = without_stages(self.parts_now()) | self.optimizer_description()
        own |= {"optimizer steps": str(self.steps() - step)}
        return "; ".join(f"{name}: {words}" for name, words in own.items() if name not in ("policy", "data"))

    def optimizer_description(self) -> dict[str, str]:
        """Describe optimizer and schedule, or those of the loaded checkpoint; empty without either."""
        if self.optimizer.settings is not None:
            return self.optimizer.settings.describe()
        return {} if self._resumed_from is None else dict(self._resumed_from["description"])

    def load_weights(self, path: str | Path) -> None:
        """Load the weights of a checkpoint; frozen weights, which it does not hold, stay as the policy was loaded.

        Args:
            path: A checkpoint of a run with the same parts.

        Raises:
            ValueError: If the checkpoint is damaged, or belongs to a run with other parts.
        """
        check_checkpoint(Path(path))
        self._module.configure_model()
        checkpoint = load_checkpoint(Path(path))
        self._module.on_load_checkpoint(checkpoint)
        self._module.load_state_dict(checkpoint["state_dict"], strict=False)

    # The hooks of the module, in the order in which Lightning calls them

    def start_fit(self) -> None:
        """Check that there is one optimizer, at most one schedule, and the kept start that the loss needs."""
        trainer, self._has_validated = self._module.trainer, False
        if len(trainer.optimizers) != 1 or len(trainer.lr_scheduler_configs) > 1:
            raise GFTValueError(
                "configure_optimizers: expected one optimizer and at most one learning-rate schedule, got "
                f"{len(trainer.optimizers)} and {len(trainer.lr_scheduler_configs)}; return one of each"
            )
        if self.optimizer.settings is None:  # a subclass built its own
            check_optimizer(trainer.optimizers[0], self.optimizer.weights, "configure_optimizers")
        if self._module.needs_reference:
            self._module.policy.references.check_kept()
        if self._resumption is not None:
            self._resumption.lift_limit(trainer)

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint belongs to this run, and load its notes."""
        module = self._module
        if module._trainer is not None:
            check_same_path(module.trainer)
        fits = module._trainer is not None and module.trainer.state.fn == TrainerFn.FITTING
        if module._trainer is not None and not fits:
            keep_best(checkpoint, module.trainer.checkpoint_callbacks)
            leave_out_unread(checkpoint, module.trainer.callbacks)
        check_contents(checkpoint, resumes=fits)
        if fits:
            self.on_resume(checkpoint)
        noted = checkpoint[NOTE]
        state = checkpoint["state_dict"]
        loss_state = {name: state.pop(name) for name in list(state) if name.startswith(_LOSS)}
        moved = take_moved(state)
        there, here = noted["identity"], module.policy.identity
        differences = [
            f"{name} is {there.get(name)} in the checkpoint and {here.get(name)} in this run"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        own = {name: value for name, value in module.state_dict().items() if not name.startswith(_LOSS)}
        differences += shape_differences(state, own, noted["frozen"])
        check_same_run(differences + self.frozen.differences(noted["frozen"]))
        if fits:  # see `restore_loss`
            self._loss_state = loss_state
            module.policy.references.restore(moved)
            self._drawn_ahead = noted.get("drawn_ahead", [])  # see `restore_parts`
        elif set(loss_state) == {f"{_LOSS}{name}" for name in module.loss.state_dict()}:
            state.update(loss_state)
        self._resumed_from = noted
        self._earlier_steps = checkpoint["global_step"]
        if fits:
            self.optimizer.resume(noted["settings"])
            self._validated_batches = noted["validated_batches"]
            self._measured_at = int(noted["measured"].get(MEASURED_AT, 0))
            self._resumption = Resumption(checkpoint, self._validated_batches, module.trainer)
            if module.trainer.strategy.restore_checkpoint_after_setup:  # so this runs after `on_fit_start`
                self._resumption.lift_limit(module.trainer)

    def start_training(self) -> None:
        """Restore settings and figures of a resumed run, and the state of its loss if that loss is in use."""
        trainer = self._module.trainer
        self.restore_loss(settled=False)
        if self._resumption is not None:
            self._resumption.restore_limit(trainer)  # a schedule may depend on it
        self.optimizer.restore()
        if self._resumption is not None and self._resumed_from is not None:
            # Callbacks can monitor these figures before the next validation, as they could before the stop.
            for name, value in self._resumed_from["measured"].items():
                if name != MEASURED_AT:  # in float64 like the metrics, so that the next checkpoint notes the same value
                    trainer.callback_metrics[name] = torch.tensor(value, dtype=torch.float64)
            if not self._resumption.begin(trainer):
                self._resumption = None

    def start_validation(self) -> None:
        """Apply ``max_steps`` again, after the missing validation has begun."""
        if self._resumption is not None:
            self._resumption.restore_limit(self._module.trainer)
            self._resumption = None

    def end_validation(self) -> None:
        """Record what has been validated, before any callback writes a checkpoint in ``on_validation_end``."""
        if not self._module.trainer.sanity_checking:
            self._measured_at, self._has_validated = self.steps(), True
            self._validated_batches = self._module.trainer.fit_loop.epoch_loop.total_batch_idx + 1

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out of a checkpoint, and add the notes that a resumed run is compared with."""
        parts = self.parts()
        if self._loss_state is not None and self._resumed_from is not None:  # no step since the run resumed
            state = {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith(_LOSS)}
            checkpoint["state_dict"] = {**state, **self._loss_state}
            parts["loss"] = self._resumed_from.get("parts", {}).get("loss", parts["loss"])
        checkpoint[NOTE] = {
            "identity": self._module.policy.identity,
            "frozen": self.frozen.take_out(checkpoint["state_dict"], self._module),
            "settings": self.optimizer.settings and self.optimizer.settings.noted(),
            "description": self.optimizer_description(),
            "parts": parts,
            "measured": self.measured(),
            "prompts": self.prompt_settings(),
            "validated_batches": self._validated_batches,
            "drawn_ahead": self._drawn_ahead or _of_all_ranks(self._module.sampler.memory()),
        }
        checkpoint["state_dict"] = with_moved(checkpoint["state_dict"], self._module.policy.references.state())

    def end_fit(self) -> None:
        """Keep the number of steps, since another trainer counts from 0."""
        self._earlier_steps = self.steps()

    def restore_parts(self) -> None:
        """Bring back, as a step begins, the state of the loss and what sources had drawn ahead."""
        self.restore_loss()
        if self._drawn_ahead:
            self._module.sampler.recall(self._drawn_ahead)
            self._drawn_ahead = []

    def restore_loss(self, settled: bool = True) -> None:
        """Load the state of the loss of the resumed run.

        A callback may have exchanged the loss before the checkpoint, and does so again when training or a step begins.

        Args:
            settled: Whether a step begins now. If not, the state is loaded only into the same loss as the checkpoint's.
        """
        if (state := self._loss_state) is None or (noted := self._resumed_from) is None:
            return
        loss: nn.Module = self._module.loss
        was, now = noted.get("parts", {}).get("loss", ""), self.parts_now()["loss"]
        if not settled and was != now:
            return
        self._loss_state = None
        if {f"{_LOSS}{name}" for name in loss.state_dict()} != set(state):
            raise GFTValueError(
                f"`model.loss`: expected the loss of the checkpoint, {was}, got {now}; use the configuration that the "
                "run had at that time, with the callback that exchanged the loss if there was one"
            )
        loss.load_state_dict({name.removeprefix(_LOSS): value for name, value in state.items()})
        if was and was.split("(")[0] != now.split("(")[0]:
            rank_zero_warn(f"`model.loss`: the run is resumed with {now}; its checkpoint was written with {was}")

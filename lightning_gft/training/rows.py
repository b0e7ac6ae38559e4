"""Logging the figures of a run to loggers, callbacks and the progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_gft.evaluation import log_key
from lightning_gft.phases import PHASES
from lightning_gft.training.clock import RunClock
from lightning_gft.training.memory import take_peak_memory

RUN_NAMES = (*(f"time/{name}" for name in PHASES if name != "validation"), "memory_gb")
"""Names of the figures that cover the time since the previous row."""

_ACCURACY = "accuracy"
_PROGRESS_BAR = {"reward": "reward", "rectified": "rectified_fraction", "tokens/s": "tokens_per_second"}
"""Figures of a step on the progress bar, with names that are short enough for a line of 80 columns."""


class Rows:
    """Passes the figures of a module to its loggers, to callbacks that monitor them, and to the progress bar.

    Args:
        module: The module whose figures are logged.
        steps: Function that returns the number of optimizer steps so far.
        clock: Clock that times the phases of the run.

    Attributes:
        progress_names: Names on the progress bar.
        stage: Number and name of the current stage of a fit. Figures are logged a second time under its name.
        latest: Figures of the last step or evaluation only, by name, for callbacks.
    """

    progress_names = frozenset({*_PROGRESS_BAR, _ACCURACY})

    def __init__(self, module: LightningModule, steps: Callable[[], int], clock: RunClock) -> None:
        self.module = module
        self.steps = steps
        self._clock = clock
        self.stage: tuple[int, str] | None = None
        self.latest: dict[str, Tensor | float] = {}

    @property
    def due(self) -> bool:
        """Whether the row of the current training step is written; some figures are measured only then."""
        return self.due_each(1)

    def due_each(self, steps: int) -> bool:
        """Return whether the row of the current step is written, and a figure of a longer interval is due in it.

        Args:
            steps: Least number of steps between two values of the figure; the first row has one.
        """
        trainer = self.module.trainer
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # 0 for never, as in a barebones run
        number, left = divmod(trainer.fit_loop.total_batch_idx + 1, every) if every else (0, 1)
        return not left and (number - 1) % math.ceil(steps / every) == 0

    def write(self, row: Mapping[str, Tensor | float]) -> None:
        """Write figures of a fit to the loggers now; Lightning writes them after callbacks have saved checkpoints.

        So the rows before a checkpoint are never missing, even if the run is killed right after it.

        Args:
            row: Figures by the names that they are logged under.
        """
        scalars = {name: float(value) for name, value in row.items()}
        for logger in self.module.loggers:
            logger.log_metrics({**scalars, "epoch": self.module.current_epoch}, step=self.steps())
            logger.save()

    def step(self, figures: Mapping[str, Tensor | float]) -> None:
        """Log the figures of a training step."""
        module, due = self.module, self.due
        if due:
            figures = {**figures, **self._since_the_row_before()}
        row = self._with_stage({log_key("train", name): value for name, value in figures.items()})
        if self.stage is not None:
            row["train/stage"] = float(self.stage[0])
        self.latest = row
        self._show(row)
        if due:
            self.write(row)
        for shown, name in _PROGRESS_BAR.items():
            if name in figures:
                module.log(shown, figures[name], prog_bar=True, logger=False, batch_size=1)

    def evaluation(
        self, stage: str, figures: Mapping[str, Mapping[str, Tensor]], parts: Mapping[str, Tensor | float]
    ) -> None:
        """Log the figures of ``"val"`` or ``"test"`` for each data set, and those of the parts during it."""
        module, trainer = self.module, self.module.trainer
        row: dict[str, Tensor | float] = {log_key(stage, name): value for name, value in parts.items()}
        row |= {log_key(stage, name, dataset): value for dataset, of in figures.items() for name, value in of.items()}
        if trainer.state.fn != TrainerFn.FITTING:  # Lightning returns the logged figures
            position = {"step": float(self.steps()), "epoch": float(module.current_epoch)}
            module.log_dict({**row, **position}, sync_dist=True)
            return
        self.latest = row = self._with_stage(row)
        module.log_dict(row, sync_dist=True, logger=False)
        if row and not trainer.sanity_checking:
            self.write(row)
        if (accuracy := row.get(log_key(stage, "greedy_accuracy"))) is not None:  # on the main data set
            module.log(_ACCURACY, accuracy, prog_bar=True, logger=False, sync_dist=True)

    def _since_the_row_before(self) -> dict[str, Tensor | float]:
        """Return shares of time, averaged over ranks, and the peak memory, which is the largest of all ranks."""
        reduce, device = self.module.trainer.strategy.reduce, self.module.device
        shares = self._clock.take_shares()
        of_ranks = reduce(torch.tensor([*shares.values()], device=device), reduce_op="mean")
        memory = reduce(torch.tensor(take_peak_memory(device), device=device), reduce_op="max")
        assert isinstance(of_ranks, Tensor)  # noqa: S101 (a tensor reduces to a tensor)
        return dict(zip(RUN_NAMES, [*of_ranks.unbind(), memory], strict=True))

    def _show(self, row: Mapping[str, Tensor | float]) -> None:
        """Make the figures of a training step available to callbacks.

        `log_dict` has the same effect, but takes about a millisecond per figure, and a step has a hundred.
        """
        shown: dict[str, Tensor] = self.module.trainer.callback_metrics
        shown.update({name: torch.as_tensor(value, device=self.module.device) for name, value in row.items()})

    def _with_stage(self, row: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
        """Return figures under their own names and, within a stage, under names prefixed by that of the stage."""
        if self.stage is None:
            return row
        return {**row, **{log_key(self.stage[1], name): value for name, value in row.items()}}

"""Figures of a run, on their way to loggers and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_gft.evaluation import log_key

_PROGRESS_BAR = {"reward": "reward", "tokens/s": "tokens_per_second"}
"""What the progress bar shows, under names short enough for a line of 80 columns."""


class Rows:
    """Hands the figures of a module to its loggers, to callbacks that monitor them, and to the progress bar.

    Args:
        module: The module that logs them.
        steps: Returns the optimizer steps taken.

    Attributes:
        progress_names: What the progress bar shows.
        stage: Number and name of the stage that a fit is in, under whose name all figures are logged besides.
    """

    progress_names = frozenset(_PROGRESS_BAR)

    def __init__(self, module: LightningModule, steps: Callable[[], int]) -> None:
        self.module = module
        self.steps = steps
        self.stage: tuple[int, str] | None = None

    @property
    def due(self) -> bool:
        """Whether the figures of the training step in hand go to the loggers."""
        trainer = self.module.trainer
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # 0 for never, as in a barebones run
        return every > 0 and (trainer.fit_loop.total_batch_idx + 1) % every == 0

    def write(self, row: Mapping[str, Tensor | float]) -> None:
        """Write figures of a fit to the loggers now, where Lightning would after callbacks have written checkpoints.

        So a checkpoint never lacks the rows before it, whenever its run is killed.

        Args:
            row: Figures by the names that they are logged under.
        """
        scalars = {name: float(value) for name, value in row.items()}
        for logger in self.module.loggers:
            logger.log_metrics({**scalars, "epoch": self.module.current_epoch}, step=self.steps())
            logger.save()

    def step(self, figures: Mapping[str, Tensor | float]) -> None:
        """Log a training step."""
        module = self.module
        row = self._with_stage({log_key("train", name): value for name, value in figures.items()})
        if self.stage is not None:
            row["train/stage"] = float(self.stage[0])
        module.log_dict(row, logger=False, batch_size=1)  # for callbacks that monitor them
        if self.due:
            self.write(row)
        for shown, name in _PROGRESS_BAR.items():
            module.log(shown, figures[name], prog_bar=True, logger=False, batch_size=1)

    def evaluation(
        self, stage: str, figures: Mapping[str, Mapping[str, Tensor]], parts: Mapping[str, Tensor | float]
    ) -> None:
        """Log what ``"val"`` or ``"test"`` has measured of each data set, and what parts have counted meanwhile."""
        module, trainer = self.module, self.module.trainer
        row: dict[str, Tensor | float] = {log_key(stage, name): value for name, value in parts.items()}
        row |= {log_key(stage, name, dataset): value for dataset, of in figures.items() for name, value in of.items()}
        if trainer.state.fn != TrainerFn.FITTING:  # Lightning returns what it logs
            position = {"step": float(self.steps()), "epoch": float(module.current_epoch)}
            module.log_dict({**row, **position}, sync_dist=True)
            return
        row = self._with_stage(row)
        module.log_dict(row, sync_dist=True, logger=False)
        if row and not trainer.sanity_checking:
            self.write(row)

    def _with_stage(self, row: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
        """Return figures under their names, and under the name of the stage."""
        if self.stage is None:
            return row
        return {**row, **{log_key(self.stage[1], name): value for name, value in row.items()}}

"""Rejects callbacks that cannot work with this package's module, and adapts those that average weights."""

from __future__ import annotations

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    SpikeDetection,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import ModelParallelStrategy

from lightning_gft.errors import GFTValueError
from lightning_gft.preflight.averaging import average_what_trains

_REFUSED: dict[type[Callback], str] = {
    BaseFinetuning: "it freezes weights before the policy is loaded; train adapters, by model.policy.lora",
    BatchSizeFinder: "memory follows from model.micro_batch_tokens, whatever the batch; lower or raise that",
    GradientAccumulationScheduler: (
        "data.batch_size prompts make an update, in micro-batches of model.micro_batch_tokens tokens; set these"
    ),
    LearningRateFinder: (
        "it drives automatic optimisation, and losses of different groups do not compare; compare train/reward of "
        "short runs with several values of model.optimizer.lr"
    ),
    ModelPruning: "it prunes before the policy is loaded; prune the exported model",
    StochasticWeightAveraging: (
        "it averages in automatic optimisation alone; use lightning.pytorch.callbacks.WeightAveraging or "
        "EMAWeightAveraging, and lightning_gft.WarmupSchedule for the learning rate"
    ),
}


def prepare_callbacks(trainer: Trainer) -> None:
    """Raise an error for callbacks that cannot work here, and move those that average weights to the front.

    At the front they swap in the averages before other callbacks read the weights, at the end of training or of an
    evaluation. Checkpoints that are written after a step then hold the averages of that step.

    Raises:
        ValueError: If a callback cannot work with the module.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        reason = next((reason for kind, reason in _REFUSED.items() if isinstance(callback, kind)), None)
        if isinstance(callback, WeightAveraging):
            if isinstance(trainer.strategy, ModelParallelStrategy):
                reason = "it averages whole weights, and these are sharded; use trainer.strategy=ddp"
            else:
                average_what_trains(callback)
        if isinstance(callback, SpikeDetection) and not hasattr(callback, "running"):
            # The name by which Lightning 2.6 restores the state that it saved.
            callback.running = callback.running_mean  # type: ignore[attr-defined]
        if reason is not None:
            raise GFTValueError(
                f"`trainer.callbacks`: expected supported callbacks, got {type(callback).__name__}: {reason}"
            )
    callbacks.sort(key=lambda callback: not isinstance(callback, WeightAveraging))

"""Options of Lightning's Trainer that the module has settings of its own for."""

from __future__ import annotations

from lightning.pytorch import Trainer


def check_trainer_options(trainer: Trainer) -> None:
    """Refuse options that Lightning can only apply when it optimises itself, and say what to set instead.

    Args:
        trainer: About to fit.

    Raises:
        ValueError: If it has such an option.

    Example:
        >>> check_trainer_options(Trainer(gradient_clip_val=0.5, logger=False, accelerator="cpu"))
        Traceback (most recent call last):
        ValueError: trainer.gradient_clip_val: expected None, got 0.5; the module clips ...
    """
    if trainer.gradient_clip_val is not None:
        raise ValueError(
            f"trainer.gradient_clip_val: expected None, got {trainer.gradient_clip_val}; the module clips itself, set "
            "model.gradient_clip_val"
        )
    algorithm = trainer.gradient_clip_algorithm
    if algorithm is not None and algorithm != "norm":
        raise ValueError(
            f"trainer.gradient_clip_algorithm: expected 'norm', got {algorithm.value!r}; the module clips by the norm, "
            "to model.gradient_clip_val"
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches: expected 1, got {trainer.accumulate_grad_batches}; an update takes "
            "data.batch_size prompts, in micro-batches of model.micro_batch_tokens tokens: raise the former for a "
            "larger update, lower the latter for less memory"
        )

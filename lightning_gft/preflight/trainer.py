"""Checks options of Lightning's Trainer for which the module has settings of its own."""

from __future__ import annotations

import platform
from collections.abc import Iterable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_gft.errors import GFTValueError


def check_trainer_options(trainer: Trainer) -> None:
    """Raise an error for options that only automatic optimisation can apply, with the setting to use instead.

    Raises:
        ValueError: If the trainer has such an option.

    Example:
        >>> check_trainer_options(Trainer(gradient_clip_val=0.5, logger=False, accelerator="cpu"))
        Traceback (most recent call last):
        lightning_gft.errors.GFTValueError: `trainer.gradient_clip_val`: expected None, got 0.5; the module clips ...
    """
    if trainer.gradient_clip_val is not None:
        raise GFTValueError(
            f"`trainer.gradient_clip_val`: expected None, got {trainer.gradient_clip_val}; the module clips itself, "
            "set model.gradient_clip_val"
        )
    algorithm = trainer.gradient_clip_algorithm
    if algorithm is not None and algorithm != "norm":
        raise GFTValueError(
            f"`trainer.gradient_clip_algorithm`: expected 'norm', got {algorithm.value!r}; the module clips by the "
            "norm, set model.gradient_clip_val"
        )
    if trainer.accumulate_grad_batches != 1:
        raise GFTValueError(
            f"`trainer.accumulate_grad_batches`: expected 1, got {trainer.accumulate_grad_batches}; an update takes "
            "data.batch_size prompts, in micro-batches of model.micro_batch_tokens tokens: raise the former for a "
            "larger update, lower the latter for less memory"
        )


def check_precision(trainer: Trainer) -> None:
    """Raise an error for float16: its loss scaling does not allow a normaliser over micro-batches and ranks.

    Raises:
        ValueError: If the trainer computes in float16.
    """
    if trainer.precision in ("16-mixed", "16-true"):
        raise GFTValueError(
            f"`trainer.precision`: expected 32-true or bf16-mixed, got {trainer.precision!r}; float16 needs a scaled "
            "loss, which a normaliser over micro-batches and ranks does not allow"
        )


def warn_of_slow_bfloat16(trainer: Trainer, weights: Iterable[Tensor]) -> None:
    """Warn of a run in bfloat16 on a processor without instructions for it, whose first step may seem to hang.

    On x86 PyTorch has fast bfloat16 products from AVX-512 on, by oneDNN.
    """
    if trainer.strategy.root_device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return
    in_bfloat16 = trainer.precision.startswith("bf16") or any(weight.dtype == torch.bfloat16 for weight in weights)
    if in_bfloat16 and torch.backends.cpu.get_cpu_capability() != "AVX512":
        rank_zero_warn(
            "this processor has no instructions for bfloat16 and computes it many times as slowly as float32: a step "
            "may take minutes. Set trainer.precision to 32-true and the policy's torch_dtype to float32"
        )


def check_not_compiled(module: LightningModule) -> None:
    """Raise an error for a module that was compiled as a whole.

    Raises:
        ValueError: If ``torch.compile`` was applied to the module.
    """
    if getattr(module, "_compiler_ctx", None) is not None:  # set by Lightning for a compiled module
        raise GFTValueError(
            "`module`: expected one without torch.compile, got a compiled one, whose step cannot be compiled because "
            "it samples and scores text; compile the language model: module.configure_model(); "
            "module.policy.model.compile()"
        )

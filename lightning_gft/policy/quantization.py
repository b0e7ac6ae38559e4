"""4-bit or 8-bit weights under adapters, through bitsandbytes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_warn
from transformers import BitsAndBytesConfig, PreTrainedModel

from lightning_gft.errors import GFTValueError
from lightning_gft.extras import require

_NOISY = ("autograd._functions", "backends.cpu.ops")
"""Loggers that report a cast at every call, and kernels for the product that is avoided below."""


@dataclass(frozen=True)
class Quantization:
    """Precision of the linear layers, all but the head; they are frozen, so it requires adapters to train.

    Args:
        bits: Bits per weight: 4, or 8 as in LLM.int8(), where the other fields have no effect.
        quant_type: Data type of 4-bit weights: ``nf4``, made for normally distributed weights, or ``fp4``.
        double_quant: Whether to quantise the scales too, which saves 0.4 bits per weight.
        compute_dtype: Data type that products are computed in.
        storage_dtype: Data type that the packed weights are stored as; sharding requires that of the other weights.

    Raises:
        ValueError: If a field has another value than its choices, or has no effect with 8 bits.
        ModuleNotFoundError: If bitsandbytes is not installed.

    Example:
        >>> Quantization(quant_type="nf4").config().load_in_4bit
        True
    """

    bits: Literal[4, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    storage_dtype: Literal["uint8", "bfloat16", "float16", "float32"] = "uint8"

    def __post_init__(self) -> None:
        require("bitsandbytes", setting="quantization", extra="qlora")
        for name, hint in get_type_hints(type(self)).items():
            if (choices := get_args(hint)) and getattr(self, name) not in choices:
                raise GFTValueError(
                    f"`quantization.{name}`: expected {' or '.join(map(str, choices))}, got {getattr(self, name)!r}"
                )
        given = [field.name for field in fields(self)[1:] if getattr(self, field.name) != field.default]
        if self.bits == 8 and given:
            raise GFTValueError(
                f"`quantization.{given[0]}`: expected its default with bits=8, where it has no effect, got "
                f"{getattr(self, given[0])!r}; leave it out, or use bits: 4"
            )

    def config(self) -> BitsAndBytesConfig:
        """Return these settings as transformers' configuration."""
        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=getattr(torch, self.compute_dtype),
            bnb_4bit_quant_storage=getattr(torch, self.storage_dtype),
        )


def is_quantised(model: PreTrainedModel) -> bool:
    """Return whether some of a model's weights are packed into few bits."""
    return getattr(model, "hf_quantizer", None) is not None


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keep the 4-bit layers of a model on a CPU differentiable after they have been used for sampling.

    On CPUs with bfloat16 instructions, bitsandbytes repacks a layer's weights at its first use in `eval` mode, for
    a product that has no gradient. Training would then continue without the gradient through any such layer.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for noisy in _NOISY:
        logging.getLogger(f"bitsandbytes.{noisy}").setLevel(logging.ERROR)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            assert hasattr(module, "support_avx512bf16_for_cpu")  # noqa: S101 (else bitsandbytes has renamed it)
            module.support_avx512bf16_for_cpu = False


def warn_of_stacked_experts(model: PreTrainedModel) -> None:
    """Warn of weights that stay in full precision: experts stacked into one tensor are not linear layers."""
    stacked = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 2)
    if stacked:
        rank_zero_warn(
            f"bitsandbytes quantises linear layers, but {stacked / 1e6:.1f} million weights of "
            f"{type(model).__name__} are stacked into larger tensors, as those of experts are, and stay in torch_dtype"
        )


def check_sharding(quantization: Quantization, torch_dtype: str, strategy: Strategy) -> None:
    """Check that a strategy can shard quantised weights.

    Raises:
        ValueError: If the strategy shards weights and these cannot be sharded.
    """
    if not isinstance(strategy, ModelParallelStrategy):
        return
    if quantization.bits == 8:
        raise GFTValueError(
            "`quantization.bits`: expected 4 with sharded weights, got 8; use bits: 4 with storage_dtype equal to "
            "torch_dtype, or trainer.strategy: ddp"
        )
    if quantization.storage_dtype != torch_dtype:
        raise GFTValueError(
            f"`quantization.storage_dtype`: expected torch_dtype ({torch_dtype}) with sharded weights, got "
            f"{quantization.storage_dtype}; set both to bfloat16, or use trainer.strategy: ddp"
        )

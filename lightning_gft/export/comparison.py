"""Comparing what was written with the policy that it was written from, on a few tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PreTrainedModel

from lightning_gft.policy import Policy, quiet_report

_ROWS, _TOKENS = 2, 8
_ROUNDING = {torch.float64: 1e-3, torch.float32: 1e-3}
_HALF_PRECISION = 5e-2
"""Relative differences of logits that rounding explains, over devices and many layers; what is wrong gives far more."""


@torch.no_grad()
def probe_logits(model: PreTrainedModel, device: torch.device) -> Tensor:
    """Return what a model says to a few tokens, computed in the precision of its weights.

    Args:
        model: A causal language model.
        device: Where it runs.

    Returns:
        Logits ``[P, T, V]`` in float32, on the CPU.
    """
    vocab_size = model.config.get_text_config().vocab_size
    probe = torch.linspace(0, vocab_size - 1, _ROWS * _TOKENS).long().view(_ROWS, _TOKENS).to(device)
    training = model.training
    model.eval()
    with torch.autocast(device.type, enabled=False), _exact_products():
        logits: Tensor = model(input_ids=probe, use_cache=False).logits.float().cpu()
    model.train(training)
    return logits


def check_model(folder: Path, model: PreTrainedModel, expected: Tensor, what: str) -> None:
    """Refuse a written model that transformers loads as another one than was meant.

    It is loaded onto the CPU, beside ``model``.

    Args:
        folder: What was written.
        model: What it was written from; says how it is loaded.
        expected: :func:`probe_logits` of the policy.
        what: Name of what was written, as errors put it.

    Raises:
        ValueError: If it cannot be loaded, or its logits differ by more than rounding.
    """
    automatic = type(model.config) in MODEL_FOR_CAUSAL_LM_MAPPING
    loader: Any = AutoModelForCausalLM if automatic else type(model)
    try:
        with quiet_report():
            written: PreTrainedModel = loader.from_pretrained(folder, use_safetensors=True)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{what} cannot be loaded again: {error}") from error
    check_logits(probe_logits(written, torch.device("cpu")), expected, coarsest(written, model), what)


def check_adapter(folder: Path, policy: Policy, expected: Tensor, dtype: torch.dtype | None) -> None:
    """Refuse a written adapter that peft loads as another one than the policy has.

    It is loaded into the policy's own model, for as long as this takes.

    Args:
        folder: What was written.
        policy: What it was written from.
        expected: :func:`probe_logits` of the policy.
        dtype: Data type of the written weights, where it is not their own.

    Raises:
        ValueError: If its logits differ by more than rounding.
    """
    assert policy.adapters is not None  # noqa: S101 (it was written from them)
    with policy.adapters.replaced_by(folder):
        logits = probe_logits(policy.model, policy.device)
    check_logits(logits, expected, dtype or coarsest(policy.model), "the written adapter")


def coarsest(*models: PreTrainedModel) -> torch.dtype:
    """Return the data type of fewest bits among those of some models' weights, packed ones left out.

    Args:
        models: Any.
    """
    floating = {weight.dtype for model in models for weight in model.parameters() if weight.is_floating_point()}
    return min(floating, key=lambda dtype: dtype.itemsize)


def check_logits(logits: Tensor, expected: Tensor, dtype: torch.dtype, what: str) -> None:
    """Refuse logits that differ from others by more than a data type rounds.

    Args:
        logits: ``[P, T, V]``.
        expected: ``[P, T, V]``.
        dtype: The coarsest that had a part in either.
        what: Name of what gave ``logits``, as errors put it.

    Raises:
        ValueError: If they do.

    Example:
        >>> check_logits(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.float32, "the export")
        Traceback (most recent call last):
        ValueError: the export is not the policy: log-probabilities differ by 0.19 where rounding explains 0.1% of ...
    """
    limit = _ROUNDING.get(dtype, _HALF_PRECISION)
    if logits.shape != expected.shape:
        raise ValueError(f"{what} is not the policy: it gives {logits.shape[-1]} logits, not {expected.shape[-1]}")
    difference, scale = logits.log_softmax(dim=-1) - expected.log_softmax(dim=-1), expected.log_softmax(dim=-1)
    # A median, since rounding may send a token to another expert of a mixture, and then that token's logits differ.
    centred, spread = (values - values.mean(dim=-1, keepdim=True) for values in (logits - expected, expected))
    relative = float((centred.norm(dim=-1) / spread.norm(dim=-1).clamp(min=1e-6)).median())
    if not relative <= limit:
        raise ValueError(
            f"{what} is not the policy: log-probabilities differ by up to {float(difference.abs().max()):.2g} of "
            f"{float(scale.abs().max()):.2g}, where rounding to {str(dtype).removeprefix('torch.')} explains "
            f"{limit:.1%}"
        )


@contextmanager
def _exact_products() -> Iterator[None]:
    """Let a GPU take products of float32 in float32, whatever the run allowed."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)

"""Compares an exported policy with the trained one on a few tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PreTrainedModel

from lightning_gft.errors import GFTValueError
from lightning_gft.policy import Policy, quiet_report

Result = TypeVar("Result")

_ROWS, _TOKENS = 2, 8
_ROUNDING = {torch.float64: 1e-3, torch.float32: 1e-3}
_HALF_PRECISION = 5e-2
"""Relative difference of logits that rounding explains, over devices and many layers; wrong weights cause far more."""


class DifferenceError(GFTValueError):
    """The exported policy differs from the trained one."""


class Comparison:
    """The steps of a comparison and its outcome, which is raised only after the files have been moved.

    Example:
        >>> comparison = Comparison()
        >>> comparison.attempt(int, "x"), comparison.attempt(lambda: 2)  # no step after one that failed
        (None, None)
        >>> comparison.difference, comparison.obstacle
        ('', "ValueError: invalid literal for int() with base 10: 'x'")
    """

    def __init__(self) -> None:
        self.difference = ""
        """How the export differs from the policy; empty if it does not."""
        self.obstacle = ""
        """Why the two could not be compared; empty if they could."""

    def attempt(self, step: Callable[..., Result], *args: Any) -> Result | None:
        """Return the result of a step, or ``None`` if this step or an earlier one has failed."""
        if self.difference or self.obstacle:
            return None
        try:
            return step(*args)
        except DifferenceError as error:
            self.difference = f"{error}"
        except Exception as error:  # noqa: BLE001 (no failed comparison may cost the weights)
            self.obstacle = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return None


@torch.no_grad()
def probe_logits(model: PreTrainedModel, device: torch.device, autocast: torch.dtype | None = None) -> Tensor:
    """Return a model's logits of a few tokens, computed in the precision of its weights.

    Args:
        autocast: Data type of matrix products for weights of several data types.

    Returns:
        Logits ``[P, T, V]`` in float32, on the CPU.
    """
    vocab_size = model.config.get_text_config().vocab_size
    probe = torch.linspace(0, vocab_size - 1, _ROWS * _TOKENS).long().view(_ROWS, _TOKENS).to(device)
    training = model.training
    model.eval()
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None), _exact_products():
            logits: Tensor = model(input_ids=probe, use_cache=False).logits.float().cpu()
    finally:
        model.train(training)
    return logits


def check_model(folder: Path, model: PreTrainedModel, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise an error if transformers loads a written model as a different one.

    The written model is loaded onto the CPU, beside ``model``.

    Args:
        model: The model that was written; determines how the files are loaded.
        expected: :func:`probe_logits` of the policy.
        dtype: The least precise data type used for ``expected``.

    Raises:
        DifferenceError: If the files cannot be loaded, or the logits differ by more than rounding.
    """
    automatic = type(model.config) in MODEL_FOR_CAUSAL_LM_MAPPING
    loader: Any = AutoModelForCausalLM if automatic else type(model)
    with _loading("transformers"), quiet_report():
        written: PreTrainedModel = loader.from_pretrained(folder, use_safetensors=True)
    check_logits(probe_logits(written, torch.device("cpu")), expected, coarser(dtype, coarsest(written)))


def check_adapter(folder: Path, policy: Policy, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise an error if peft loads a written adapter as a different one.

    The adapter is loaded into the policy's own model for the duration of the check.

    Args:
        dtype: The least precise data type used for ``expected`` or for the written adapter.

    Raises:
        DifferenceError: If the files cannot be loaded, or the logits differ by more than rounding.
    """
    assert policy.adapters is not None  # noqa: S101 (they have just been written)
    with ExitStack() as loaded:
        with _loading("peft"):
            loaded.enter_context(policy.adapters.with_adapter(folder))
        logits = probe_logits(policy.model, policy.device)
    check_logits(logits, expected, dtype)


def coarsest(model: PreTrainedModel) -> torch.dtype:
    """Return the data type with the fewest bits among a model's weights, except packed ones."""
    return coarser(*(weight.dtype for weight in model.parameters() if weight.is_floating_point()))


def coarser(*dtypes: torch.dtype) -> torch.dtype:
    """Return the data type with the fewest bits.

    Example:
        >>> coarser(torch.float32, torch.bfloat16)
        torch.bfloat16
    """
    return min(dtypes, key=lambda dtype: dtype.itemsize)


def check_logits(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise an error if logits differ from the expected ones by more than rounding.

    Args:
        logits: ``[P, T, V]``, of the written policy.
        expected: ``[P, T, V]``, of the trained policy.
        dtype: The least precise data type used for either.

    Raises:
        DifferenceError: If the logits differ by more than rounding, or in shape.

    Example:
        >>> check_logits(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.float32)
        Traceback (most recent call last):
        lightning_gft.export.comparison.DifferenceError: log-probabilities that differ by up to 0.81, which ...
    """
    if logits.shape != expected.shape:
        raise DifferenceError(f"{logits.shape[-1]} logits per token in place of {expected.shape[-1]}")
    # The median, since rounding may route a token to another expert of a mixture, which changes that token's logits.
    centred, spread = (values - values.mean(dim=-1, keepdim=True) for values in (logits - expected, expected))
    relative = float((centred.norm(dim=-1) / spread.norm(dim=-1).clamp(min=1e-6)).median())
    if not relative <= _ROUNDING.get(dtype, _HALF_PRECISION):
        difference = float((logits.log_softmax(dim=-1) - expected.log_softmax(dim=-1)).abs().max())
        raise DifferenceError(
            f"log-probabilities that differ by up to {difference:.2g}, which rounding to "
            f"{str(dtype).removeprefix('torch.')} does not explain"
        )


@contextmanager
def _loading(library: str) -> Iterator[None]:
    """Attribute an error in this context to the files, unless memory or a package is missing."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, ImportError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):  # how torch reports it on a CPU
            raise
        raise DifferenceError(f"files that {library} cannot load ({error})") from error


@contextmanager
def _exact_products() -> Iterator[None]:
    """Let a GPU compute float32 products in float32, whatever the run has allowed."""
    matmul: Any = torch.backends.cuda.matmul
    # Once a run has set the newer of the two flags, torch raises an error on reading the older one.
    name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    allowed = getattr(matmul, name)
    setattr(matmul, name, exact)
    try:
        yield
    finally:
        setattr(matmul, name, allowed)

"""Comparing what was written with the policy that it was written from, on a few tokens."""

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
"""Relative differences of logits that rounding explains, over devices and many layers; what is wrong gives far more."""


class DifferenceError(GFTValueError):
    """What was written is not the policy."""


class Comparison:
    """The steps of a comparison and its outcome, which is raised when the files have been moved.

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
        """Return what a step returns, or ``None`` if it or an earlier one failed."""
        if self.difference or self.obstacle:
            return None
        try:
            return step(*args)
        except DifferenceError as error:
            self.difference = f"{error}"
        except Exception as error:  # noqa: BLE001 (whatever it is, the weights are worth more than the comparison)
            self.obstacle = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return None


@torch.no_grad()
def probe_logits(model: PreTrainedModel, device: torch.device, autocast: torch.dtype | None = None) -> Tensor:
    """Return what a model says to a few tokens, computed in the precision of its weights.

    Args:
        autocast: Data type to take products in, where weights are of several.

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
    """Refuse a written model that transformers loads as another one than was meant.

    It is loaded onto the CPU, beside ``model``.

    Args:
        model: What it was written from; says how it is loaded.
        expected: :func:`probe_logits` of the policy.
        dtype: The coarsest that had a part in ``expected``.

    Raises:
        DifferenceError: If it cannot be loaded, or its logits differ by more than rounding.
    """
    automatic = type(model.config) in MODEL_FOR_CAUSAL_LM_MAPPING
    loader: Any = AutoModelForCausalLM if automatic else type(model)
    with _loading("transformers"), quiet_report():
        written: PreTrainedModel = loader.from_pretrained(folder, use_safetensors=True)
    check_logits(probe_logits(written, torch.device("cpu")), expected, coarser(dtype, coarsest(written)))


def check_adapter(folder: Path, policy: Policy, expected: Tensor, dtype: torch.dtype) -> None:
    """Refuse a written adapter that peft loads as another one than the policy has.

    It is loaded into the policy's own model, for as long as this takes.

    Args:
        dtype: The coarsest that had a part in ``expected``, or that the adapter was written in.

    Raises:
        DifferenceError: If it cannot be loaded, or its logits differ by more than rounding.
    """
    assert policy.adapters is not None  # noqa: S101 (it was written from them)
    with ExitStack() as loaded:
        with _loading("peft"):
            loaded.enter_context(policy.adapters.with_adapter(folder))
        logits = probe_logits(policy.model, policy.device)
    check_logits(logits, expected, dtype)


def coarsest(model: PreTrainedModel) -> torch.dtype:
    """Return the data type of fewest bits among those of a model's weights, packed ones left out."""
    return coarser(*(weight.dtype for weight in model.parameters() if weight.is_floating_point()))


def coarser(*dtypes: torch.dtype) -> torch.dtype:
    """Return the data type of fewest bits.

    Example:
        >>> coarser(torch.float32, torch.bfloat16)
        torch.bfloat16
    """
    return min(dtypes, key=lambda dtype: dtype.itemsize)


def check_logits(logits: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Refuse logits that differ from others by more than a data type rounds.

    Args:
        logits: ``[P, T, V]``, of what was written.
        expected: ``[P, T, V]``, of the policy.
        dtype: The coarsest that had a part in either.

    Raises:
        DifferenceError: If they do.

    Example:
        >>> check_logits(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.float32)
        Traceback (most recent call last):
        lightning_gft.export.comparison.DifferenceError: log-probabilities that differ by up to 0.81, which ...
    """
    if logits.shape != expected.shape:
        raise DifferenceError(f"{logits.shape[-1]} logits a token in place of {expected.shape[-1]}")
    # A median, since rounding may send a token to another expert of a mixture, and then that token's logits differ.
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
    """Blame the files for an error that is neither for lack of memory nor of a package."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, ImportError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):  # torch's, on a CPU
            raise
        raise DifferenceError(f"files that {library} cannot load ({error})") from error


@contextmanager
def _exact_products() -> Iterator[None]:
    """Let a GPU take products of float32 in float32, whatever the run allowed."""
    matmul: Any = torch.backends.cuda.matmul
    # Once a run has set the newer of the two, torch refuses to read the older one.
    name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    allowed = getattr(matmul, name)
    setattr(matmul, name, exact)
    try:
        yield
    finally:
        setattr(matmul, name, allowed)

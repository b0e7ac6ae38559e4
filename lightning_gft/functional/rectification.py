"""Coefficient rectification: bounding the inverse-probability weight ``C(p) / p`` of a likelihood gradient.

The gradient of ``-log p`` with respect to ``p`` is ``-1 / p``: an unlikely token gets an enormous push. A detached
coefficient ``C(p)`` in front of the log-probability turns that weight into ``C(p) / p``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.checks import check_number
from lightning_gft.functional.precision import widen

LOGPROB_FLOOR = -1.0e4
"""Value that replaces a log-probability of minus infinity, so that sums over tokens stay finite."""

_THRESHOLDS = "0 rectifies no token (SFT), above 1 every token (DFT), GFTLoss has 0.1, the paper's best is near 0.7"


def rectified_coefficients(logprobs: Tensor, threshold: float | Tensor) -> Tensor:
    """Dynamic Coefficient Rectification: ``C(p) = p`` where ``p < threshold``, else 1 (arXiv 2604.14258).

    The inverse-probability weight ``C(p) / p`` is then exactly 1 below the threshold and at most ``1 / threshold``
    above. ``threshold=0`` gives supervised fine-tuning's weights, ``threshold > 1`` gives those of DFT.

    Args:
        logprobs: Log-probabilities of any shape.
        threshold: The paper's tau, a probability; a tensor on a GPU is not checked.

    Returns:
        Detached coefficients of the same shape, and of the same dtype if it is a floating-point one.

    Raises:
        ValueError: If ``threshold`` is negative, infinite or NaN.
        TypeError: If ``threshold`` is not a number.

    Example:
        >>> rectified_coefficients(torch.tensor([0.9, 0.7, 0.2]).log(), threshold=0.7)
        tensor([1.0000, 1.0000, 0.2000])
    """
    probs, threshold = _probabilities(logprobs, threshold)
    # log(0.7).exp() may round to just below 0.7; compare in log space, where the input is exact.
    return torch.where(_below(logprobs, threshold), probs, 1.0).to(_dtype_of(logprobs))


def continuous_coefficients(logprobs: Tensor, threshold: float | Tensor) -> Tensor:
    """Rectify without a jump: ``C(p) = min(1, p / threshold)``.

    The paper's coefficient jumps from ``threshold`` to 1 at the threshold. This one is continuous there and bounds the
    inverse-probability weight by ``1 / threshold`` everywhere.

    Args:
        logprobs: Log-probabilities of any shape.
        threshold: The paper's tau, a probability; a tensor on a GPU is not checked. 0 gives 1 everywhere.

    Returns:
        Detached coefficients of the same shape, and of the same dtype if it is a floating-point one.

    Raises:
        ValueError: If ``threshold`` is negative, infinite or NaN.
        TypeError: If ``threshold`` is not a number.

    Example:
        >>> continuous_coefficients(torch.tensor([0.9, 0.5, 0.2]).log(), threshold=0.5)
        tensor([1.0000, 1.0000, 0.4000])
    """
    probs, threshold = _probabilities(logprobs, threshold)
    return torch.where(_below(logprobs, threshold), probs / threshold, 1.0).to(_dtype_of(logprobs))


def floor_logprobs(logprobs: Tensor) -> Tensor:
    """Replace minus infinity by :data:`LOGPROB_FLOOR`; every finite value stays as it is.

    Example:
        >>> floor_logprobs(torch.tensor([-1.0, -torch.inf]))
        tensor([-1.0000e+00, -1.0000e+04])
    """
    return torch.where(logprobs == -torch.inf, LOGPROB_FLOOR, logprobs)


def _probabilities(logprobs: Tensor, threshold: float | Tensor) -> tuple[Tensor, Tensor]:
    logprobs = widen(logprobs.detach())
    if isinstance(threshold, Tensor) and not threshold.is_cpu:  # reading it would synchronise with the device
        return logprobs.exp(), threshold.detach().to(logprobs)
    number = check_threshold(threshold)
    return logprobs.exp(), torch.full((), number, dtype=logprobs.dtype, device=logprobs.device)


def _below(logprobs: Tensor, threshold: Tensor) -> Tensor:
    return logprobs.detach().to(threshold.dtype) < threshold.log()


def _dtype_of(logprobs: Tensor) -> torch.dtype:
    return logprobs.dtype if logprobs.is_floating_point() else torch.float32


def check_threshold(threshold: object, field: str = "threshold", of: str = "") -> float:
    """Return a threshold after checking that it is a number of at least 0.

    Args:
        threshold: Value to check.
        field: Name of the option, for errors.
        of: Class that the option belongs to, for errors.

    Raises:
        TypeError: If ``threshold`` is not a number.
        ValueError: If ``threshold`` is negative, infinite or NaN.

    Example:
        >>> check_threshold(0.7)
        0.7
    """
    return check_number(field, threshold, least=0, of=of, remedy=_THRESHOLDS)

"""The unbiased pass@k estimator."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from lightning_gft.checks import check_count
from lightning_gft.errors import GFTValueError


def pass_at_k(num_samples: Tensor | int, num_correct: Tensor | int, k: int) -> Tensor:
    """Return the probability that at least one of ``k`` samples, drawn from ``num_samples``, is correct.

    ``1 - C(n - c, k) / C(n, k)``, Chen et al. 2021, arXiv 2107.03374, Eq. 1.

    Args:
        num_samples: ``n``, a number or a tensor of numbers.
        num_correct: ``c``, a number or a tensor of numbers.
        k: Number of samples drawn, at most ``n``.

    Returns:
        fp64 tensor of the inputs' broadcast shape.

    Raises:
        TypeError: If ``k`` is not a whole number.
        ValueError: If ``k`` is below 1 or above ``n``, or ``c`` lies outside ``[0, n]``.

    Example:
        >>> pass_at_k(4, torch.tensor([0, 1, 2, 4]), k=2)
        tensor([0.0000, 0.5000, 0.8333, 1.0000], dtype=torch.float64)
    """
    samples = torch.as_tensor(num_samples, dtype=torch.float64)
    correct = torch.as_tensor(num_correct, dtype=torch.float64)
    fewest = int(samples.min()) if samples.numel() else sys.maxsize
    k = check_count("k", k, most=fewest, remedy="take more samples, or ask for a smaller k")
    if ((correct < 0) | (correct > samples)).any():
        raise GFTValueError(
            "`num_correct`: expected numbers from 0 to num_samples, got others; give the number of correct samples"
        )
    miss = torch.ones((), dtype=torch.float64)
    for drawn in range(k):  # drawn without replacement, each sample wrong
        miss = miss * ((samples - correct - drawn) / (samples - drawn)).clamp(min=0)
    return 1 - miss

"""Histograms of token weights, with the bins that a run's record uses."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft import record

NUM_BINS = record.ABOVE - record.ZERO + 1
"""Number of bins of a histogram ``[..., NUM_BINS]``; index ``i`` counts the values in bin ``record.ZERO + i``."""


def places(values: Tensor) -> Tensor:
    """Return the index at which a histogram counts each value, in the same shape.

    Args:
        values: Numbers of at least 0, of any shape.

    Example:
        >>> (places(torch.tensor([0.0, 1.0, 2.0])) + record.ZERO).tolist() == [record.ZERO, 0, 8]
        True
    """
    numbers = (values.log2() * record.BINS_PER_OCTAVE).round().clamp(record.BELOW, record.ABOVE)
    return numbers.masked_fill(values == 0, record.ZERO).long() - record.ZERO


def quantiles(histograms: Tensor, largest: Tensor, share: float) -> Tensor:
    """Return a quantile of each histogram like :func:`lightning_gft.record.quantile`: within 4.5%, 0 if it is empty.

    Args:
        histograms: ``[..., NUM_BINS]``, number of values in each bin.
        largest: ``[...]``, the largest value that each histogram counted; it bounds the quantile.
        share: The quantile to return, from 0 to 1.
    """
    wanted = share * histograms.sum(dim=-1, keepdim=True)
    number = (histograms.cumsum(dim=-1) < wanted).sum(dim=-1) + record.ZERO
    values = (number / record.BINS_PER_OCTAVE).exp2().to(largest.dtype).masked_fill(number == record.ZERO, 0.0)
    return torch.where(number == record.ABOVE, largest, values.minimum(largest))


def sparse(histogram: Tensor) -> dict[str, int]:
    """Return a histogram in the format of the record: nonzero counts by the number of their bin.

    Args:
        histogram: Counts ``[NUM_BINS]``, on the CPU.

    Example:
        >>> counts = torch.zeros(NUM_BINS)
        >>> counts[places(torch.tensor(1.0))] = 3
        >>> sparse(counts)
        {'0': 3}
    """
    filled = histogram.nonzero().squeeze(1)
    numbers, counts = (filled + record.ZERO).tolist(), histogram[filled].tolist()
    return {str(number): int(count) for number, count in zip(numbers, counts, strict=True)}

"""The GFT loss as a function of log-probabilities, for any training loop."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError
from lightning_gft.functional.precision import widen
from lightning_gft.functional.rectification import floor_logprobs, rectified_coefficients
from lightning_gft.functional.reductions import Reduction, reduction_weights


def gft_loss(
    logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    threshold: float = 0.7,
    reduction: Reduction = "token-mean",
    group_index: Tensor | None = None,
) -> Tensor:
    """Group Fine-Tuning: ``L = -(1 / Z) * sum_k A_k * sum_t C(p_kt) * log p_kt`` (arXiv 2604.14258, Eq. 21).

    ``C`` is :func:`~lightning_gft.functional.rectified_coefficients` of every token, as in the paper, and so is the
    default threshold; :class:`~lightning_gft.GFTLoss` distinguishes sources. Gradient flows through ``log p`` alone.

    Args:
        logprobs: ``[N, T]`` log-probabilities of the tokens; values outside the mask are never read.
        advantages: ``[N]`` advantages, one per response.
        response_mask: ``[N, T]`` booleans, true on response tokens.
        threshold: The paper's tau, a probability; 0 rectifies no token, and a value above 1 every token.
        reduction: What ``Z`` counts, see :func:`~lightning_gft.functional.reduction_weights`.
        group_index: ``[N]`` integers, required for ``reduction="group-mean"``.

    Returns:
        Scalar loss in at least fp32; 0, with a gradient of 0, if there is no response token.

    Raises:
        ValueError: If shapes do not fit, or ``threshold`` or ``reduction`` is out of range.

    Example:
        >>> logprobs = torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.5, 0.8]]).log()
        >>> mask = torch.tensor([[False, True, True], [False, True, True]])
        >>> gft_loss(logprobs, torch.tensor([1.0, -1.0]), mask)
        tensor(-0.0585)
    """
    if logprobs.dim() != 2 or response_mask.shape != logprobs.shape or advantages.shape != logprobs.shape[:1]:
        raise GFTValueError(
            "`logprobs`, `advantages`, `response_mask`: expected [N, T], [N] and [N, T], got "
            f"{tuple(logprobs.shape)}, {tuple(advantages.shape)} and {tuple(response_mask.shape)}"
        )
    response_mask, wide = response_mask.bool(), widen(logprobs)
    coefficients = advantages.detach()[:, None] * rectified_coefficients(wide, threshold)
    weights, count = reduction_weights(response_mask, reduction, group_index, dtype=wide.dtype)
    return masked_loss(wide, coefficients, response_mask, weights, count)


def masked_loss(logprobs: Tensor, coefficients: Tensor, mask: Tensor, weights: Tensor, count: Tensor) -> Tensor:
    """Return ``-sum(weights * coefficients * logprobs)[mask] / count``, with gradient for ``logprobs`` alone.

    Args:
        logprobs: ``[N, T]`` log-probabilities in at least fp32.
        coefficients: ``[N, T]`` factors without gradient.
        mask: ``[N, T]`` booleans, true at the tokens to sum over.
        weights: ``[N]`` weights of the sequences.
        count: Scalar divisor; 0 counts as the smallest positive number.

    Example:
        >>> one = torch.ones(1, 2)
        >>> masked_loss(-one, one, one.bool(), torch.ones(1), torch.tensor(2.0))
        tensor(1.)
    """
    scale = torch.where(mask, weights[:, None] * coefficients, 0.0)
    return weighted_nll(logprobs, scale) / count.to(logprobs.dtype).clamp(min=torch.finfo(logprobs.dtype).tiny)


def weighted_nll(logprobs: Tensor, coefficients: Tensor) -> Tensor:
    """Return ``-sum_t c_t * log p_t``, with gradient for ``logprobs`` alone.

    A token whose coefficient is 0 is left out, whatever its log-probability, since ``0 * inf`` must not become NaN.
    Minus infinity counts as :data:`~lightning_gft.functional.rectification.LOGPROB_FLOOR`.

    Args:
        logprobs: Log-probabilities of any shape, in at least fp32.
        coefficients: Factors ``c_t`` of the same shape.

    Example:
        >>> weighted_nll(torch.tensor([-1.0, -torch.inf]), torch.tensor([2.0, 0.0]))
        tensor(2.)
    """
    scale = coefficients.detach().to(logprobs.dtype)
    taken = scale != 0
    return torch.where(taken, -scale * floor_logprobs(torch.where(taken, logprobs, 0.0)), 0.0).sum()

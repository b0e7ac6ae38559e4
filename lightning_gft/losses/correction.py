"""Importance sampling: a correction of any objective for samples that were drawn by another policy."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_choice, check_number
from lightning_gft.functional.logprobs import bounded_ratio, log_ratio
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.composition import check_own_samples
from lightning_gft.losses.wrapper import LossWrapper
from lightning_gft.metrics import CorrectionStatistics
from lightning_gft.types import Need, Source, TokenBatch

Level = Literal["token", "sequence"]


class ImportanceCorrection(LossWrapper):
    """Any loss, with own samples weighted by ``min(p_old / p_sampling, ceiling)``: truncated importance sampling.

    ``p_old`` is the probability under the policy before the first update on the batch. ``p_sampling`` is the
    probability that the engine reported when it sampled the token. They differ if the engine uses another precision or
    other kernels, or if its weights are older, as for batches that are sampled ahead or stored. Both are probabilities
    at temperature 1 over the whole vocabulary. If the engine samples from the same policy, all weights are therefore 1
    for any ``temperature``, ``top_p`` or other filter: the effect of these is not corrected.

    Coefficients of demonstrations are unchanged. So are those of own samples without log-probabilities of sampling;
    the figures count them. ``"token"`` and ``"sequence"`` correspond to ``token_truncate`` and ``sequence_truncate`` of
    TRL's ``vllm_importance_sampling_mode``; the ceiling in TRL was 2 at first and is 3 in later versions.

    Figures under ``sampling/importance_sampling_ratio/`` are ``min``, ``mean`` and ``max`` of the weights,
    ``truncated_fraction`` (share of weights above the ceiling) and ``unknown_fraction`` (share without a ratio). They
    count tokens or responses, according to ``level``.

    Args:
        loss: The objective whose coefficients are multiplied by the weights.
        level: ``"token"`` weights each token by its own ratio, at no cost; it is biased, with little variance.
            ``"sequence"`` weights all tokens of a response by the product of their ratios. It is unbiased up to the
            ceiling, but the product decays or reaches the ceiling as responses get longer. It costs one more pass of
            the head, not of the model, in the first update on a batch.
        ceiling: Largest weight, at least 1.

    Raises:
        ValueError: If ``level`` is unknown or ``ceiling`` is below 1; before training, if there are no own samples.

    Example:
        >>> from lightning_gft import GFTLoss
        >>> sorted(ImportanceCorrection(GFTLoss(), ceiling=3.0).needs())
        ['advantages', 'old_logprobs']
    """

    def __init__(self, loss: GroupLoss, level: Level = "token", ceiling: float = 2.0) -> None:
        super().__init__(loss)
        check_choice("level", level, get_args(Level), of=type(self).__name__)
        self.level: Level = level
        self.ceiling = check_number("ceiling", ceiling, least=1, of=type(self).__name__)
        self.statistics = CorrectionStatistics()

    @override
    def check_group(self, num_responses: int, num_own: int) -> None:
        check_own_samples(self, num_own)
        super().check_group(num_responses, num_own)

    @override
    def needs(self) -> frozenset[Need]:
        own: frozenset[Need] = frozenset({"old_logprobs"} if self.level == "token" else {"sampling_logratio"})
        return super().needs() | own

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        # Multiplication by a weight of 1 leaves a coefficient bitwise unchanged.
        return self.loss.coefficients(tokens) * self._ratios(tokens).nan_to_num(nan=1.0).clamp(max=self.ceiling)

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        # The factors of the inner loss: the weight corrects for the sampling policy, and does not change 1 / p.
        return self.loss.factors(tokens, self.loss.coefficients(tokens))

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        counted = tokens.source == Source.SELF
        if self.level == "sequence":
            counted &= tokens.position == 0
        ratios = self._ratios(tokens)[counted]
        self.statistics.update(ratios.clamp(max=self.ceiling), ratios > self.ceiling)

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), **self.statistics.compute()}

    @override
    def reset(self) -> None:
        super().reset()
        self.statistics.reset()

    def _ratios(self, tokens: TokenBatch) -> Tensor:
        """Return ``p_old / p_sampling``, ``[m]``: NaN for demonstrations, and where it is unknown."""
        if tokens.sampling_logprobs is None:
            return torch.full_like(tokens.logprobs, torch.nan)
        if self.level == "token":
            assert tokens.old_logprobs is not None  # noqa: S101 (requested by needs)
            drawn = tokens.sampling_logprobs
            logratios = log_ratio(tokens.old_logprobs, drawn).masked_fill(drawn.isnan(), torch.nan)
        else:
            assert tokens.sampling_logratio is not None  # noqa: S101 (requested by needs)
            logratios = tokens.sampling_logratio
        return bounded_ratio(logratios).masked_fill(tokens.source != Source.SELF, torch.nan)

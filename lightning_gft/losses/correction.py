"""A correction of any objective for samples that another policy drew than the one that is trained."""

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
    """Any loss whose own samples are weighted by ``min(p_old / p_sampling, ceiling)``: truncated importance sampling.

    ``p_old`` is the probability under the policy before the first update on the batch, ``p_sampling`` the one that the
    engine gave when it drew the sample. They differ where the engine computes in another precision or by other code,
    or where its weights are older, as of a batch that was drawn ahead or stored. Both are those of the policy itself,
    at temperature 1 and over the whole vocabulary: weights are 1 where the same policy drew, whatever ``temperature``,
    ``top_p`` and the like are, and for these nothing is corrected.

    Coefficients of demonstrations stay as they are, and so do those of own samples without log-probabilities of
    sampling, which are counted. ``"token"`` and ``"sequence"`` are TRL's ``vllm_importance_sampling_mode``
    ``token_truncate`` and ``sequence_truncate``; its ceiling was 2 first, and is 3 in later versions. Reports the
    weights as ``sampling/importance_sampling_ratio/min``, ``/mean`` and ``/max``, and the shares of those that are cut
    and that are not known as ``/truncated_fraction`` and ``/unknown_fraction``, of tokens or of responses.

    Args:
        loss: The objective.
        level: ``"token"`` weighs each token by its own ratio, at no cost: biased, with little variance.
            ``"sequence"`` weighs all tokens of a response by the product of their ratios: right up to the ceiling, but
            it decays or reaches the ceiling as responses get longer. It costs one more pass of the head, not of the
            model, in the first update on a batch.
        ceiling: Largest weight, from 1.

    Raises:
        ValueError: If ``level`` is unknown or ``ceiling`` below 1; before training, if there are no own samples.

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
        # A weight of 1 leaves every bit of a coefficient.
        return self.loss.coefficients(tokens) * self._ratios(tokens).nan_to_num(nan=1.0).clamp(max=self.ceiling)

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        # Those of the loss within: the weight makes up for who drew the token, and does nothing to its 1 / p.
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
        """Return ``p_old / p_sampling``, ``[m]``: NaN on demonstrations, and where it is not known."""
        if tokens.sampling_logprobs is None:
            return torch.full_like(tokens.logprobs, torch.nan)
        if self.level == "token":
            assert tokens.old_logprobs is not None  # noqa: S101 (stated above)
            drawn = tokens.sampling_logprobs
            logratios = log_ratio(tokens.old_logprobs, drawn).masked_fill(drawn.isnan(), torch.nan)
        else:
            assert tokens.sampling_logratio is not None  # noqa: S101 (stated above)
            logratios = tokens.sampling_logratio
        return bounded_ratio(logratios).masked_fill(tokens.source != Source.SELF, torch.nan)

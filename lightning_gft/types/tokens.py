"""The input of an objective, and the output of a pass of the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from lightning_gft.errors import GFTValueError

Need = Literal[
    "advantages",
    "entropy",
    "old_logprobs",
    "ref_logprobs",
    "teacher_logprobs",
    "sequence_logratio",
    "sampling_logratio",
]
"""Inputs that a loss may need besides the log-probabilities of its tokens; see :class:`TokenBatch`."""

OLD: frozenset[Need] = frozenset({"old_logprobs", "sequence_logratio", "sampling_logratio"})
"""Inputs that follow from the log-probabilities before the first update on a batch."""

_FAR = 1e4
"""Bound of the log-ratio of a token that is or was impossible."""


@dataclass  # not frozen: see PromptBatch
class TokenBatch:
    """Inputs of an objective for ``m`` response tokens, one entry per token and without gradient.

    Args:
        logprobs: ``[m]`` log-probabilities under the current policy; NaN until the policy has run.
        advantages: ``[m]``, the advantage of the token's sequence.
        source: ``[m]``, the :class:`Source` of the token's sequence.
        sequence: ``[m]``, the number of the token's sequence in its batch.
        position: ``[m]``, the token's position in its response, from 0.
        weights: ``[m]``, the reduction's weight of the token's sequence.
        sampling_logprobs: ``[m]`` log-probabilities at sampling time; NaN if not known, as for demonstrations.
        entropy: ``[m]`` entropy of the distribution that the token was drawn from, in nats.
        old_logprobs: ``[m]`` log-probabilities under the policy before the first update on this batch, as computed in
            that update's own pass, where they equal ``logprobs``.
        ref_logprobs: ``[m]`` log-probabilities under the reference: the policy that training began with, or a later one
            (:meth:`~lightning_gft.Policy.move_reference`).
        teacher_logprobs: ``[m]`` log-probabilities under a teacher, as given by the response's source; NaN where it
            gives none. A loss that needs them trains only on responses that have them.
        sequence_logratio: ``[m]``, the mean of ``logprobs - old_logprobs`` over the token's response.
        sampling_logratio: ``[m]``, the sum of ``old_logprobs - sampling_logprobs`` over the token's response; NaN where
            some of them are not known.

    The last six are ``None`` if the loss does not need them, see :meth:`lightning_gft.GroupLoss.needs`.
    """

    logprobs: Tensor
    advantages: Tensor
    source: Tensor
    sequence: Tensor
    position: Tensor
    weights: Tensor
    sampling_logprobs: Tensor | None = None
    entropy: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None
    teacher_logprobs: Tensor | None = None
    sequence_logratio: Tensor | None = None
    sampling_logratio: Tensor | None = None

    def __len__(self) -> int:
        return len(self.advantages)

    def __getitem__(self, index: slice | Tensor) -> TokenBatch:
        known = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            index = index.nonzero().squeeze(1)  # once, because it synchronises with the device
        return TokenBatch(**{name: value[index] for name, value in known.items()})

    def after_pass(self, logprobs: Tensor, entropy: Tensor | None, needs: frozenset[Need]) -> TokenBatch:
        """Return the tokens with the results of a pass of the policy.

        Without ``old_logprobs``, this is the first update on a batch: the policy is the old one, and all ratios are 1.

        Args:
            logprobs: ``[m]`` log-probabilities without gradient.
            entropy: ``[m]`` entropies in nats, or ``None``.
            needs: Inputs that the loss needs.
        """
        tokens = replace(self, logprobs=logprobs, entropy=entropy)
        if self.old_logprobs is None and needs & OLD:
            tokens = replace(tokens, old_logprobs=logprobs)
            if "sequence_logratio" in needs:
                tokens = replace(tokens, sequence_logratio=torch.zeros_like(logprobs))
        return tokens

    def with_logratios(self, needs: frozenset[Need]) -> TokenBatch:
        """Return the tokens, which must be whole responses in any order, with the log-ratios that a loss needs.

        Args:
            needs: Inputs of the loss; log-ratios that are there already are kept.

        Raises:
            ValueError: If ``sequence_logratio`` is needed and there are no ``old_logprobs``.
        """
        tokens = self
        if "sequence_logratio" in needs and self.sequence_logratio is None:
            if self.old_logprobs is None:
                raise GFTValueError(
                    "`old_logprobs`: expected a tensor [m] where sequence_logratio is needed, got None; give both"
                )
            sums, counts = self._of_responses(self.logprobs, self.old_logprobs)
            tokens = replace(tokens, sequence_logratio=sums / counts)
        if "sampling_logratio" in needs and self.sampling_logratio is None:
            drawn = torch.full_like(self.logprobs, torch.nan) if (given := self.sampling_logprobs) is None else given
            old = self.logprobs if self.old_logprobs is None else self.old_logprobs  # within the first update
            tokens = replace(tokens, sampling_logratio=self._of_responses(old, drawn)[0])
        return tokens

    def _of_responses(self, logprobs: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each token the sum of differences over its response, and how many tokens that has."""
        others = others.to(logprobs.dtype)
        # Zero for equal values, also at probability 0; bounded for an impossible token, so that no sum is inf - inf.
        difference = torch.where(logprobs == others, 0.0, logprobs - others).clamp(-_FAR, _FAR)
        # `unique` would wait for a GPU to return the number of responses.
        number = torch.searchsorted(self.sequence.sort().values, self.sequence)
        sums, counts = (
            difference.new_zeros(len(self)).index_add(0, number, values)[number]
            for values in (difference, torch.ones_like(difference))
        )
        return sums, counts


CoefficientsFn = Callable[[TokenBatch], Tensor]
"""Returns detached coefficients ``[m]`` from the inputs of ``m`` tokens, elementwise."""


class TokenObjective:  # not a dataclass: Fabric would round the tensors of one among a module's arguments
    """``-sum_t weight_t * c_t * log p_t / normalizer`` over the response tokens of one micro-batch.

    Args:
        coefficients: Returns ``c_t``, see :meth:`lightning_gft.GroupLoss.coefficients`.
        tokens: The ``m`` response tokens of the micro-batch; the policy adds their log-probabilities.
        normalizer: Scalar ``Z`` of the whole batch.
        needs: Inputs of the coefficients that are computed while the policy runs: entropy and the response's log-ratio.
    """

    def __init__(
        self,
        coefficients: CoefficientsFn,
        tokens: TokenBatch,
        normalizer: Tensor | float,
        needs: frozenset[Need] = frozenset(),
    ) -> None:
        self.coefficients = coefficients
        self.tokens = tokens
        self.normalizer = normalizer
        self.needs = needs


@dataclass  # not frozen: see PromptBatch
class TrainedTokens:
    """The ``m`` response tokens of this rank that an update trained on, with their coefficients.

    Args:
        tokens: Tokens as the loss counted them; ``tokens.sequence`` numbers the rows of the step's groups.
        coefficients: ``[m]``, the coefficients of the loss, before weights and normaliser.
        factors: ``[m]``, the factor of the weight ``1 / p`` besides the advantage, see
            :meth:`lightning_gft.GroupLoss.factors`; NaN if it is not known.
    """

    tokens: TokenBatch
    coefficients: Tensor
    factors: Tensor


@dataclass  # not frozen: see PromptBatch
class LossOutput:
    """The result of one pass of the policy over a micro-batch.

    Args:
        loss: Scalar, already divided by the normaliser; call ``backward`` on it.
        logprobs: ``[m]`` log-probabilities without gradient.
        coefficients: ``[m]``, the coefficients of the objective, before weights and normaliser.
        entropy: ``[m]`` entropy of the distribution that each token was drawn from, in nats; ``None`` if not requested.
    """

    loss: Tensor
    logprobs: Tensor
    coefficients: Tensor
    entropy: Tensor | None = None

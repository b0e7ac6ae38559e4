"""A penalty on the divergence from the reference policy, which can be added to any objective."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_choice, check_number
from lightning_gft.functional.logprobs import bounded_ratio, k3_divergence, log_ratio
from lightning_gft.losses.base import GroupLoss
from lightning_gft.losses.wrapper import LossWrapper
from lightning_gft.metrics import ExactMean
from lightning_gft.types import GroupBatch, Need, TokenBatch

Direction = Literal["forward", "reverse"]


class KLPenalty(LossWrapper):
    """Any loss plus ``beta`` times an estimate of the divergence from the reference policy.

    The penalty subtracts a term from each coefficient, with ``d = log p - log p_ref``:

    * ``"forward"``: ``beta * (1 - exp(-d))``, the derivative of Schulman's k3 (``exp(-d) - 1 + d``). On own samples it
      descends ``KL(ref || p)``.
    * ``"reverse"``: ``beta * d``, the derivative of k2 (``d ** 2 / 2``). On own samples it descends ``KL(p || ref)``.

    Both statements hold at the sampled prefixes in the first update on a batch, and neither holds on demonstrations.
    GRPO (arXiv 2402.03300) and TRL (``use_bias_correction_kl=False``) use ``"forward"``. The figure ``kl`` is the mean
    of k3.

    Args:
        loss: The objective that the penalty is added to, with the same reduction.
        beta: Weight of the penalty, 0.04 in GRPO's paper.
        direction: The divergence to lower: ``"forward"`` is ``KL(ref || p)``, ``"reverse"`` is ``KL(p || ref)``.

    Raises:
        ValueError: If ``beta`` is negative, or ``direction`` is unknown.

    Example:
        >>> from lightning_gft import SFTLoss
        >>> KLPenalty(SFTLoss(), beta=0.04).needs()
        frozenset({'ref_logprobs'})
    """

    def __init__(self, loss: GroupLoss, beta: float = 0.04, direction: Direction = "forward") -> None:
        super().__init__(loss)
        check_choice("direction", direction, get_args(Direction))
        self.beta, self.direction = check_number("beta", beta, least=0, of=type(self).__name__), direction
        self.kl = ExactMean()

    @override
    def can_skip(self, groups: GroupBatch) -> Tensor:
        return GroupLoss.can_skip(self, groups)  # none: the penalty applies to every sequence

    @override
    def needs(self) -> frozenset[Need]:
        return super().needs() | {"ref_logprobs"}

    @override
    def coefficients(self, tokens: TokenBatch) -> Tensor:
        d = log_ratio(tokens.logprobs, tokens.ref_logprobs)
        penalty = d if self.direction == "reverse" else 1 - bounded_ratio(-d)
        return self.loss.coefficients(tokens) - self.beta * penalty

    @override
    def factors(self, tokens: TokenBatch, coefficients: Tensor) -> Tensor:
        # The factors of the inner loss: the penalty is an added term, not a factor.
        return self.loss.factors(tokens, self.loss.coefficients(tokens))

    @override
    def update(self, tokens: TokenBatch, coefficients: Tensor) -> None:
        super().update(tokens, coefficients)
        self.kl.update(k3_divergence(log_ratio(tokens.logprobs, tokens.ref_logprobs)))

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {**super().compute(), "kl": self.kl.compute()}

    @override
    def reset(self) -> None:
        super().reset()
        self.kl.reset()

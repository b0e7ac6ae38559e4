"""The data that is kept of a group for display."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["train", "val"]
"""Whether a group was trained on or drawn by a validation."""


@dataclass(frozen=True)
class TokenFigures:
    """Figures of a response's tokens in the last update of a step, one entry per token; long responses are truncated.

    Args:
        tokens: Text of each token, special tokens included; joined, they are the text of the response. The last of
            several tokens of one character holds the character, and the others are empty.
        logprobs: Log-probabilities under the policy at the start of the update.
        coefficients: Coefficients of the loss, see :class:`~lightning_gft.types.TrainedTokens`.
        factors: Factors of the rectification; 1 for a token that was not rectified, NaN if not known.
        entropies: Entropies of the policy in nats; ``None`` if not known.
    """

    tokens: list[str]
    logprobs: list[float]
    coefficients: list[float]
    factors: list[float]
    entropies: list[float] | None = None

    @property
    def rectified(self) -> list[bool]:
        """Whether the loss changed the weight ``1 / p`` of each token; false if not known."""
        return [factor != 1 and not math.isnan(factor) for factor in self.factors]

    @property
    def rectified_fraction(self) -> float | None:
        """Share of the tokens that were rectified, or ``None`` if it is not known of all."""
        known = bool(self.factors) and not any(map(math.isnan, self.factors))
        return sum(self.rectified) / len(self.factors) if known else None


@dataclass(frozen=True)
class SampledResponse:
    """A response of a group.

    Args:
        number: Position in its group, from 0.
        source: ``"expert"``, ``"teacher"`` or ``"self"``.
        completion: Text without special tokens.
        finish_reason: ``"length"`` if the length limit ended it, otherwise ``"stop"``.
        completion_length: Number of its tokens, including those that ended it.
        reward: Total reward.
        rewards: Each reward unweighted by its name; ``None`` if it does not apply.
        advantage: Advantage within its group; ``None`` in a validation, which compares no responses.
        greedy: Whether a validation decoded it greedily.
        trained: Figures of its tokens; ``None`` if it was not trained on, as in a group with equal rewards.
    """

    number: int
    source: str
    completion: str
    finish_reason: Literal["stop", "length"]
    completion_length: int
    reward: float
    rewards: dict[str, float | None]
    advantage: float | None
    greedy: bool = False
    trained: TokenFigures | None = None


@dataclass(frozen=True)
class SampledGroup:
    """A prompt with its kept responses.

    Args:
        step: Optimizer steps of the run so far.
        kind: ``"train"`` or ``"val"``.
        dataset: Name of the data set within the datamodule; empty for the main one.
        group: Index of the prompt in its batch, or in its data set for a validation.
        size: Number of responses of the whole group.
        prompt: Text of the prompt, as rewards get it.
        weights: Weight of each reward by its name; ``None`` if not known.
        responses: The kept responses, in their order in the group.
    """

    step: int
    kind: Kind
    dataset: str
    group: int
    size: int
    prompt: str
    weights: dict[str, float | None]
    responses: list[SampledResponse]

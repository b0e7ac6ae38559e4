"""What is kept of a group that is to be looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["train", "val"]
"""Whether a group was trained on or drawn by a validation."""


@dataclass(frozen=True)
class TokenFigures:
    """What the last update of a step did with the tokens of a response, an entry a token; of a long response the first.

    Args:
        tokens: Text of each, special tokens written out; together they are the text of the response. A character of
            several tokens stands with the last of them, and the others are empty.
        logprobs: Log-probabilities under the policy as the update began.
        coefficients: See :class:`~lightning_gft.types.TrainedTokens`, as for ``factors``.
        factors: NaN where not known; other than 1 where the token was rectified.
        entropies: In nats; ``None`` where not known.
    """

    tokens: list[str]
    logprobs: list[float]
    coefficients: list[float]
    factors: list[float]
    entropies: list[float] | None = None

    @property
    def rectified(self) -> list[bool]:
        """Whether the loss made something else of the weight ``1 / p`` of each token; false where not known."""
        return [factor != 1 and not math.isnan(factor) for factor in self.factors]

    @property
    def rectified_fraction(self) -> float | None:
        """Share of the tokens that were rectified; ``None`` if that is not known of all."""
        known = bool(self.factors) and not any(map(math.isnan, self.factors))
        return sum(self.rectified) / len(self.factors) if known else None


@dataclass(frozen=True)
class SampledResponse:
    """A response of a group.

    Args:
        number: Position in its group, from 0.
        source: ``"expert"``, ``"teacher"`` or ``"self"``.
        completion: Text without special tokens.
        finish_reason: ``"length"`` where the length limit ended it.
        completion_length: Its tokens, with those that ended it.
        reward: What it is worth in total.
        rewards: Each reward unweighted by its name; ``None`` where it does not apply.
        advantage: Within its group; ``None`` in a validation, which compares nothing.
        greedy: Whether a validation decoded it greedily.
        trained: Its tokens; ``None`` where it did not run, as in a group whose rewards are equal.
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
    """A prompt and those of its responses that are kept.

    Args:
        step: Optimizer steps that the run had taken.
        kind: ``"train"`` or ``"val"``.
        dataset: Name of the data set within the datamodule; empty for the main one.
        group: Number of the prompt in its batch, in a validation in its data set.
        size: Responses of the whole group.
        prompt: Text of the prompt, as a reward sees it.
        weights: Weight of each reward by its name; ``None`` where not known.
        responses: Those that are kept, in their order in the group.
    """

    step: int
    kind: Kind
    dataset: str
    group: int
    size: int
    prompt: str
    weights: dict[str, float | None]
    responses: list[SampledResponse]

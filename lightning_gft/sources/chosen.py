"""A source that keeps the best or the most different responses of another source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from torch import Tensor
from typing_extensions import override

from lightning_gft.checks import check_kind, did_you_mean, shorten
from lightning_gft.errors import GFTValueError
from lightning_gft.rewards import Reward
from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.choices import Choice, HighestReward
from lightning_gft.sources.wrapper import SourceWrapper
from lightning_gft.types import Candidate


class ChosenSource(SourceWrapper):
    """Keeps some of the responses of another source to each prompt, after all of them are scored.

    The other responses do not belong to the group: advantages do not compare with them, and losses do not train on
    them. With a teacher that provides many responses, each group contains only the best or the most different ones.

    Be careful with own samples. A policy gradient is a mean over the policy's distribution. Over samples that were
    chosen by their reward, or by anything that correlates with it, it is biased: it does not follow the expected
    reward, and advantages, ratios and baselines belong to another distribution. Choose among own samples in order to
    imitate them (rejection sampling, as with :class:`~lightning_gft.RFTLoss`) or to drop duplicates, but not to
    estimate a policy gradient.

    The figures count responses: ``given`` by the source within, ``duplicates`` among them, and others that were
    ``left_out``.

    Args:
        within: Source of the responses to choose from.
        num_responses: Largest number of responses per prompt to keep.
        by: Choice that orders the responses; default :class:`~lightning_gft.HighestReward`.
        drop_duplicates: Whether to keep only the first of several responses with the same text. White space is ignored,
            and a finished response is not a duplicate of a truncated one.

    Raises:
        ValueError: If ``num_responses`` is below 1, or above the number of responses from ``within``.
        TypeError: If an argument has another type.

    Example:
        >>> from lightning_gft import TeacherSource
        >>> best = ChosenSource(TeacherSource(num_responses=16), num_responses=3)
        >>> best.most_given(), best.num_responses
        (16, 3)
    """

    def __init__(
        self, within: ResponseSource, num_responses: int, by: Choice | None = None, drop_duplicates: bool = True
    ) -> None:
        super().__init__(within, num_responses)
        self.by: Choice = by or HighestReward()
        check_kind("by", self.by, Choice, "HighestReward()")
        self.drop_duplicates = drop_duplicates
        if self.num_responses > within.num_responses:
            raise GFTValueError(
                f"`num_responses` of ChosenSource: expected at most the {within.num_responses} responses of the "
                f"{type(within).__name__} within, got {self.num_responses}; lower it, or raise that"
            )
        self._counts = {"given": 0, "duplicates": 0, "left_out": 0}

    @override
    def choose(self, candidates: Sequence[Candidate], seed: int) -> Sequence[int]:
        left = [*super().choose(candidates, seed)]
        first: dict[tuple[str, bool], int] = {}
        for index in left:
            first.setdefault(_identity(candidates[index]), index)
        different = [*first.values()] if self.drop_duplicates else left
        kept = self._first(different, [candidates[index] for index in different], seed) if different else []
        self._counts["given"] += len(candidates)
        self._counts["duplicates"] += len(left) - len(different)
        self._counts["left_out"] += len(candidates) - (len(left) - len(different)) - len(kept)
        return kept

    @override
    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        super().check_rewards(rewards)
        for name in sorted(self.by.reads() - rewards.keys()):
            raise GFTValueError(
                f"`by`: expected one of the rewards {', '.join(rewards)} for {type(self.by).__name__}, got {name!r}"
                + (did_you_mean(name, rewards) or "; name one of them, or null to use the total")
            )

    @override
    def compute(self) -> dict[str, Tensor | float]:
        # A nested choice counts under the same names, so that the counts are added up.
        within = {
            f"within/{name}" if name in self._counts else name: value for name, value in super().compute().items()
        }
        return {**within, **self._counts}

    @override
    def reset(self) -> None:
        super().reset()
        self._counts = dict.fromkeys(self._counts, 0)

    def _first(self, indices: Sequence[int], candidates: Sequence[Candidate], seed: int) -> list[int]:
        taken = list(islice(self.by.order(candidates, seed), self.num_responses))
        if len({*taken}) < len(taken) or not {*taken} <= {*range(len(candidates))}:
            raise GFTValueError(
                f"`by`: expected different indices of {len(candidates)} responses from {type(self.by).__name__}, got "
                f"{shorten(taken)}; correct its `order`"
            )
        return [indices[index] for index in taken]


def _identity(candidate: Candidate) -> tuple[str, bool]:
    return " ".join(candidate.text.split()), candidate.response.finished

"""Demonstrations that come with the data."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import ClassVar

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.data import Example
from lightning_gft.errors import GFTValueError
from lightning_gft.seeds import response_seeds
from lightning_gft.sources.base import ResponseSource
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class DatasetSource(ResponseSource):
    """Demonstrations of one role; where a prompt has more than are wanted, a random choice of them."""

    role: ClassVar[str]

    @override
    def draws(self) -> bool:
        return False

    @override
    def check_rows(self, rows: Sequence[Example]) -> None:
        self._check_roles(rows[0].demonstrations)
        warn_of_few(self, f"{self.role} demonstrations", max(len(row.demonstrations[self.role]) for row in rows))

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        self._check_roles(prompts.demonstrations)
        return some_of_each(prompts.demonstrations[self.role], self.most_given(), prompts, seed)

    def _check_roles(self, roles: Collection[str]) -> None:
        if self.role not in roles:
            raise GFTValueError(
                f"`{self.role}_column`: expected demonstrations for {type(self).__name__}, got none in the data; set "
                "it in the datamodule, or take this source out of the sampler"
            )


def warn_of_few(source: ResponseSource, what: str, most: int) -> None:
    """Warn of a source that can never give what it is asked for.

    Args:
        source: Reads the data.
        what: Name of what it reads.
        most: Number of these in the row that has most.
    """
    if source.num_responses > most:
        name = type(source).__name__
        rank_zero_warn(
            f"`num_responses` of {name}: expected rows with {source.num_responses} {what}, got at most {most}; "
            "it gives fewer"
        )


def some_of_each(given: Sequence[list[Response]], most: int, prompts: PromptBatch, seed: int) -> list[list[Response]]:
    """Return for each prompt what is given, or a random choice where that is more than ``most``.

    Args:
        given: Responses to each prompt.
        most: Responses a prompt.
        prompts: Their places count, so that a choice does not depend on the number of ranks.
        seed: Every random choice follows from it.
    """
    seeds = response_seeds(seed, prompts.places or range(len(prompts)), num_generations=1)
    return [
        responses if len(responses) <= most else random.Random(own_seed).sample(responses, most)
        for responses, own_seed in zip(given, seeds, strict=True)
    ]


class ExpertSource(DatasetSource):
    """The data's own answers.

    Args:
        num_responses: Demonstrations a prompt; fewer where the data has fewer.

    Example:
        >>> ExpertSource().num_responses
        1
    """

    source = Source.EXPERT
    role: ClassVar[str] = "expert"

    def __init__(self, num_responses: int = 1) -> None:
        super().__init__(num_responses)


class TeacherSource(DatasetSource):
    """Answers of a stronger model, drawn beforehand and stored with the data.

    Args:
        num_responses: Demonstrations a prompt; fewer where the data has fewer.

    Example:
        >>> TeacherSource().num_responses
        3
    """

    source = Source.TEACHER
    role: ClassVar[str] = "teacher"

    def __init__(self, num_responses: int = 3) -> None:
        super().__init__(num_responses)

"""Sources of demonstrations from the data."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from lightning.pytorch.utilities import rank_zero_warn
from typing_extensions import override

from lightning_gft.data import Example
from lightning_gft.data.errors import no_column
from lightning_gft.seeds import response_seeds
from lightning_gft.sources.base import ResponseSource
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class DatasetSource(ResponseSource):
    """Demonstrations of one role, or a random choice of them where a prompt has more than ``num_responses``."""

    role: ClassVar[str]

    @override
    def draws(self) -> bool:
        return False

    @override
    def check_rows(self, rows: Sequence[Example]) -> None:
        self._check_roles(rows[0].demonstrations, rows[0].columns)
        warn_of_few(self, f"{self.role} demonstrations", max(len(row.demonstrations[self.role]) for row in rows))

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        self._check_roles(prompts.demonstrations, prompts.columns)
        return some_of_each(prompts.demonstrations[self.role], self.most_given(), prompts, seed)

    def _check_roles(self, roles: Collection[str], columns: Iterable[str]) -> None:
        if self.role not in roles:
            raise no_column(self, self.role, columns)


def warn_of_few(source: ResponseSource, what: str, most: int) -> None:
    """Warn if no row of the data has ``num_responses`` responses for a source.

    Args:
        source: Source that reads the data.
        what: Noun for its responses, for the message.
        most: Largest number of its responses in any row.
    """
    if source.num_responses > most:
        name = type(source).__name__
        rank_zero_warn(
            f"`num_responses` of {name}: expected rows with {source.num_responses} {what}, got at most {most}; "
            "groups get fewer: lower it, or add responses to the data"
        )


def some_of_each(given: Sequence[list[Response]], most: int, prompts: PromptBatch, seed: int) -> list[list[Response]]:
    """Return the responses to each prompt, or a random choice of ``most`` where there are more.

    Args:
        given: Responses to each prompt.
        most: Largest number of responses per prompt.
        prompts: Prompts, whose places enter the random choice so that it does not depend on the number of ranks.
        seed: Seed of all random choices.
    """
    seeds = response_seeds(seed, prompts.places or range(len(prompts)), num_generations=1)
    return [
        responses if len(responses) <= most else random.Random(own_seed).sample(responses, most)
        for responses, own_seed in zip(given, seeds, strict=True)
    ]


class ExpertSource(DatasetSource):
    """The data's own solutions.

    Args:
        num_responses: Number of demonstrations per prompt; a prompt with fewer gets all of them.

    Example:
        >>> ExpertSource().num_responses
        1
    """

    source = Source.EXPERT
    role: ClassVar[str] = "expert"

    def __init__(self, num_responses: int = 1) -> None:
        super().__init__(num_responses)


class TeacherSource(DatasetSource):
    """Responses of a stronger model, which were sampled beforehand and stored with the data.

    Args:
        num_responses: Number of demonstrations per prompt; a prompt with fewer gets all of them.

    Example:
        >>> TeacherSource().num_responses
        3
    """

    source = Source.TEACHER
    role: ClassVar[str] = "teacher"

    def __init__(self, num_responses: int = 3) -> None:
        super().__init__(num_responses)

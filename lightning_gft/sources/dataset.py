"""Demonstrations that come with the data."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import ClassVar

from typing_extensions import override

from lightning_gft.errors import GFTValueError
from lightning_gft.seeds import response_seeds
from lightning_gft.sources.base import ResponseSource
from lightning_gft.types import PromptBatch, Response, ResponseGenerator, Source


class DatasetSource(ResponseSource):
    """Demonstrations of one role; where a prompt has more than are wanted, a random choice of them."""

    draws: ClassVar[bool] = False
    role: ClassVar[str]

    def check_roles(self, roles: Collection[str]) -> None:
        """Refuse data that has no demonstrations for this source.

        Args:
            roles: Roles of the demonstrations that there are.

        Raises:
            ValueError: If this source's role is not among them.
        """
        if self.role not in roles:
            raise GFTValueError(
                f"{type(self).__name__} needs demonstrations, but the data has none for the role {self.role!r}; set "
                f"{self.role}_column in the datamodule, or take this source out of the sampler"
            )

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        self.check_roles(prompts.demonstrations)
        seeds = response_seeds(seed, prompts.places or range(len(prompts)), num_generations=1)
        return [
            given if len(given) <= self.num_responses else random.Random(own_seed).sample(given, self.num_responses)
            for given, own_seed in zip(prompts.demonstrations[self.role], seeds, strict=True)
        ]


class ExpertSource(DatasetSource):
    """The data's own answers.

    Args:
        num_responses: Demonstrations a prompt; fewer where the data has fewer.

    Example:
        >>> ExpertSource().num_responses
        1
    """

    source: ClassVar[Source] = Source.EXPERT
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

    source: ClassVar[Source] = Source.TEACHER
    role: ClassVar[str] = "teacher"

    def __init__(self, num_responses: int = 3) -> None:
        super().__init__(num_responses)

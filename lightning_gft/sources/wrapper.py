"""A source that wraps another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_kind
from lightning_gft.data import Example
from lightning_gft.rewards import Reward
from lightning_gft.sources.base import ResponseSource
from lightning_gft.types import Candidate, Need, PromptBatch, Response, ResponseGenerator


class SourceWrapper(ResponseSource):
    """Delegates to another source whatever it does not override.

    Args:
        within: The wrapped source, which produces the responses.
        num_responses: Largest number of responses per prompt that a group keeps; ``None`` keeps as many as ``within``.

    Attributes:
        source: The :class:`~lightning_gft.Source` that responses of ``within`` count as.

    Example:
        >>> from lightning_gft import SelfSource
        >>> class Patient(SourceWrapper):
        ...     def longest_response(self):
        ...         return 2 * self.within.longest_response()
        >>> wrapped = Patient(SelfSource(num_generations=8, max_new_tokens=64))
        >>> wrapped.longest_response(), wrapped.most_given(), wrapped.source
        (128, 8, <Source.SELF: 2>)
    """

    def __init__(self, within: ResponseSource, num_responses: int | None = None) -> None:
        check_kind("within", within, ResponseSource, "TeacherSource(num_responses=8)")
        super().__init__(within.num_responses if num_responses is None else num_responses)
        self.within = within
        self.source = within.source

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        return self.within.respond(prompts, policy, seed)

    @override
    def most_given(self) -> int:
        return self.within.most_given()

    @override
    def choose(self, candidates: Sequence[Candidate], seed: int) -> Sequence[int]:
        return self.within.choose(candidates, seed)

    @override
    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> None:
        self.within.prepare(prompts, policy, seed)

    @override
    def looks_ahead(self) -> int:
        return self.within.looks_ahead()

    @override
    def draws_ahead(self) -> bool:
        return self.within.draws_ahead()

    @override
    def draws(self) -> bool:
        return self.within.draws()

    @override
    def memory(self) -> Mapping[str, Any]:
        return self.within.memory()

    @override
    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        self.within.recall(memories)

    @override
    def gives(self) -> frozenset[Need]:
        return self.within.gives()

    @override
    def reads(self) -> frozenset[str]:
        return self.within.reads()

    @override
    def longest_response(self) -> int:
        return self.within.longest_response()

    @override
    def check_rewards(self, rewards: Mapping[str, Reward]) -> None:
        self.within.check_rewards(rewards)

    @override
    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.within.check_tokenizer(tokenizer)

    @override
    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> None:
        self.within.check_prompts(rows, tokenizer)

    @override
    def check_rows(self, rows: Sequence[Example]) -> None:
        self.within.check_rows(rows)

    @override
    def setup(self) -> None:
        self.within.setup()

    @override
    def close(self) -> None:
        self.within.close()

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return self.within.compute()

    @override
    def reset(self) -> None:
        self.within.reset()

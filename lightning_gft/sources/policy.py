"""The policy's own samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from lightning_gft.checks import check_count, check_kind
from lightning_gft.data import Example
from lightning_gft.phases import phase
from lightning_gft.sampling import SamplingParams
from lightning_gft.sources.base import ResponseSource
from lightning_gft.sources.begun import BegunDraws
from lightning_gft.teachers import Teacher
from lightning_gft.types import Need, PromptBatch, Response, ResponseGenerator, Source


class SelfSource(ResponseSource):
    """Responses drawn from the current policy, or with ``ahead`` from the policy before the last batch.

    Args:
        num_generations: Number of responses per prompt.
        max_new_tokens: Longest response in tokens.
        temperature: 1 draws from the policy itself; 0 is greedy decoding.
        top_p: Keep the smallest set of tokens whose probabilities reach ``top_p``; 1 keeps all.
        top_k: Keep the ``top_k`` likeliest tokens; 0 keeps all.
        min_p: Keep tokens at least ``min_p`` times as likely as the likeliest; ``None`` keeps all.
        min_new_tokens: Number of tokens before the first end token may be drawn; stop strings are not delayed.
        stop_strings: One or more texts that end a response, which then counts as finished. The tokens of the stop
            string stay in it.
        teacher: Scores the responses, for a loss that needs ``teacher_logprobs``.
        ahead: 1 draws the next batch while the current one trains, which needs an engine with weights of its own. The
            samples are then ``updates_per_batch`` updates old; see docs/sampling.md.

    Raises:
        ValueError: If a value lies outside its range.
        TypeError: If a value is not a number, or a stop string not a text.

    Example:
        >>> SelfSource(num_generations=8).sampling.temperature
        1.0
    """

    source = Source.SELF

    def __init__(
        self,
        num_generations: int = 4,
        max_new_tokens: int = 512,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float | None = None,
        min_new_tokens: int = 0,
        stop_strings: str | list[str] = "",
        teacher: Teacher | None = None,
        ahead: int = 0,
    ) -> None:
        name = type(self).__name__
        super().__init__(check_count("num_generations", num_generations, of=name))
        self.sampling = SamplingParams(
            max_new_tokens, temperature, top_p, top_k, min_p, min_new_tokens, stop_strings, of=name
        )
        if teacher is not None:
            check_kind("teacher", teacher, Teacher, "DemonstrationTeacher()")
        self.teacher = teacher
        self.sampling.check_several("num_generations", self.num_responses, of=name)
        self.ahead = check_count("ahead", ahead, least=0, most=1, of=name, remedy="0 draws when a batch is trained on")
        self._begun = BegunDraws()

    @override
    def longest_response(self) -> int:
        return self.sampling.max_new_tokens

    @override
    def looks_ahead(self) -> int:
        return self.ahead

    @override
    def draws_ahead(self) -> bool:
        return self.ahead > 0

    @override
    def prepare(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> None:
        if self.ahead and not self._begun.knows(prompts, seed):
            drawing = (self.num_responses, self.sampling, seed, prompts.places)
            self._begun.add(prompts, seed, policy.generate_ahead(prompts.prompt_ids, *drawing))

    @override
    def respond(self, prompts: PromptBatch, policy: ResponseGenerator, seed: int) -> list[list[Response]]:
        drawn = self._begun.take(prompts, seed)
        if drawn is None:
            drawn = policy.generate(prompts.prompt_ids, self.num_responses, self.sampling, seed, places=prompts.places)
        if self.teacher is None:
            return drawn
        with phase("teacher"):
            judged = self.teacher.logprobs(prompts, drawn, policy, seed)
        return [
            own if known is None else [_taught(*pair) for pair in zip(own, known, strict=True)]
            for own, known in zip(drawn, judged, strict=True)
        ]

    @override
    def gives(self) -> frozenset[Need]:
        return frozenset() if self.teacher is None else frozenset({"teacher_logprobs"})

    @override
    def reads(self) -> frozenset[str]:
        return frozenset() if self.teacher is None else self.teacher.reads()

    @override
    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if self.teacher is not None:
            self.teacher.check_tokenizer(tokenizer)

    @override
    def check_prompts(self, rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> None:
        if self.teacher is not None:
            self.teacher.check_prompts(rows, tokenizer, self.sampling.max_new_tokens)

    @override
    def setup(self) -> None:
        if self.teacher is not None:
            self.teacher.setup()

    @override
    def memory(self) -> Mapping[str, Any]:
        return self._begun.memory()

    @override
    def recall(self, memories: Sequence[Mapping[str, Any]]) -> None:
        self._begun.recall(memories)

    @override
    def close(self) -> None:
        self._begun.give_up()
        if self.teacher is not None:
            self.teacher.close()

    @override
    def compute(self) -> dict[str, Tensor | float]:
        return {} if self.teacher is None else self.teacher.compute()

    @override
    def reset(self) -> None:
        if self.teacher is not None:
            self.teacher.reset()


def _taught(response: Response, logprobs: list[float]) -> Response:
    return replace(response, teacher_logprobs=logprobs)

"""A teacher that is the policy with a hint before its prompt."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_gft import PromptBatch, Response, Teacher
from lightning_gft.types import ResponseGenerator


class HintTeacher(Teacher):
    """The policy itself, given the same hint for every prompt; counts what it has judged.

    Args:
        hint: Comes before the prompt, without anything between.
        micro_batch_tokens: Most tokens that go through the policy at once.
    """

    def __init__(self, hint: str, micro_batch_tokens: int = 16384) -> None:
        super().__init__(micro_batch_tokens)
        self.hint = hint
        self.judged = 0

    def logprobs(
        self, prompts: PromptBatch, responses: Sequence[Sequence[Response]], policy: ResponseGenerator, seed: int
    ) -> list[list[list[float]] | None]:
        self.judged += sum(map(len, responses))
        hint = policy.tokenizer.encode(self.hint, add_special_tokens=False)
        return [*self.score(policy, [[*hint, *ids] for ids in prompts.prompt_ids], responses)]

    def compute(self) -> dict[str, Tensor | float]:
        return {"judged": self.judged}

    def reset(self) -> None:
        self.judged = 0

"""What a step begins with: prompts and the responses that the data holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol


class Source(IntEnum):
    """Where a response comes from. Expert and teacher responses are demonstrations; ``SELF`` is the policy's own."""

    EXPERT = 0
    TEACHER = 1
    SELF = 2


@dataclass  # not frozen: see PromptBatch
class Response:
    """One response to one prompt, as token ids: never decoded and encoded again.

    Args:
        token_ids: The response's tokens, with those that ended it: an end-of-sequence token or a stop string's.
        finished: Whether one of them ended it before the length limit did.
        logprobs: Log-probabilities of ``token_ids`` under the policy that drew them, at temperature 1 and over the
            whole vocabulary whatever the sampling settings; ``None`` for demonstrations.
        teacher_logprobs: The same under a teacher, where a source knows them.
        weights_version: Optimizer steps of the run that the weights had taken which it was drawn from; ``None`` where
            no run of now drew it.
    """

    token_ids: list[int]
    finished: bool = True
    logprobs: list[float] | None = None
    teacher_logprobs: list[float] | None = None
    weights_version: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A scored response that its source may keep or leave out.

    Args:
        response: The response.
        text: As the rewards see it.
        reward: Their weighted sum.
        rewards: Each unweighted by its name; NaN where it does not apply.
    """

    response: Response
    text: str
    reward: float
    rewards: dict[str, float]


@dataclass(frozen=True)
class EncodedText:
    """A text as a response of the data would be.

    Args:
        response: Its tokens; ``None`` where the text is no demonstration.
        fault: Why it is none.
        rendered: Whether the policy's chat template writes all of the text, and none of the policy's special tokens is
            written out in it.
    """

    response: Response | None
    fault: str = ""
    rendered: bool = True


class ResponseEncoder(Protocol):
    """Encodes texts that came later than the data exactly as the data's own demonstrations are encoded."""

    def encode(self, prompts: PromptBatch, texts: Sequence[Sequence[str]]) -> list[list[EncodedText]]:
        """Return the texts that follow each of ``P`` prompts, encoded."""


@dataclass  # not frozen: Lightning's plugins for precision and FSDP, and Fabric, rebuild batches field by field
class PromptBatch:
    """``P`` prompts, with what a group is built from.

    Args:
        prompt_ids: Token ids of each prompt, exactly as the policy is given it.
        prompts: Text of each prompt, as a reward sees it.
        references: What a verifier compares to; ``None`` where a prompt has none.
        demonstrations: Given responses by role, ``"expert"`` and ``"teacher"``: for each prompt any number of them,
            already tokenised and ended. A role that the data does not have is absent.
        columns: All columns of the data, for rewards that need more than the reference.
        messages: The conversation of each prompt, as a server of chat completions takes it; without a chat template
            one message of the user.
        dataset: Name of the data set within a datamodule; empty for the main one. It becomes part of the log keys.
        rows: Position of each prompt's row in the data, by which errors name it; empty where it is not known.
        places: Position of each prompt in the batch of all ranks. Its random choices follow from there, so that they
            do not depend on the number of ranks; ``None`` where positions are not known.
        encoder: Encodes further responses; ``None`` where the batch is not one of this package's datamodules.
        stored: Responses of an earlier run by what they were then, ``"expert"``, ``"teacher"`` and ``"self"``: for each
            prompt any number of them. Empty unless the data are groups that were kept.
    """

    prompt_ids: list[list[int]]
    prompts: list[str]
    references: list[Any]
    demonstrations: dict[str, list[list[Response]]] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    messages: list[list[dict[str, Any]]] = field(default_factory=list)
    dataset: str = ""
    rows: list[int | str] = field(default_factory=list)
    places: list[int] | None = None
    encoder: ResponseEncoder | None = field(default=None, repr=False, compare=False)
    stored: dict[str, list[list[Response]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def __getitem__(self, index: slice) -> PromptBatch:
        """Return some of the prompts, each with its position, so that it is answered as in the whole batch.

        Example:
            >>> batch = PromptBatch(prompt_ids=[[1], [2], [3]], prompts=["a", "b", "c"], references=[None] * 3)
            >>> batch[1:].prompts, batch[1:].places
            (['b', 'c'], [1, 2])
        """
        places = list(range(len(self))) if self.places is None else self.places
        return replace(
            self,
            prompt_ids=self.prompt_ids[index],
            prompts=self.prompts[index],
            references=self.references[index],
            demonstrations={role: given[index] for role, given in self.demonstrations.items()},
            columns={name: values[index] for name, values in self.columns.items()},
            stored={source: given[index] for source, given in self.stored.items()},
            messages=self.messages[index],
            rows=self.rows[index],
            places=places[index],
        )

    def seed_rank(self, rank: int) -> int:
        """Return the number of a rank for random choices, which prompts with known positions do without.

        Example:
            >>> batch = PromptBatch(prompt_ids=[[1]], prompts=["a"], references=[None])
            >>> batch.seed_rank(1), replace(batch, places=[1]).seed_rank(1)
            (1, 0)
        """
        return rank if self.places is None else 0

    def to(self, *_: Any, **__: Any) -> PromptBatch:
        """Return the batch itself: it holds no tensors, which come about in the sampler, on the policy's device."""
        return self

"""The input of a step: prompts, and responses in the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol


class Source(IntEnum):
    """Source of a response. Expert and teacher responses are demonstrations; ``SELF`` is the policy's own."""

    EXPERT = 0
    TEACHER = 1
    SELF = 2


@dataclass  # not frozen: see PromptBatch
class Response:
    """One response to one prompt, as token ids that are never decoded and encoded again.

    Args:
        token_ids: Tokens of the response, with those that ended it: an end-of-sequence token or a stop string's.
        finished: Whether such a token ended it before the length limit did.
        logprobs: Log-probabilities of ``token_ids`` under the policy that sampled them, at temperature 1 and over the
            whole vocabulary, regardless of the sampling settings; ``None`` for demonstrations.
        teacher_logprobs: Log-probabilities of ``token_ids`` under a teacher, if a source knows them.
        weights_version: Number of optimizer steps that the run had taken when it made the weights that sampled it;
            ``None`` if it was not sampled by the current run.
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
        response: The response as token ids.
        text: Text of the response, as rewards receive it.
        reward: Weighted sum of the rewards.
        rewards: Unweighted value of each reward by name; NaN where a reward does not apply.
    """

    response: Response
    text: str
    reward: float
    rewards: dict[str, float]


@dataclass(frozen=True)
class EncodedText:
    """A text encoded like a response in the data.

    Args:
        response: Tokens of the text; ``None`` if it cannot be a demonstration.
        fault: Why it cannot be one; empty if it can.
        rendered: Whether the policy's chat template writes all of the text, and the text contains none of the policy's
            special tokens.
    """

    response: Response | None
    fault: str = ""
    rendered: bool = True


class ResponseEncoder(Protocol):
    """Encodes further texts exactly like the data's own demonstrations."""

    def encode(self, prompts: PromptBatch, texts: Sequence[Sequence[str]]) -> list[list[EncodedText]]:
        """Return the encoded texts that follow each of ``P`` prompts."""


@dataclass  # not frozen: Lightning's plugins for precision and FSDP, and Fabric, rebuild batches field by field
class PromptBatch:
    """``P`` prompts, with the data that groups are built from.

    Args:
        prompt_ids: Token ids of each prompt, exactly as the policy receives them.
        prompts: Text of each prompt, as rewards receive it.
        references: Value that a verifier compares responses with; ``None`` for a prompt without one.
        demonstrations: Given responses by role, ``"expert"`` and ``"teacher"``: any number of them for each prompt,
            already tokenised and ended. A role that the data do not have is absent.
        columns: All columns of the data, for rewards that need more than the reference.
        messages: Conversation of each prompt, in the form of chat completions; without a chat template, it is one
            message of the user.
        dataset: Name of the data set within a datamodule; empty for the main one. It becomes part of the log keys.
        rows: Position of each prompt's row in the data, as errors show it; empty if it is not known.
        places: Position of each prompt in the batch of all ranks. Random choices for a prompt depend on it, so that
            they do not depend on the number of ranks; ``None`` if positions are not known.
        encoder: Encodes further responses; ``None`` if the batch does not come from this package's datamodules.
        stored: Responses of an earlier run by their source in it, ``"expert"``, ``"teacher"`` and ``"self"``: any
            number of them for each prompt. Empty unless the data are stored groups.
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
        """Return some of the prompts with their positions, so that they are answered as in the whole batch.

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
        """Return the rank's number for random choices: 0 if positions are known, which then replace it.

        Example:
            >>> batch = PromptBatch(prompt_ids=[[1]], prompts=["a"], references=[None])
            >>> batch.seed_rank(1), replace(batch, places=[1]).seed_rank(1)
            (1, 0)
        """
        return rank if self.places is None else 0

    def to(self, *_: Any, **__: Any) -> PromptBatch:
        """Return the batch itself: it holds no tensors, which the sampler creates on the policy's device."""
        return self

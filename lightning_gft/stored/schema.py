"""What is kept of a group and its responses, and what a folder of groups says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lightning_gft.errors import GFTValueError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 1

Origin = Literal["self", "teacher", "expert"]
"""What a stored response counted as in the run that wrote it."""


@dataclass(frozen=True)
class StoredResponse:
    """A response as it is kept.

    Args:
        source: ``"expert"``, ``"teacher"`` or ``"self"``.
        completion: Text without special tokens, as most rewards see it.
        raw_completion: Text with special tokens, without those that ended it.
        token_ids: See :class:`~lightning_gft.Response`, as for ``finished`` and ``logprobs``.
        finished: Whether it ended before the length limit.
        reward: What it is worth in total.
        rewards: Each reward unweighted by its name; ``None`` where it does not apply.
        advantage: Within its group.
        logprobs: At sampling time; ``None`` for demonstrations.
    """

    source: str
    completion: str
    raw_completion: str
    token_ids: list[int]
    finished: bool
    reward: float
    rewards: dict[str, float | None]
    advantage: float
    logprobs: list[float] | None = None


@dataclass(frozen=True)
class StoredGroup:
    """A prompt and its responses as they are kept.

    Args:
        step: Number of the batch that it was sampled in, counted from 0.
        place: Position of the prompt in the batch of all ranks; with ``step`` the order of the data.
        row: Position of its row in the data as loaded, as errors name it; ``None`` where it is not known.
        prompt: Text of the prompt, as a reward sees it.
        prompt_token_ids: As the policy was given it.
        reference: What a verifier compares to.
        messages: The prompt as a conversation.
        columns: The data's row.
        responses: Those of all sources, in the order of the sampler's.
        sampling_seconds: What it took until all responses to the batch were there, over all prompts of this rank.
        scoring_seconds: What the rewards took for the same batch.
    """

    step: int
    place: int
    row: str | None
    prompt: str
    prompt_token_ids: list[int]
    reference: Any
    messages: list[dict[str, Any]]
    columns: dict[str, Any]
    responses: list[StoredResponse]
    sampling_seconds: float = 0.0
    scoring_seconds: float = 0.0


@dataclass(frozen=True)
class StoredInfo:
    """What every shard says of the run that wrote it.

    Args:
        tokenizer: :func:`tokenizer_fingerprint` of the policy's, to which all token ids belong.
        rewards: Weights of the rewards by their names, which are columns.
        settings: What the groups follow from, in words.
        prompts: Number of prompts in the whole data; ``None`` where that is not known.
        version: Version of this layout.
    """

    tokenizer: str
    rewards: dict[str, float]
    settings: dict[str, str] = field(default_factory=dict)
    prompts: int | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        for name in self.rewards:
            if name in COLUMNS:
                raise GFTValueError(
                    f"`rewards[{name!r}]`: expected a name that is no column of stored groups, got {name!r}; choose "
                    f"another than {', '.join(COLUMNS)}"
                )

    def differing(self, other: StoredInfo) -> list[str]:
        """Return what differs in another run, its own in brackets; empty if both write the same groups.

        Example:
            >>> StoredInfo("abc", {}, {"seed": "0"}).differing(StoredInfo("abc", {}, {"seed": "1"}))
            ['seed: 1 (was 0)']
        """
        names = {**self.settings, **other.settings}
        before, now = self.settings, other.settings
        differing = [f"{n}: {now.get(n)} (was {before.get(n)})" for n in names if before.get(n) != now.get(n)]
        if not differing and self.tokenizer != other.tokenizer:
            differing = ["tokenizer"]
        if not differing and self.rewards != other.rewards:
            differing = [f"rewards: {other.rewards} (was {self.rewards})"]
        return differing

    def to_json(self) -> str:
        """Return it as a JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> StoredInfo:
        """Return what :meth:`to_json` has written.

        Raises:
            ValueError: If a later version of the package has.
        """
        noted: Mapping[str, Any] = json.loads(text)
        if noted.get("version") != VERSION:
            raise GFTValueError(
                f"expected groups in layout {VERSION}, got layout {noted.get('version')}; read them with the version "
                "of lightning-gft that wrote them"
            )
        return cls(**noted)


COLUMNS = (
    *("step", "prompt", "completion", "advantage"),  # with the rewards by name these are TRL's
    *("reward", "source", "row", "place", "response", "finish_reason", "completion_length"),
    *("completion_token_ids", "logprobs", "prompt_token_ids", "raw_completion"),
    *("reference", "messages", "columns", "sampling_seconds", "scoring_seconds"),
)
"""Names of all columns but the rewards'."""


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a text that two tokenizers share if token ids and their ends mean the same to both.

    Args:
        tokenizer: Its vocabulary, end of sequence and chat template, which may end turns, count.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> few, many = (tokenizer_fingerprint(ScratchPolicy(alphabet).tokenizer) for alphabet in ("01", "0123"))
        >>> few == many
        False
    """
    meaning = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

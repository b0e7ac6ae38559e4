"""The stored form of groups and responses, and of the settings of a folder of groups."""

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
"""Source of a stored response in the run that wrote it."""


@dataclass(frozen=True)
class StoredResponse:
    """A stored response.

    Args:
        source: ``"expert"``, ``"teacher"`` or ``"self"``.
        completion: Text without special tokens, as most rewards receive it.
        raw_completion: Text with special tokens, except those that ended it.
        token_ids: Tokens of the response, see :class:`~lightning_gft.Response`.
        finished: Whether it ended before the length limit.
        reward: Weighted total of all rewards.
        rewards: Unweighted value of each reward by name; ``None`` where a reward does not apply.
        advantage: Advantage within its group.
        logprobs: Log-probabilities at sampling time; ``None`` for demonstrations.
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
    """A stored prompt with its responses.

    Args:
        step: Number of the batch that it was sampled in, from 0.
        place: Position of the prompt in the batch of all ranks; with ``step``, it gives the order of the data.
        row: Position of its row in the data as loaded, as in errors; ``None`` if it is not known.
        prompt: Text of the prompt, as rewards receive it.
        prompt_token_ids: Token ids of the prompt, as the policy received them.
        reference: Value that a verifier compares responses with.
        messages: The prompt as a conversation.
        columns: The whole row of the data.
        responses: Responses of all sources, in the order of the sampler's sources.
        sampling_seconds: Seconds until all responses to the batch were drawn, for all prompts of this rank.
        scoring_seconds: Seconds that the rewards took for the same batch.
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
    """Settings of the run that wrote a shard, which every shard holds.

    Args:
        tokenizer: :func:`tokenizer_fingerprint` of the policy's tokenizer, to which all token ids belong.
        rewards: Weights of the rewards by their names, which are columns.
        settings: Descriptions of the settings that determine the groups.
        prompts: Number of prompts in the whole data; ``None`` if it is not known.
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
                    f"`rewards.{name}`: expected a name that is not a column of stored groups, got {name!r}; choose "
                    f"another than {', '.join(COLUMNS)}"
                )

    def differing(self, other: StoredInfo) -> list[str]:
        """Describe how another run differs, with this run's values in brackets; empty if both write the same groups.

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
        """Return the settings as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> StoredInfo:
        """Return the settings that :meth:`to_json` has written.

        Raises:
            ValueError: If another version of the package wrote them.
        """
        noted: Mapping[str, Any] = json.loads(text)
        if noted.get("version") != VERSION:
            raise GFTValueError(
                f"expected groups in layout {VERSION}, got layout {noted.get('version')}; read them with the version "
                "of lightning-gft that wrote them"
            )
        return cls(**noted)


COLUMNS = (
    *("step", "prompt", "completion", "advantage"),  # TRL's names, with the rewards
    *("reward", "source", "row", "place", "response", "finish_reason", "completion_length"),
    *("completion_token_ids", "logprobs", "prompt_token_ids", "raw_completion"),
    *("reference", "messages", "columns", "sampling_seconds", "scoring_seconds"),
)
"""Names of all columns except those of rewards."""


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a text that is equal for two tokenizers if token ids and the ends of responses mean the same in both.

    Args:
        tokenizer: Tokenizer whose vocabulary, end of sequence and chat template, which may end turns, are compared.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> few, many = (tokenizer_fingerprint(ScratchPolicy(alphabet).tokenizer) for alphabet in ("01", "0123"))
        >>> few == many
        False
    """
    meaning = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

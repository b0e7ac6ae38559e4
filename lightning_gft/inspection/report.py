"""The contents of a report of the data; all of it can be written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

RowNumber = int | str

_BINS = 16
_LISTED = 100
"""Rows of one kind to list; all of them are counted."""


@dataclass(frozen=True)
class Lengths:
    """Statistics of the lengths of texts, in tokens.

    Args:
        count: Number of texts.
        least: Length of the shortest text.
        median: Median length.
        q95: 95th percentile of the lengths.
        most: Length of the longest text.
        histogram: Number of texts in each of a few equal ranges from the shortest to the longest length.

    Example:
        >>> Lengths.of([1, 2, 3, 100]).median
        2.5
    """

    count: int
    least: int
    median: float
    q95: float
    most: int
    histogram: list[int]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Return the statistics of one or more lengths."""
        counts, _ = np.histogram(lengths, bins=min(_BINS, max(lengths) - min(lengths) + 1))
        median, q95 = np.quantile(lengths, [0.5, 0.95]).tolist()
        return cls(len(lengths), min(lengths), median, q95, max(lengths), counts.tolist())


@dataclass
class Counted:
    """A number of rows, and the first of them.

    Args:
        count: Number of occurrences in all rows.
        rows: Positions of the first rows in the data.
    """

    count: int = 0
    rows: list[RowNumber] = field(default_factory=list)

    def add(self, row: RowNumber, count: int = 1) -> None:
        """Count a row with one or more occurrences."""
        self.count += count
        if len(self.rows) < _LISTED:
            self.rows.append(row)


@dataclass
class DataSetReport:
    """A data set of a split.

    Args:
        name: ``"train"``, ``"val"``, ``"val/hard"`` and so on.
        rows: Number of rows after slices, held-out rows and filters. Rows that ``keep`` leaves out are in ``dropped``.
        used: Number of rows that a run uses.
        prompts: Lengths of all prompts, before any is dropped.
        demonstrations: Lengths of all demonstrations by role, before any is dropped.
        dropped: Rows and demonstrations that are left out, by the reason.
        repeated: Prompts that are equal to an earlier row's, token for token.
        shared: Prompts that are equal to a training prompt, token for token.
    """

    name: str
    rows: int = 0
    used: int = 0
    prompts: Lengths | None = None
    demonstrations: dict[str, Lengths] = field(default_factory=dict)
    dropped: dict[str, Counted] = field(default_factory=dict)
    repeated: Counted = field(default_factory=Counted)
    shared: Counted = field(default_factory=Counted)


@dataclass(frozen=True)
class RewardReport:
    """Scores of demonstrations by one reward.

    Args:
        mean: Mean score of the demonstrations to which the reward applies; ``None`` if there are none.
        applies: Number of these demonstrations.
        right: Number of demonstrations that score at least evaluation's ``correct_reward``.
    """

    mean: float | None
    applies: int
    right: int


@dataclass(frozen=True)
class Wrong:
    """A demonstration that is not right.

    Args:
        row: Position of its row in the data.
        text: Text of the demonstration, without special tokens.
        reference: The reference of the row.
        rewards: Scores by reward; ``None`` if a reward does not apply.
    """

    row: RowNumber
    text: str
    reference: Any
    rewards: dict[str, float | None]


@dataclass
class Verdict:
    """Scores of the demonstrations of one role by a stage's rewards.

    Args:
        stage: Name of the stage; empty in a run without stages.
        role: ``"expert"`` or ``"teacher"``.
        measured_by: Name of the reward that decides whether a demonstration is right, as in evaluation.
        count: Number of demonstrations.
        total: Mean of their total rewards.
        rewards: Scores by each reward, by its name.
        wrong: Number of demonstrations that are not right.
        examples: The first of these.
    """

    stage: str
    role: str
    measured_by: str
    count: int
    total: float
    rewards: dict[str, RewardReport]
    wrong: int = 0
    examples: list[Wrong] = field(default_factory=list)

    @property
    def right(self) -> int:
        """Number of demonstrations that are right."""
        return self.count - self.wrong


@dataclass(frozen=True)
class StepReport:
    """The size of a training step.

    Args:
        stage: Name of the stage; empty in a run without stages.
        sources: Description of each source's responses to a prompt, by its name.
        group_size: Responses of a group if no demonstration is missing.
        prompts: Prompts per step and rank.
        sequences: Most responses per step and rank.
        tokens: Most tokens per step and rank: those of the longest prompts and responses together, with own samples
            at their limit and each response with its prompt. Responses of unknown length count as 0 tokens.
        longest: Tokens of the longest response together with its prompt.
        micro_batches: Number of micro-batches for these tokens; fewer if responses share the run of their prompt.
        steps: Steps per epoch on one rank.
    """

    stage: str
    sources: dict[str, str]
    group_size: int
    prompts: int
    sequences: int
    tokens: int
    longest: int
    micro_batches: int
    steps: int


@dataclass(frozen=True)
class Token:
    """A token of the vocabulary, with its id."""

    id: int
    text: str


@dataclass(frozen=True)
class Rendered:
    """A prompt and its demonstrations as the policy reads them.

    Args:
        row: Position of the row in the data.
        prompt: Text of the prompt's tokens, including special tokens; the response follows directly.
        responses: Texts of the demonstrations' tokens by role, including their end-of-sequence tokens.
        reference: The reference that a verifier compares with.
        num_tokens: Number of tokens of the prompt (``"prompt"``), and of each role's first demonstration.
        last_prompt_tokens: The last tokens of the prompt.
        first_tokens: The first tokens of each role's first demonstration.
        last_tokens: The last tokens of it, including its end.
    """

    row: RowNumber
    prompt: str
    responses: dict[str, list[str]]
    reference: Any
    num_tokens: dict[str, int]
    last_prompt_tokens: list[Token]
    first_tokens: dict[str, list[Token]]
    last_tokens: dict[str, list[Token]]


@dataclass
class DataReport:
    """A report of the data before training.

    Args:
        datasets: Reports of the data sets of each split, the training data first.
        verdicts: Scores of the demonstrations by the rewards.
        figures: Counts of the rewards while they scored, such as timeouts, except those that are 0.
        steps: Sizes of a training step, by stage.
        rendered: A few prompts as the policy reads them.
        problems: Errors that would stop the run, one line each.
        warnings: Warnings that the run would issue.
    """

    datasets: list[DataSetReport] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    steps: list[StepReport] = field(default_factory=list)
    rendered: list[Rendered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values; values of the data that JSON does not know stay as they are."""
        return asdict(self)

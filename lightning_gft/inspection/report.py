"""What a report of the data holds; all of it can be written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

RowNumber = int | str

_BINS = 16
_LISTED = 100
"""Most rows that are listed of one kind; all are counted."""


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in tokens.

    Args:
        count: How many there are.
        least: The shortest.
        median: Half of them are no longer.
        q95: 95 of 100 are no longer.
        most: The longest.
        histogram: How many there are in each of a few equal ranges from the shortest to the longest.

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
        """Return what is said of some lengths, at least one."""
        counts, _ = np.histogram(lengths, bins=min(_BINS, max(lengths) - min(lengths) + 1))
        median, q95 = np.quantile(lengths, [0.5, 0.95]).tolist()
        return cls(len(lengths), min(lengths), median, q95, max(lengths), counts.tolist())


@dataclass
class Counted:
    """How many rows something is true of, and which.

    Args:
        count: How many.
        rows: The first of them, by their positions in the data.
    """

    count: int = 0
    rows: list[RowNumber] = field(default_factory=list)

    def add(self, row: RowNumber, count: int = 1) -> None:
        """Count a row, maybe for several things in it."""
        self.count += count
        if len(self.rows) < _LISTED:
            self.rows.append(row)


@dataclass
class DataSetReport:
    """One data set of a split.

    Args:
        name: ``"train"``, ``"val"``, ``"val/hard"`` and so on.
        rows: How many there are, after slices, held-out rows and filters (those that ``keep`` leaves out are in
            ``dropped``).
        used: How many of them a run uses.
        prompts: Lengths of all prompts, before any is dropped.
        demonstrations: Lengths of all demonstrations by role, likewise.
        dropped: What is left out and why.
        repeated: Prompts that an earlier row has too, token for token.
        shared: Prompts that are among those to train on, token for token.
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
    """What one reward says of demonstrations.

    Args:
        mean: Over those to which it applies; ``None`` where there are none.
        applies: How many these are.
        right: How many get at least evaluation's ``correct_reward``.
    """

    mean: float | None
    applies: int
    right: int


@dataclass(frozen=True)
class Wrong:
    """A demonstration that is not right.

    Args:
        row: Position of its row in the data.
        text: The demonstration, without special tokens.
        reference: What it was compared to.
        rewards: What it gets, by name; ``None`` where a reward does not apply.
    """

    row: RowNumber
    text: str
    reference: Any
    rewards: dict[str, float | None]


@dataclass
class Verdict:
    """What a stage's rewards say of the demonstrations of one role.

    Args:
        stage: Name of the stage; empty in a run without.
        role: ``"expert"`` or ``"teacher"``.
        measured_by: Name of the reward that evaluation measures by.
        count: How many demonstrations there are.
        total: Mean of what they are worth in all.
        rewards: What each reward says, by name.
        wrong: How many are not right.
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
        """How many are right."""
        return self.count - self.wrong


@dataclass(frozen=True)
class StepReport:
    """What a step of training will run.

    Args:
        stage: Name of the stage; empty in a run without.
        sources: What each source gives to a prompt, by name.
        group_size: Responses of a group where no demonstration is missing.
        prompts: Prompts a step and rank.
        sequences: Responses a step and rank, at most.
        tokens: Tokens a step and rank, at most: of the prompts that need most, with own responses as long as they may
            be, each with its prompt. Responses whose length is not known before count as 0 tokens.
        longest: Tokens of the longest of these, with its prompt.
        micro_batches: How many micro-batches these are; fewer where responses share the run of their prompt.
        steps: Steps an epoch on one rank.
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
    """A token as it is in the vocabulary, with its id."""

    id: int
    text: str


@dataclass(frozen=True)
class Rendered:
    """A prompt and its demonstrations as the policy is given them.

    Args:
        row: Position of the row in the data.
        prompt: Text of the prompt's tokens, special tokens included; a response begins where it ends.
        responses: Text of the demonstrations' tokens by role, with their end.
        reference: What a verifier compares to.
        num_tokens: How many tokens the prompt has (``"prompt"``), and each role's first demonstration.
        last_prompt_tokens: The prompt's last tokens.
        first_tokens: The first tokens of each role's first demonstration.
        last_tokens: The last ones, its end included.
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
        datasets: One for each data set of each split, the training data first.
        verdicts: What rewards say of demonstrations.
        figures: What rewards counted while they scored, such as timeouts, where that is not 0.
        steps: What a step will run, by stage.
        rendered: A few prompts as the policy is given them.
        problems: What would stop the run, each in a line.
        warnings: What the run would warn of.
    """

    datasets: list[DataSetReport] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    steps: list[StepReport] = field(default_factory=list)
    rendered: list[Rendered] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values; what JSON does not know stays as it is in the data."""
        return asdict(self)

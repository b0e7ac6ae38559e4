"""Collating examples into a batch."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_gft.data.examples import Example
from lightning_gft.types import PromptBatch


def collate_examples(
    examples: Sequence[Example], dataset: str = "", num_replicas: int = 1, rank: int | None = None
) -> PromptBatch:
    """Return a batch of examples of one data set.

    Example:
        >>> example = Example(
        ...     prompt_ids=[5, 6], prompt="1+1=", reference="2", demonstrations={}, columns={"prompt": "1+1="}, row=0
        ... )
        >>> collate_examples([example, example]).references
        ['2', '2']
    """
    roles, columns = examples[0].demonstrations, examples[0].columns
    return PromptBatch(
        prompt_ids=[example.prompt_ids for example in examples],
        prompts=[example.prompt for example in examples],
        references=[example.reference for example in examples],
        demonstrations={role: [example.demonstrations[role] for example in examples] for role in roles},
        stored={source: [example.stored[source] for example in examples] for source in examples[0].stored},
        columns={name: [example.columns[name] for example in examples] for name in columns},
        messages=[example.messages for example in examples],
        dataset=dataset,
        rows=[example.row for example in examples],
        places=None if rank is None else [number * num_replicas + rank for number in range(len(examples))],
    )

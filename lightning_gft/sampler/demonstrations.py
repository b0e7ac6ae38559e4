"""Scoring the demonstrations of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lightning_gft.data import Example, collate_examples
from lightning_gft.sampler.rounds import Round, Row
from lightning_gft.sampler.sampler import GroupSampler
from lightning_gft.types import Response, Source


def score_demonstrations(
    sampler: GroupSampler,
    given: Sequence[tuple[Example, Response]],
    role: str,
    tokenizer: PreTrainedTokenizerBase,
) -> Round:
    """Return demonstrations with the scores that a sampler's rewards would give them in a group.

    Args:
        sampler: The sampler whose rewards score the demonstrations.
        given: At least one pair of a row of the data and one of its demonstrations.
        role: Source of the demonstrations: ``"expert"`` or ``"teacher"``.
        tokenizer: The policy's tokenizer, which decodes them.

    Raises:
        RewardError: If a reward fails.
    """
    answers = [answer for _, answer in given]
    raw_texts = None
    if sampler.reads_special_tokens():  # without the end token, like the policy's own decoding
        raw_texts = [str(tokenizer.decode(answer.token_ids[:-1])) for answer in answers]
    return sampler.score(
        collate_examples([example for example, _ in given]),
        [Row(n, role, Source[role.upper()], answer) for n, answer in enumerate(answers)],
        [str(tokenizer.decode(answer.token_ids, skip_special_tokens=True)) for answer in answers],
        raw_texts,
    )

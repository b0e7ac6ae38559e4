"""What demonstrations of the data are worth."""

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
    """Return demonstrations with what a sampler's rewards say of them, as they would of a group's.

    Args:
        sampler: Has the rewards.
        given: Rows of the data, each with one of its demonstrations; at least one.
        role: ``"expert"`` or ``"teacher"``.
        tokenizer: The policy's.

    Raises:
        RewardError: If a reward fails.
    """
    answers = [answer for _, answer in given]
    raw_texts = None
    if sampler.reads_special_tokens():  # without the token that ends it, as the policy decodes a response
        raw_texts = [str(tokenizer.decode(answer.token_ids[:-1])) for answer in answers]
    return sampler.score(
        collate_examples([example for example, _ in given]),
        [Row(n, role, Source[role.upper()], answer) for n, answer in enumerate(answers)],
        [str(tokenizer.decode(answer.token_ids, skip_special_tokens=True)) for answer in answers],
        raw_texts,
    )

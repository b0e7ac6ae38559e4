"""Renders prompts and demonstrations as the policy reads them."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from lightning_gft.data import Example
from lightning_gft.inspection.report import Rendered, Token

_SHOWN = 8
"""Tokens to show before and after the start of a response, and before its end."""


def render(example: Example, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Return a row as the policy reads it.

    Args:
        example: The tokenised row.
        tokenizer: The policy's tokenizer.
    """
    first = {role: answers[0].token_ids for role, answers in example.demonstrations.items() if answers}
    return Rendered(
        example.row,
        _text(example.prompt_ids, tokenizer),
        {
            role: [_text(answer.token_ids, tokenizer) for answer in answers]
            for role, answers in example.demonstrations.items()
        },
        example.reference,
        {"prompt": len(example.prompt_ids), **{role: len(ids) for role, ids in first.items()}},
        _tokens(example.prompt_ids[-_SHOWN:], tokenizer),
        {role: _tokens(ids[:_SHOWN], tokenizer) for role, ids in first.items()},
        {role: _tokens(ids[-_SHOWN:], tokenizer) for role, ids in first.items()},
    )


def _text(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def _tokens(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[Token]:
    return [Token(number, _text([number], tokenizer)) for number in ids]

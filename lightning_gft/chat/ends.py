"""The tokens that end the assistant's turn in a chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lightning_gft.chat.template import ChatTemplate, Conversation, RenderError, shared_prefix

_ANSWER = "Answer1"
_QUESTION = Conversation([{"role": "user", "content": "Question1"}])
_NEXT = [{"role": "user", "content": "Question2"}, {"role": "assistant", "content": "Answer2"}]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    r"""The text after the assistant's answer at the end of a rendered conversation.

    Args:
        written: The whole text, as in ``"<|im_end|>\n"``.
        closing: The part that belongs to the response, as in ``"<|im_end|>"``; empty if no token ends the turn.
        tokens: The tokens in that part; generation stops at the last one.
    """

    written: str = ""
    closing: str = ""
    tokens: tuple[str, ...] = ()


def find_turn_end(template: ChatTemplate, conversation: Conversation = _QUESTION) -> TurnEnd:
    r"""Return how a chat template ends the assistant's turn, found by rendering one.

    Templates may write one token after any answer and another after the last (``<|end|><|endoftext|>``). A turn's end
    is what answers in the middle and at the end have in common, up to the first token and others directly after it.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("ab").tokenizer
        >>> tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<eos>\n{% endfor %}"
        >>> find_turn_end(ChatTemplate(tokenizer))
        TurnEnd(written='<eos>\n', closing='<eos>', tokens=('<eos>',))
    """
    answered = conversation.answered({"role": "assistant", "content": _ANSWER})
    written = _after_answer(template, answered)
    try:
        in_the_middle = _after_answer(template, Conversation([*answered.messages, *_NEXT], answered.variables))
    except RenderError:  # the template accepts only one question
        in_the_middle = written
    token = any_token(template.tokenizer)
    run = re.compile(f"(?:{token.pattern})+")
    found = run.search(shared_prefix(written, in_the_middle)) or run.search(written)
    if found is None:
        return TurnEnd(written)
    tokens = token.findall(found.group())
    eos = template.tokenizer.eos_token
    tokens = tokens[: tokens.index(eos) + 1] if eos in tokens else tokens
    return TurnEnd(written, written[: found.start()] + "".join(tokens), tuple(tokens))


def any_token(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return a pattern of the tokens that a tokenizer matches as a whole in a text, such as special ones."""
    tokens = {token for token in (*tokenizer.added_tokens_encoder, *tokenizer.all_special_tokens) if token.strip()}
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Return the tokens that decoding a response leaves out."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {*tokenizer.all_special_tokens, *added}


def ids_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Return the ids of tokens, given as texts."""
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    return ids if isinstance(ids, list) else [ids]


def _after_answer(template: ChatTemplate, conversation: Conversation) -> str:
    _, found, rest = template.render(conversation).rpartition(_ANSWER)
    if not found:
        raise RenderError(
            "expected a chat template that writes the assistant's message, got one that leaves it out: give the "
            "tokenizer another `chat_template`"
        )
    return rest

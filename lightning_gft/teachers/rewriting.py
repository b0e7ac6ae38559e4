"""Replaces the user's text in a prompt that is tokenised already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import ChatTemplate, Conversation, RenderError, TextError
from lightning_gft.checks import shorten
from lightning_gft.data.coverage import CoverageCheck

_MARK = "0f7c1b5e"
"""A text that no chat template contains."""
_TEXTS_AT_ONCE = 4096
"""Texts to encode at once: a tokenizer's own records are many times the size of the ids."""


class PromptRewriter:
    """Replaces the user's last text in prompts that are tokenised already.

    The rest of each prompt stays as in the data: the system message, tools, variables of the chat template, and the
    response's prefix. The same response can therefore follow the new prompt, token for token.

    Args:
        tokenizer: The policy's tokenizer.

    Example:
        >>> from lightning_gft import ScratchPolicy
        >>> tokenizer = ScratchPolicy("0123456789+=,").tokenizer
        >>> ids = PromptRewriter(tokenizer).rewrite([tokenizer.encode("1+1=")], ["1+1"], ["2+2=4,1+1"])
        >>> tokenizer.decode(ids[0])
        '2+2=4,1+1='
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._end = _end_of_turn(tokenizer)
        self._coverage = CoverageCheck(tokenizer)

    def rewrite(self, prompt_ids: Sequence[Sequence[int]], texts: Sequence[str], new: Sequence[str]) -> list[list[int]]:
        """Return the token ids of ``P`` prompts with new texts of the user.

        Args:
            prompt_ids: Token ids of ``P`` prompts.
            texts: The user's last text in each prompt, see :func:`last_text`.
            new: The new text for each prompt.

        Raises:
            ValueError: If a prompt does not contain its text or does not encode to the same token ids again, or if the
                tokenizer lacks tokens for a new text.
        """
        whole = [self._decode(ids) for ids in prompt_ids]
        for index, (ids, again) in enumerate(zip(prompt_ids, self._encode(whole), strict=True)):
            if list(ids) != again:
                raise TextError(
                    "expected a prompt with the same token ids when it is decoded and encoded again, got "
                    f"{shorten(texts[index])}",
                    index,
                )
        rewritten = [self._exchange(*given) for given in zip(whole, texts, new, range(len(new)), strict=True)]
        encoded = self._encode(rewritten)
        self._coverage.check(rewritten, encoded)
        return encoded

    def _exchange(self, whole: str, text: str, new: str, index: int) -> str:
        for written in (text.strip(), self._decode(self._encode([text.strip()])[0]).strip()):
            for end in (self._end, ""):
                start = whole.rfind(written + end)
                if written and start >= 0:
                    return whole[:start] + new + whole[start + len(written) :]
        raise TextError(
            f"expected the user's text within the policy's prompt, got {shorten(text)}, which is not in "
            f"{shorten(whole)}",
            index,
        )

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            ids += self.tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def last_text(prompt: str, messages: Sequence[Mapping[str, Any]]) -> str:
    r"""Return the user's last text in a prompt.

    Args:
        prompt: The prompt as text; the result if there are no messages.
        messages: Messages of a conversation, with ``role`` and ``content``.

    Example:
        >>> last_text("Hi\n1+1?", [{"role": "system", "content": "Hi"}, {"role": "user", "content": "1+1?"}])
        '1+1?'
    """
    texts = [message.get("content") for message in messages if message.get("role") == "user"]
    return texts[-1] if texts and isinstance(texts[-1], str) else prompt


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text that the chat template writes directly after a user message; empty without a template."""
    if tokenizer.chat_template is None:
        return ""
    try:
        written = ChatTemplate(tokenizer).render(
            Conversation([{"role": "user", "content": _MARK}]), add_generation_prompt=True
        )
    except RenderError:
        return ""  # the check of the data reports the error, or uses no template
    return written.partition(_MARK)[2].partition("\n")[0]

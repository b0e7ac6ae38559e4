"""Rendering a given response as the text, and the ids, that follow its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import ChatTemplate, Conversation, TextError, TurnEnd, find_turn_end, ids_of, shared_prefix
from lightning_gft.checks import shorten
from lightning_gft.data.prompts import Answer


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as the policy receives it.

    Args:
        text: Text of the prompt's token ids.
        token_ids: Token ids of the prompt.
        conversation: The conversation that the chat template rendered; without one, one message of the user.
    """

    text: str
    token_ids: list[int]
    conversation: Conversation


class Written(NamedTuple):
    """The text that follows a prompt, and whether the chat template writes all of the given answer."""

    text: str
    rendered: bool = True


class ResponseWriter:
    """Writes given responses as the policy would have written them after its prompt, each with one end.

    With a chat template, a response is the rendered conversation after the prompt. The template may drop a part of the
    answer, mostly a thought, or open the answer with the beginning of the response itself. Then the response follows
    the prompt unchanged.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate | None, prefix: str = "") -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.prefix = prefix
        self._end: TurnEnd | None = None

    @property
    def stops(self) -> set[int]:
        """Ids of the end of a text and of a turn, at which generation stops."""
        ends = [str(self.tokenizer.eos_token), *self._turn_end.tokens[-1:]]
        return set(ids_of(self.tokenizer, ends))

    def write(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Answer]) -> list[Written]:
        """Return the text that follows the prompt for each answer, with its end if the template writes one."""
        if self.template is None:
            return [
                Written(self._after_prefix(str(self._without_end(text, index)))) for index, text in enumerate(answers)
            ]
        self._find_end(self.template, prompts[0].conversation)
        bodies = [self._without_end(answer, index) for index, answer in enumerate(answers)]
        rendered = self.template.render_all(
            [prompt.conversation.answered(self._message(body)) for prompt, body in zip(prompts, bodies, strict=True)]
        )
        return [
            self._response(prompt, body, whole, index)
            for index, (prompt, body, whole) in enumerate(zip(prompts, bodies, rendered, strict=True))
        ]

    def _message(self, body: Answer) -> dict[str, Any]:
        if not isinstance(body, str):
            return body
        return {"role": "assistant", "content": self.prefix + self._after_prefix(body)}

    @property
    def _turn_end(self) -> TurnEnd:
        return self._end or TurnEnd()

    def _find_end(self, template: ChatTemplate, conversation: Conversation) -> None:
        """Find the end once, in the first conversation, because some templates need more than a question."""
        if self._end is not None:
            return
        self._end = find_turn_end(template, conversation)
        if not self._end.tokens and self._end.written.strip():
            rank_zero_warn(
                f"the chat template ends the assistant's turn with {self._end.written!r}, which is not a special token "
                "of the tokenizer and does not stop generation: demonstrations end with "
                f"{self.tokenizer.eos_token!r} instead"
            )

    def _without_end(self, answer: Answer, index: int) -> Answer:
        """Remove the ends that the data write out themselves, in any number, with white space after them."""
        if not isinstance(answer, str):
            return answer
        text, ends = answer, (str(self.tokenizer.eos_token), *self._turn_end.tokens)
        while ended := next((end for end in ends if text.rstrip().endswith(end)), None):
            text = text.rstrip().removesuffix(ended)
        if answer.strip() and not text.strip():
            raise TextError(f"expected a response with a text before its end, got {shorten(answer)}; remove it", index)
        return text

    def _after_prefix(self, text: str) -> str:
        rest = _after(self.prefix, text)
        return text if rest is None else rest

    def _response(self, prompt: EncodedPrompt, body: Answer, whole: str, index: int) -> Written:
        if whole.startswith(prompt.text):
            response = whole[len(prompt.text) :]
            if isinstance(body, str) and not _holds(response, self._after_prefix(body)):
                return Written(self._after_prefix(body) + self._turn_end.closing, rendered=False)
            return Written(self._end_once(response, index))
        shared = shared_prefix(prompt.text, whole)
        opened = prompt.text[len(shared) :]
        if isinstance(body, str):
            if self.prefix and opened.endswith(self.prefix):
                return Written(self._after_prefix(body) + self._turn_end.closing)
            if opened.strip() and (rest := _after(opened, body)) is not None:
                return Written(rest + self._turn_end.closing)
        raise TextError(
            "expected a chat template that renders a prompt the same once it is answered, got one whose conversations "
            f"do not continue the prompt that the policy receives: after {shared[-40:]!r} the prompt has "
            f"{opened[:40]!r}, the conversation {whole[len(shared) :][:40]!r}. If demonstrations continue the prompt's "
            "text, set `response_prefix` to it; if the template has a switch, set `chat_template_kwargs`; or set "
            "`use_chat_template: false` and `prompt_template`",
            index,
        )

    def _end_once(self, response: str, index: int) -> str:
        if not response.endswith(self._turn_end.written):
            raise TextError(
                f"expected a chat template that ends all conversations alike, got {response[-30:]!r} for this one and "
                f"{self._turn_end.written!r} for a short one: give the tokenizer another `chat_template`",
                index,
            )
        return response[: len(response) - len(self._turn_end.written)] + self._turn_end.closing


def _after(prefix: str, text: str) -> str | None:
    """Return the rest of a text after a prefix, ignoring white space around it; ``None`` if it begins otherwise."""
    if text.startswith(prefix):
        return text[len(prefix) :]
    words, begun = prefix.strip(), text.lstrip()
    if not words or not begun.startswith(words):
        return None
    rest = begun[len(words) :]
    if words[-1].isalnum() and rest[:1].isalnum() and prefix[-1].isspace():
        return None  # "is " is not a prefix of "isn't"
    return rest.lstrip() if prefix[-1].isspace() else rest


def _holds(response: str, answer: str) -> bool:
    return answer.strip() in response or "".join(answer.split()) in "".join(response.split())

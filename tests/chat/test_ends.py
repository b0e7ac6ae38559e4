from __future__ import annotations

import pytest

from lightning_gft.chat import ChatTemplate, RenderError, find_turn_end
from tests.chat import templates as known
from tests.chat.templates import chat_tokenizer


@pytest.mark.parametrize(
    ("template", "eos", "closing", "tokens"),
    [
        (known.CHATML, "<eos>", "<|im_end|>", ("<|im_end|>",)),
        (known.CHATML, "<|im_end|>", "<|im_end|>", ("<|im_end|>",)),
        (known.TRACKED, "<eos>", "<|im_end|>", ("<|im_end|>",)),
        (known.GEMMA, "<eos>", "<end_of_turn>", ("<end_of_turn>",)),
        (known.LLAMA3, "<eos>", "<|eot_id|>", ("<|eot_id|>",)),
        (known.LLAMA2, "<eos>", " <eos>", ("<eos>",)),
        (known.PHI, "<eos>", "<|end|>", ("<|end|>",)),
        (known.PHI_MINI, "<eos>", "<|end|>", ("<|end|>",)),
        (known.COHERE, "<|im_end|>", "<|END|><|im_end|>", ("<|END|>", "<|im_end|>")),
        (known.GLM, "<eos>", "", ()),
        (known.LAST_ONLY, "<eos>", "<eos>", ("<eos>",)),
        (known.PLAIN, "<eos>", "", ()),
        (known.QWEN3, "<eos>", "<|im_end|>", ("<|im_end|>",)),
        (known.R1, "<eos>", "<eos>", ("<eos>",)),
    ],
)
def test_a_turn_ends_with_what_the_template_writes_after_any_answer(
    template: str, eos: str, closing: str, tokens: tuple[str, ...]
) -> None:
    end = find_turn_end(ChatTemplate(chat_tokenizer(template, eos)))
    assert (end.closing, end.tokens) == (closing, tokens)


def test_a_template_for_one_question_has_its_end() -> None:
    single = "{% if messages | length > 2 %}{{ raise_exception('one question') }}{% endif %}" + known.CHATML
    assert find_turn_end(ChatTemplate(chat_tokenizer(single))).tokens == ("<|im_end|>",)


def test_named_templates_take_the_default_one() -> None:
    tokenizer = chat_tokenizer({"default": known.CHATML, "tool_use": known.GEMMA})
    assert find_turn_end(ChatTemplate(tokenizer)).tokens == ("<|im_end|>",)


def test_a_template_without_the_answer_is_refused() -> None:
    users = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(RenderError, match="writes the assistant's message, got one that leaves it out"):
        find_turn_end(ChatTemplate(chat_tokenizer(users)))

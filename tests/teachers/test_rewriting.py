"""A prompt with another text in it is the one that the data would have made of that text."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_gft import ScratchPolicy
from lightning_gft.data import PromptEncoder
from lightning_gft.teachers.rewriting import PromptRewriter, last_text

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-=,:#.?<>|_[]/ \n"
CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% if think is defined and not think %}<none>\n{% endif %}{% endif %}"
)
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}[I] {{ m.content }} [/I]{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
)


def tokenizer_with(template: str | None) -> Any:
    tokenizer = ScratchPolicy(ALPHABET).tokenizer
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "settings"),
    [
        (None, {}),
        (None, {"prompt_template": "Question: {prompt}\nAnswer:"}),
        (CHATML, {}),
        (CHATML, {"system_prompt": "Think of a 1+1=? first."}),
        (CHATML, {"chat_template_kwargs": {"think": False}}),
        (CHATML, {"response_prefix": "<think>\n"}),
        (CHATML, {"use_chat_template": False, "prompt_template": "Q: {prompt} A:"}),
        (INST, {}),
    ],
    ids=["bare", "prompt template", "chat", "system", "variables", "prefix", "no chat", "other chat"],
)
@pytest.mark.parametrize("text", ["1+1=?", "a", "  What is 2?\nOr 3?  ", "assistant"])
def test_it_is_what_the_data_would_have_made(template, settings: dict[str, Any], text: str):
    tokenizer = tokenizer_with(template)
    encoder = PromptEncoder(tokenizer, **settings)
    new = "1+1=?\nsuch as 2, or [I] 3 [/I].\nNow you"
    before, expected = encoder.encode_prompts([text, new])
    [ids] = PromptRewriter(tokenizer).rewrite(
        [before.token_ids], [last_text(text, before.conversation.messages)], [new]
    )
    if template is None or template == INST or "prompt_template" in settings:
        new = text.replace(text.strip(), new)  # white space around a text stays, where no template takes it off
        [expected] = encoder.encode_prompts([new])
    assert tokenizer.decode(ids) == tokenizer.decode(expected.token_ids)
    assert ids == expected.token_ids


def test_the_last_of_several_turns_is_exchanged():
    tokenizer = tokenizer_with(CHATML)
    turns = [{"role": "user", "content": "1+1=?"}, {"role": "assistant", "content": "2"}]
    encoder = PromptEncoder(tokenizer)
    before, expected = encoder.encode_prompts(
        [[*turns, {"role": "user", "content": "1+1=?"}], [*turns, {"role": "user", "content": "and 2?"}]]
    )
    text = last_text("", before.conversation.messages)
    [ids] = PromptRewriter(tokenizer).rewrite([before.token_ids], [text], ["and 2?"])
    assert ids == expected.token_ids


def test_a_text_that_is_not_there_is_an_error():
    tokenizer = tokenizer_with(None)
    with pytest.raises(ValueError, match=r"expected the user's text .*, got '5', which is not in .*'1\+1=\?'"):
        PromptRewriter(tokenizer).rewrite([tokenizer.encode("1+1=?")], ["5"], ["6"])


def test_tokens_that_do_not_come_back_are_an_error():
    tokenizer = tokenizer_with(None)
    ids = [*tokenizer.encode("1+1=?"), tokenizer.unk_token_id]
    tokenizer.decode = lambda *_, **__: "1+1=?!"
    with pytest.raises(ValueError, match="expected a prompt with the same token ids"):
        PromptRewriter(tokenizer).rewrite([ids[:-1]], ["1+1=?"], ["2"])


def test_no_prompts_are_none():
    assert PromptRewriter(tokenizer_with(CHATML)).rewrite([], [], []) == []

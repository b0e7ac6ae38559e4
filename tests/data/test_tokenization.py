from __future__ import annotations

from datetime import date

import pytest

from lightning_gft import ScratchPolicy
from lightning_gft.data import PromptEncoder
from lightning_gft.data.prompts import Prompt
from tests.data.conftest import CHATML, TokenizerFactory

BOS, EOS = 1, 2
MESSAGES = [{"role": "user", "content": "hi"}]


def _ids(encoder: PromptEncoder, prompt: Prompt = "1+1=", *answers: str) -> tuple[list[int], ...]:
    """Return the ids of a prompt and of the responses to it."""
    [encoded] = encoder.encode_prompts([prompt])
    return (encoded.token_ids, *encoder.encode_responses([encoded] * len(answers), answers))


def test_plain_prompt_is_the_template_around_the_prompt(make_tokenizer: TokenizerFactory) -> None:
    tokenizer = make_tokenizer()
    encoder = PromptEncoder(tokenizer, prompt_template="Q: {prompt}\nA: ")
    [ids] = _ids(encoder, "1+{x}")
    assert tokenizer.decode(ids).replace(" ", "") == "Q:1+{x}\nA:"
    assert ids == tokenizer("Q: 1+{x}\nA: ").input_ids


def test_bos_stands_at_the_start_and_nowhere_else(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer("<s> $A", bos="<s>"))
    prompt, response = _ids(encoder, "1+1=", "2")
    assert prompt[0] == BOS
    assert (prompt + response).count(BOS) == 1


def test_chat_template_writes_the_only_bos(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer("<s> $A", chat_template="<s>" + CHATML, bos="<s>"))
    prompt, response = _ids(encoder, "1+1=", "2")
    assert prompt[0] == BOS
    assert (prompt + response).count(BOS) == 1


@pytest.mark.parametrize("adds", ["$A </s>", "<s> $A </s>"])
def test_appended_eos_is_stripped_from_prompts(make_tokenizer: TokenizerFactory, adds: str) -> None:
    encoder = PromptEncoder(make_tokenizer(adds))
    assert EOS not in _ids(encoder)[0]


def test_bos_that_equals_eos_survives_an_empty_prompt(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer("</s> $A", bos="</s>"))
    assert _ids(encoder, "") == ([EOS],)


@pytest.mark.parametrize("adds", ["$A", "<s> $A", "$A </s>"])
@pytest.mark.parametrize("text", ["2", "2</s>", ""])
def test_one_eos_ends_every_response(make_tokenizer: TokenizerFactory, adds: str, text: str) -> None:
    _, ids = _ids(PromptEncoder(make_tokenizer(adds)), "1+1=", text)
    assert ids[-1] == EOS
    assert ids.count(EOS) == 1
    assert BOS not in ids


def test_padding_with_eos_changes_nothing(make_tokenizer: TokenizerFactory) -> None:
    shared, apart, unpadded = (PromptEncoder(make_tokenizer(pad=pad)) for pad in ("</s>", "<pad>", None))
    assert _ids(shared, "1+1=", "2", "22") == _ids(apart, "1+1=", "2", "22") == _ids(unpadded, "1+1=", "2", "22")


def test_chat_prompt_ends_where_the_assistant_begins(make_tokenizer: TokenizerFactory) -> None:
    tokenizer = make_tokenizer(chat_template=CHATML)
    encoder = PromptEncoder(tokenizer, system_prompt="be brief")
    assert encoder.render("hi") == "<|system|>be brief</s><|user|>hi</s><|assistant|>"
    assert encoder.render(MESSAGES) == encoder.render("hi")
    assert tokenizer.convert_ids_to_tokens(_ids(encoder, "hi")[0]) == [
        "<|system|>", *"be brief", "</s>", "<|user|>", *"hi", "</s>", "<|assistant|>",
    ]  # fmt: skip


def test_chat_template_can_be_set_aside(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer(chat_template=CHATML), use_chat_template=False, prompt_template="{prompt}!")
    assert encoder.render("hi") == "hi!"


def test_many_texts_are_encoded_in_order(make_tokenizer: TokenizerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gft.data.encoding._TEXTS_AT_ONCE", 2)
    encoder = PromptEncoder(make_tokenizer())
    together = [prompt.token_ids for prompt in encoder.encode_prompts(list("abcde"))]
    assert together == [_ids(encoder, char)[0] for char in "abcde"]


def test_template_that_moves_the_prompt_says_what_differs_and_what_to_do(make_tokenizer: TokenizerFactory) -> None:
    thinking = CHATML.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    encoder = PromptEncoder(make_tokenizer(chat_template=thinking))
    with pytest.raises(ValueError, match=r"'<think>'.*conversation 'hello</s>'.*use_chat_template: false"):
        _ids(encoder, "hi", "hello")


@pytest.mark.parametrize(
    ("chat_template", "special", "options", "words"),
    [
        (None, {"eos": None, "pad": None}, {}, "expected an end-of-sequence token.*tokenizer.eos_token"),
        (None, {"eos": None}, {}, "expected an end-of-sequence token"),
        (None, {}, {"use_chat_template": True}, "`use_chat_template`: .* got true.*chat_template="),
        (
            None,
            {},
            {"system_prompt": "be brief"},
            "`system_prompt`: expected none without a chat template.*prompt_template",
        ),
        (None, {}, {"prompt_template": "Q: "}, "`prompt_template`: expected a text with {prompt}, got 'Q: '"),
        (
            None,
            {},
            {"prompt_template": None},
            "`prompt_template`: expected a text in which '{prompt}' is replaced by the prompt, got None",
        ),
        (
            CHATML,
            {},
            {"prompt_template": "Q: {prompt}"},
            "`prompt_template`: expected none beside.*use_chat_template: false",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(
    make_tokenizer: TokenizerFactory, chat_template: str | None, special: dict, options: dict, words: str
) -> None:
    tokenizer = make_tokenizer(chat_template=chat_template, **special)
    with pytest.raises(ValueError, match=words):
        PromptEncoder(tokenizer, **options)


def test_messages_without_a_chat_template_name_the_remedy(make_tokenizer: TokenizerFactory) -> None:
    with pytest.raises(ValueError, match=r"list of messages.*chat_template=.*texts"):
        PromptEncoder(make_tokenizer()).encode_prompts([MESSAGES])


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([*MESSAGES, {"role": "assistant", "content": "hello"}], "ends in a message of the assistant"),
        ([{"role": "system", "content": "be long"}, *MESSAGES], "expected a prompt without a system message"),
    ],
)
def test_conversations_that_contradict_are_refused(
    make_tokenizer: TokenizerFactory, messages: list[dict[str, str]], words: str
) -> None:
    encoder = PromptEncoder(make_tokenizer(chat_template=CHATML), system_prompt="be brief")
    with pytest.raises(ValueError, match=words):
        encoder.encode_prompts([messages])


def test_prompt_of_another_type_is_refused(make_tokenizer: TokenizerFactory) -> None:
    with pytest.raises(TypeError, match="got int: 7"):
        PromptEncoder(make_tokenizer()).encode_prompts([7])  # type: ignore[list-item]


def test_text_that_the_tokenizer_does_not_know_is_refused_and_shown() -> None:
    encoder = PromptEncoder(ScratchPolicy("0123456789+=").tokenizer)
    assert encoder.encode_prompts(["1+1="])
    with pytest.raises(ValueError, match=r"no token for '-', 'x' of the text '1-x='.*`alphabet`"):
        encoder.encode_prompts(["1+1=", "1-x="])
    with pytest.raises(ValueError, match="no token for '\u00a3'"):
        _ids(encoder, "1+1=", "\u00a35")


@pytest.mark.parametrize("template", ["{prompt}", "<s>{prompt}", " <s>{prompt}", "<s><s>{prompt}"])
@pytest.mark.parametrize("prompt", ["1+1=", "<s>1+1="])
def test_a_beginning_that_the_text_writes_is_not_doubled(
    make_tokenizer: TokenizerFactory, template: str, prompt: str
) -> None:
    if template != "{prompt}" and prompt.startswith("<s>"):
        prompt = "1+1="  # one of them writes it
    encoder = PromptEncoder(make_tokenizer("<s> $A", bos="<s>"), prompt_template=template)
    assert _ids(encoder, prompt, "2") == _ids(PromptEncoder(make_tokenizer("<s> $A", bos="<s>")), "1+1=", "2")


@pytest.mark.parametrize("prompt", ["<s><|user|>hi</s><|assistant|>", "hi</s><|assistant|>\n", "<s><|user|>hi"])
def test_a_rendered_prompt_does_not_go_through_the_template_again(
    make_tokenizer: TokenizerFactory, prompt: str
) -> None:
    tokenizer = make_tokenizer(chat_template="<s>" + CHATML, bos="<s>")
    with pytest.raises(ValueError, match=r"already rendered.*`use_chat_template: false`") as caught:
        PromptEncoder(tokenizer).encode_prompts(["hi", prompt])
    assert caught.value.index == 1  # type: ignore[attr-defined]
    assert PromptEncoder(tokenizer, use_chat_template=False).encode_prompts([prompt])


def test_tokens_of_the_template_within_prompts_are_counted(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer(chat_template=CHATML))
    with pytest.warns(
        UserWarning, match=r"2 of 3 prompts contain tokens that begin or end a turn in the chat template"
    ):
        encoder.encode_prompts(["what is </s> for?", "a <|user|>?", "hi"])


THINKING = CHATML + "{% if add_generation_prompt and enable_thinking %}<think>{% endif %}"


def test_variables_of_the_template_reach_it(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer(chat_template=THINKING), chat_template_kwargs={"enable_thinking": True})
    assert encoder.render("hi") == "<|user|>hi</s><|assistant|><think>"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "enable_thinkng",
            "`chat_template_kwargs`: expected variables that the .* reads, got 'enable_thinkng'; did you mean enable",
        ),
        (
            "tokenize",
            "`chat_template_kwargs`: expected variables that the .* reads, got 'tokenize'; it reads 'enable_thinking'",
        ),
        ("add_generation_prompt", "reads, got 'add_generation_prompt'"),
    ],
)
def test_variables_that_the_template_does_not_read_are_refused(
    make_tokenizer: TokenizerFactory, name: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PromptEncoder(make_tokenizer(chat_template=THINKING), chat_template_kwargs={name: True})
    with pytest.raises(ValueError, match="`chat_template_kwargs`: expected none without a chat template"):
        PromptEncoder(make_tokenizer(), chat_template_kwargs={name: True})


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "{% set messages = messages | selectattr('role', 'ne', 'system') | list %}",
            "`system_prompt`: the chat template leaves out a message of role 'system'",
        ),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
            "`system_prompt`: .*no system",
        ),
    ],
)
def test_system_prompt_that_the_template_does_not_take_is_refused_at_once(
    make_tokenizer: TokenizerFactory, before: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PromptEncoder(make_tokenizer(chat_template=before + CHATML), system_prompt="be brief")


def test_tools_reach_the_template_or_are_told(make_tokenizer: TokenizerFactory) -> None:
    tools = {"tools": [{"name": "add"}]}
    takes = PromptEncoder(make_tokenizer(chat_template="{{ tools | map(attribute='name') | join if tools }}" + CHATML))
    assert takes.render("hi", tools) == "add<|user|>hi</s><|assistant|>"
    with pytest.raises(ValueError, match="`tools`: expected a list of objects for the chat template, got 'add'"):
        takes.encode_prompts(["hi"], [{"tools": "add"}])
    for template in (CHATML, None):
        with pytest.warns(
            UserWarning, match=r"does not write some of the data, which the policy does not see: `tools` \(in 2 rows\)"
        ):
            PromptEncoder(make_tokenizer(chat_template=template)).encode_prompts(["hi"] * 3, [tools, {}, tools])


@pytest.mark.parametrize("field", ["prompt_template", "system_prompt", "response_prefix"])
def test_a_typed_backslash_and_n_is_told(make_tokenizer: TokenizerFactory, field: str) -> None:
    template = None if field == "prompt_template" else CHATML
    text = r"Q {prompt}\nA"
    with pytest.warns(UserWarning, match=rf"{field}='.*' holds a backslash and an n, not a line break"):
        PromptEncoder(make_tokenizer(chat_template=template), **{field: text})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", [r"$\nu \neq \nabla f$ {prompt}", "{prompt}\nA", r"{prompt} \\ \times"])
def test_a_backslash_that_is_meant_is_not_told(make_tokenizer: TokenizerFactory, text: str) -> None:
    assert PromptEncoder(make_tokenizer(), prompt_template=text).render("hi") == text.replace("{prompt}", "hi")


def test_every_place_for_the_prompt_is_filled(make_tokenizer: TokenizerFactory) -> None:
    encoder = PromptEncoder(make_tokenizer(), prompt_template="{prompt} {prompt}")
    assert encoder.render("{prompt}") == "{prompt} {prompt}"


def test_settings_hold_the_variables_of_a_template_as_it_writes_them(make_tokenizer: TokenizerFactory) -> None:
    given = {"today": date(2026, 1, 1), "by": {1: (True, None), "a": 0.5, (1, 2): "x"}}
    encoder = PromptEncoder(make_tokenizer(chat_template=CHATML + "{{ today }}{{ by }}"), chat_template_kwargs=given)
    written = encoder.settings["chat_template_kwargs"]
    assert written == {"today": "2026-01-01", "by": {1: [True, None], "a": 0.5, "(1, 2)": "x"}}

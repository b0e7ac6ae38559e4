from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_gft import ScratchPolicy
from lightning_gft.data import Columns, ExampleEncoder, LengthLimits, PromptEncoder, collate_examples
from lightning_gft.data.columns import NumberedRows
from tests.data.conftest import CHATML, TokenizerFactory

EOS = 2
ROWS = [
    {"prompt": "1+1=", "answer": "2", "expert": "2", "teacher": ["2", "two!!"]},
    {"prompt": "10+10=", "answer": "20", "expert": "twenty", "teacher": []},
]


def _encoder(tokenizer: PreTrainedTokenizerFast, **limits: object) -> ExampleEncoder:
    columns = Columns(expert_column="expert", teacher_column="teacher")
    return ExampleEncoder(PromptEncoder(tokenizer), columns, LengthLimits(**limits))  # type: ignore[arg-type]


def test_batch_holds_all_of_the_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    examples, dropped = _encoder(tokenizer).encode(ROWS)
    batch = collate_examples(examples, dataset="main")
    assert not dropped
    assert len(batch) == 2
    assert batch.prompts == ["1+1=", "10+10="]
    assert batch.prompt_ids == [tokenizer(text).input_ids for text in batch.prompts]
    assert batch.references == ["2", "20"]
    assert batch.columns == {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert batch.dataset == "main"
    decoded = {
        role: [["".join(tokenizer.convert_ids_to_tokens(r.token_ids)) for r in given] for given in answers]
        for role, answers in batch.demonstrations.items()
    }
    assert decoded == {"expert": [["2</s>"], ["twenty</s>"]], "teacher": [["2</s>", "two!!</s>"], []]}


def test_messages_are_the_conversation_that_was_rendered(make_tokenizer: TokenizerFactory) -> None:
    turns = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
    rows = [ROWS[0], {**ROWS[1], "prompt": turns}]
    chat = PromptEncoder(make_tokenizer(chat_template=CHATML), system_prompt="brief")
    plain = PromptEncoder(make_tokenizer(), prompt_template="Q: {prompt}")
    system, question = {"role": "system", "content": "brief"}, {"role": "user", "content": "1+1="}
    for prompts, given, messages in (
        (chat, rows, [[system, question], [system, *turns]]),
        (plain, rows[:1], [[question]]),
    ):
        examples, _ = ExampleEncoder(prompts, Columns(), LengthLimits()).encode(given)
        assert collate_examples(examples).messages == messages


def test_overlong_demonstrations_are_dropped_whole_and_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    examples, dropped = _encoder(tokenizer, max_response_length=5).encode(ROWS)
    assert dropped == {"expert": 1, "teacher": 1}
    kept = [{role: len(given) for role, given in example.demonstrations.items()} for example in examples]
    assert kept == [{"expert": 1, "teacher": 1}, {"expert": 0, "teacher": 0}]
    assert all(r.token_ids[-1] == EOS for e in examples for given in e.demonstrations.values() for r in given)


def test_limit_counts_the_end_of_sequence(tokenizer: PreTrainedTokenizerFast) -> None:
    assert not _encoder(tokenizer, max_response_length=7).encode(ROWS)[1]
    assert _encoder(tokenizer, max_response_length=6).encode(ROWS)[1] == {"expert": 1}


def test_overlong_demonstration_is_refused_if_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = _encoder(tokenizer, max_response_length=6, overlong_demonstrations="error")
    with pytest.raises(
        ValueError,
        match=r"row 1 .*, column 'expert': the expert demonstration has 7 tokens, more than max_response_length=6",
    ):
        encoder.encode(ROWS)


def test_overlong_prompt_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(
        ValueError, match=r"row 1 .*, column 'prompt': .*6 tokens, more than max_prompt_length=5.*drop.*'10\+10='"
    ):
        _encoder(tokenizer, max_prompt_length=5).encode(ROWS)


def test_overlong_prompt_is_dropped_with_its_row_and_only_itself_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = _encoder(tokenizer, max_prompt_length=5, max_response_length=6, overlong_prompts="drop")
    examples, dropped = encoder.encode([ROWS[1], ROWS[0]])
    assert dropped == {"prompt": 1}
    assert [example.columns for example in examples] == [ROWS[0]]
    assert len(examples[0].demonstrations["teacher"]) == 2


def test_empty_prompt_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"row 1 .*, column 'prompt': expected a prompt, got a blank one"):
        _encoder(tokenizer).encode([ROWS[0], {**ROWS[1], "prompt": ""}])


def test_conversation_reads_as_the_texts_of_its_messages(make_tokenizer: TokenizerFactory) -> None:
    messages = [{"role": "system", "content": "brief"}, {"role": "user", "content": "hi"}]
    [example], _ = _encoder(make_tokenizer(chat_template=CHATML)).encode([{**ROWS[0], "prompt": messages}])
    assert example.prompt == "brief\nhi"


def test_template_that_moves_the_prompt_is_refused(make_tokenizer: TokenizerFactory) -> None:
    thinking = CHATML.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    with pytest.raises(ValueError, match="renders a prompt the same once it is answered"):
        _encoder(make_tokenizer(chat_template=thinking)).encode(ROWS)


def test_examples_know_their_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    examples, _ = _encoder(tokenizer).encode(NumberedRows(ROWS, positions=[3, 7]))
    assert [example.row for example in examples] == [3, 7]


def test_empty_prompt_is_refused_within_a_chat_template_too(make_tokenizer: TokenizerFactory) -> None:
    with pytest.raises(ValueError, match=r"row 0 .*expected a prompt, got a blank one"):
        _encoder(make_tokenizer(chat_template=CHATML)).encode([{**ROWS[0], "prompt": " "}])


@pytest.mark.parametrize(
    ("cells", "column"), [({"prompt": "1+\u00a3"}, "prompt"), ({"teacher": ["2", "\u00a3"]}, "teacher")]
)
def test_row_that_the_tokenizer_does_not_know_is_named(cells: dict[str, object], column: str) -> None:
    encoder = _encoder(ScratchPolicy("0123456789+=two!eny").tokenizer)
    with pytest.raises(ValueError, match=rf"^row 1 .*, column '{column}': the tokenizer has no token for '\u00a3'"):
        encoder.encode([ROWS[0], {**ROWS[1], **cells}])


def test_row_that_the_template_cannot_render_is_named(make_tokenizer: TokenizerFactory) -> None:
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('users first') }}{% endif %}" + CHATML
    rows = [ROWS[0], {**ROWS[1], "prompt": [{"role": "system", "content": "brief"}]}]
    with pytest.raises(ValueError, match=r"row 1 .*, column 'prompt': the chat template cannot render.*users first"):
        _encoder(make_tokenizer(chat_template=strict)).encode(rows)


def test_parts_of_a_message_go_to_the_template(make_tokenizer: TokenizerFactory) -> None:
    takes_parts = CHATML.replace("message['content']", "message['content'] | map(attribute='text') | join")
    row = {"prompt": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "answer": "2"}
    prompts = PromptEncoder(make_tokenizer(chat_template=takes_parts))
    [example], _ = ExampleEncoder(prompts, Columns(), LengthLimits()).encode([row])
    assert example.prompt == "hi"
    assert example.prompt_ids == prompts.tokenizer("<|user|>hi</s><|assistant|>").input_ids
    prompts = PromptEncoder(make_tokenizer(chat_template=CHATML))
    with pytest.raises(ValueError, match=r"row 0 .*writes a message's parts as Python does"):
        ExampleEncoder(prompts, Columns(), LengthLimits()).encode([row])


def test_window_holds_prompt_and_demonstration_together(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.model_max_length = 10  # the longest is 4 + 6, then 6 + 7
    examples, dropped = _encoder(tokenizer).encode(ROWS)
    assert dropped == {"expert": 1}
    assert [len(example.demonstrations["expert"]) for example in examples] == [1, 0]
    words = (
        r"row 1 .*, column 'expert': .*7 tokens, 13 with its prompt, more than the model's window of 10 tokens.*drop`"
    )
    with pytest.raises(ValueError, match=words):
        _encoder(tokenizer, overlong_demonstrations="error").encode(ROWS)


def test_prompt_leaves_room_in_the_window(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.model_max_length = 6
    with pytest.raises(
        ValueError, match=r"row 1 .*6 tokens, to which the model's window of 6 .*no room.*prompts: drop"
    ):
        _encoder(tokenizer).encode(ROWS)
    assert _encoder(tokenizer, overlong_prompts="drop").encode(ROWS)[1] == {"prompt": 1, "teacher": 1}


@pytest.mark.parametrize(
    ("window", "limit", "name"),
    [
        (None, 5, "max_prompt_length=5"),
        (9, 5, "max_prompt_length=5 and the model's window of 9 tokens (`model_max_length` of the tokenizer)"),
        (9, None, "the model's window of 9 tokens (`model_max_length` of the tokenizer)"),
    ],
)
def test_limits_have_names(
    tokenizer: PreTrainedTokenizerFast, window: int | None, limit: int | None, name: str
) -> None:
    tokenizer.model_max_length = window or tokenizer.model_max_length
    assert _encoder(tokenizer, max_prompt_length=limit).limit_name("prompt") == name


@pytest.mark.parametrize("name", ["max_prompt_length", "max_response_length"])
def test_limit_must_be_positive(name: str) -> None:
    expected = f"`{name}`: expected a whole number of at least 1, or null for no limit, got 0"
    with pytest.raises(ValueError, match=expected):
        LengthLimits(**{name: 0})


def test_every_kind_of_conversation_is_tried_for_its_prefix(make_tokenizer: TokenizerFactory) -> None:
    # Its generation prompt opens with a thought, but only after more than one turn.
    later = CHATML.replace(
        "<|assistant|>{% endif %}", "<|assistant|>{% if messages | length > 1 %}<think>{% endif %}{% endif %}"
    )
    assert later != CHATML
    encoder = _encoder(make_tokenizer(chat_template=later))
    turns = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
    encoder.encode(ROWS)
    with pytest.raises(
        ValueError, match=r"row 2 .*, column 'expert': expected a chat template that renders a prompt the same"
    ):
        encoder.encode([*ROWS, {**ROWS[0], "prompt": turns}])

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import Columns, ExampleEncoder, LengthLimits, PromptEncoder, collate_examples
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
        ValueError, match="row 1: its expert demonstration has 7 tokens, more than max_response_length=6"
    ):
        encoder.encode(ROWS)


def test_overlong_prompt_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"row 1: .*6 tokens, more than max_prompt_length=5.*drop.*'10\+10='"):
        _encoder(tokenizer, max_prompt_length=5).encode(ROWS)


def test_overlong_prompt_is_dropped_with_its_row_and_only_itself_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = _encoder(tokenizer, max_prompt_length=5, max_response_length=6, overlong_prompts="drop")
    examples, dropped = encoder.encode([ROWS[1], ROWS[0]])
    assert dropped == {"prompt": 1}
    assert [example.columns for example in examples] == [ROWS[0]]
    assert len(examples[0].demonstrations["teacher"]) == 2


def test_empty_prompt_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="row 1 has an empty prompt"):
        _encoder(tokenizer).encode([ROWS[0], {**ROWS[1], "prompt": ""}])


def test_conversation_reads_as_the_texts_of_its_messages(make_tokenizer: TokenizerFactory) -> None:
    messages = [{"role": "system", "content": "brief"}, {"role": "user", "content": "hi"}]
    [example], _ = _encoder(make_tokenizer(chat_template=CHATML)).encode([{**ROWS[0], "prompt": messages}])
    assert example.prompt == "brief\nhi"


def test_template_that_moves_the_prompt_is_refused(make_tokenizer: TokenizerFactory) -> None:
    thinking = CHATML.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    with pytest.raises(ValueError, match="renders a prompt differently once it is answered"):
        _encoder(make_tokenizer(chat_template=thinking)).encode(ROWS)


@pytest.mark.parametrize("name", ["max_prompt_length", "max_response_length"])
def test_limit_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        LengthLimits(**{name: 0})

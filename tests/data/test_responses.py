"""A demonstration is what the rendered conversation has after the prompt, ended once."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import PromptEncoder
from lightning_gft.data.prompts import Answer, Prompt
from lightning_gft.data.responses import ResponseWriter
from tests.chat import templates as known
from tests.chat.templates import chat_tokenizer

EOS = "<eos>"
TURNS = [{"role": role, "content": "hi"} for role in ("user", "assistant", "user")]
ENDS = {  # what the template writes, and what is trained of it
    known.CHATML: "five<|im_end|>",
    known.TRACKED: "five<|im_end|>",
    known.GEMMA: "five<end_of_turn>",
    known.LLAMA3: "five<|eot_id|>",
    known.LLAMA2: " five <eos>",
    known.PHI: "five<|end|>",
    known.PHI_MINI: "five<|end|>",
    known.COHERE: "five<|END|><|im_end|>",
    known.GLM: "five<eos>",
    known.LAST_ONLY: "five<eos>",
    known.PLAIN: "five<eos>",
    known.QWEN3: "<think>\n\n</think>\n\nfive<|im_end|>",
}


def encoded(encoder: PromptEncoder, prompt: Prompt, answer: Answer, **variables: Any) -> tuple[str, str]:
    """Return prompt and response as the texts of their ids."""
    [given] = encoder.encode_prompts([prompt], [variables])
    [response] = encoder.encode_responses([given], [answer])
    return encoder.tokenizer.decode(given.token_ids), encoder.tokenizer.decode(response)


@pytest.mark.parametrize("prompt", ["hi", TURNS], ids=["question", "turns"])
@pytest.mark.parametrize("template", ENDS)
def test_prompt_and_response_are_the_rendered_conversation_up_to_its_end(template: str, prompt: Prompt) -> None:
    tokenizer = chat_tokenizer(template)
    given, response = encoded(PromptEncoder(tokenizer), prompt, "five")
    assert response == ENDS[template]
    messages = [{"role": "user", "content": "hi"}] if prompt == "hi" else TURNS
    opening = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": "five"}], tokenize=False)
    assert given == opening
    assert whole.startswith((given + response).removesuffix("<eos>"))


@pytest.mark.parametrize(
    "written", ["<|im_end|>", "<|im_end|>\n", "<eos>", "<eos> ", "<|im_end|><|im_end|>", "<eos>\n<|im_end|>"]
)
@pytest.mark.parametrize("template", [known.CHATML, known.QWEN3])
def test_ends_that_the_data_write_are_not_doubled(template: str, written: str) -> None:
    encoder = PromptEncoder(chat_tokenizer(template))
    assert encoded(encoder, "hi", "five" + written) == encoded(encoder, "hi", "five")


@pytest.mark.parametrize("template", [known.CHATML, None])
@pytest.mark.parametrize("answer", ["five<eos>six", "<eos>five", "five<eos> six<eos>"])
def test_an_end_in_the_middle_is_refused(template: str | None, answer: str) -> None:
    encoder = PromptEncoder(chat_tokenizer(template))
    with pytest.raises(ValueError, match=r"expected a response without '<eos>'.*before its end") as caught:
        encoder.encode_responses(encoder.encode_prompts(["hi", "hi"]), ["five", answer])
    assert caught.value.index == 1


def test_a_turn_end_in_the_middle_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"'<eos>' or '<\|im_end\|>' before its end"):
        encoded(PromptEncoder(chat_tokenizer(known.CHATML)), "hi", "five<|im_end|>six")


def test_a_response_of_ends_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a response with a text before its end, got '<eos> <eos>'"):
        encoded(PromptEncoder(chat_tokenizer(None)), "hi", "<eos> <eos>")


@pytest.mark.parametrize(("template", "kept"), [(known.CHATML, " five \n"), (known.LLAMA3, "five"), (None, " five \n")])
def test_white_space_is_the_template_s(template: str | None, kept: str) -> None:
    _, response = encoded(PromptEncoder(chat_tokenizer(template)), "hi", " five \n")
    assert response == kept + {known.CHATML: "<|im_end|>", known.LLAMA3: "<|eot_id|>", None: "<eos>"}[template]


def test_an_end_in_plain_words_is_told() -> None:
    encoder = PromptEncoder(chat_tokenizer(known.HASHES))
    with pytest.warns(UserWarning, match=r"ends the assistant's turn with '\\n###\\n', which is not a special token"):
        assert encoded(encoder, "hi", "five")[1] == "five<eos>"


def test_a_template_that_ends_long_conversations_otherwise_is_refused() -> None:
    two = known.CHATML.replace("<|im_end|>", "{{ '<turn>' if messages | length > 2 else '<|im_end|>' }}")
    encoder = PromptEncoder(chat_tokenizer(two))
    encoder.encode_responses(encoder.encode_prompts(["hi"]), ["five"])
    with pytest.raises(ValueError, match=r"ends all conversations alike, got '.*<turn>\\n' for this one"):
        encoded(encoder, TURNS, "five")


THOUGHT = "<think>\nso\n</think>\n\nfive"


@pytest.mark.parametrize("kwargs", [{}, {"enable_thinking": True}, {"enable_thinking": False}])
def test_the_empty_thought_is_in_the_prompt_or_in_the_response(kwargs: dict[str, bool]) -> None:
    encoder = PromptEncoder(chat_tokenizer(known.QWEN3), chat_template_kwargs=kwargs)
    prompt, response = encoded(encoder, "hi", "five")
    assert prompt + response == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n" + (
        "<think>\n\n</think>\n\nfive<|im_end|>"
    )
    assert ("<think>" in prompt) == (kwargs == {"enable_thinking": False})


def test_a_thought_is_written_as_the_template_writes_it() -> None:
    _, response = encoded(PromptEncoder(chat_tokenizer(known.QWEN3)), "hi", "<think>so</think>five")
    assert response == THOUGHT + "<|im_end|>"


@pytest.mark.parametrize(
    "answer", [THOUGHT, THOUGHT.removeprefix("<think>\n"), THOUGHT.replace("<think>\n", "<think>")]
)
@pytest.mark.parametrize(
    ("template", "end"), [(known.QWEN3, "<|im_end|>"), (known.R1, "<eos>"), (known.CHATML, "<|im_end|>")]
)
def test_a_prefix_belongs_to_the_prompt_and_is_not_doubled(template: str, end: str, answer: str) -> None:
    encoder = PromptEncoder(chat_tokenizer(template), response_prefix="<think>\n")
    prompt, response = encoded(encoder, "hi", answer)
    assert prompt.endswith("<think>\n")
    assert prompt.count("<think>") == 1
    assert response == "so\n</think>\n\nfive" + end


def test_a_prefix_goes_without_a_chat_template() -> None:
    encoder = PromptEncoder(chat_tokenizer(None), prompt_template="Q: {prompt}\n", response_prefix="A:")
    assert encoded(encoder, "hi", "A: five") == encoded(encoder, "hi", " five") == ("Q: hi\nA:", " five<eos>")


def test_a_thought_that_the_template_opens_needs_no_prefix() -> None:
    encoder = PromptEncoder(chat_tokenizer(known.R1))
    assert encoded(encoder, "hi", THOUGHT) == ("<bos><|user|>hi<|assistant|><think>\n", "so\n</think>\n\nfive<eos>")
    with pytest.raises(ValueError, match="If demonstrations continue the prompt's text, set `response_prefix`"):
        encoded(encoder, "hi", "five")


def test_a_thought_that_the_template_drops_stays() -> None:
    drops = known.R1.replace("<|assistant|><think>\n", "<|assistant|>")
    assert encoded(PromptEncoder(chat_tokenizer(drops)), "hi", THOUGHT)[1] == THOUGHT + "<eos>"


def test_a_message_with_more_than_a_text_is_rendered_whole() -> None:
    encoder = PromptEncoder(chat_tokenizer(known.QWEN3))
    message = {"role": "assistant", "reasoning_content": "so", "tool_calls": [{"function": {"name": "add"}}]}
    _, response = encoded(encoder, "hi", message, tools=[{"name": "add"}])
    assert response == '<think>\nso\n</think>\n\n<call>{"name": "add"}</call><|im_end|>'


def sentencepiece(prepend: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words that writes a space before words, and one before a text."""
    words = ["<unk>", "<eos>", "\u2581A:", "\u2581five", "five", "\u2581", ":", "A", "f", "i", "v", "e", "\u2581six"]
    merges = [("i", "v"), ("f", "iv"), ("fiv", "e"), ("\u2581", "five"), ("\u2581", "A"), ("\u2581A", ":")]
    pieces = [*words, "iv", "fiv", "\u2581A"]
    core = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    core.decoder = decoders.Metaspace(prepend_scheme=prepend)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=EOS)


@pytest.mark.parametrize("prepend", ["first", "always"])
@pytest.mark.parametrize(("answer", "pieces"), [(" five", ["\u2581five"]), ("five", ["five"])])
def test_a_response_is_encoded_behind_its_prompt(prepend: str, answer: str, pieces: list[str]) -> None:
    tokenizer = sentencepiece(prepend)
    encoder = PromptEncoder(tokenizer, prompt_template="{prompt}:")
    [prompt] = encoder.encode_prompts(["A"])
    [response] = encoder.encode_responses([prompt], [answer])
    assert tokenizer.convert_ids_to_tokens(prompt.token_ids) == ["\u2581A:"]
    assert tokenizer.convert_ids_to_tokens(response) == [*pieces, "<eos>"]


def test_the_prompt_s_ids_stay_where_a_token_would_span_both() -> None:
    tokenizer = sentencepiece("first")
    encoder = PromptEncoder(tokenizer, prompt_template="{prompt}: f")
    [prompt] = encoder.encode_prompts(["A"])
    [response] = encoder.encode_responses([prompt], ["ive"])
    assert tokenizer.convert_ids_to_tokens([*prompt.token_ids, *response]) == [
        "\u2581A:",
        "\u2581",
        "f",
        "iv",
        "e",
        "<eos>",
    ]


@pytest.mark.parametrize(
    ("prefix", "text", "rest"),
    [
        ("The answer is ", "The answer is 42", "42"),
        ("The answer is ", "The answer is\n42", "42"),
        ("The answer is ", "The answer isn't known", "The answer isn't known"),
        ("The answer is", "The answer isn't known", "n't known"),
        (" The answer is", "The answer is 42", " 42"),
        ("<think>\n", "<think>I say", "I say"),
        ("<think>\n", "<think>\n  I say", "  I say"),
        ("", "I say", "I say"),
    ],
)
def test_a_prefix_is_taken_off_where_it_stands_whole(prefix: str, text: str, rest: str) -> None:
    assert ResponseWriter(chat_tokenizer(known.CHATML), None, prefix).write([], [text]) == [(rest, True)]

"""What a tokenizer would lose of a text, and what it may do with it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightning_gft.data import PromptEncoder
from tests.data.conftest import EOS, TokenizerFactory

CHATML = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"


def _dropping(alphabet: str = "ab1", chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a tokenizer that drops, without a trace, what is not in its alphabet."""
    vocabulary = {token: i for i, token in enumerate(["</s>", "\u2581", *alphabet])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.add_special_tokens(["</s>", "<|user|>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=EOS, chat_template=chat_template)


def test_dropped_character_is_refused_and_shown() -> None:
    encoder = PromptEncoder(_dropping())
    assert encoder.encode_prompts(["a1b"])
    with pytest.raises(ValueError, match=r"no token for '-', '\u00a7' of the text 'a\u00a7-b': .*`alphabet`"):
        encoder.encode_prompts(["ab", "a\u00a7-b"])
    with pytest.raises(ValueError, match="no token for '\u00a7' of the text '\u00a7'"):  # found once, remembered
        encoder.encode_responses(encoder.encode_prompts(["a"]), ["\u00a7"])


def test_dropped_character_is_found_behind_the_space_that_begins_every_text() -> None:
    tokenizer = _dropping()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.backend_tokenizer.decoder = decoders.Metaspace()
    assert tokenizer.encode("\u00a7")  # the space
    with pytest.raises(ValueError, match="no token for '\u00a7'"):
        PromptEncoder(tokenizer).encode_prompts(["a\u00a7b"])


@pytest.mark.parametrize("text", ["a\u00a0b", "a\nb", "a\u200bb", "a\u0301b", "a\x07b", "a\ufe0fb"])
def test_what_is_not_seen_may_go(text: str) -> None:
    assert PromptEncoder(_dropping()).encode_prompts([text])


def test_what_the_normaliser_takes_away_or_makes_known_may_go() -> None:
    tokenizer = _dropping()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("\u00a7", ""), normalizers.NFKC(), normalizers.Lowercase()]
    )
    assert PromptEncoder(tokenizer).encode_prompts(["A\u00a7\uff11"])


def test_characters_of_an_added_token_need_no_tokens_of_their_own() -> None:
    encoder = PromptEncoder(_dropping(chat_template=CHATML))
    assert encoder.encode_prompts(["ab"])
    with pytest.raises(ValueError, match=r"no token for '<' of the text '<\|user\|>a<b'"):
        encoder.encode_prompts(["a<b"])


def test_character_that_is_known_only_within_a_word_is_known() -> None:
    core = Tokenizer(models.BPE({"</s>": 0, "a": 1, "b</w>": 2}, [], end_of_word_suffix="</w>"))
    encoder = PromptEncoder(PreTrainedTokenizerFast(tokenizer_object=core, eos_token=EOS))
    assert encoder.encode_responses(encoder.encode_prompts(["b"]), ["aab"]) == [[1, 1, 2, 0]]


def test_words_need_no_characters() -> None:
    core = Tokenizer(models.WordLevel({"</s>": 0, "two": 1, "a": 2}))
    encoder = PromptEncoder(PreTrainedTokenizerFast(tokenizer_object=core, eos_token=EOS))
    assert encoder.encode_responses(encoder.encode_prompts(["two</s>"]), ["two"]) == [[1, 0]]


def test_unknown_token_that_only_the_model_within_knows_is_noticed(make_tokenizer: TokenizerFactory) -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.unk_token is None
    with pytest.raises(ValueError, match="no token for '\u00a7' of the text 'a\u00a7b'"):
        PromptEncoder(tokenizer).encode_prompts(["a\u00a7b"])
    assert PromptEncoder(tokenizer).encode_prompts(["<?>"])  # written out, it is meant
    with pytest.raises(ValueError, match="no token for '\u00a7'"):
        PromptEncoder(tokenizer).encode_prompts(["<?>\u00a7"])


def test_each_character_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, tried = PromptEncoder(_dropping()), []
    find = encoder._texts._coverage._find_dropped
    monkeypatch.setattr(encoder._texts._coverage, "_find_dropped", lambda chars: tried.extend(chars) or find(chars))
    encoder.encode_prompts(["ab", "ba"] * 1000)
    encoder.encode_responses(encoder.encode_prompts(["a"]), ["b1a"])
    assert tried == ["a", "b", "1"]

"""The text of each token: together they are the text of the response."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lightning_gft.callbacks.group_table.token_texts import token_texts


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """Return one with a token for each byte, as byte-level BPE has for rare characters."""
    vocabulary = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")  # noqa: S106


def words_tokenizer() -> PreTrainedTokenizerFast:
    """Return one whose spaces belong to the word behind them, which decoded alone loses it."""
    tokenizer = Tokenizer(models.WordLevel({"▁two": 0, "▁and": 1, "s": 2}, unk_token="s"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")  # noqa: S106


def bytes_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Return one that writes what it does not know as bytes, as Llama's first one does."""
    vocabulary = {
        name: number for number, name in enumerate(("<unk>", "▁a", "b", *(f"<0x{n:02X}>" for n in range(256))))
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))  # noqa: S106
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")  # noqa: S106


@pytest.mark.parametrize("make", [bytes_tokenizer, bytes_fallback_tokenizer, words_tokenizer])
def test_whatever_a_policy_draws(make):
    tokenizer, whole = make(), 0
    for seed in range(400):
        draw = random.Random(seed)
        # Models often have more ids than their tokenizer has tokens.
        ids = [draw.randrange(len(tokenizer) + 3) for _ in range(draw.randrange(1, 30))]
        texts, text = token_texts(tokenizer, ids), tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        assert len(texts) == len(ids)
        if "\ufffd" not in text:
            whole += 1
            assert "".join(texts) == text
    assert whole


def test_a_character_of_several_tokens_stands_with_the_last():
    tokenizer = bytes_tokenizer()
    ids = [*tokenizer.encode("a€😀b"), tokenizer.eos_token_id]
    texts = token_texts(tokenizer, ids)
    assert texts == ["a", "", "", "€", "", "", "", "😀", "b", "<|end|>"]


def test_a_character_that_is_cut_is_seen():
    tokenizer = bytes_tokenizer()
    texts = token_texts(tokenizer, tokenizer.encode("a€")[:-1])
    assert texts == ["a", "", "\ufffd"]
    assert token_texts(tokenizer, []) == []


def test_a_space_stays_with_its_word():
    tokenizer = words_tokenizer()
    ids = tokenizer.encode("two and two", add_special_tokens=False)
    assert tokenizer.decode(ids[1:2]) == "and"
    assert token_texts(tokenizer, ids) == ["two", " and", " two"]


@pytest.mark.parametrize("text", ["", "x", "naïve €5", "日本語 text"])
def test_together_they_are_the_text(text: str):
    tokenizer = bytes_tokenizer()
    assert "".join(token_texts(tokenizer, tokenizer.encode(text))) == text


def test_a_tokenizer_in_python_decodes_each_by_itself():
    class InPython:
        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return "".join(chr(token) for token in ids)

    assert token_texts(InPython(), [97, 98]) == ["a", "b"]  # type: ignore[arg-type]

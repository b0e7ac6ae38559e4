"""Small tokenizers, built on the spot, that behave as the ones of well-known models do."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BOS, EOS, UNKNOWN = "<s>", "</s>", "<?>"
SPECIAL = ["<pad>", BOS, EOS, UNKNOWN, "<|system|>", "<|user|>", "<|assistant|>"]

TokenizerFactory = Callable[..., PreTrainedTokenizerFast]


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    datasets.config.HF_DATASETS_CACHE = Path(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def make_tokenizer() -> TokenizerFactory:
    """Return a builder of character-level tokenizers.

    Its ``adds`` is the template of what the tokenizer puts around a text: ``"<s> $A"`` is Llama's way.
    """

    def make(
        adds: str = "$A",
        chat_template: str | None = None,
        bos: str | None = None,
        eos: str | None = EOS,
        pad: str | None = "<pad>",
    ) -> PreTrainedTokenizerFast:
        vocabulary = {token: i for i, token in enumerate([*SPECIAL, *string.printable])}
        core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        core.post_processor = processors.TemplateProcessing(
            single=adds, special_tokens=[(token, vocabulary[token]) for token in (BOS, EOS)]
        )
        core.add_special_tokens(SPECIAL)
        named = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            chat_template=chat_template,
            **{name: token for name, token in named.items() if token is not None},
        )

    return make


@pytest.fixture
def tokenizer(make_tokenizer: TokenizerFactory) -> PreTrainedTokenizerFast:
    return make_tokenizer()

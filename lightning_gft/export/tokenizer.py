"""Ensures that an exported tokenizer is loaded as the one that the policy was trained with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_PROBE = "Natalia sold 48 clips; she didn't.\n\nIs 12.5 x 1,024 + 7?  def f(x):\n\treturn x**2  # naïve \u4f60\u597d"
_PIECES = 1024  # tokens to probe, spread over the vocabulary


def loading_class(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the class that loads an exported tokenizer unchanged, and warn if ``AutoTokenizer`` does not.

    For some architectures ``AutoTokenizer`` ignores the class that the folder names, chooses one by the model's type,
    and builds a tokenizer that splits texts differently. No setting in the folder prevents this.
    """
    if "auto_map" in tokenizer.init_kwargs:  # custom code, which is run only if it is trusted
        return "AutoTokenizer"
    automatic = AutoTokenizer.from_pretrained(folder)
    if all(_agree(tokenizer, automatic, text) for text in _probes(tokenizer)):
        return "AutoTokenizer"
    own = type(tokenizer)
    name = "PreTrainedTokenizerFast" if own is PreTrainedTokenizerFast else own.__name__  # the class has an alias
    rank_zero_warn(
        f"AutoTokenizer loads the exported tokenizer as {type(automatic).__name__}, because of the model's type, and "
        f"splits texts differently than in training; load it by {name}.from_pretrained, as the README.md beside it "
        "shows"
    )
    return name


def _probes(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    yield _PROBE
    special = set(tokenizer.all_special_ids)
    ids = [number for number in range(0, len(tokenizer), len(tokenizer) // _PIECES + 1) if number not in special]
    yield "".join(piece for piece in tokenizer.batch_decode([[number] for number in ids]) if "\ufffd" not in piece)


def _agree(own: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, text: str) -> bool:
    ids = own.encode(text)
    if own.unk_token_id in ids:
        return True  # the policy was trained on no such text
    return bool(ids == other.encode(text) and own.decode(ids) == other.decode(ids))

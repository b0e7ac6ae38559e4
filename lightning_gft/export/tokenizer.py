"""Making sure that an exported tokenizer is loaded as the one that the policy was trained with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_PROBE = "Natalia sold 48 clips; she didn't.\n\nIs 12.5 x 1,024 + 7?  def f(x):\n\treturn x**2  # naïve \u4f60\u597d"
_PIECES = 1024  # of the vocabulary, spread over it


def loading_class(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the class that loads the tokenizer in an exported folder as it is, and warn if that is not the usual one.

    For some architectures ``AutoTokenizer`` goes by the model's type, whatever class the folder names, and builds a
    tokenizer that splits texts otherwise. Nothing that could be written keeps it from that.
    """
    if "auto_map" in tokenizer.init_kwargs:  # code of its own, which is run only where it is trusted
        return "AutoTokenizer"
    automatic = AutoTokenizer.from_pretrained(folder)
    if all(_agree(tokenizer, automatic, text) for text in _probes(tokenizer)):
        return "AutoTokenizer"
    own = type(tokenizer)
    name = "PreTrainedTokenizerFast" if own is PreTrainedTokenizerFast else own.__name__  # it goes by another one too
    rank_zero_warn(
        f"AutoTokenizer makes a {type(automatic).__name__} of the exported tokenizer, because of the model's type, and "
        f"that one splits texts otherwise than the policy was trained with: load it by {name}.from_pretrained, as the "
        "README.md beside it shows"
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
        return True  # no text that it was trained on
    return bool(ids == other.encode(text) and own.decode(ids) == other.decode(ids))

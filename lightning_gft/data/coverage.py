"""Whether a tokenizer can encode all of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase

from lightning_gft.chat import TextError
from lightning_gft.checks import shorten

_SENTENCEPIECE_SPACE = "\u2581"  # these tokenizers write a space as this character, and decode it as a space


class CoverageCheck:
    """Raises an error for a text that a tokenizer cannot encode completely.

    A tokenizer may have an unknown token, which is then among a text's ids. Or it may drop unknown characters without
    a trace. So each character is tried separately, the first time it occurs. Invisible characters (white space, control
    characters, combining marks) may be dropped, and so may those that the tokenizer's normaliser removes on purpose.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"1": 0, "+": 1}, [])))
        >>> CoverageCheck(tokenizer).check(["1+1"], [[0, 1, 0]])
        >>> CoverageCheck(tokenizer).check(["1-1"], [[0, 0]])
        Traceback (most recent call last):
        lightning_gft.chat.template.TextError: the tokenizer has no token for '-' of the text '1-1': ...
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added = sorted(tokenizer.added_tokens_encoder, key=len, reverse=True)
        self._added_tokens = re.compile("|".join(map(re.escape, added)) or "(?!)")
        self._core = getattr(tokenizer, "backend_tokenizer", None)
        self._unknown = _unknown_token(tokenizer, getattr(self._core, "model", None))
        self._tried: set[str] = set()
        self._dropped: set[str] = set()

    def check(self, texts: Sequence[str], ids: Sequence[list[int]]) -> None:
        """Raise an error for a text that its ids do not cover."""
        self._check_unknown(texts, ids)
        if not self._may_drop():
            return
        chars: set[str] = set().union(*texts)
        self._dropped |= self._find_dropped(sorted(chars - self._tried))
        self._tried |= chars
        if self._dropped.isdisjoint(chars):
            return
        for index, text in enumerate(texts):
            # An added token, such as those of a chat template, is matched as a whole: its characters need no tokens.
            if lost := self._dropped.intersection(self._added_tokens.sub("", text)):
                _raise_uncovered(sorted(lost), text, index)

    def _check_unknown(self, texts: Sequence[str], ids: Sequence[list[int]]) -> None:
        if self._unknown is None:
            return
        unknown = self.tokenizer.convert_tokens_to_ids(self._unknown)
        for index, (text, row) in enumerate(zip(texts, ids, strict=True)):
            if unknown in row and row.count(unknown) > text.count(self._unknown):  # the token may be written out
                encoded = {char: self.tokenizer.encode(char, add_special_tokens=False) for char in sorted(set(text))}
                _raise_uncovered([char for char in encoded if unknown in encoded[char]], text, index)

    def _may_drop(self) -> bool:
        # Only this model of the tokenizers library drops; the others raise if they have no unknown token.
        return self._core is None or (isinstance(self._core.model, BPE) and self._core.model.unk_token is None)

    def _find_dropped(self, chars: Sequence[str]) -> set[str]:
        visible = [char for char in chars if _is_visible(char) and not self._is_normalised_away(char)]
        if not visible:
            return set()
        # Three in a row, because a vocabulary may have a character only at the beginning, in the middle or at the end.
        tripled = self.tokenizer([char * 3 for char in visible], add_special_tokens=False)["input_ids"]
        # Some tokenizers begin every text with a space, which may then be all that is left.
        return {char for char, ids in zip(visible, tripled, strict=True) if not str(self.tokenizer.decode(ids)).strip()}

    def _is_normalised_away(self, char: str) -> bool:
        normalizer = getattr(self._core, "normalizer", None)
        return normalizer is not None and not normalizer.normalize_str(char).strip()


def _unknown_token(tokenizer: PreTrainedTokenizerBase, model: Any) -> str | None:
    """Return the token for unknown text, which may be set only in the tokenizer's inner model."""
    token = tokenizer.unk_token or getattr(model, "unk_token", None)
    # GPT-2 uses its end of sequence as the unknown token too; it is placed around texts and not within them.
    return None if token in (tokenizer.eos_token, tokenizer.bos_token) else token


def _is_visible(char: str) -> bool:
    is_mark = unicodedata.category(char).startswith("M")
    return char.isprintable() and not char.isspace() and not is_mark and char != _SENTENCEPIECE_SPACE


def _raise_uncovered(chars: Collection[str], text: str, index: int) -> NoReturn:
    raise TextError(
        f"the tokenizer has no token for {', '.join(map(repr, chars)) or 'a part'} of the text {shorten(text)}: remove "
        "it, or add it to the tokenizer (`alphabet` of a ScratchPolicy)",
        index,
    )

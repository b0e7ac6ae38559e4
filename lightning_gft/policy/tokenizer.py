"""A character-level tokenizer for policies that start from scratch."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import PreTrainedTokenizerFast

PAD_TOKEN = "<pad>"  # noqa: S105 (not a password)
EOS_TOKEN = "<eos>"  # noqa: S105
UNK_TOKEN = "<unk>"  # noqa: S105


def alphabet_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each character of ``alphabet``, and tokens for padding, end and unknown.

    Datamodules refuse text that holds an unknown token, so a character outside the alphabet is noticed at start.

    Args:
        alphabet: The characters, in the order of their ids.

    Raises:
        ValueError: If ``alphabet`` is empty or holds a character twice.

    Example:
        >>> tokenizer = alphabet_tokenizer("0123456789+=")
        >>> tokenizer.encode("1+1=2")
        [4, 13, 4, 14, 5]
        >>> tokenizer.decode([4, 13, 4])
        '1+1'
    """
    if not alphabet:
        raise ValueError("alphabet='' is empty; give every character that prompts and responses may hold")
    twice = sorted({char for char in alphabet if alphabet.count(char) > 1})
    if twice:
        raise ValueError(f"alphabet holds {', '.join(map(repr, twice))} more than once")
    vocabulary = {token: number for number, token in enumerate([PAD_TOKEN, EOS_TOKEN, UNK_TOKEN, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK_TOKEN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        unk_token=UNK_TOKEN,
        clean_up_tokenization_spaces=False,
    )

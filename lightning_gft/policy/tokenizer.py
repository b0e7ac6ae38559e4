"""A character-level tokenizer for policies with fresh weights, and setting a tokenizer's chat template."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lightning_gft.chat import ChatTemplate, Conversation, RenderError
from lightning_gft.errors import GFTValueError

PAD_TOKEN = "<pad>"  # noqa: S105 (not a password)
EOS_TOKEN = "<eos>"  # noqa: S105
UNK_TOKEN = "<unk>"  # noqa: S105
_MESSAGE = "What is 6 x 7?"


def alphabet_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per character of ``alphabet``, and tokens for padding, end and unknown.

    Datamodules raise an error for text with unknown tokens, so a character outside the alphabet is found at the start.

    Raises:
        ValueError: If ``alphabet`` is empty or repeats a character.

    Example:
        >>> tokenizer = alphabet_tokenizer("0123456789+=")
        >>> tokenizer.encode("1+1=2")
        [4, 13, 4, 14, 5]
        >>> tokenizer.decode([4, 13, 4])
        '1+1'
    """
    if not alphabet:
        raise GFTValueError(
            "`alphabet`: expected at least one character, got ''; give every character that prompts and responses may "
            "contain"
        )
    twice = sorted({char for char in alphabet if alphabet.count(char) > 1})
    if twice:
        raise GFTValueError(
            f"`alphabet`: expected every character once, got {', '.join(map(repr, twice))} more than once; remove the "
            "repetitions"
        )
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


def set_chat_template(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> None:
    """Set a tokenizer's chat template after trying it on a message.

    Args:
        tokenizer: Tokenizer, which is changed in place.
        chat_template: Jinja template, or the path of a file with one.

    Raises:
        ValueError: If there is no such file, it is not a template, or it does not write messages out.

    Example:
        >>> tokenizer = alphabet_tokenizer("abc")
        >>> set_chat_template(tokenizer, "{% for message in messages %}[{{ message['content'] }}]{% endfor %}")
        >>> tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
        '[a]'
    """
    template = chat_template
    if "{" not in template:
        path = Path(chat_template)
        if not path.is_file():
            raise GFTValueError(
                f"`chat_template`: expected a file or a Jinja template, got {chat_template!r}, which is neither; give "
                "the path of an existing file, or a template"
            )
        template = path.read_text(encoding="utf-8")
    tokenizer.chat_template = template
    message = {"role": "user", "content": _MESSAGE}
    try:
        rendered = ChatTemplate(tokenizer).render(Conversation([message]), add_generation_prompt=True)
    except RenderError as error:
        raise GFTValueError(
            f"`chat_template`: expected a template that can be applied, got {chat_template!r}: {error}"
        ) from error
    if _MESSAGE not in rendered:
        raise GFTValueError(
            f"`chat_template`: expected a template that writes the content of every message, got {chat_template!r}, "
            f"which renders {message} as {rendered!r}; write out message['content']"
        )

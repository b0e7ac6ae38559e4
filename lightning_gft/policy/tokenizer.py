"""A character-level tokenizer for policies that start from scratch, and chat templates for all."""

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
    """Return a tokenizer with one token for each character of ``alphabet``, and tokens for padding, end and unknown.

    Datamodules refuse text that holds an unknown token, so a character outside the alphabet is noticed at start.

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
        raise GFTValueError("alphabet='' is empty; give every character that prompts and responses may hold")
    twice = sorted({char for char in alphabet if alphabet.count(char) > 1})
    if twice:
        raise GFTValueError(f"alphabet holds {', '.join(map(repr, twice))} more than once")
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
    """Give a tokenizer another chat template, after trying it on a message.

    Args:
        chat_template: Jinja template, or the path of a file with one.

    Raises:
        ValueError: If there is no such file, it is not a template, or messages get lost in it.

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
            raise GFTValueError(f"chat_template={chat_template!r} is neither a file nor a Jinja template")
        template = path.read_text(encoding="utf-8")
    tokenizer.chat_template = template
    message = {"role": "user", "content": _MESSAGE}
    try:
        rendered = ChatTemplate(tokenizer).render(Conversation([message]), add_generation_prompt=True)
    except RenderError as error:
        raise GFTValueError(f"chat_template={chat_template!r} cannot be applied: {error}") from error
    if _MESSAGE not in rendered:
        raise GFTValueError(
            f"chat_template={chat_template!r} loses the message: of {message} it makes {rendered!r}; it must "
            "write each message's content out"
        )

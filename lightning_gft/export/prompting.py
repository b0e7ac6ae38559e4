"""The part of a model card that shows how the policy expects its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from lightning_gft.chat import TextError
from lightning_gft.data import PromptEncoder
from lightning_gft.export.recipes import code_block, python_block
from lightning_gft.module import GFTLitModule

_QUESTION = "What is 2 + 3?"
"""The prompt of the example, which is no row of the data."""


def prompting(module: GFTLitModule, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of prompts, an example as in training, and code that answers it with the loaded policy.

    Args:
        module: Module with the policy's tokenizer.
        settings: Arguments of :class:`~lightning_gft.data.PromptEncoder`; nothing is yielded if there are none.
    """
    if not settings:
        return
    yield "## How to prompt it"
    yield "The policy was trained on prompts that these settings of the data write:"
    yield code_block("yaml", yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=1000).strip())
    try:
        text = PromptEncoder(module.tokenizer, **settings).render(_QUESTION)
    except TextError:  # the chat template needs other conversations than a question
        yield "The chat template does not write a single question: pass it conversations like those of the data."
        return
    yield "One of them, with a question that is not from the data:"
    yield code_block("text", text)
    yield "With `model` and `tokenizer` as loaded above:"
    yield python_block(*_answering(module, settings))


def _answering(module: GFTLitModule, settings: Mapping[str, Any]) -> Iterator[str]:
    yield f"question = {_QUESTION!r}"
    if settings["use_chat_template"]:
        yield from _chat(settings)
        encoding = "text, add_special_tokens=False"
    else:
        yield f"text = {settings['prompt_template']!r}.replace('{{prompt}}', question)"
        encoding = "text"
    if prefix := settings.get("response_prefix"):
        yield f"prefix = {prefix!r}"
        yield "text = text if text.endswith(prefix) else text + prefix"
    yield f'ids = tokenizer({encoding}, return_tensors="pt").input_ids'
    if not settings["use_chat_template"] and module.tokenizer("a").input_ids[-1] == module.tokenizer.eos_token_id:
        yield "ids = ids[:, :-1]  # this tokenizer adds an end of sequence"
    yield f"answer = model.generate(ids, max_new_tokens={module.evaluator.settings.max_new_tokens})[0, ids.shape[1] :]"
    yield "print(tokenizer.decode(answer, skip_special_tokens=True))"


def _chat(settings: Mapping[str, Any]) -> Iterator[str]:
    messages = ["{'role': 'user', 'content': question}"]
    if system := settings.get("system_prompt"):
        messages.insert(0, repr({"role": "system", "content": system}))
    variables = f", **{settings['chat_template_kwargs']!r}" if settings.get("chat_template_kwargs") else ""
    yield f"messages = [{', '.join(messages)}]"
    yield f"text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True{variables})"

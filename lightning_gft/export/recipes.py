"""Code for the model card that loads an exported folder."""

from __future__ import annotations

import re
from pathlib import Path

from lightning_gft.module import GFTLitModule

_HERE = '"path/of/this/folder"'


def loading_model(tokenizer_class: str) -> str:
    """Return code that loads a complete model."""
    return python_block(
        f"from transformers import {', '.join(sorted(('AutoModelForCausalLM', tokenizer_class)))}",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({_HERE})",
        _tokenizer(tokenizer_class),
    )


def loading_adapter(base: str | None, module: GFTLitModule, tokenizer_class: str) -> list[str]:
    """Return the adapter's requirements, and code that loads it: with its base, and into a base loaded already.

    Args:
        base: Name or folder of the adapter's base model; ``None`` for a model that was only in memory.
    """
    if base is None:
        into_it = python_block(
            "from peft import PeftModel",
            f"from transformers import {tokenizer_class}",
            "",
            f"model = PeftModel.from_pretrained(base, {_HERE})",
            _tokenizer(tokenizer_class),
        )
        return ["The adapter needs its base model, which was in memory and has no name: keep that model.", into_it]
    is_folder = Path(base).exists()
    where = f"path/of/{Path(base).name}" if is_folder else base
    quantization = getattr(module.policy_loader, "quantization", None)
    needs = f"The adapter needs its base model, `{Path(base).name if is_folder else base}`"
    if is_folder:
        needs += ", a folder on the training machine; adapter_config.json has its path"
    needs += "."
    if quantization is not None:
        needs += (
            f" It was trained on weights of {quantization.bits} bits. It also loads on full-precision weights, with "
            "slightly different outputs."
        )
    with_base = python_block(
        "from peft import AutoPeftModelForCausalLM",
        f"from transformers import {tokenizer_class}",
        "",
        f"model = AutoPeftModelForCausalLM.from_pretrained({_HERE})",
        _tokenizer(tokenizer_class),
    )
    into_base = python_block(
        "from peft import PeftModel",
        f"from transformers import {', '.join(sorted(('AutoModelForCausalLM', tokenizer_class)))}",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{where}")',
        f"model = PeftModel.from_pretrained(base, {_HERE})",
        _tokenizer(tokenizer_class),
    )
    return [needs, with_base, "Or load the base model first:", into_base]


def _tokenizer(tokenizer_class: str) -> str:
    return f"tokenizer = {tokenizer_class}.from_pretrained({_HERE})"


def python_block(*lines: str) -> str:
    """Return lines of Python as a code block of Markdown.

    Example:
        >>> python_block("1 + 1").splitlines()
        ['```python', '1 + 1', '```']
    """
    return code_block("python", "\n".join(lines))


def code_block(language: str, text: str) -> str:
    """Return a text as a code block of Markdown, whose fence is longer than any row of backticks in the text.

    Example:
        >>> code_block("text", "```").splitlines()
        ['````text', '```', '````']
    """
    fence = "`" * max(3, 1 + max((len(row) for row in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"

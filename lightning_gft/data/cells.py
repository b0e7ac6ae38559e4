"""The contents of a cell: a prompt, a conversation, demonstrations, or variables of a chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lightning_gft.checks import shorten
from lightning_gft.data.prompts import Answer, Prompt, as_answer, as_messages, check_prompt
from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.stored import Padded

_VARIABLES = ("tools", "documents")


def read_conversation(cell: Any, *, splits: bool) -> tuple[Prompt, list[Answer]]:
    """Return a prompt, and the assistant's answer to it in a list, which is empty if there is none.

    Example:
        >>> turns = [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]
        >>> read_conversation(turns, splits=True)
        ([{'role': 'user', 'content': '1 + 1?'}], ['2'])
    """
    prompt = as_messages(cell)
    if splits and not isinstance(prompt, list):
        raise GFTTypeError(f"expected a list of messages, got {shorten(cell)}")
    check_prompt(prompt)
    if isinstance(prompt, list):
        prompt = [_as_read(message) for message in prompt]
    if splits and prompt and prompt[-1]["role"] == "assistant":
        return prompt[:-1], [as_answer(prompt[-1])]
    return prompt, []


def read_answers(cell: Any) -> list[Answer]:
    """Return the demonstrations in a cell.

    Example:
        >>> read_answers(["2", "two"]), read_answers([{"role": "assistant", "content": "2"}])
        (['2', 'two'], ['2'])
    """
    cells = as_messages(listed(cell))
    if not all(isinstance(answer, str | dict) for answer in cells):
        raise GFTTypeError(f"expected a text or a list of texts, got {shorten(cell)}")
    if any(isinstance(answer, dict) for answer in cells) and len(cells) > 1:
        raise GFTValueError(f"expected one message of the assistant, got {len(cells)}: {shorten(cell)}")
    messages = [answer for answer in cells if isinstance(answer, dict)]
    if any("role" not in message for message in messages):
        raise GFTTypeError(f"expected a text or a list of texts, got {shorten(cell)}")
    check_prompt(messages)
    return [answer if isinstance(answer, str) else as_answer(_as_read(answer)) for answer in cells]


def listed(cell: Any) -> list[Any]:
    """Return a cell as a list, whether it holds one value, several or none."""
    return [] if cell is None else cell if isinstance(cell, list) else [cell]


def read_variables(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a chat template besides messages: ``tools``, and ``documents`` that are objects.

    Example:
        >>> read_variables({"tools": '[{"name": "add"}]', "documents": ["a text"], "level": 3})
        {'tools': [{'name': 'add'}]}
    """
    variables = {}
    for name in _VARIABLES:
        cell = cells.get(name)
        if isinstance(cell, str):
            with suppress(ValueError):  # not every text is JSON
                cell = json.loads(cell)
        are_objects = isinstance(cell, list) and all(isinstance(item, dict) for item in cell)
        if cell and (are_objects or name == "tools"):
            variables[name] = without_padding(cell)
    return variables


def without_padding(value: Any) -> Any:
    """Return a value without the nulls that Parquet pads objects with; nulls in JSON belong to the data and stay.

    Example:
        >>> without_padding([Padded(name="add", strict=None), {"default": None}])
        [{'name': 'add'}, {'default': None}]
    """
    if isinstance(value, dict):
        padded = isinstance(value, Padded)
        return {key: without_padding(item) for key, item in value.items() if item is not None or not padded}
    return [without_padding(item) for item in value] if isinstance(value, list) else value


def _as_read(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without padding, but with all of its own keys, which templates may test for null."""
    return {key: without_padding(value) for key, value in message.items()}

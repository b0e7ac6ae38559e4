"""Converts sampled groups to Arrow tables with one row per response, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lightning_gft.errors import GFTValueError
from lightning_gft.samples.schema import SampledGroup, SampledResponse, TokenFigures

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"lightning_gft_samples"
"""Metadata key for the version of this layout and for the weights and columns of the rewards."""
VERSION = 1

_OF_GROUP = ("step", "kind", "dataset", "group", "prompt")
_OF_RESPONSE = ("completion", "advantage", "reward", "source", "finish_reason", "completion_length", "greedy")
_OF_TOKENS = ("tokens", "logprobs", "coefficients", "factors", "entropies")
_ALWAYS = (*_OF_GROUP, *(name for name in _OF_RESPONSE if name != "advantage"), "group_size", "response")
"""Columns that have a value in every row."""
COLUMNS = (
    *("step", "prompt", "completion", "advantage"),  # with the rewards by name these are TRL's
    *("reward", "source", "kind", "dataset", "group", "group_size", "response"),
    *("finish_reason", "completion_length", "greedy", *_OF_TOKENS),
)
"""Names of all columns except the rewards'."""


def to_table(groups: Sequence[SampledGroup]) -> pa.Table:
    """Return groups as a table: first TRL's columns in its order, then the others.

    Args:
        groups: One or more groups, all scored by the same rewards.
    """
    import pyarrow as pa  # slow, and seldom needed, while all callbacks are imported together

    columns = _reward_columns(list(groups[0].weights))
    names = [*COLUMNS[:3], *columns.values(), *COLUMNS[3:]]
    rewards = {name: {"column": columns[name], "weight": weight} for name, weight in groups[0].weights.items()}
    noted = json.dumps({"version": VERSION, "groups": len(groups), "rewards": rewards}).encode()
    schema = _schema(names, columns.values()).with_metadata({METADATA: noted})
    return pa.Table.from_pylist([row for group in groups for row in _rows(group, columns)], schema=schema)


def _schema(names: Sequence[str], rewards: Iterable[str]) -> pa.Schema:
    """Return the types of the columns, including those of the rewards."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        **dict.fromkeys(COLUMNS, pa.string()),
        "step": pa.int64(),
        **dict.fromkeys(("group", "group_size", "response", "completion_length"), pa.int32()),
        **dict.fromkeys(("advantage", "reward", *rewards), pa.float64()),
        "greedy": pa.bool_(),
        "tokens": pa.list_(pa.string()),
        **dict.fromkeys(_OF_TOKENS[1:], pa.list_(pa.float32())),
    }
    return pa.schema([(name, types[name]) for name in names])


def from_table(table: pa.Table) -> list[SampledGroup]:
    """Return the groups of a table, in their order.

    Raises:
        ValueError: If the table was written by a later version of the package or by anything else.
    """
    rewards = read_notes(table.schema.metadata or {})["rewards"]
    columns = {name: noted["column"] for name, noted in rewards.items()}
    weights = {name: noted["weight"] for name, noted in rewards.items()}
    rows = _typed(table, list(columns.values())).to_pylist()
    of_group = groupby(rows, key=lambda row: tuple(row[name] for name in (*_OF_GROUP, "group_size")))
    return [
        SampledGroup(
            **dict(zip(_OF_GROUP, key[:-1], strict=True)),
            size=key[-1],
            weights=weights,
            responses=[_response(row, columns) for row in rows],
        )
        for key, rows in of_group
    ]


def read_notes(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Return the metadata of a file: ``version``, the number of ``groups``, and ``rewards``.

    Raises:
        ValueError: If the file was written by a later version of the package or by anything else.
    """
    if METADATA not in metadata:
        raise GFTValueError("expected groups written by GroupTable, got another Parquet file; remove it")
    try:
        notes: dict[str, Any] = json.loads(metadata[METADATA])
        version = notes["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise GFTValueError("expected metadata of GroupTable, got other text; remove the file") from None
    if version != VERSION:
        raise GFTValueError(
            f"expected groups in layout {VERSION}, got layout {version}; read them with the version of "
            "lightning-gft that wrote them"
        )
    rewards = notes.get("rewards")
    if (
        not isinstance(notes.get("groups"), int)
        or not isinstance(rewards, dict)
        or not all(map(_is_noted, rewards.values()))
    ):
        raise GFTValueError(
            "expected a number of groups and columns of rewards in the metadata, got others; remove the file"
        )
    return notes


def _is_noted(reward: object) -> bool:
    if not isinstance(reward, dict) or not isinstance(reward.get("column"), str):
        return False
    return reward.get("weight", "") is None or type(reward.get("weight")) in (int, float)


def _typed(table: pa.Table, rewards: Sequence[str]) -> pa.Table:
    """Return the columns of groups, each cast to its type.

    Raises:
        ValueError: If a column is missing, has another type, or lacks a value where one is required.
    """
    names = list(dict.fromkeys((*COLUMNS, *rewards)))
    typed = table.select(names).cast(_schema(names, rewards).remove_metadata())
    for name in _ALWAYS:
        if typed[name].null_count:
            raise GFTValueError(
                f"`{name}`: expected a value in each row, got none in {typed[name].null_count}; remove the file"
            )
    for name, known in {"kind": ("train", "val"), "finish_reason": ("stop", "length")}.items():
        if others := set(typed[name].unique().to_pylist()).difference(known):
            raise GFTValueError(
                f"`{name}`: expected {' or '.join(known)}, got {sorted(others)[0][:20]!r}; remove the file"
            )
    return typed


def _reward_columns(names: Sequence[str]) -> dict[str, str]:
    """Return the column of each reward: its name, or ``rewards/<name>`` if another column has that name."""
    columns: dict[str, str] = {}
    for name in names:
        column = name
        while column in COLUMNS or column in columns.values():
            column = f"rewards/{column}"
        columns[name] = column
    return columns


def _rows(group: SampledGroup, columns: dict[str, str]) -> list[dict[str, Any]]:
    shared = {name: getattr(group, name) for name in _OF_GROUP}
    return [
        {
            **shared,
            **{columns[name]: reward for name, reward in response.rewards.items()},
            **{name: getattr(response, name) for name in _OF_RESPONSE},
            **({} if response.trained is None else asdict(response.trained)),
            "group_size": group.size,
            "response": response.number,
        }
        for response in group.responses
    ]


def _response(row: dict[str, Any], columns: dict[str, str]) -> SampledResponse:
    of_tokens = {name: row[name] for name in _OF_TOKENS}
    trained = None if row["tokens"] is None else TokenFigures(**of_tokens)
    if trained is not None and not all(
        values is not None and len(values) == len(trained.tokens) and None not in values
        for name, values in of_tokens.items()
        if name != "entropies" or values is not None
    ):
        raise GFTValueError("`tokens`: expected as many of each figure as tokens, got others; remove the file")
    return SampledResponse(
        **{name: row[name] for name in _OF_RESPONSE},
        number=row["response"],
        rewards={name: row[column] for name, column in columns.items()},
        trained=trained,
    )

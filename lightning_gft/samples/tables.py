"""Between sampled groups and Arrow tables with a row for each response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lightning_gft.errors import GFTValueError
from lightning_gft.samples.schema import SampledGroup, SampledResponse, TokenFigures

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"lightning_gft_samples"
"""Key of a file's metadata under which the version of this layout and the rewards' weights and columns stand."""
VERSION = 1

_OF_GROUP = ("step", "kind", "dataset", "group", "prompt")
_OF_RESPONSE = ("completion", "advantage", "reward", "source", "finish_reason", "completion_length", "greedy")
_OF_TOKENS = ("tokens", "logprobs", "coefficients", "factors", "entropies")
COLUMNS = (
    *("step", "prompt", "completion", "advantage"),  # with the rewards by name these are TRL's
    *("reward", "source", "kind", "dataset", "group", "group_size", "response"),
    *("finish_reason", "completion_length", "greedy", *_OF_TOKENS),
)
"""Names of all columns but the rewards'."""


def to_table(groups: Sequence[SampledGroup]) -> pa.Table:
    """Return groups as a table: first TRL's columns in its order, then the others.

    Args:
        groups: At least one, all scored by the same rewards.
    """
    import pyarrow as pa  # seldom needed, where all callbacks are imported

    columns = _reward_columns(list(groups[0].weights))
    types: dict[str, pa.DataType] = {
        **dict.fromkeys(COLUMNS, pa.string()),
        "step": pa.int64(),
        **dict.fromkeys(("group", "group_size", "response", "completion_length"), pa.int32()),
        **dict.fromkeys(("advantage", "reward", *columns.values()), pa.float64()),
        "greedy": pa.bool_(),
        "tokens": pa.list_(pa.string()),
        **dict.fromkeys(_OF_TOKENS[1:], pa.list_(pa.float32())),
    }
    names = [*COLUMNS[:3], *columns.values(), *COLUMNS[3:]]
    rewards = {name: {"column": columns[name], "weight": weight} for name, weight in groups[0].weights.items()}
    noted = json.dumps({"version": VERSION, "groups": len(groups), "rewards": rewards}).encode()
    schema = pa.schema([(name, types[name]) for name in names], {METADATA: noted})
    return pa.Table.from_pylist([row for group in groups for row in _rows(group, columns)], schema=schema)


def from_table(table: pa.Table) -> list[SampledGroup]:
    """Return the groups of a table, in their order.

    Raises:
        ValueError: If a later version of the package has written it, or something else.
    """
    rewards: dict[str, dict[str, Any]] = read_notes(table.schema.metadata or {})["rewards"]
    columns = {name: str(noted["column"]) for name, noted in rewards.items()}
    weights = {name: noted["weight"] for name, noted in rewards.items()}
    of_group = groupby(table.to_pylist(), key=lambda row: tuple(row[name] for name in (*_OF_GROUP, "group_size")))
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
    """Return what the metadata of a file say: ``version``, the number of ``groups``, and ``rewards``.

    Raises:
        ValueError: If a later version of the package has written it, or something else.
    """
    if METADATA not in metadata:
        raise GFTValueError("expected groups that GroupTable has written, got another Parquet file; take it out")
    notes: dict[str, Any] = json.loads(metadata[METADATA])
    if notes["version"] != VERSION:
        raise GFTValueError(
            f"expected groups in layout {VERSION}, got layout {notes['version']}; read them with the version of "
            "lightning-gft that wrote them"
        )
    return notes


def _reward_columns(names: Sequence[str]) -> dict[str, str]:
    """Return the column of each reward: its name, or where that is taken, the name behind ``rewards/``."""
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
    trained = None if row["tokens"] is None else TokenFigures(**{name: row[name] for name in _OF_TOKENS})
    return SampledResponse(
        **{name: row[name] for name in _OF_RESPONSE},
        number=row["response"],
        rewards={name: row[column] for name, column in columns.items()},
        trained=trained,
    )

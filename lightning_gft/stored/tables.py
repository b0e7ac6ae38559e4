"""Converting groups to Arrow tables with a row per response, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lightning_gft.errors import GFTTypeError, GFTValueError
from lightning_gft.stored.schema import COLUMNS, StoredGroup, StoredInfo, StoredResponse
from lightning_gft.stored.values import from_json, to_json

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"lightning_gft"
"""Key of a shard's :class:`StoredInfo` in its metadata."""
SEAL = b"lightning_gft_shard"
"""Key of a shard's name and a digest of its info, which reveal copies and damaged shards."""
_STOP, _LENGTH = "stop", "length"  # finish reasons of servers of chat completions


def arrow_schema(info: StoredInfo) -> pa.Schema:
    """Return the columns of a shard with their types: first those of TRL in its order, then the others."""
    import pyarrow as pa  # rarely needed, while all callbacks are imported

    types: dict[str, pa.DataType] = {
        **dict.fromkeys(COLUMNS, pa.string()),
        **dict.fromkeys(("step", "place"), pa.int64()),
        **dict.fromkeys(("response", "completion_length"), pa.int32()),
        **dict.fromkeys(("advantage", "reward", "sampling_seconds", "scoring_seconds", *info.rewards), pa.float64()),
        **dict.fromkeys(("completion_token_ids", "prompt_token_ids"), pa.list_(pa.int32())),
        "logprobs": pa.list_(pa.float32()),
    }
    names = [*COLUMNS[:3], *info.rewards, *COLUMNS[3:]]
    return pa.schema([(name, types[name]) for name in names], {METADATA: info.to_json().encode()})


def seal(name: str, info: bytes) -> bytes:
    """Return the value of :data:`SEAL` for a shard's file name and its info as JSON."""
    return f"{name} {hashlib.sha256(info).hexdigest()}".encode()


def to_table(groups: Sequence[StoredGroup], info: StoredInfo, name: str) -> pa.Table:
    """Return groups as the table of a shard; a group without responses is a row with null in the response's columns.

    Args:
        groups: At least one group.
        info: Settings of the run, for the metadata.
        name: File name of the shard.
    """
    import pyarrow as pa

    rows = [row for group in groups for row in _rows(group, info)]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(info))
    noted = table.schema.metadata
    return table.replace_schema_metadata({**noted, SEAL: seal(name, noted[METADATA])})


def from_table(table: pa.Table, info: StoredInfo) -> list[StoredGroup]:
    """Return the groups of a shard, in its order."""
    return [_group(rows, info) for rows in _by_group(table.to_pylist())]


def _rows(group: StoredGroup, info: StoredInfo) -> Iterator[dict[str, Any]]:
    shared = {
        **{name: getattr(group, name) for name in ("step", "place", "row", "prompt", "prompt_token_ids")},
        "reference": _written("reference", group.reference, group),
        "messages": _written("messages", group.messages, group),
        "columns": _columns(group),
        "sampling_seconds": group.sampling_seconds,
        "scoring_seconds": group.scoring_seconds,
    }
    if not group.responses:
        yield shared
    for number, response in enumerate(group.responses):
        if response.rewards.keys() != info.rewards.keys():
            raise GFTValueError(
                f"`rewards`: expected {', '.join(info.rewards)} for every response, got {', '.join(response.rewards)}; "
                "give each of them"
            )
        yield {
            **shared,
            **response.rewards,
            **{name: getattr(response, name) for name in ("completion", "source", "reward", "advantage", "logprobs")},
            "response": number,
            "finish_reason": _STOP if response.finished else _LENGTH,
            "completion_length": len(response.token_ids),
            "completion_token_ids": response.token_ids,
            "raw_completion": None if response.raw_completion == response.completion else response.raw_completion,
        }


def _columns(group: StoredGroup) -> str:
    try:
        return to_json(group.columns)
    except TypeError:
        for name, value in group.columns.items():
            _written(name, value, group)  # raises for the column at fault
        raise


def _written(name: str, value: Any, group: StoredGroup) -> str:
    try:
        return to_json(value)
    except TypeError as error:
        where = f"column {name!r}" if group.row is None else f"row {group.row} (counting from 0), column {name!r}"
        raise GFTTypeError(f"{where}: {error}; remove the column from the data") from error


def _by_group(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    here: list[dict[str, Any]] = []
    for row in rows:
        if here and (row["step"], row["place"]) != (here[0]["step"], here[0]["place"]):
            yield here
            here = []
        here.append(row)
    if here:
        yield here


def _group(rows: Sequence[dict[str, Any]], info: StoredInfo) -> StoredGroup:
    names = ("step", "place", "row", "prompt", "prompt_token_ids", "sampling_seconds", "scoring_seconds")
    return StoredGroup(
        **{name: rows[0][name] for name in names},
        **{name: from_json(rows[0][name]) for name in ("reference", "messages", "columns")},
        responses=[_response(row, info) for row in rows if row["response"] is not None],
    )


def _response(row: dict[str, Any], info: StoredInfo) -> StoredResponse:
    return StoredResponse(
        **{name: row[name] for name in ("completion", "source", "reward", "advantage", "logprobs")},
        raw_completion=row["completion"] if row["raw_completion"] is None else row["raw_completion"],
        token_ids=row["completion_token_ids"],
        finished=row["finish_reason"] == _STOP,
        rewards={name: row[name] for name in info.rewards},
    )

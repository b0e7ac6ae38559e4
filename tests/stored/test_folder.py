"""A folder of groups: what is written comes back, and what is wrong with a folder is said."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import socket
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from lightning_gft.stored import StoredGroup, StoredGroups, StoredInfo, StoredResponse, is_stored, write_shard
from lightning_gft.stored.reading import find_fault, read_info
from lightning_gft.stored.writing import remove_unfinished, written_shards

INFO = StoredInfo("abc", {"accuracy": 1.0, "brief": 0.5}, {"seed": "0"}, prompts=8)


def response(source: str = "self", **changes: object) -> StoredResponse:
    """Return a response, as others would be but for what is changed."""
    plain = StoredResponse(
        source=source,
        completion="it is 2",
        raw_completion="<think>it is 2",
        token_ids=[5, 6, 2**31 - 1],
        finished=True,
        reward=1.1,
        rewards={"accuracy": 1.0, "brief": None},
        advantage=-0.1,
        logprobs=[-0.5, 0.0, -float(2**-20)],
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def group(step: int, place: int, *responses: StoredResponse) -> StoredGroup:
    return StoredGroup(
        step=step,
        place=place,
        row=f"{step} of 'train'",
        prompt="1+1=\n\u00e9",
        prompt_token_ids=[1, 2, 3],
        reference=[Decimal("2.0"), "2", 2],
        messages=[{"role": "user", "content": "1+1=", "name": None}],
        columns={"prompt": "1+1=", "level": step if step % 2 else str(step), "$odd": {"$date": b"\x00"}},
        responses=list(responses),
        sampling_seconds=1.5,
        scoring_seconds=0.25,
    )


GROUPS = [
    group(0, 0, response("expert", logprobs=None), response(), response(finished=False, raw_completion="it is 2")),
    group(0, 2),
    group(0, 4, response(completion="", raw_completion="", token_ids=[1], logprobs=[-0.5])),
]


def test_what_is_written_comes_back(tmp_path: Path):
    path = write_shard(tmp_path / "deep/groups", GROUPS, INFO)
    read = StoredGroups(tmp_path / "deep/groups")
    assert repr(list(read)) == repr(GROUPS)
    assert read.info == INFO
    assert (read[-1], read[1:]) == (GROUPS[-1], GROUPS[1:])
    assert path.name == "groups-000000-000.parquet"


def test_a_prompt_without_responses_is_a_row_in_which_all_of_a_response_is_null(tmp_path: Path):
    path = write_shard(tmp_path, GROUPS, INFO)
    rows = parquet.read_table(path).to_pylist()
    assert [row["response"] for row in rows] == [0, 1, 2, None, 0]
    empty = {name for name, value in rows[3].items() if value is None}
    assert empty >= {"completion", "accuracy", "reward", "advantage", "source", "finish_reason"}
    assert [row["finish_reason"] for row in rows] == ["stop", "stop", "length", None, "stop"]


def test_ranks_take_turns_in_the_order_of_the_data(tmp_path: Path):
    for step in (1, 0):
        for rank in (1, 0):
            of_rank = [group(step, place, response()) for place in range(rank, 5, 2)]
            write_shard(tmp_path, of_rank, INFO, step, rank)
    read = StoredGroups(tmp_path)
    assert [(one.step, one.place) for one in read] == [(step, place) for step in (0, 1) for place in range(5)]
    assert [(one.step, one.place) for one in read.take([7, 1, 4])] == [(1, 2), (0, 1), (0, 4)]
    assert (written_shards(tmp_path, 0).keys(), written_shards(tmp_path, 2)) == ({0, 1}, {})


def test_only_a_folder_of_groups_is_one(tmp_path: Path):
    assert not is_stored(tmp_path / "nowhere")
    assert not is_stored(tmp_path)
    parquet.write_table(pa.table({"prompt": ["1+1="]}), tmp_path / "rows.parquet")
    assert not is_stored(tmp_path)
    with pytest.raises(ValueError, match="expected a folder that `lightning-gft predict` has written, got another"):
        StoredGroups(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    assert not is_stored(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path):
    write_shard(tmp_path, GROUPS, INFO, step=0)
    path = write_shard(tmp_path, GROUPS, INFO, step=1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"groups-000001-000\.parquet: expected a complete Parquet file.*; remove it"):
        StoredGroups(tmp_path)


def test_shards_of_two_kinds_are_refused(tmp_path: Path):
    write_shard(tmp_path, GROUPS, INFO, step=0)
    write_shard(tmp_path, GROUPS, replace(INFO, tokenizer="def"), step=1)
    with pytest.raises(
        ValueError, match=r"groups-000001-000\.parquet: expected the settings of groups-000000-000\.parquet, got others"
    ):
        StoredGroups(tmp_path)
    parquet.write_table(pa.table({"prompt": ["1+1="]}), tmp_path / "groups-000001-000.parquet")
    with pytest.raises(ValueError, match="expected a shard of groups, got another Parquet file; remove it"):
        StoredGroups(tmp_path)


def test_a_later_layout_is_refused():
    later = json.dumps({**json.loads(INFO.to_json()), "version": 2, "more": 1})
    with pytest.raises(ValueError, match="expected groups in layout 1, got layout 2; read them with the version of"):
        StoredInfo.from_json(later)


def test_a_response_without_a_reward_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="`rewards`: expected accuracy, brief for every response, got accuracy"):
        write_shard(tmp_path, [group(0, 0, response(rewards={"accuracy": 1.0}))], INFO)
    assert not list(tmp_path.iterdir())


def test_each_rank_removes_what_it_has_not_finished(tmp_path: Path):
    for name in (
        ".groups-000000-000.parquet-4194311",
        ".groups-000003-001.parquet-4194312",
        ".other-000000-000.parquet-4194311",
    ):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, rank=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".groups-000000-000.parquet-4194311",
        ".other-000000-000.parquet-4194311",
    ]


def test_numbers_are_exact(tmp_path: Path):
    """Log-probabilities are single precision, as they are sampled; rewards and advantages are Python's numbers."""
    exact = response(reward=0.1 + 0.2, advantage=math.pi, rewards={"accuracy": 1 / 3, "brief": -0.0})
    write_shard(tmp_path, [group(0, 0, exact)], INFO)
    [read] = StoredGroups(tmp_path)[0].responses
    assert repr(read) == repr(exact)
    assert read_info(tmp_path / "groups-000000-000.parquet") == INFO


def test_what_a_live_run_is_writing_is_left_alone(tmp_path: Path):
    host = socket.gethostname()
    names = {
        f".groups-000000-000.parquet-{host}-{os.getppid()}": True,
        f".groups-000001-000.parquet-{host}-4194311": False,
        f".groups-000002-000.parquet-{host}-{os.getpid()}": False,  # a process before this one had its number
        ".groups-000003-000.parquet-another-host-4194311": True,
        ".groups-000004-000.parquet-another-host-4194312": False,
    }
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".groups-000004-000.parquet-another-host-4194312", (0, 0))
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for name, left in names.items() if left}


def test_shards_with_other_settings_are_refused_with_both_names(tmp_path: Path):
    write_shard(tmp_path, [group(0, 0, response())], INFO)
    write_shard(tmp_path, [group(1, 0, response())], replace(INFO, settings={"seed": "7"}))
    with pytest.raises(
        ValueError, match=r"groups-000001-000\.parquet: .* of groups-000000-000\.parquet.*seed: 7 \(was"
    ):
        StoredGroups(tmp_path)


def test_the_same_group_twice_is_refused(tmp_path: Path):
    first = write_shard(tmp_path, GROUPS, INFO)
    shutil.copy(first, tmp_path / "groups-000001-000.parquet")
    with pytest.raises(
        ValueError, match=r"groups-000001-000\.parquet: expected groups that no other shard holds, got one"
    ):
        StoredGroups(tmp_path)


def test_a_byte_that_has_changed_is_found(tmp_path: Path):
    """Wherever it is, a shard with it is not taken for a whole one, nor for one with other settings."""
    shard = write_shard(tmp_path, GROUPS[:1], INFO)
    whole = shard.read_bytes()
    assert find_fault(shard) is None
    settings = whole.index(b'"seed": "0"')
    for place in (settings + 9, len(whole) - 2, len(whole) - 6, whole.index(b"PAR1") + 40):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert find_fault(shard), place


def test_a_full_disk_is_told_with_the_path_and_what_to_do(tmp_path: Path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"cannot write .*groups-000000-000\.parquet \(No space.*free some space.*run again"
    ):
        write_shard(tmp_path, GROUPS, INFO)
    assert not list(tmp_path.iterdir())

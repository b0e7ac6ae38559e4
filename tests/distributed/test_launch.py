from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

import pytest
import torch

from tests.distributed.launch import HANG, run_two_processes


def gathered(rank: int, base: int) -> tuple[list[int], int]:
    values = [torch.zeros((), dtype=torch.long) for _ in range(2)]
    torch.distributed.all_gather(values, torch.tensor(base + rank))
    return [int(value) for value in values], os.getpid()


def fails_on_rank_1(rank: int) -> None:
    if rank == 1:
        raise RuntimeError("meant to fail")
    torch.distributed.barrier()


def dies_on_rank_1(rank: int) -> None:
    if rank == 1:
        os._exit(3)
    time.sleep(1000)


def hangs(rank: int, folder: str) -> None:
    Path(folder, f"in-{rank}").touch()
    if rank == 0:
        torch.distributed.barrier()
    time.sleep(1000)


def test_ranks_are_processes_of_their_own_that_talk_and_outlive_a_call():
    calls = [run_two_processes(gathered, base) for base in (40, 50)]
    for base, ((values_0, pid_0), (values_1, pid_1)) in zip((40, 50), calls, strict=True):
        assert values_0 == values_1 == [base, base + 1]
        assert len({os.getpid(), pid_0, pid_1}) == 3
    assert [pid for _, pid in calls[0]] == [pid for _, pid in calls[1]]


def test_error_of_a_rank_ends_both():
    with pytest.raises(RuntimeError, match=r"fails_on_rank_1 failed\nrank 1:\n(?s:.*)meant to fail"):
        run_two_processes(fails_on_rank_1)


def test_death_of_a_rank_is_an_error():
    with pytest.raises(RuntimeError, match=r"dies_on_rank_1 failed\nrank 1 ended with exit code 3"):
        run_two_processes(dies_on_rank_1)


def test_hang_is_ended_with_the_stack_of_each_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def wait_once_both_hang(sources: dict[Connection, int], timeout: float) -> list[Connection]:
        deadline = time.monotonic() + HANG
        while len([*tmp_path.iterdir()]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return wait(sources, timeout)

    run_two_processes(gathered, 0)  # both have started
    monkeypatch.setattr("tests.distributed.launch.wait", wait_once_both_hang)
    with pytest.raises(TimeoutError, match=r"hangs was not done") as raised:
        run_two_processes(hangs, str(tmp_path), limit=2)
    rank_0, rank_1 = str(raised.value).split("rank 0 (running)")[1].split("rank 1 (running)")
    assert "in barrier" in rank_0
    assert "in hangs" in rank_1

from __future__ import annotations

import os
import time

import pytest
import torch

from tests.distributed.launch import run_two_processes


def gathered(rank: int, base: int) -> tuple[list[int], int]:
    values = [torch.zeros((), dtype=torch.long) for _ in range(2)]
    torch.distributed.all_gather(values, torch.tensor(base + rank))
    return [int(value) for value in values], os.getpid()


def fails_on_rank_1(rank: int) -> None:
    if rank == 1:
        raise RuntimeError("told to fail")
    torch.distributed.barrier()


def dies_on_rank_1(rank: int) -> None:
    if rank == 1:
        os._exit(3)
    time.sleep(1000)


def hangs(rank: int) -> None:
    if rank == 0:
        torch.distributed.barrier()
    time.sleep(1000)


def test_both_ranks_run_in_processes_of_their_own_and_talk():
    (values_0, pid_0), (values_1, pid_1) = run_two_processes(gathered, 40)
    assert values_0 == values_1 == [40, 41]
    assert len({os.getpid(), pid_0, pid_1}) == 3


def test_error_of_a_rank_is_told_before_those_that_follow_from_it():
    with pytest.raises(RuntimeError, match=r"fails_on_rank_1 failed\nrank 1:\n(?s:.*)told to fail"):
        run_two_processes(fails_on_rank_1)


def test_death_of_a_rank_is_told():
    with pytest.raises(RuntimeError, match=r"dies_on_rank_1 failed\nprocess 1 .*exit code 3"):
        run_two_processes(dies_on_rank_1)


def test_what_hangs_is_ended_and_where_it_stood_is_told():
    with pytest.raises(TimeoutError, match=r"hangs was not done") as told:
        run_two_processes(hangs, limit=20)
    rank_0, rank_1 = str(told.value).split("rank 0 (running)")[1].split("rank 1 (running)")
    assert "in barrier" in rank_0
    assert "in hangs" in rank_1

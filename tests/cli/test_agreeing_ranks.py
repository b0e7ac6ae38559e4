"""Three processes stop together, although a signal reaches only one of them, which is not rank 0."""

from __future__ import annotations

import json
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from torch import distributed

from lightning_gft.cli.stopping import StopRequest
from lightning_gft.waiting import RunStoppedError
from tests.forking import HANG, forking


class Case(NamedTuple):
    """Batches of each rank, and where one rank gets its signal."""

    batches: tuple[int, int, int]
    signalled: int
    batch: int
    number: int
    drawn: bool
    """Whether the batch's responses are drawn by then, so that the batch is completed."""
    expected: list[int]
    """Batches that each rank completes."""
    trains: bool = False


CASES = [
    Case((4, 4, 4), 1, 2, signal.SIGTERM, drawn=False, expected=[2, 2, 2], trains=True),
    Case((4, 4, 4), 2, 2, signal.SIGINT, drawn=True, expected=[3, 3, 3], trains=True),
    Case((2, 3, 4), 1, 0, signal.SIGTERM, drawn=False, expected=[0, 0, 0]),  # a batch that all ranks have
    Case((2, 3, 4), 2, 3, signal.SIGTERM, drawn=False, expected=[2, 3, 3]),  # one that only this rank has
    Case((2, 2, 5), 2, 2, signal.SIGINT, drawn=True, expected=[2, 2, 3]),
]


def run(case: Case, rank: int) -> tuple[int, int]:
    """Return the number of batches that a rank completes, and the exit status with which it stops."""
    request, done = StopRequest(), 0
    with request.listening():
        request.finish("batch")
        if not case.trains:
            request.begin_evaluation(min(case.batches))
        try:
            for batch in range(case.batches[rank]):
                now = (rank, batch) == (case.signalled, case.batch)
                request.next_batch()
                with request.abandonable():
                    if now and not case.drawn:
                        os.kill(os.getpid(), case.number)
                    request.check_stop()
                    request.all_drawn()
                    if now and case.drawn:
                        os.kill(os.getpid(), case.number)
                done += 1
            request.end_evaluation()
        except RunStoppedError as stopped:
            return done, int(str(stopped))
    return done, 0


def be_rank(rank: int, folder: Path) -> None:
    """Run all cases as one of three ranks, each with the same number of collectives as the others."""
    meeting = f"file://{folder / 'meeting'}"
    limit = timedelta(seconds=HANG / 2)  # a rank that waits in vain says so before it is killed
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=3, timeout=limit)
    ends = []
    for case in CASES:
        ends.append(run(case, rank))
        distributed.barrier()  # fails or hangs if a rank is at another collective
    (folder / f"{rank}.json").write_text(json.dumps(ends))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_all_ranks_stop_where_one_is_asked_to(tmp_path: Path):
    processes = [forking().Process(target=be_rank, args=(rank, tmp_path)) for rank in range(3)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(HANG)
    finally:
        for process in processes:
            process.kill()  # one that hangs; without effect on one that has ended
    assert [process.exitcode for process in processes] == [0, 0, 0]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    for case, *ends in zip(CASES, *ranks, strict=True):
        assert [done for done, _ in ends] == case.expected, case
        other = 128 + signal.SIGTERM  # of a rank without a signal of its own
        own = [128 + case.number if rank == case.signalled else other for rank in range(3)]
        assert [status for _, status in ends] == own, case

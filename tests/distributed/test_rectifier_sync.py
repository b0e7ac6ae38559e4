from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.multiprocessing import ProcessRaisedException

from lightning_gft.rectifier import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from tests.distributed.launch import run_two_processes

RECTIFIERS: dict[str, Callable[[], CoefficientRectifier]] = {
    "identity": IdentityRectifier,
    "dynamic": lambda: DynamicCoefficientRectifier(0.5),
    "continuous": lambda: ContinuousCoefficientRectifier(0.5),
    "adaptive": lambda: AdaptiveCoefficientRectifier(0.3, momentum=0.6, initial_threshold=0.5),
}

# Number of tokens of each update in a step, by rank.
SPLITS: dict[str, tuple[list[int], list[int]]] = {
    "even": ([50, 50], [50, 50]),
    "uneven": ([300, 7], [11]),
    "one-token": ([1], [400, 0, 3]),
    "none-on-one-rank": ([64, 8], [0]),
    "none-at-all": ([0], [0, 0]),
}
STEPS = 3

Record = dict[str, list[tuple[dict[str, Tensor], float]]]


def pieces_of(rank: int, split: tuple[list[int], list[int]], step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 * step + rank)
    return [torch.rand(number, generator=generator).log() for number in split[rank]]


def take_steps(make: Callable[[], CoefficientRectifier], split, ranks: list[int], synced_before_step: bool):
    """Return statistics and threshold after each step on the tokens of ``ranks``; statistics run over all steps."""
    rectifier, record = make(), []
    for step in range(STEPS):
        for rank in ranks:
            for piece in pieces_of(rank, split, step):
                rectifier.update(piece)
        if synced_before_step:
            rectifier.compute()
        rectifier.step()
        record.append((rectifier.compute(), float(getattr(rectifier, "threshold", 0.0))))
    return record


def on_rank(rank: int) -> dict[tuple[str, str, bool], list]:
    return {
        (name, split, synced): take_steps(make, SPLITS[split], [rank], synced)
        for name, make in RECTIFIERS.items()
        for split in SPLITS
        for synced in (False, True)
    }


@pytest.fixture(scope="module")
def recorded() -> list[dict[tuple[str, str, bool], list]]:
    return run_two_processes(on_rank)


@pytest.mark.parametrize("name", RECTIFIERS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("synced", [False, True], ids=["", "computed-before-step"])
def test_two_ranks_equal_one_process_with_all_tokens(recorded, name: str, split: str, synced: bool):
    expected = take_steps(RECTIFIERS[name], SPLITS[split], [0, 1], synced)
    for rank in range(2):
        actual = recorded[rank][name, split, synced]
        assert len(actual) == STEPS
        for (values, threshold), (expected_values, expected_threshold) in zip(actual, expected, strict=True):
            torch.testing.assert_close(values, expected_values, rtol=1e-12, atol=1e-12)
            assert threshold == expected_threshold


@pytest.mark.parametrize("split", SPLITS)
def test_adaptive_threshold_is_the_same_on_both_ranks_and_moved(recorded, split: str):
    thresholds = [[threshold for _, threshold in recorded[rank]["adaptive", split, False]] for rank in range(2)]
    assert thresholds[0] == thresholds[1]
    assert (thresholds[0][-1] != 0.5) == (split != "none-at-all")


def never_updated_on_rank_1(rank: int, name: str, calls: list[str]) -> tuple[dict[str, float], float]:
    rectifier = RECTIFIERS[name]()
    if rank == 0:
        rectifier.update(torch.linspace(-3, 0, 50))
    for call in calls:
        getattr(rectifier, call)()
    values = {key: float(value) for key, value in rectifier.compute().items()}
    return values, float(getattr(rectifier, "threshold", 0.0))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before")
@pytest.mark.parametrize("calls", [[], ["step"], ["compute", "step"]], ids=lambda calls: "-".join(calls) or "compute")
def test_adaptive_rank_without_any_update(calls: list[str]):
    # A rank whose micro-batches were all empty may never have been asked to count.
    expected = never_updated_on_rank_1(0, "adaptive", calls)
    assert run_two_processes(never_updated_on_rank_1, "adaptive", calls, limit=30) == [expected, expected]


def fails_on_rank_1(rank: int) -> None:
    if rank == 1:
        raise RuntimeError("told to fail")
    torch.distributed.barrier()


def hangs(rank: int) -> None:
    if rank == 0:
        torch.distributed.barrier()
    time.sleep(1000)


def test_launch_reports_the_error_of_a_rank():
    with pytest.raises(ProcessRaisedException, match=r"told to fail"):
        run_two_processes(fails_on_rank_1)


def test_launch_ends_what_hangs_and_says_where():
    with pytest.raises(
        TimeoutError, match=r"hangs was not done.*(?s:.*)rank 0 \(running\)(?s:.*)in hangs(?s:.*)rank 1"
    ) as told:
        run_two_processes(hangs, limit=20)
    assert "barrier" in str(told.value)

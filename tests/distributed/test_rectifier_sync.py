from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightning_gft.annealing import Annealing
from lightning_gft.losses import GFTLoss
from lightning_gft.metrics import CoefficientsBySource, TokenStatistics
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from lightning_gft.types import Source, TokenBatch
from tests.distributed.launch import run_two_processes

RECTIFIERS: dict[str, Callable[[], CoefficientRectifier]] = {
    "identity": IdentityRectifier,
    "dynamic": lambda: DynamicCoefficientRectifier(0.5),
    "continuous": lambda: ContinuousCoefficientRectifier(0.5),
    "annealed": lambda: DynamicCoefficientRectifier(Annealing(0.5, 0.1, 2)),
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


CALLS = ([], ["step"], ["compute", "step"], ["step", "compute", "step"])


def never_updated_on_rank_1(rank: int) -> list[tuple[dict[str, float], float]]:
    record = []
    for calls in CALLS:
        rectifier = RECTIFIERS["adaptive"]()
        if rank == 0:
            rectifier.update(torch.linspace(-3, 0, 50))
        for call in calls:
            getattr(rectifier, call)()
        values = {name: float(value) for name, value in rectifier.compute().items()}
        record.append((values, float(rectifier.threshold)))
    return record


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before")
def test_rank_that_was_never_updated_stays_in_step():
    # A rank whose micro-batches were all empty may never have been asked to count.
    expected = never_updated_on_rank_1(0)
    assert run_two_processes(never_updated_on_rank_1) == [expected, expected]


def tokens_of(rank: int, step: int) -> TokenBatch:
    """Return tokens of all sources and signs on rank 0; on rank 1 there are no demonstrations."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    number = (60, 25)[rank]
    source = torch.arange(number) % len(Source) if rank == 0 else torch.full((number,), int(Source.SELF))
    advantages = torch.randn(number, generator=generator, dtype=torch.float64)
    logprobs = torch.rand(number, generator=generator, dtype=torch.float64).log()
    return TokenBatch(logprobs, advantages, source, source, source, advantages)


def loss_figures(rank: int, ranks: tuple[int, ...] = ()) -> list[dict[str, float]]:
    """Return what a run reports of tokens after each step, with what the loss does, and the histograms of weights."""
    statistics, tokens_seen = CoefficientsBySource(), TokenStatistics()
    loss = GFTLoss(
        AdaptiveCoefficientRectifier(0.3, momentum=0.5),
        rectify="positive_demonstrations",
        otherwise=AdaptiveCoefficientRectifier(0.6, momentum=0.5),
    )
    record = []
    for step in range(STEPS):
        for one in ranks or (rank,):
            tokens = replace(tokens_of(one, step), entropy=torch.ones(()).expand((60, 25)[one]))
            coefficients = loss.coefficients(tokens)
            loss.update(tokens, coefficients)
            statistics.update(tokens, loss.factors(tokens, coefficients))
            tokens_seen.update(tokens, coefficients)
        loss.step()
        figures = {**statistics.compute(), **tokens_seen.compute(), **loss.compute()}
        figures |= {f"bin {place}": count for place, count in enumerate(statistics.histograms.flatten())}
        record.append({name: float(value) for name, value in figures.items()})
        for metric in (statistics, tokens_seen, loss):
            metric.reset()
    return record


def test_a_run_reports_what_all_ranks_counted_by_source_and_sign():
    expected = loss_figures(0, ranks=(0, 1))
    assert len([name for name in expected[0] if "_by_source/" in name]) == 12 + 3 * 8 + 3 * 4
    assert sum(count for name, count in expected[0].items() if name.startswith("bin ")) == 2 * 85
    assert expected[-1]["threshold"] != expected[-1]["otherwise/threshold"]
    for record in run_two_processes(loss_figures):
        for actual, figures in zip(record, expected, strict=True):
            assert actual == pytest.approx(figures, rel=1e-12)

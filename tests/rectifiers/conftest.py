"""Rectifiers, tokens and comparisons that the tests of the rectifiers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from lightning_gft.annealing import Annealing
from lightning_gft.rectifiers import (
    AdaptiveCoefficientRectifier,
    CoefficientRectifier,
    ContinuousCoefficientRectifier,
    DynamicCoefficientRectifier,
    IdentityRectifier,
)
from tests import reference

RECTIFIERS: dict[str, tuple[Callable[[], CoefficientRectifier], Callable[[float], float]]] = {
    "identity": (IdentityRectifier, lambda p: 1.0),
    "dynamic": (lambda: DynamicCoefficientRectifier(0.5), lambda p: reference.rectified(p, 0.5)),
    "continuous": (lambda: ContinuousCoefficientRectifier(0.5), lambda p: reference.continuous(p, 0.5)),
    "annealed": (lambda: DynamicCoefficientRectifier(Annealing(0.5, 0.5, 3)), lambda p: reference.rectified(p, 0.5)),
    "adaptive": (
        lambda: AdaptiveCoefficientRectifier(0.3, momentum=0.5, initial_threshold=0.5),
        lambda p: reference.rectified(p, 0.5),
    ),
}
every_rectifier = pytest.mark.parametrize(("make", "coefficient"), RECTIFIERS.values(), ids=RECTIFIERS.keys())


def tokens(number: int = 40, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return log-probabilities of uniform probabilities."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, dtype=torch.float64, generator=generator).log().to(dtype)


def assert_statistics(actual: dict[str, Tensor], expected: dict[str, float], tolerance: float = 1e-7) -> None:
    counted = {name: value.item() for name, value in actual.items() if name != "threshold"}
    assert counted == pytest.approx(expected, rel=tolerance, abs=1e-12)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and sums of one thread are the same on every machine."""
    number = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(number)

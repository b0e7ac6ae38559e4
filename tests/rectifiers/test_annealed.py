"""A threshold that changes with optimizer steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from lightning_gft.annealing import Annealing
from lightning_gft.rectifiers import ContinuousCoefficientRectifier, DynamicCoefficientRectifier
from tests import reference
from tests.rectifiers.conftest import assert_statistics, tokens

KINDS = {
    DynamicCoefficientRectifier: reference.rectified,
    ContinuousCoefficientRectifier: reference.continuous,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
FALLING = Annealing(0.7, 0.1, 4)


@every_kind
@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_it_rectifies_by_the_threshold_of_the_step(kind: Any, shape: Any):
    annealing = Annealing(0.7, 0.1, 4, shape)
    rectifier = kind(annealing)
    for step in range(6):
        coefficient = partial(KINDS[kind], threshold=annealing.at(step))
        expected = [coefficient(p) for p in tokens().exp().tolist()]
        torch.testing.assert_close(rectifier.rectify(tokens()).tolist(), expected)
        rectifier.reset()
        rectifier.update(tokens())
        figures = rectifier.compute()
        assert figures["threshold"].item() == rectifier.threshold == annealing.at(step)
        assert_statistics(figures, reference.rectifier_statistics(tokens().tolist(), coefficient))
        rectifier.step()
    assert rectifier.threshold == pytest.approx(0.1)


@every_kind
def test_one_without_a_way_is_the_fixed_one(kind: Any):
    fixed, annealed = kind(0.5), kind(Annealing(0.5, 0.5, 3))
    for _ in range(5):
        for one in (fixed, annealed):
            one.update(tokens())
            one.step()
        assert torch.equal(annealed.rectify(tokens()), fixed.rectify(tokens()))
    figures = annealed.compute()
    assert figures.pop("threshold") == 0.5
    assert figures == fixed.compute()


@every_kind
def test_it_is_resumed_from_a_checkpoint(kind: Any, tmp_path: Any):
    trained, resumed = kind(FALLING), kind(FALLING)
    for _ in range(2):
        trained.step()
        trained.reset()
    assert set(trained.state_dict()) == {"num_steps"}
    torch.save(trained.state_dict(), tmp_path / "rectifier.pt")
    resumed.load_state_dict(torch.load(tmp_path / "rectifier.pt", weights_only=True))
    assert resumed.threshold == trained.threshold == FALLING.at(2)
    for one in (trained, resumed):
        one.step()
    assert resumed.threshold == trained.threshold == FALLING.at(3)
    assert resumed.num_steps == 3


@every_kind
def test_a_resumed_run_takes_the_annealing_that_it_is_given(kind: Any):
    trained, resumed = kind(FALLING), kind(Annealing(0.9, 0.5, 4))
    trained.step()
    resumed.load_state_dict(trained.state_dict())
    assert resumed.threshold == Annealing(0.9, 0.5, 4).at(1)


@every_kind
def test_a_fixed_threshold_has_no_state_and_reports_none(kind: Any):
    rectifier = kind(0.5)
    rectifier.step()
    assert rectifier.state_dict() == {}
    assert "threshold" not in rectifier.compute()
    rectifier.load_state_dict({})
    assert rectifier.threshold == 0.5


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric .* was called before")
def test_the_threshold_is_reported_as_it_stands():
    rectifier = DynamicCoefficientRectifier(FALLING)
    assert rectifier.compute()["threshold"] == 0.7
    rectifier.step()
    assert rectifier.compute()["threshold"] == FALLING.at(1) < 0.7


def test_forward_leaves_the_steps_as_they_are():
    rectifier = DynamicCoefficientRectifier(FALLING)
    for step in range(3):
        for seed in range(4):
            rectifier(tokens(seed=seed))
        assert rectifier.num_steps == step
        rectifier.step()


def test_it_shows_its_way_and_not_where_it_is():
    rectifier = DynamicCoefficientRectifier(FALLING)
    rectifier.step()
    assert repr(rectifier) == f"DynamicCoefficientRectifier(threshold={FALLING!r})"


@pytest.mark.parametrize(
    ("annealing", "message"),
    [
        (Annealing(-0.1, 0.5, 3), "`threshold.start` of DynamicCoefficientRectifier: expected a number of at least 0"),
        (Annealing(0.5, -0.1, 3), "`threshold.end` of DynamicCoefficientRectifier: expected a number of at least 0"),
    ],
)
def test_thresholds_out_of_range_are_named(annealing: Annealing, message: str):
    with pytest.raises(ValueError, match=message):
        DynamicCoefficientRectifier(annealing)

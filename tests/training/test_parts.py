"""Parts by themselves: which there are, what they report and under which names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import SumMetric

from lightning_gft import AdaptiveCoefficientRectifier, Evaluation, GFTLoss
from lightning_gft.parts import Part
from lightning_gft.training import PartsLife, parts_of
from tests.module.runs import DigitSum, fit, make_module
from tests.training.test_life import Told, module_of, of

CPU = torch.device("cpu")

SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


def test_parts_of_a_run_and_where_their_figures_stand():
    events: list[str] = []
    module = module_of(events)
    parts = parts_of(module.sampler, module.loss)
    assert list(parts) == ["", "rewards/score", "total", "advantage", "sources/teacher"]
    assert parts[""] is module.loss
    engine: Any = Told(events, "engine")
    assert parts_of(module.sampler, module.loss, engine)["engine"] is engine


def test_a_part_of_two_places_is_one_part():
    part, life = Told(), PartsLife()
    life.begin({"rewards/a": part, "rewards/b": part}, CPU)
    life.begin({"rewards/a": part}, CPU)
    life.end()
    life.end()
    assert of(part.events, "part") == ["setup", "close"]
    life.begin({"rewards/a": part}, CPU)  # the next run
    assert of(part.events, "part") == ["setup", "close", "setup"]


def test_a_part_that_comes_later_is_set_up_and_all_are_closed():
    life, first, second = PartsLife(), Told(name="first"), Told(name="second")
    life.begin({"": first}, CPU)
    life.begin({"": second}, CPU)
    assert (first.events, second.events) == (["first setup"], ["second setup"])
    life.end()
    assert (first.events[1:], second.events[1:]) == (["first close"], ["second close"])


class Reports(Part):
    """Reports given figures."""

    def __init__(self, **figures: Tensor | float) -> None:
        self.figures = figures

    def compute(self) -> dict[str, Tensor | float]:
        return self.figures


def test_figures_are_numbers_and_tensors():
    one = torch.tensor(1.5, dtype=torch.float64)
    figures = PartsLife().figures({"": Reports(clipped=2), "rewards/a": Reports(mean=one), "engine": Part()})
    assert figures == {"clipped": 2.0, "rewards/a/mean": one}
    assert figures["rewards/a/mean"] is one


@pytest.mark.parametrize("figures", [None, 3, {"a": "b"}, {"a": [1]}, {"a": torch.ones(2)}, {"a": None}], ids=str)
def test_what_is_no_figure_is_refused(figures: Any):
    class Wrong(Part):
        def compute(self) -> Any:
            return figures

    with pytest.raises(TypeError, match=r"`Wrong\.compute`: expected (figures by name|a number or a scalar tensor)"):
        PartsLife().figures({"rewards/wrong": Wrong()})


def test_two_figures_of_one_name_are_refused():
    life = PartsLife()
    parts = {"": Reports(**{"engine/calls": 1}), "engine": Reports(calls=1)}
    with pytest.raises(ValueError, match=r"`Reports.compute`: expected a new name, got 'engine/calls'; rename it"):
        life.figures(parts)
    with pytest.raises(ValueError, match=r"`Reports.compute`: expected a new name, got 'loss'; rename it"):
        life.figures({"": Reports(loss=1)}, taken={"loss": 0.1})


def test_a_part_may_not_report_what_the_run_reports():
    class Reporting(DigitSum):
        def compute(self) -> dict[str, Tensor | float]:
            return {"mean": 0.0}

    with pytest.raises(ValueError, match=r"`Reporting.compute`: expected a new name, got 'rewards/score/mean'"):
        fit(make_module(reward=Reporting()))


def test_metrics_move_with_the_run_and_models_stay():
    class WithModel(Part):
        def __init__(self) -> None:
            self.total, self.model = SumMetric(), torch.nn.Linear(2, 2)

    life, loss, part = PartsLife(), GFTLoss(AdaptiveCoefficientRectifier()), WithModel()
    life.begin({"": loss, "rewards/a": part}, torch.device("meta"))
    assert {loss.rectifier.threshold.device.type, part.total.device.type} == {"meta"}
    assert part.model.weight.device.type == "cpu"

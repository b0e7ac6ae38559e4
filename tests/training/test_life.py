"""Parts of a run: set up before use, asked for figures after each step, closed once however the run ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchmetrics import SumMetric

from lightning_gft import Evaluation, GFTLoss, GroupNormalizedAdvantage, TeacherSource
from lightning_gft.parts import Part
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module, make_trainer

CPU = torch.device("cpu")
SHORT = Evaluation(num_samples=2, max_new_tokens=4, kl=False)


class Told(Part):
    """Notes what is asked of it, and may fail."""

    def __init__(self, events: list[str] | None = None, name: str = "part", fails: str = "") -> None:
        self.events, self.name, self.fails = [] if events is None else events, name, fails

    def note(self, event: str) -> None:
        self.events.append(f"{self.name} {event}")
        if event == self.fails:
            raise RuntimeError(f"{self.name} cannot {event}")

    def setup(self) -> None:
        self.note("setup")

    def close(self) -> None:
        self.note("close")

    def compute(self) -> dict[str, Tensor | float]:
        self.note("compute")
        return {}

    def reset(self) -> None:
        self.note("reset")


class ToldReward(Told, DigitSum):
    """A reward that notes what is asked of it, counts its responses, and may fail or be interrupted in a call."""

    def __init__(self, events: list[str] | None = None, name: str = "reward", fails: str = "") -> None:
        Told.__init__(self, events, name, fails)
        DigitSum.__init__(self)
        self.interrupted = False
        self.num_responses = 0
        self.total = SumMetric()

    def __call__(self, *, responses: Any, **keywords: Any) -> Tensor:
        self.note("call")
        if self.interrupted:
            raise KeyboardInterrupt
        self.num_responses += len(responses)
        scores = super().__call__(responses=responses, **keywords)
        self.total.update(scores)
        return scores

    def compute(self) -> dict[str, Tensor | float]:
        super().compute()
        return {"responses": self.num_responses, "total": self.total.compute()}

    def reset(self) -> None:
        super().reset()
        self.num_responses = 0
        self.total.reset()


class ToldSource(Told, TeacherSource):
    """Demonstrations of a teacher; notes what is asked of it."""

    def __init__(self, events: list[str], name: str = "source", fails: str = "") -> None:
        Told.__init__(self, events, name, fails)
        TeacherSource.__init__(self, 4)


class ToldAdvantage(Told, GroupNormalizedAdvantage):
    """Notes what is asked of it."""

    def __init__(self, events: list[str], fails: str = "") -> None:
        Told.__init__(self, events, "advantage", fails)
        GroupNormalizedAdvantage.__init__(self)


class ToldLoss(Told, GFTLoss):
    """Notes what is asked of it, rectified figures aside."""

    def __init__(self, events: list[str], fails: str = "") -> None:
        GFTLoss.__init__(self)
        Told.__init__(self, events, "loss", fails)


def of(events: list[str], name: str) -> list[str]:
    return [event.removeprefix(f"{name} ") for event in events if event.startswith(f"{name} ")]


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning ignores further interrupts after the first."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def module_of(events: list[str], **fails: str) -> Any:
    """Return a module of parts that note what is asked of them."""
    return make_module(
        ToldLoss(events, fails.get("loss", "")),
        {"teacher": ToldSource(events, fails=fails.get("source", ""))},
        reward=ToldReward(events, fails=fails.get("reward", "")),
        advantage=ToldAdvantage(events, fails=fails.get("advantage", "")),
        evaluation=SHORT,
    )


PARTS = ("loss", "source", "reward", "advantage")


def test_order_in_a_fit():
    events: list[str] = []
    module = module_of(events)
    fit(module, Rows(batch_size=2))
    steps = ["reset", *["compute", "reset"] * 2]  # what was counted before training is forgotten
    assert of(events, "source") == of(events, "advantage") == of(events, "loss") == ["setup", *steps, "close"]
    # Demonstrations of each role are scored before training, which the reward is set up for.
    assert of(events, "reward") == ["setup", "call", "call", "reset", *["call", "compute", "reset"] * 2, "close"]


def test_figures_of_parts_are_logged_from_where_they_stand():
    events: list[str] = []
    seen: list[dict[str, float]] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            names = ("responses", "total")
            seen.append({name: trainer.callback_metrics[f"train/rewards/score/{name}"].item() for name in names})

    module = module_of(events)
    fit(module, Rows(batch_size=2), callbacks=[Keep()])
    totals = [groups.rewards.sum().item() for groups in module.sampler.made]
    assert [row["responses"] for row in seen] == [8, 8]
    assert seen[1]["total"] == pytest.approx(totals[1])


@pytest.mark.parametrize("run", ["validate", "test", "predict"])
def test_parts_live_through_other_runs_as_well(run: str):
    class Prompts(Rows):
        def predict_dataloader(self) -> Any:
            return self.train_dataloader()

    events: list[str] = []
    module = module_of(events)
    for _ in range(2):
        getattr(make_trainer(), run)(module, datamodule=Prompts(val_rows=ROWS))
    asked = of(events, "reward")
    assert asked[0] == "setup"
    assert asked[-1] == "close"
    assert asked.count("setup") == asked.count("close") == 2
    assert "call" in asked


def fails_in_a_step(module: Any) -> None:
    class Failing(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.sampler.rewards["score"].fails = "call"

    with pytest.raises(Exception, match="reward cannot call"):
        fit(module, callbacks=[Failing()])


def interrupted_in_a_step(module: Any) -> None:
    class Interrupting(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.sampler.rewards["score"].interrupted = True

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(module, callbacks=[Interrupting()])


def fails_in_a_callback(module: Any) -> None:
    class Failing(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise ValueError("stop here")

    with pytest.raises(ValueError, match="stop here"):
        fit(module, callbacks=[Failing()])


def is_refused(module: Any) -> None:
    with pytest.raises(ValueError, match="expected a column of teacher responses"):
        fit(module, Rows([{key: value for key, value in row.items() if key != "teacher"} for row in ROWS]))


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(
    "ends", [fit, fails_in_a_step, interrupted_in_a_step, fails_in_a_callback, is_refused], ids=lambda f: f.__name__
)
def test_every_part_is_closed_once_however_a_run_ends(ends: Callable[[Any], Any]):
    events: list[str] = []
    ends(module_of(events))
    for name in PARTS:
        asked = of(events, name)
        assert asked.count("setup") == asked.count("close") == 1, name
        assert (asked[0], asked[-1]) == ("setup", "close"), name


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_cannot_be_set_up_is_closed_with_those_that_were(part: str):
    events: list[str] = []
    with pytest.raises(RuntimeError, match=f"{part} cannot setup"):
        fit(module_of(events, **{part: "setup"}))
    for name in PARTS:
        asked = of(events, name)
        assert asked.count("close") == asked.count("setup") <= 1, name
    assert of(events, part) == ["setup", "close"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_cannot_be_closed_keeps_no_other_from_it(part: str):
    events: list[str] = []
    with pytest.warns(UserWarning, match=rf"close`: failed, .* left open: RuntimeError\('{part} cannot close'\)"):
        fit(module_of(events, **{part: "close"}))
    assert sorted(event for event in events if event.endswith("close")) == sorted(f"{name} close" for name in PARTS)


def test_what_stopped_a_run_is_reported_even_if_a_part_cannot_be_closed():
    events: list[str] = []
    with pytest.warns(UserWarning, match="the part is left open: .*source cannot close"):
        fails_in_a_callback(module_of(events, source="close"))
    assert len([event for event in events if event.endswith("close")]) == len(PARTS)


# The object itself

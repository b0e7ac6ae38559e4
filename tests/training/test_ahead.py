"""Drawing the next batch while the current one trains: its weights, its thread and its end."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightning_gft import (
    Evaluation,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    ImportanceCorrection,
    RolloutEngine,
    SelfSource,
    TransformersEngine,
)
from lightning_gft.sources.wrapper import SourceWrapper
from lightning_gft.types import Response
from lightning_gft.waiting import check_wait
from tests.module.runs import ROWS, Rows, fit, make_module, make_trainer, weights
from tests.tiny import tiny_loader

MAIN = threading.main_thread()


class CopyEngine(RolloutEngine):
    """Draws from a copy of the weights, like a server."""

    def __init__(self) -> None:
        self._engine = TransformersEngine()
        self._model: Any = None
        self.changes, self.taken, self.calls = 0, -1, 0
        self.under_way = False
        self.drawn: list[tuple[str, int]] = []
        """How each draw was begun, and the number of changes before its weights."""
        self.before: Callable[[int], None] = lambda number: None

    def weights_changed(self) -> None:
        self.changes += 1

    def prepare(self, policy: Any) -> None:
        assert threading.current_thread() is MAIN
        if self.taken != self.changes:
            assert not self.under_way, "weights are sent during a draw"
            self._model, self.taken = copy.deepcopy(policy.model).eval(), self.changes

    def generate(self, model: Any, *args: Any, **kwargs: Any) -> list[list[Response]]:
        assert threading.current_thread() is MAIN
        return self._draw("now", *args, **kwargs)

    def can_draw_ahead(self) -> bool:
        return True

    def generate_ahead(self, *args: Any) -> list[list[Response]]:
        assert threading.current_thread() is not MAIN
        self.calls += 1
        self.before(self.calls)
        return self._draw("ahead", *args)

    def for_references(self) -> RolloutEngine:
        return self._engine

    def _draw(self, how: str, *args: Any, **kwargs: Any) -> list[list[Response]]:
        assert not self.under_way, "one draw at a time"
        self.under_way = True
        try:
            self.drawn.append((how, self.taken))
            return self._engine.generate(self._model, *args, **kwargs)
        finally:
            self.under_way = False


class Alike(CopyEngine):
    """Each draw but the first lasts until the policy has taken an update."""

    def generate_ahead(self, *args: Any) -> list[list[Response]]:
        self.under_way = True
        seen, self.calls = self.taken, self.calls + 1
        while self.calls > 1 and self.changes == seen:
            check_wait()
            time.sleep(0.005)
        self.under_way = False
        return self._draw("ahead", *args)


def module_with(engine: RolloutEngine | None, ahead: int = 1, sources: Any = None, **settings: Any) -> GFTLitModule:
    loader = tiny_loader("gpt2")
    loader.rollout = engine
    sources = sources or {"expert": ExpertSource(), "self": SelfSource(3, max_new_tokens=6, ahead=ahead)}
    settings = {"evaluation": Evaluation(num_samples=2, max_new_tokens=4, kl=False), **settings}
    return make_module(ImportanceCorrection(GFTLoss()), sources, policy=loader, **settings)


def data(**settings: Any) -> Rows:
    return Rows(ROWS[:2] + ROWS[3:] + ROWS[:1], batch_size=1, **settings)


def draws_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "AheadDraw"]


class Heard(Callback):
    """Records the figures and the groups of each step."""

    def __init__(self) -> None:
        self.staleness: list[float] = []
        self.versions: list[set[int]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.staleness.append(float(trainer.callback_metrics["train/sampling/staleness/max"]))
        self.versions.append({*outputs["groups"].weights_version.tolist()} - {-1})


def test_the_next_batch_is_drawn_during_the_update_from_the_weights_before_it():
    engine, heard = Alike(), Heard()
    trainer = fit(module_with(engine), data(), callbacks=[heard])
    first = engine.drawn[0][1]
    assert engine.drawn == [("ahead", first + number) for number in (0, 0, 1, 2)]
    assert heard.versions == [{0}, {0}, {1}, {2}]
    assert heard.staleness == [0, 1, 1, 1]
    figures = trainer.callback_metrics
    assert figures["train/sampling/logprob_difference"] > 1e-4
    assert figures["train/sampling/importance_sampling_ratio/max"] != 1
    assert draws_left() == []


def test_several_updates_on_a_batch_are_as_many_steps():
    engine, heard = Alike(), Heard()
    fit(module_with(engine, updates_per_batch=2), data(), callbacks=[heard])
    assert heard.staleness == [0, 2, 2, 2]


def test_a_validation_waits_and_draws_from_the_weights_of_now():
    engine, heard = Alike(), Heard()
    fit(module_with(engine), data(val_rows=ROWS[:2]), callbacks=[heard], val_check_interval=1)
    kinds = [how for how, _ in engine.drawn]
    assert kinds == ["ahead", *["ahead", "now"] * 3, "now"]
    now = [version for how, version in engine.drawn if how == "now"]
    assert now == [now[0] + number for number in range(4)]
    assert heard.staleness == [0, 1, 1, 1]


def test_without_it_nothing_changes():
    engine = CopyEngine()
    drawn_elsewhere = module_with(engine, ahead=0)
    in_place = module_with(None, ahead=0)
    heard = Heard()
    for module in (drawn_elsewhere, in_place):
        fit(module, data(), callbacks=[heard])
    assert {how for how, _ in engine.drawn} == {"now"}
    assert heard.staleness == [0] * 8
    torch.testing.assert_close(weights(drawn_elsewhere), weights(in_place), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")
@pytest.mark.parametrize("num_groups", [None, 1])
def test_a_resumed_run_trains_on_the_same_responses(num_groups: int | None, tmp_path: Path):
    def run(**arguments: Any) -> GFTLitModule:
        module = module_with(CopyEngine())
        module.sampler.num_groups = num_groups
        rows = Rows(ROWS * 2, batch_size=2)
        fit(module, rows, max_steps=6, max_epochs=-1, **arguments)
        return module

    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = run(callbacks=[keep], enable_checkpointing=True)
    for step in (2, 3, 4):
        resumed = run(ckpt_path=str(tmp_path / f"step={step}.ckpt"))
        torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
        assert resumed.policy.draws.steps == 6
    assert draws_left() == []


def test_ranks_gather_weights_once_a_step_however_many_draws_they_begin():
    class Gathered(Callback):
        depth, times = 0, 0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            whole = pl_module.policy.sharding.whole

            @contextmanager
            def counted(*models: Any) -> Iterator[None]:
                self.times += self.depth == 0
                self.depth += 1
                with whole(*models):
                    yield
                self.depth -= 1

            pl_module.policy.sharding.whole = counted

    engine, gathered = CopyEngine(), Gathered()
    fit(module_with(engine), data(), callbacks=[gathered])
    assert len(engine.drawn) == 4
    assert gathered.times == 4


def test_nothing_is_drawn_that_the_run_does_not_reach():
    engine = CopyEngine()
    fit(module_with(engine), data(), max_steps=2)
    assert len(engine.drawn) == 2


def test_a_prediction_gives_the_same_groups():
    def groups(ahead: int) -> list[list[str]]:
        module = module_with(CopyEngine(), ahead)
        torch.manual_seed(0)
        trainer = make_trainer()
        rows = data()
        rows.predict_dataloader = rows.train_dataloader  # type: ignore[method-assign]
        made = trainer.predict(module, datamodule=rows)
        assert made is not None
        return [batch.responses for batch in made]

    assert groups(1) == groups(0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_engine_that_draws_with_the_model_is_refused_before_that_is_loaded(wrapped: bool):
    source: Any = SelfSource(3, max_new_tokens=6, ahead=1)
    module = module_with(None, sources={"self": SourceWrapper(source) if wrapped else source})
    with pytest.raises(ValueError) as raised:
        fit(module, data())
    assert str(raised.value) == (
        "`ahead` of SelfSource: expected 0 with TransformersEngine, which cannot sample while the policy trains, got "
        "1; leave it out, or use an engine with weights of its own that does not sleep"
    )
    assert not hasattr(module, "policy")


def test_only_the_next_batch_may_be_drawn_ahead():
    with pytest.raises(ValueError, match=r"`ahead` of SelfSource: expected a whole number .* got 2"):
        SelfSource(ahead=2)

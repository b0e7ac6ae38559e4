"""Gradient norms by block, the change of the weights and the divergence of a step, beside what is taken slowly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim import AdamW

from lightning_gft import GroupBatch, LoRA, SelfSource, SFTLoss, Source, TeacherSource
from lightning_gft.training.measures import _few
from tests.conftest import quick
from tests.module.runs import ROWS, Rows, fit, make_module, sgd, weights
from tests.module.test_guards import ExplodesAt
from tests.tiny import tiny_loader
from tests.training.measured import Measured

SOURCES = {"teacher": TeacherSource(4), "self": SelfSource(num_generations=3, max_new_tokens=9)}


def measured(policy: Any = None, lora: LoRA | None = None, steps: int = 3, **settings: Any) -> tuple[Any, Any]:
    """Return a run's own figures of updates and slow ones, and the module."""
    loader, slow = policy or tiny_loader(), Measured()
    loader.lora = lora
    arguments = {key: settings.pop(key) for key in ("precision", "log_every_n_steps") if key in settings}
    module = make_module(policy=loader, sources=settings.pop("sources", dict(SOURCES)), **settings)
    fit(module, Rows(batch_size=1), callbacks=[slow], max_steps=steps, **{"log_every_n_steps": 1, **arguments})
    return module, slow


@pytest.fixture(autouse=True)
def _each_row(monkeypatch):
    """Let each row have the divergence."""
    monkeypatch.setattr("lightning_gft.training.updates.DIVERGENCE_EACH", 1)


CASES: dict[str, dict[str, Any]] = {
    "tied": {"policy": lambda: tiny_loader(tie_word_embeddings=True)},
    "head": {"policy": lambda: tiny_loader(tie_word_embeddings=False)},
    "gpt2": {"policy": lambda: tiny_loader("gpt2", n_positions=128)},
    "adapters": {"lora": LoRA(r=2, dropout=0.3)},  # dropout makes no divergence
    "adam": {"optimizer": lambda parameters: AdamW(parameters, lr=1e-3, weight_decay=0.1)},
    "updates": {"updates_per_batch": 3, "steps": 6},
    "given": {"sources": {"teacher": TeacherSource(4)}, "loss": SFTLoss()},
}


@pytest.mark.parametrize("case", quick(CASES, "tied", "gpt2", "adapters", "updates"))
def test_figures_are_those_that_are_taken_slowly(case):
    settings = dict(CASES[case])
    policy = settings.pop("policy", tiny_loader)()
    _, slow = measured(policy, **settings)
    assert len(slow.figures) >= 2
    for own, expected in zip(slow.logged, slow.figures, strict=True):
        assert own == pytest.approx(expected, rel=1e-3), case
        assert own["update_ratio"] > 0
        assert own["kl_step"] > 0


def test_parts_are_those_of_the_model():
    _, slow = measured(tiny_loader(tie_word_embeddings=False), steps=1)
    blocks = {name.split("/")[1] for name in slow.figures[0] if "/" in name}
    assert blocks == {"embedding", "block_0", "block_1", "head", "other"}


def test_weights_that_stay_diverge_by_nothing():
    """Before and after are measured alike, so that no rounding looks like a change."""
    _, slow = measured(optimizer=sgd(0.0), precision="bf16-mixed")
    assert all((own["update_ratio"], own["kl_step"]) == (0, 0) for own in slow.logged)


def test_what_an_update_skips_is_not_measured():
    _, slow = measured(loss=ExplodesAt([0], torch.inf), updates_per_batch=1)
    assert not {"kl_step", "update_ratio"} & slow.logged[0].keys()
    assert {"kl_step", "update_ratio"} <= slow.logged[1].keys()


def test_figures_are_there_on_logged_steps_alone():
    _, slow = measured(log_every_n_steps=2)
    assert [bool(own) for own in slow.logged] == [False, True, True]  # what a callback monitors stays
    assert slow.logged[2] == slow.logged[1]


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 4, 7, 10]), (2, [2, 6, 10]), (4, [4, 8])])
def test_the_divergence_has_its_turn_in_some_rows(every, expected, monkeypatch):
    """At least three steps lie between two, whatever rows are written."""
    monkeypatch.setattr("lightning_gft.training.updates.DIVERGENCE_EACH", 3)
    measured_at = []

    class Turns(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.callback_metrics.pop("train/kl_step", None) is not None:
                measured_at.append(trainer.global_step)

    fit(make_module(), Rows(ROWS[:1] * 10, batch_size=1), callbacks=[Turns()], log_every_n_steps=every)
    assert measured_at == expected


def test_measuring_changes_nothing():
    trained = [weights(measured(log_every_n_steps=every, lora=LoRA(r=2, dropout=0.3))[0]) for every in (1, 50)]
    assert all(torch.equal(trained[0][name], weight) for name, weight in trained[1].items())


def test_the_second_update_runs_the_weights_that_the_first_has_left():
    """An autocast that kept the half precision of weights would not notice their change within a step."""
    figures = {}
    for precision in ("bf16-mixed", "32-true"):
        module = make_module(SFTLoss(), updates_per_batch=2, optimizer=sgd(1.0))
        figures[precision] = fit(module, max_steps=2, precision=precision).callback_metrics["train/loss"].item()
    once = fit(make_module(SFTLoss()), max_steps=1).callback_metrics["train/loss"].item()
    assert abs(figures["32-true"] - once) > 0.05
    assert figures["bf16-mixed"] == pytest.approx(figures["32-true"], rel=0.02)


def groups_of(number: int, length: int) -> GroupBatch:
    mask = torch.ones(number, length, dtype=torch.bool)
    one = torch.ones(number)
    source = torch.full((number,), int(Source.SELF))
    return GroupBatch(mask.long(), mask, mask, torch.arange(number) // 8, source, one, one, one.bool())


def test_few_sequences_are_measured_on_from_all_over_a_step():
    groups = groups_of(200, length=30)
    rows = _few(groups)
    assert 200 < groups.lengths[rows].sum() <= 256
    assert rows[0] < 25
    assert rows[-1] >= 150
    assert len(_few(groups_of(3, length=900))) == 1
    assert len(_few(groups_of(0, length=1))) == 0

"""Stages that cannot run are refused in a line: when they are made, or before the first one trains."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch.optim import SGD, AdamW

from lightning_gft import (
    ChosenSource,
    DFTLoss,
    Evaluation,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    HighestReward,
    HPTLoss,
    SelfSource,
    SFTLoss,
    TeacherSource,
    WarmupSchedule,
)
from lightning_gft.callbacks import Stage, StageSchedule, Until
from lightning_gft.callbacks.stages.lengths import Progress
from lightning_gft.callbacks.stages.plan import Plan
from lightning_gft.preflight import check_tokenizer
from tests.callbacks.stages.runs import SHORT, Finished, adam
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")

STEP = {"max_steps": 1}
MADE_WRONG: dict[str, tuple[Any, str]] = {
    "no stages": ({}, "`stages`: expected at least one, got none"),
    "no dict": ([Stage(**STEP)], "`stages`: expected a dict of stages by name, got a list"),
    "no stage": ({"a": SFTLoss()}, "`stages.a`: expected a Stage, got SFTLoss"),
    "a folder": ({"a/b": Stage(**STEP)}, "`stages`: expected a name of letters, .*, got 'a/b'"),
    "a number": ({1: Stage(**STEP)}, "`stages`: expected a name of letters, .*, got 1;"),
    "taken": ({"val": Stage(**STEP)}, "`stages`: expected a name .* that no figure has, got 'val'"),
    "no length": ({"a": Stage()}, "`stages.a.max_steps`: expected a length, got none"),
    "zero": ({"a": Stage(max_steps=0)}, "`stages.a.max_steps`: expected a whole number of at least 1, got 0"),
    "epochs": ({"a": Stage(max_epochs=-1)}, "`stages.a.max_epochs`: expected a whole number of at least 1, got -1"),
    "rate": ({"a": Stage(learning_rate=-1.0, **STEP)}, "`stages.a.learning_rate`: expected a number above 0"),
    "reference": ({"a": Stage(reference="start", **STEP)}, "`stages.a.reference`: expected run or stage, got 'start'"),  # type: ignore[arg-type]
    "loss": ({"a": Stage(loss="sft", **STEP)}, "`stages.a.loss`: expected a GroupLoss, got 'sft'"),  # type: ignore[arg-type]
    "optimizer": ({"a": Stage(optimizer=3, **STEP)}, "`stages.a.optimizer`: expected a function"),  # type: ignore[arg-type]
    "until": ({"a": Stage(until="val/kl")}, "`stages.a.until`: expected a Until, got 'val/kl'"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("name", MADE_WRONG)
def test_stages_that_do_not_work_are_refused_when_they_are_made(name: str):
    stages, message = MADE_WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        StageSchedule(stages)


@pytest.mark.parametrize(("setting", "value"), [("mode", "up"), ("patience", 0), ("min_delta", -1.0), ("monitor", 3)])
def test_an_end_that_does_not_work_is_refused(setting: str, value: Any):
    with pytest.raises((ValueError, TypeError), match=f"`{setting}`"):
        Until(**{"monitor": "val/kl", setting: value})


TWO = Evaluation(num_samples=2, max_new_tokens=4, reward="score")
NEVER, ENDLESS = Until("val/pass@9"), Until("val/kl")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown figure": (
        {"until": NEVER},
        "`stages.b.until.monitor`: expected .*, got 'val/pass@9'; did you mean val/pass@2",
    ),
    "figure of training": ({"until": Until("train/loss")}, "`stages.b.until.monitor`: expected .*, got 'train/loss'"),
    "one response": (
        {"loss": GFTLoss(), "sources": {"e": ExpertSource()}, **STEP},
        "`stages.b.sources`: expected at least 2 responses a prompt",
    ),
    "no sources": ({"sources": {}, **STEP}, "`stages.b.sources`: expected at least one, got none"),
    "a source's reward": (
        {"sources": {"t": ChosenSource(TeacherSource(3), 2, HighestReward("other"))}, **STEP},
        r"`stages\.b\.sources\.t\.by`: expected one of the rewards score",
    ),
    "no reward": ({"rewards": {}, **STEP}, "`stages.b.rewards`: expected at least one, got none"),
    "too few own samples": (
        {"loss": HPTLoss(gate=3), "sources": {"self": SelfSource(3), "e": ExpertSource()}, **STEP},
        "`stages.b.loss.gate`: expected less than the 3 own samples",
    ),
    "no demonstrations": (
        {"loss": HPTLoss(), "sources": {"self": SelfSource(3)}, **STEP},
        "`stages.b.sources`: expected demonstrations for HPTLoss",
    ),
    "groups without advantages": ({"num_groups": 1, **STEP}, "`stages.b.num_groups`: expected null for SFTLoss"),
    "another reward": (
        {"rewards": {"other": DigitSum()}, **STEP},
        "`stages.b`: `evaluation.reward`: expected one of other",
    ),
    "optimizer": (
        {"optimizer": lambda weights: SGD(weights, lr=-1.0), **STEP},
        "`stages.b.optimizer`: Invalid learning rate: -1.0",
    ),
    "schedule": ({"lr_scheduler": lambda _: 3, **STEP}, "`stages.b.lr_scheduler`: expected a schedule .*, got 3"),
    "schedule without end": (
        {"lr_scheduler": WarmupSchedule(), "until": ENDLESS},
        "`stages.b.lr_scheduler`: expected a known length, got a schedule as long as the stage, which only",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_later_stage_that_cannot_run_is_refused_before_the_first(name: str):
    settings, message = REFUSED[name]
    schedule = StageSchedule({"a": Stage(max_steps=1), "b": Stage(**settings)})
    module = make_module(SFTLoss(), evaluation=TWO)
    with pytest.raises((ValueError, TypeError), match=f"^{message}") as raised:
        fit(module, Rows(val_rows=ROWS), callbacks=[schedule], max_epochs=-1)
    assert "\n" not in str(raised.value)
    assert not module.sampler.made
    assert hasattr(module, "policy") == ("optimizer" in name or "schedule" in name)


def test_an_error_names_the_setting_that_a_stage_has_its_optimizer_from():
    own = {"optimizer": adam(), "lr_scheduler": WarmupSchedule("constant")}
    stages = {"a": Stage(**STEP), "b-1": Stage(**own, **STEP), "c": Stage(**STEP)}
    module = make_module(SFTLoss(), lr_scheduler=WarmupSchedule())
    choices = Plan(stages, module).choices(Trainer(logger=False), lambda name: Progress(name))
    model = "model.lr_scheduler"
    assert [(one.optimizer_field, one.schedule_field) for one in choices.values()] == [
        ("model.optimizer", model),
        ("stages.b-1.optimizer", "stages.b-1.lr_scheduler"),
        ("stages.b-1.optimizer", model),
    ]
    own = {"optimizer": lambda weights: SGD(weights, lr=-1.0)}
    with pytest.raises(ValueError, match=r"^`stages\.b-1\.optimizer`: Invalid learning rate: -1.0$"):
        fit(make_module(SFTLoss()), callbacks=[StageSchedule({"a": Stage(**STEP), "b-1": Stage(**own, **STEP)})])


def test_a_warm_up_beyond_a_stage_names_the_schedule_of_the_stage():
    own = Stage(lr_scheduler=WarmupSchedule(warmup_steps=9), **STEP)
    stages = {"a": Stage(**STEP), "b": own}
    with pytest.warns(
        UserWarning, match=r"^`stages\.b\.lr_scheduler`: the warm-up takes 9 optimizer steps and the who"
    ):
        fit(make_module(SFTLoss()), callbacks=[StageSchedule(stages)])


def test_a_warm_up_of_the_modules_beyond_its_stages_names_each_of_them(recwarn: pytest.WarningsRecorder):
    stages = {"a": Stage(**STEP), "b": Stage(**STEP)}
    module = make_module(SFTLoss(), lr_scheduler=WarmupSchedule(warmup_steps=9))
    fit(module, callbacks=[StageSchedule(stages, save=False)])
    said = {str(one.message).partition(" optimizer")[0] for one in recwarn if "the warm-up" in str(one.message)}
    assert said == {f"`stages.{name}`: `model.lr_scheduler`: the warm-up takes 9" for name in stages}


@pytest.mark.parametrize("mistake", [TypeError("unsupported operand"), AssertionError("a mistake")])
def test_a_mistake_in_the_code_of_a_part_keeps_its_class(mistake: Exception):
    class Mistaken(ExpertSource):
        def check_rewards(self, rewards: Any) -> None:
            raise mistake

        def check_tokenizer(self, tokenizer: Any) -> None:
            raise mistake

    module = make_module(SFTLoss())
    sampler = copy.copy(module.sampler)
    sampler.sources = {"own": Mistaken()}
    with pytest.raises(type(mistake)) as raised:
        check_tokenizer([sampler], module.tokenizer)
    assert raised.value is mistake
    with pytest.raises(type(mistake)) as raised:
        fit(module, callbacks=[StageSchedule({"a": Stage(sources={"own": Mistaken()}, **STEP)})])
    assert raised.value is mistake


def test_an_error_of_the_modules_schedule_in_a_stage_names_the_modules():
    module = make_module(SFTLoss(), lr_scheduler=WarmupSchedule(), evaluation=TWO)
    stages = {"a": Stage(**STEP), "b": Stage(until=ENDLESS)}
    with pytest.raises(ValueError, match=r"^`stages\.b`: `model\.lr_scheduler`: expected a known length, got"):
        fit(module, Rows(val_rows=ROWS), callbacks=[StageSchedule(stages)], max_epochs=-1)


def test_a_figure_of_a_stage_without_any_validation_is_refused():
    with pytest.raises(ValueError, match=r"until.monitor`: .*'val/kl'; no validation runs"):
        fit(make_module(), callbacks=[StageSchedule({"a": Stage(until=Until("val/kl"))})])


def test_demonstrations_of_a_later_stage_that_the_data_lack_are_refused():
    rows = [{"prompt": "1+1=", "answer": "2", "expert": "2"}] * 4
    stages = {"a": Stage(sources={"e": ExpertSource()}, max_steps=1), "b": Stage(**STEP)}
    with pytest.raises(ValueError, match=r"^`TeacherSource`: expected a column of teacher responses, got the"):
        fit(make_module(SFTLoss()), Rows(rows), callbacks=[StageSchedule(stages)])


def test_callbacks_may_watch_what_is_logged_from_the_first_stage_on():
    stages = {"a": Stage(SFTLoss(), max_steps=1), "b": Stage(GFTLoss(), max_steps=1)}

    def watching(monitor: str) -> None:
        callbacks = [StageSchedule(stages), EarlyStopping(monitor, check_on_train_epoch_end=True)]
        module = make_module(SFTLoss(), evaluation=SHORT)
        fit(module, Rows(batch_size=1), callbacks=callbacks, max_epochs=-1)

    watching("a/train/loss")
    watching("train/stage")
    with pytest.raises(
        ValueError, match=r"EarlyStopping.monitor: .* got 'b/train/loss', which begins with the stage b"
    ):
        watching("b/train/loss")
    with pytest.raises(
        ValueError, match=r"EarlyStopping.monitor: expected a figure that is logged, got 'c/train/loss'"
    ):
        watching("c/train/loss")


@pytest.mark.slow
def test_a_checkpoint_of_other_stages_is_refused(tmp_path: Path):
    Finished(tmp_path, lambda: {"sft": Stage(max_steps=1)})
    fit(make_module(SFTLoss(), evaluation=SHORT, optimizer=adam())).save_checkpoint(tmp_path / "plain.ckpt")
    for name, message in (("ends/1-sft", "`stages`: expected 'sft', the stage"), ("plain", "one of a run without")):
        with pytest.raises(ValueError, match=message):
            Finished(tmp_path, lambda: {"gft": Stage(max_steps=1)}, ckpt_path=tmp_path / f"{name}.ckpt")


@pytest.mark.slow
def test_a_module_with_an_optimizer_of_its_own_keeps_it(tmp_path: Path):
    class Own(GFTLitModule):
        def configure_optimizers(self) -> Any:
            return AdamW(self.parameters(), lr=0.1)

    def make() -> GFTLitModule:
        module = make_module(SFTLoss(), evaluation=SHORT)
        module.__class__ = Own
        return module

    Finished(tmp_path, lambda: {"a": Stage(max_steps=1), "b": Stage(DFTLoss(), max_steps=1)}, module=make())
    with pytest.raises(ValueError, match=r"stages\.b\.optimizer`: expected no setting of it beside"):
        Finished(tmp_path, lambda: {"a": Stage(max_steps=1), "b": Stage(learning_rate=1.0, max_steps=1)}, module=make())

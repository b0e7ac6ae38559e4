"""The size of a step in words, for ranks, rounds, stages and what is not known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_gft import (
    ChosenSource,
    ExpertSource,
    GFTLoss,
    GroupSampler,
    SelfSource,
    SFTLoss,
    StoredSource,
    TeacherSource,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.cli.progress import ProgressLines
from lightning_gft.cli.step_size import Prompts, describe_responses, rows_of_batch, step_size
from lightning_gft.sources import ResponseSource
from lightning_gft.types import Source
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module


class Ladder(ResponseSource):
    """Own samples of a source that names no length limit."""

    source = Source.SELF

    def respond(self, prompts: Any, policy: Any, seed: int) -> Any:
        raise NotImplementedError


OWN = SelfSource(4, max_new_tokens=2048)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([OWN], "32 responses: 32 sampled by the policy with up to 2,048 tokens each"),
        (
            [ExpertSource(), TeacherSource(3), OWN],
            "up to 64 responses: 32 sampled by the policy with up to 2,048 tokens each, up to 32 demonstrations",
        ),
        ([ExpertSource()], "up to 8 responses: up to 8 demonstrations"),
        (
            [ChosenSource(OWN, 3)],
            "up to 24 responses: 32 sampled by the policy with up to 2,048 tokens each (at most 24 kept)",
        ),
        (
            [OWN, SelfSource(1, max_new_tokens=16), SelfSource(2, max_new_tokens=16)],
            "56 responses: 24 sampled by the policy with up to 16 tokens each, 32 sampled by the policy with up to "
            "2,048 tokens each",
        ),
        ([Ladder(2)], "16 responses: 16 sampled by the policy"),
        ([StoredSource("self", num_responses=2)], "up to 16 responses"),
        ([StoredSource("self", "teacher", 2)], "up to 16 responses: up to 16 demonstrations"),
    ],
)
def test_responses(sources: list[ResponseSource], words: str):
    sampler = GroupSampler({str(number): source for number, source in enumerate(sources)}, {"score": DigitSum()})
    assert describe_responses(sampler, Prompts(8, 8)) == words


def test_one_of_something_is_singular():
    sampler = GroupSampler({"own": ChosenSource(SelfSource(2, max_new_tokens=1), 1)}, {"score": DigitSum()})
    assert describe_responses(sampler, Prompts(1, 1)) == (
        "up to 1 response: 2 sampled by the policy with up to 1 token each (at most 1 kept)"
    )


def test_rows_of_a_batch_are_at_most_those_of_the_data():
    assert rows_of_batch(DataLoader([1, 2, 3], batch_size=2)) == 2
    assert rows_of_batch(DataLoader([1, 2, 3], batch_size=8)) == 3
    assert rows_of_batch(DataLoader([1, 2, 3], batch_size=None)) is None
    assert rows_of_batch([1, 2, 3]) is None


def sizes(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("Each ")]


def train(sources: dict[str, Any], num_groups: int | None = None, **settings: Any) -> None:
    fitted = {name: settings.pop(name) for name in [*settings] if name not in ("updates_per_batch",)}
    module = make_module(sources=sources, **settings)
    module.sampler = module.sampler.with_parts(num_groups=num_groups)
    callbacks = [*fitted.pop("callbacks", []), ProgressLines()]
    fit(module, Rows(ROWS, batch_size=2), callbacks=callbacks, enable_progress_bar=True, **fitted)


def test_it_is_printed_once_before_the_first_step(capsys: pytest.CaptureFixture[str]):
    train({"own": SelfSource(3, max_new_tokens=4)}, max_epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "Training from step 0 to 4",
        "Each step has 2 prompts and 6 responses: 6 sampled by the policy with up to 4 tokens each",
    ]
    assert len(sizes("\n".join(lines))) == 1


def test_dynamic_sampling_and_several_updates(capsys: pytest.CaptureFixture[str]):
    train({"own": SelfSource(3, max_new_tokens=4)}, num_groups=1, updates_per_batch=2)
    assert sizes(capsys.readouterr().out) == [
        "Each batch, which makes 2 steps, has 1 to 2 prompts and 3 to 6 responses: 3 to 6 sampled by the policy with "
        "up to 4 tokens each"
    ]


def test_each_stage_has_its_own(capsys: pytest.CaptureFixture[str]):
    own = {"own": SelfSource(3, max_new_tokens=4)}
    stages = {"sft": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=2), "gft": Stage(GFTLoss(), max_steps=2)}
    train(own, callbacks=[StageSchedule(stages, save=False)], max_epochs=-1)
    assert sizes(capsys.readouterr().out) == [
        "Each step of stage sft has 2 prompts and up to 2 responses: up to 2 demonstrations",
        "Each step of stage gft has 2 prompts and 6 responses: 6 sampled by the policy with up to 4 tokens each",
    ]


def test_ranks_add_up_and_one_of_them_prints(capsys: pytest.CaptureFixture[str]):
    module = make_module(sources={"own": SelfSource(3, max_new_tokens=4)})
    loader = DataLoader([1, 2, 3, 4], batch_size=2)
    size = "Each step has 4 prompts on 2 ranks and 12 responses: 12 sampled by the policy with up to 4 tokens each"
    for is_first in (True, False):
        trainer: Any = SimpleNamespace(world_size=2, train_dataloader=loader, is_global_zero=is_first)
        assert step_size(trainer, module) == size
        ProgressLines().size_changes(trainer, size)
    assert sizes(capsys.readouterr().out) == [size]

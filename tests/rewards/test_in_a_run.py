"""Rewards that run programs and ask services, in a whole run: set up, counted, gated, closed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from lightning_gft import (
    CodeExecutionReward,
    FormatReward,
    GatedSum,
    GFTLitModule,
    GFTLoss,
    GroupSampler,
    RepetitionPenalty,
    Reward,
)
from lightning_gft.cli.summary import print_kept
from lightning_gft.errors import GFTError
from lightning_gft.parts import CompositePart, Part
from lightning_gft.rewards.failures import Failed
from lightning_gft.rewards.items import FailureCounts
from lightning_gft.sources import TeacherSource
from tests.module.runs import Rows, fit, sgd
from tests.rewards.http.service import Service
from tests.tiny import tiny_loader

NOTHING = json.dumps({"inputs": [""], "outputs": [""]})
ROWS = [
    {"prompt": "1+1=", "answer": NOTHING, "teacher": ["1+1", "1+", "7", "9-"]},  # a program may only say nothing
    {"prompt": "2=", "answer": NOTHING, "teacher": ["-", "12", "5+5", "++"]},
]


def module_with(rewards: dict[str, Reward]) -> GFTLitModule:
    total = GatedSum({"judge": "tests"})
    sampler = GroupSampler({"teacher": TeacherSource(4)}, rewards, total=total)
    return GFTLitModule(tiny_loader(), sampler, GFTLoss(), optimizer=sgd(), gradient_clip_val=None)


@pytest.fixture
def service():
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_a_run_counts_what_they_do(service):
    rewards = {
        "tests": CodeExecutionReward(runs_model_code=True, seconds=60),
        "judge": service.reward(weight=0.1),  # the length of a response
        "repetition": RepetitionPenalty(ngram_size=1, weight=0.5),
    }
    module = module_with(rewards)
    with pytest.warns(UserWarning, match="runs programs that a model has written on this machine"):
        trainer = fit(module, Rows(ROWS))
    figures = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert figures["train/rewards/tests/mean"] == 4 / 8
    # The first demonstrations were scored before the run, too, which its figures leave out.
    assert (figures["train/rewards/tests/programs"], figures["train/rewards/tests/errors"]) == (8, 4)
    assert figures["train/rewards/judge/requests"] == 1
    assert figures["train/total/judge/gated"] == 4
    lengths, repeats = 3 + 1 + 2 + 3, 1 / 3 + 1 / 3 + 1 / 2  # of programs that run; of all
    assert figures["train/reward"] == pytest.approx((4 + 0.1 * lengths - 0.5 * repeats) / 8)
    assert rewards["judge"]._endpoint._client is None  # closed


def test_a_service_that_is_wrong_stops_the_run(service):
    service.behaviours[:] = [lambda handler, _: handler.send_error(404)]
    rewards = {"tests": CodeExecutionReward(runs_model_code=True, seconds=60), "judge": service.reward()}
    with pytest.raises(GFTError, match=f"reward 'judge' .* {service.url} rejects the request: status 404"):
        fit(module_with(rewards), Rows(ROWS))


def test_a_row_whose_tests_cannot_be_read_stops_the_run_before_it_begins():
    rewards = {"tests": CodeExecutionReward(runs_model_code=True), "judge": RepetitionPenalty()}
    rows = [*ROWS, {"prompt": "3=", "answer": "def check(f): assert f", "teacher": ["1"] * 4}]
    with pytest.raises(GFTError, match=r"row 2 .*reward 'tests' cannot score it: the unit tests of Code"):
        fit(module_with(rewards), Rows(rows))


class Failing(CompositePart, Reward):
    """Counts failures as a reward with a time limit does."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share, self.counts = share, FailureCounts("Failing")

    def __call__(self, *, responses: Sequence[str], **_: Any) -> list[float]:
        self.counts.judged += len(responses)
        for _response in range(int(self.share * len(responses))):
            self.counts.add(Failed("timeout", "took longer than 2 s"))
        return [0.0 for _ in responses]

    def within(self) -> tuple[Part, ...]:
        return (self.counts,)


def test_failures_on_several_ranks_are_said_to_be_those_of_one(capsys, monkeypatch):
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"mine": Failing(1.0)})
    trainer = fit(GFTLitModule(tiny_loader(), sampler, GFTLoss()), Rows(ROWS), max_steps=1)
    monkeypatch.setattr(type(trainer), "world_size", 2)
    print_kept(trainer)
    assert "or correct the reward; the responses are those of rank 0 alone\n" in capsys.readouterr().out


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_run_that_learns_nothing_names_the_reward_that_fails(share, capsys):
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"mine": Failing(share), "brief": FormatReward(".*")})
    print_kept(fit(GFTLitModule(tiny_loader(), sampler, GFTLoss()), Rows(ROWS), max_steps=1))
    shown = capsys.readouterr().out
    assert ("reward 'mine' exceeded its limits or failed on 10 of 10 responses, which score failed" in shown) == (
        share == 1.0
    )  # two demonstrations are scored before the run
    assert "of rank 0" not in shown
    assert ("for example because rewards do not differ within groups" in shown) == (share == 0.5)

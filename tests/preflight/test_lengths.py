"""Length limits of losses and rewards that sampled responses may exceed are warned of before a run."""

from __future__ import annotations

import pytest

from lightning_gft import (
    ExactMatchReward,
    ExpertSource,
    GFTLoss,
    GroupLoss,
    GroupSampler,
    GRPOLoss,
    KLPenalty,
    LUFFYLoss,
    SelfSource,
    SoftOverlongReward,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.preflight import warn_of_short_limits
from lightning_gft.training import StageParts
from tests.module.runs import fit, make_module


class Planned:
    """Stages of a run without a module."""

    def __init__(self, **stages: StageParts) -> None:
        self.stages = stages

    def all(self) -> dict[str, StageParts]:
        return self.stages


def sampler(limit: int | None = None, longest: int = 512) -> GroupSampler:
    """Return a sampler with own samples of two lengths, and a penalty for those beyond ``limit``."""
    sources = {"expert": ExpertSource(), "short": SelfSource(2, max_new_tokens=8), "own": SelfSource(2, longest)}
    penalty = {} if limit is None else {"overlong": SoftOverlongReward(limit, 4)}
    return GroupSampler(sources, {"accuracy": ExactMatchReward(), **penalty})


def warnings(recwarn: pytest.WarningsRecorder) -> list[str]:
    return [str(one.message) for one in recwarn if "max_completion_length" in str(one.message)]


def constant(limit: int) -> GRPOLoss:
    return GRPOLoss(reduction="constant-length", max_completion_length=limit)


@pytest.mark.parametrize("loss", [constant(48), LUFFYLoss(max_completion_length=48), KLPenalty(constant(48))])
def test_the_limit_of_a_loss_is_compared_with_the_longest_source(loss: GroupLoss, recwarn: pytest.WarningsRecorder):
    warn_of_short_limits(Planned(**{"": StageParts(loss, sampler())}))  # type: ignore[arg-type]
    assert warnings(recwarn) == [
        "`model.loss`: expected a max_completion_length of at least 512, the longest response of the source own, got "
        "48; set it to 512, or the source's max_new_tokens to 48"
    ]


def test_the_limit_of_a_reward_is_named_with_its_stage(recwarn: pytest.WarningsRecorder):
    parts = {"first": StageParts(GFTLoss(), sampler(512)), "second": StageParts(GFTLoss(), sampler(48))}
    warn_of_short_limits(Planned(**parts))  # type: ignore[arg-type]
    (warning,) = warnings(recwarn)
    assert warning.startswith("stage second: `rewards.overlong`: expected a max_completion_length of at least 512")


@pytest.mark.parametrize(
    ("loss", "of_reward", "longest"), [(constant(512), 512, 512), (constant(600), 513, 512), (GFTLoss(), None, 10**6)]
)
def test_a_limit_that_no_response_exceeds_is_not(loss: GroupLoss, of_reward: int | None, longest: int, recwarn):
    warn_of_short_limits(Planned(**{"": StageParts(loss, sampler(of_reward, longest))}))  # type: ignore[arg-type]
    assert warnings(recwarn) == []


def test_a_run_warns_before_it_begins(recwarn: pytest.WarningsRecorder):
    sources = {"expert": ExpertSource(), "self": SelfSource(4, max_new_tokens=6)}
    fit(make_module(constant(5), sources=sources), max_steps=1)
    (warning,) = warnings(recwarn)
    assert warning.startswith("`model.loss`: expected a max_completion_length of at least 6, ")


def test_stages_of_a_run_are_each_looked_at(recwarn: pytest.WarningsRecorder):
    sources = {"expert": ExpertSource(), "self": SelfSource(4, max_new_tokens=6)}
    longer = Stage(sources={"self": SelfSource(4, max_new_tokens=7)}, max_steps=1)
    schedule = StageSchedule({"first": Stage(max_steps=1), "longer": longer}, save=False)
    fit(make_module(constant(6), sources=sources), callbacks=[schedule], max_epochs=-1)
    (warning,) = warnings(recwarn)
    assert warning.startswith("stage longer: `loss`: expected a max_completion_length of at least 7, ")

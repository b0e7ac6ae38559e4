"""Length limits of losses and rewards that sampled responses may exceed are warned of before a run."""

from __future__ import annotations

import pytest
import torch

from lightning_gft import (
    ChosenSource,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GFTLoss,
    GroupBatch,
    GroupLoss,
    GroupSampler,
    GRPOLoss,
    KLPenalty,
    LUFFYLoss,
    Reward,
    SelfSource,
    SoftOverlongReward,
    StoredSource,
    TeacherSource,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.preflight import warn_of_short_limits
from lightning_gft.training import StageParts, check_sampler
from tests.module.runs import ROWS, Row, Rows, fit, make_module, weights


class Planned:
    """Stages of a run without a module."""

    def __init__(self, **stages: StageParts) -> None:
        self.stages = stages

    def all(self) -> dict[str, StageParts]:
        return self.stages


def sampler(limit: int | None = None, longest: int = 512) -> GroupSampler:
    """Return a sampler with own samples of two lengths, and a penalty for those beyond ``limit``."""
    sources = {"expert": ExpertSource(), "short": SelfSource(2, max_new_tokens=8), "own": SelfSource(2, longest)}
    penalty = {} if limit is None else {"overlong": SoftOverlongReward(4, limit)}
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
    assert warning.startswith("`stages.second.rewards.overlong`: expected a max_completion_length of at least 512")


@pytest.mark.parametrize(
    ("loss", "of_reward", "longest"), [(constant(512), 512, 512), (constant(600), 513, 512), (GFTLoss(), None, 10**6)]
)
def test_a_limit_that_no_response_exceeds_is_not(loss: GroupLoss, of_reward: int | None, longest: int, recwarn):
    warn_of_short_limits(Planned(**{"": StageParts(loss, sampler(of_reward, longest))}))  # type: ignore[arg-type]
    assert warnings(recwarn) == []


def test_the_default_length_of_a_loss_is_the_longest_of_the_sources():
    sources = {"expert": ExpertSource(), "short": SelfSource(2, max_new_tokens=3), "own": SelfSource(2, 6)}
    trained = []
    for limit in (6, None, 60):
        loss = GRPOLoss(reduction="constant-length", max_completion_length=limit)
        module = make_module(KLPenalty(loss, beta=0.5), sources=dict(sources))
        fit(module, max_steps=2)
        trained.append(weights(module))
    given, default, other = trained
    assert all(torch.equal(default[name], given[name]) for name in given)
    assert not all(torch.equal(default[name], other[name]) for name in given)


@pytest.mark.parametrize(
    ("loss", "rewards", "setting"),
    [
        (LUFFYLoss(), {}, "loss"),
        (KLPenalty(GFTLoss(reduction="constant-length")), {}, "loss"),
        (GFTLoss(), {"overlong": SoftOverlongReward(4)}, "rewards.overlong"),
    ],
)
def test_a_length_must_be_given_where_no_source_samples(loss: GroupLoss, rewards: dict[str, Reward], setting: str):
    own = StoredSource("self", num_responses=2)
    stored = GroupSampler({"expert": ExpertSource(), "own": own}, {"accuracy": ExactMatchReward(), **rewards})
    with pytest.raises(ValueError) as told:
        check_sampler(stored, loss)
    assert str(told.value) == (
        f"`{setting}`: expected a max_completion_length, since no source samples (expert, own), got null; set it to "
        "the longest response, in tokens"
    )


def test_a_given_length_needs_no_source_that_samples():
    sources = {"expert": ExpertSource(), "own": StoredSource("self", num_responses=2)}
    rewards: dict[str, Reward] = {"accuracy": ExactMatchReward(), "overlong": SoftOverlongReward(4, 9)}
    check_sampler(GroupSampler(sources, rewards), LUFFYLoss(max_completion_length=9))


def test_outside_of_a_run_a_length_must_be_given():
    groups = GroupBatch.from_labels(torch.tensor([[-100, 5, 6]]))
    with pytest.raises(
        ValueError, match="`max_completion_length`: expected a number of tokens with reduction='constant"
    ):
        GFTLoss(reduction="constant-length").reduce(groups)


def test_a_run_warns_before_it_begins(recwarn: pytest.WarningsRecorder):
    sources = {"expert": ExpertSource(), "self": SelfSource(4, max_new_tokens=6)}
    fit(make_module(constant(5), sources=sources), max_steps=1)
    (warning,) = warnings(recwarn)
    assert warning.startswith("`model.loss`: expected a max_completion_length of at least 6, ")


EVALUATION = Evaluation(num_samples=2, max_new_tokens=6)


def too_short(recwarn: pytest.WarningsRecorder) -> list[str]:
    return [str(one.message) for one in recwarn if "truncates responses which validation" in str(one.message)]


def test_samples_below_the_length_of_validation_are_named(recwarn: pytest.WarningsRecorder):
    shared = {"self": SelfSource(4, max_new_tokens=5), "teacher": TeacherSource(4), "long": SelfSource(2, 6)}
    stages = {name: Stage(sources=dict(shared), max_steps=1) for name in ("first", "second")}
    module = make_module(evaluation=EVALUATION)
    schedule = StageSchedule({**stages, "third": Stage(sources={"self": SelfSource(4, 3)}, max_steps=1)}, save=False)
    fit(module, Rows(val_rows=ROWS[:1]), callbacks=[schedule], max_epochs=-1)
    first, third = too_short(recwarn)
    assert first == (
        "`stages.first.sources.self.max_new_tokens`: expected at least 6, model.evaluation.max_new_tokens, got 5, so "
        "that training truncates responses which validation lets end; set it to 6, or model.evaluation.max_new_tokens "
        "to 5"
    )
    assert third.startswith("`stages.third.sources.self.max_new_tokens`: expected at least 6, ")


@pytest.mark.parametrize(("limit", "val_rows", "warned"), [(5, ROWS[:1], True), (6, ROWS[:1], False), (5, [], False)])
def test_samples_are_compared_with_validation_only_where_it_takes_place(
    limit: int, val_rows: list[Row], warned: bool, recwarn: pytest.WarningsRecorder
):
    sources = {"expert": ExpertSource(), "self": SelfSource(4, max_new_tokens=limit)}
    fit(make_module(sources=sources, evaluation=EVALUATION), Rows(val_rows=val_rows), max_steps=1)
    assert [text.startswith("`model.sampler.sources.self.max_new_tokens`") for text in too_short(recwarn)] == [
        True
    ] * warned


def test_stages_of_a_run_are_each_looked_at(recwarn: pytest.WarningsRecorder):
    sources = {"expert": ExpertSource(), "self": SelfSource(4, max_new_tokens=6)}
    longer = Stage(sources={"self": SelfSource(4, max_new_tokens=7)}, max_steps=1)
    schedule = StageSchedule({"first": Stage(max_steps=1), "longer": longer}, save=False)
    fit(make_module(constant(6), sources=sources), callbacks=[schedule], max_epochs=-1)
    (warning,) = warnings(recwarn)
    assert warning.startswith("`stages.longer.loss`: expected a max_completion_length of at least 7, ")


def test_the_limit_of_a_wrapped_source_is_named_where_it_is_set(recwarn: pytest.WarningsRecorder):
    sources = {"self": ChosenSource(ChosenSource(SelfSource(4, max_new_tokens=5), 3), 2), "expert": ExpertSource()}
    fit(make_module(sources=sources, evaluation=EVALUATION), Rows(val_rows=ROWS[:1]), max_steps=1)
    (warning,) = too_short(recwarn)
    assert warning.startswith("`model.sampler.sources.self.within.within.max_new_tokens`: expected at least 6, ")

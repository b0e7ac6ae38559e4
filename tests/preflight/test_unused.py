"""Sources that a loss neither trains on nor compares with are warned of before a run."""

from __future__ import annotations

import pytest

from lightning_gft import (
    CHORDLoss,
    DistillationLoss,
    ExactMatchReward,
    ExpertSource,
    GFTLoss,
    GroupLoss,
    GroupSampler,
    GRPOLoss,
    HPTLoss,
    KLPenalty,
    PSFTLoss,
    RFTLoss,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.losses import MixedLoss
from lightning_gft.training import unused_sources
from tests import reference
from tests.module.runs import Rows, fit, make_module

LOSSES: list[tuple[GroupLoss, list[str]]] = [
    (SFTLoss(), ["own"]),
    (PSFTLoss(), ["own"]),
    (KLPenalty(SFTLoss()), ["own"]),
    (RFTLoss(), ["expert", "teacher"]),
    (DistillationLoss(), ["expert", "teacher"]),
    (GRPOLoss(), []),  # compares with demonstrations
    (GFTLoss(), []),
    (HPTLoss(), []),
    (CHORDLoss(), []),
    (MixedLoss(SFTLoss(), RFTLoss()), []),
]


@pytest.mark.parametrize(("loss", "unused"), LOSSES)
def test_a_source_without_effect_is_found(loss: GroupLoss, unused: list[str]):
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(2), "own": SelfSource(2)}
    assert [*unused_sources(GroupSampler(sources, {"score": ExactMatchReward()}), loss)] == unused


@pytest.mark.parametrize(("loss", "_"), LOSSES)
def test_only_responses_of_the_sources_that_a_loss_names_take_part(loss: GroupLoss, _: list[str]):
    groups, _logprobs = reference.random_groups(0)
    sources = set(groups.source[loss.takes_part(groups)].tolist())
    assert sources <= loss.trains_on()


COST = (
    "`model.sampler.sources.self`: expected expert and teacher responses, the only ones that SFTLoss trains on, got 4 "
    "own samples per prompt, from which it learns nothing: up to 8 sampled and scored per step and rank, up to 6 "
    "tokens each; leave the source out, or choose a loss that trains on it"
)


def test_a_run_warns_of_it_once_with_the_cost_of_a_step(recwarn: pytest.WarningsRecorder):
    sources = {"teacher": TeacherSource(4), "self": SelfSource(4, max_new_tokens=6)}
    fit(make_module(SFTLoss(), sources=sources), Rows(batch_size=2), max_steps=2)
    (warning,) = [str(one.message) for one in recwarn if "trains on, got" in str(one.message)]
    assert warning == COST


def test_the_stage_is_named_whose_loss_does_not_use_a_source(recwarn: pytest.WarningsRecorder):
    sources = {"teacher": TeacherSource(4), "own": SelfSource(4, max_new_tokens=6)}
    stages = {"first": Stage(loss=SFTLoss(), max_steps=1), "second": Stage(max_steps=1)}
    schedule = StageSchedule(stages, save=False)
    fit(make_module(GFTLoss(), sources=sources), callbacks=[schedule], max_epochs=-1)
    (warning,) = [str(one.message) for one in recwarn if "trains on, got" in str(one.message)]
    assert warning.startswith("`stages.first.sources.own`: expected expert and teacher responses")

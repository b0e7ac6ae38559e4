"""Advice recommends only what a run lacks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft import (
    ChosenSource,
    ExactMatchReward,
    GFTLoss,
    GRPOLoss,
    KLPenalty,
    SelfSource,
    TeacherSource,
    TimeLimitedReward,
)
from lightning_gft.callbacks.advice.in_place import names_in_place
from tests.callbacks.advice.test_rules import BY_NAME, SPEAKS, asked, history_of
from tests.module.runs import make_module

PART = re.compile(
    r"(?<!of )(?<!of the )(?<!that )\b[A-Z][A-Za-z]+(?:Source|Advantage|Loss|Reward|Penalty|Filter|Correction)\b"
)
"""A part that a text recommends, not one that it adjusts."""
OPTIONS = {
    "cut_off": "mask_truncated_completions",
    "equal_groups": "num_groups",
    "longer_responses": "token-mean",
    "accuracy_fell": "val/greedy_accuracy",
}
"""Options that rules recommend, and what of the text is absent where they are set."""


@pytest.mark.parametrize("name", BY_NAME)
def test_rule_recommends_no_part_that_is_in_place(name):
    variants = [{}, *({f"train/frac_groups_all_{kind}": [0.9] * 20} for kind in ("right", "wrong"))]
    for more in variants if name == "equal_groups" else variants[:1]:
        figures = {**SPEAKS[name][0], **more}
        finding = asked(name, figures)
        assert finding is not None
        recommended = set(PART.findall(finding.text))
        stand_ins = {"demonstrations"} if "ExpertSource" in recommended else set()
        again = asked(name, figures, True, *recommended, *stand_ins)
        assert again is not None
        assert not PART.findall(again.text), again.text
        assert (again.text != finding.text) == bool(recommended)
        assert re.search(r"; (the reward|[a-z` ]+)", again.text), "some remedy is left"


def test_part_that_a_text_adjusts_is_not_recommended():
    assert PART.findall("add demonstrations (ExpertSource), raise the beta of KLPenalty") == ["ExpertSource"]


@pytest.mark.parametrize("name", OPTIONS)
def test_rule_recommends_no_option_that_is_set(name):
    before, after = (asked(name, SPEAKS[name][0], True, *given) for given in ((), (OPTIONS[name],)))
    assert before is not None
    assert after is not None
    absent = f"monitor={OPTIONS[name]}" if name == "accuracy_fell" else OPTIONS[name]
    assert absent in before.text
    assert absent not in after.text


def test_options_that_a_loss_or_a_run_lacks_are_not_offered():
    for name, option in (("entropy_collapse", "epsilon_high"), ("clipped_tokens", "updates_per_batch")):
        texts = [asked(name, SPEAKS[name][0], True, *given).text for given in ((), (option,))]  # type: ignore[union-attr]
        assert [option in text for text in texts] == [False, True]


def test_equal_rewards_of_a_reward_that_fails_are_due_to_it():
    history = history_of({"train/frac_reward_zero_std": [1.0] * 20, "train/frac_groups_all_wrong": [1.0] * 20})
    history.failing = "reward 'mine' exceeded its limits or failed on 9 of 9 responses"
    finding = BY_NAME["equal_groups"].find(history)
    assert finding is not None
    assert finding.text == f"100% of groups have rewards that are all equal and teach nothing; {history.failing}"


def test_what_is_in_place_is_that_of_the_stage():
    limited = TimeLimitedReward(ExactMatchReward(), seconds=9)
    chosen: dict[str, Any] = {"chosen": ChosenSource(TeacherSource(4), 2), "own": SelfSource(2, max_new_tokens=4)}
    wrapped = KLPenalty(GFTLoss(reduction="token-mean"))
    module = make_module(wrapped, reward=limited, sources=chosen, updates_per_batch=2)
    keeper = ModelCheckpoint(monitor="val/greedy_accuracy")
    names = names_in_place(Trainer(callbacks=[keeper], logger=False), module)
    there = {"KLPenalty", "GFTLoss", "ChosenSource", "TeacherSource", "SelfSource", "TimeLimitedReward"}
    there |= {"ExactMatchReward", "demonstrations", "token-mean", "updates_per_batch", "val/greedy_accuracy"}
    assert names >= there | {type(module.sampler.advantage).__name__}
    assert not names & {"ExpertSource", "epsilon_high", "num_groups", "mask_truncated_completions"}
    masked = GRPOLoss(mask_truncated_completions=True)
    bare = make_module(masked, sources={"own": SelfSource(2, max_new_tokens=4)})
    names = names_in_place(Trainer(logger=False, enable_checkpointing=False), bare)
    assert names >= {"GRPOLoss", "mask_truncated_completions", "epsilon_high"}
    assert not names & {"demonstrations", "updates_per_batch", "KLPenalty"}

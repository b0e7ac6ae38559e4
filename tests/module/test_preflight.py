"""What would stop a run in its middle is refused before it begins."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch.strategies import Strategy
from torch.optim import SGD, AdamW

from lightning_gft import (
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    GFTLitModule,
    GroupSampler,
    NumericReward,
    PretrainedPolicy,
    ScratchPolicy,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.module import GFTLitModule as Module
from tests.conftest import ALPHABET, tiny_loader
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module

LAST_ROW_BAD = [*ROWS[:3], {**ROWS[3], "answer": "many"}]


class NeverLoads(Module):
    """Fails as soon as weights are loaded, so that what is refused is refused before."""

    def configure_model(self) -> None:
        raise AssertionError("the weights were loaded")


def module_with(sources: dict | None = None, reward=None, evaluation: Evaluation | None = None, **config) -> Module:
    sampler = GroupSampler(sources or {"teacher": TeacherSource(4)}, {"score": reward or DigitSum()})
    return NeverLoads(tiny_loader(**config), sampler, SFTLoss(), evaluation=evaluation)


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (module_with(reward=NumericReward()), Rows(LAST_ROW_BAD), r"train data, row 3 .*reward 'score' .*'many'"),
        (module_with(reward=NumericReward()), Rows(val_rows=LAST_ROW_BAD), r"val data, row 3 .*'many'"),
        (module_with({"e": ExpertSource()}), Rows([{"prompt": "1=", "answer": "1"}]), "ExpertSource needs demonstra"),
        (
            module_with({"self": SelfSource(max_new_tokens=60)}, max_position_embeddings=64),
            Rows(),
            r"train data, row 1 .*a prompt of 7 tokens and max_new_tokens=60 .*window of 64 tokens",
        ),
        (
            module_with(evaluation=Evaluation(max_new_tokens=60), max_position_embeddings=64),
            Rows(val_rows=ROWS),
            r"val data, row 1 .*max_new_tokens=60 .*window of 64 tokens",
        ),
    ],
)
def test_unfit_rows_are_refused_before_weights_are_loaded(module, data, message):
    with pytest.raises(ValueError, match=message):
        fit(module, data)


class OneDeviceOnly(ScratchPolicy):
    def check_strategy(self, strategy: Strategy) -> None:
        raise ValueError(f"not with {type(strategy).__name__}")


def test_a_policy_may_refuse_the_strategy():
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": DigitSum()})
    with pytest.raises(ValueError, match="not with SingleDeviceStrategy"):
        fit(NeverLoads(OneDeviceOnly(ALPHABET), sampler, SFTLoss()))


def test_what_just_fits_is_trained_on():
    module = make_module(
        sources={"self": SelfSource(max_new_tokens=57)}, policy=tiny_loader(max_position_embeddings=64)
    )
    fit(module, max_steps=1)


def test_generation_beyond_the_window_is_refused_where_there_was_no_datamodule():
    policy = tiny_loader(max_position_embeddings=16).load()
    sampling = SelfSource(max_new_tokens=12).sampling
    policy.generate([[3, 4, 5, 6]], 1, sampling, seed=0)
    with pytest.raises(ValueError, match=r"a prompt of 5 tokens and max_new_tokens=12"):
        policy.generate([[3, 4, 5, 6, 7]], 1, sampling, seed=0)


def test_exported_alphabet_still_knows_what_it_does_not_know(tmp_path: Path):
    tiny_loader().load().save_pretrained(tmp_path)
    tokenizer = PretrainedPolicy(str(tmp_path)).tokenizer
    assert tokenizer.encode("1!") == [*tokenizer.encode("1"), tokenizer.unk_token_id]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "gpt2"}, r"policy='gpt2' must be a PolicyLoader"),
        ({"optimizer": SGD([tiny_loader().load().model.lm_head.weight], lr=0.1)}, "optimizer must be a function from"),
    ],
)
def test_parts_of_another_kind_are_refused(settings, message):
    parts = {"policy": tiny_loader(), "optimizer": partial(AdamW, lr=0.1), **settings}
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": ExactMatchReward()})
    with pytest.raises(TypeError, match=message):
        GFTLitModule(sampler=sampler, loss=SFTLoss(), **parts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([ExpertSource()], {"score": DigitSum()}), "sources must be a dict by names of your choice, not a list"),
        (({"expert": "expert"}, {"score": DigitSum()}), r"sources\['expert'\] must be a ResponseSource"),
        (({"expert": ExpertSource()}, {"score": len}), r"rewards\['score'\] must be a Reward"),
    ],
)
def test_sampler_refuses_parts_of_another_kind(arguments, message):
    with pytest.raises(TypeError, match=message):
        GroupSampler(*arguments)

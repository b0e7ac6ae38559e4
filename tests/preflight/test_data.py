"""What would stop a run in its middle is refused before it begins."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import partial
from pathlib import Path

import pytest
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from torch.optim import SGD, AdamW

from lightning_gft import (
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    FormatReward,
    FunctionReward,
    GFTLitModule,
    GroupDataModule,
    GroupSampler,
    LoRA,
    NumericReward,
    PretrainedPolicy,
    Reward,
    ScratchPolicy,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from lightning_gft.callbacks import Stage, StageSchedule
from lightning_gft.module import GFTLitModule as Module
from lightning_gft.preflight import find_faults, warn_of_unused
from tests.module.runs import ROWS, DigitSum, Rows, fit, make_module
from tests.tiny import ALPHABET, tiny_loader, tiny_policy

LAST_ROW_BAD = [*ROWS[:3], {**ROWS[3], "answer": "many"}]
LAST_ROW_BLANK = [*ROWS[:3], {**ROWS[3], "answer": " "}]
LAST_ROW_WITHOUT = [*ROWS[:3], {**ROWS[3], "answer": None}]


class NeverLoads(Module):
    """Fails as soon as weights are loaded, so that what is refused is refused before."""

    def configure_model(self) -> None:
        raise AssertionError("the weights were loaded")


def module_with(sources: dict | None = None, reward=None, evaluation: Evaluation | None = None, **config) -> Module:
    sampler = GroupSampler(sources or {"teacher": TeacherSource(4)}, {"score": reward or DigitSum()})
    return NeverLoads(tiny_loader(**config), sampler, SFTLoss(), evaluation=evaluation)


def test_a_chat_template_that_the_data_do_not_use_is_told(tmp_path: Path):
    tiny_policy().save_pretrained(tmp_path)
    template = "{% for message in messages %}{{ message['content'] }}={% endfor %}"
    module = make_module(policy=PretrainedPolicy(str(tmp_path), chat_template=template))
    with pytest.warns(UserWarning, match="`chat_template` of the policy: expected prompts that use it"):
        fit(module)


class NeverMet(FormatReward):
    def check_tokens(self, special_tokens: Collection[str]) -> None:
        for token in special_tokens:
            if token in self.pattern:
                raise ValueError(f"no response holds {token!r}")


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (module_with(reward=NumericReward()), Rows(LAST_ROW_BAD), r"train data, row 3 .*reward 'score' .*'many'"),
        (module_with(reward=NumericReward()), Rows(val_rows=LAST_ROW_BAD), r"val data, row 3 .*'many'"),
        (
            module_with(reward=FunctionReward(lambda responses, references: [0.0 for _ in responses])),
            Rows(val_rows=LAST_ROW_BLANK),
            r"^val data, row 3 \(counting from 0\): reward 'score' cannot score it: `references`: expected .* got ' '",
        ),
        (
            module_with(reward=FunctionReward(lambda responses, references: [0.0 for _ in responses])),
            Rows(LAST_ROW_WITHOUT),
            r"^train data, row 3 \(counting from 0\): reward 'score' cannot score it: `references`: expected a value",
        ),
        (
            module_with(reward=NumericReward()),
            Rows(val_rows=LAST_ROW_WITHOUT),
            r"^val data, row 3 \(counting from 0\): reward 'score' cannot score it: the reference of Num.*None",
        ),
        (module_with({"e": ExpertSource()}), Rows([{"prompt": "1=", "answer": "1"}]), "`ExpertSource`: expected"),
        (
            module_with(reward=NeverMet(".*<eos>")),
            Rows(),
            "`rewards.score`: no response holds '<eos>'",
        ),
        (
            module_with(
                {"self": SelfSource(max_new_tokens=60), "teacher": TeacherSource(4)}, max_position_embeddings=64
            ),
            Rows(),
            r"train data, row 1 .*`sources.self.max_new_tokens`: .*a prompt of 7 tokens and max_new_tokens=60 ",
        ),
        (
            module_with(evaluation=Evaluation(max_new_tokens=60), max_position_embeddings=64),
            Rows(val_rows=ROWS),
            r"val data, row 1 .*`evaluation.max_new_tokens`: .*max_new_tokens=60 .*window of 64 tokens",
        ),
    ],
)
def test_unfit_rows_are_refused_before_weights_are_loaded(module, data, message):
    with pytest.raises(ValueError, match=message):
        fit(module, data)


NAMED = [
    NumericReward(),
    ExactMatchReward(),
    FunctionReward(lambda responses, references: [0.0 for _ in responses]),
    FunctionReward(lambda responses, references: [0.0 for _ in responses], timeout=5),
]


@pytest.mark.parametrize("reward", NAMED)
@pytest.mark.parametrize("answer_column", [None, "answer"])
def test_no_column_of_references_is_one_error_for_all_rows(reward: Reward, answer_column: str | None, tmp_path: Path):
    given = {"answer": "1"} if answer_column else {}
    (path := tmp_path / "rows.json").write_text(json.dumps([{"prompt": "1=", "gold": "1", **given}] * 3))
    data = GroupDataModule(str(path), answer_column=answer_column, expert_column="gold", val_path=str(path))
    policy = tiny_loader()
    data.tokenizer = policy.tokenizer
    data.setup("fit")
    sampler = GroupSampler({"expert": ExpertSource()}, {"score": reward, "brief": FormatReward(".*")})
    kind = type(reward).__name__
    assert [str(fault) for fault in find_faults(data, [sampler, sampler], 4, policy.tokenizer)] == (
        []
        if answer_column
        else [
            f"`data.answer_column`: expected a column of references, which reward 'score' ({kind}) compares responses "
            "with, got null; name it"
        ]
    )


class OneDeviceOnly(ScratchPolicy):
    def check_trainer(self, strategy: Strategy, precision: str) -> None:
        raise ValueError(f"not with {type(strategy).__name__}")


def test_a_policy_may_refuse_the_strategy():
    sampler = GroupSampler({"teacher": TeacherSource(4)}, {"score": DigitSum()})
    with pytest.raises(ValueError, match="not with SingleDeviceStrategy"):
        fit(NeverLoads(OneDeviceOnly(ALPHABET), sampler, SFTLoss()))


def test_what_just_fits_is_trained_on():
    module = make_module(
        sources={"self": SelfSource(max_new_tokens=57), "teacher": TeacherSource(4)},
        policy=tiny_loader(max_position_embeddings=64),
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
        ({"policy": "gpt2"}, r"`policy`: expected a PolicyLoader, got 'gpt2'; give one such as Pretr"),
        (
            {"policy": tiny_loader().load().model},
            r"(?s)expected a PolicyLoader, got .*; give one such as ModelPolicy\(model, t",
        ),
        (
            {"optimizer": SGD([tiny_loader().load().model.lm_head.weight], lr=0.1)},
            "^`optimizer`: expected a function from parameters to an optimizer, got SGD; give",
        ),
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
        (([ExpertSource()], {"score": DigitSum()}), "`sources`: expected a dict by names of your choice, got a list"),
        (({"expert": "expert"}, {"score": DigitSum()}), r"sources\.expert`: expected a ResponseSource"),
        (({"expert": ExpertSource()}, {"score": "len"}), r"rewards\.score`: expected a Reward"),
    ],
)
def test_sampler_refuses_parts_of_another_kind(arguments, message):
    with pytest.raises(TypeError, match=message):
        GroupSampler(*arguments)


def test_demonstrations_without_any_reward_are_told():
    module = make_module(reward=ExactMatchReward(marker="!"))
    with pytest.warns(UserWarning, match=r"none of the first 4 teacher demonstrations gets any reward, .* '1234' with"):
        fit(module, max_steps=1)


def test_more_demonstrations_than_there_are_are_told():
    with pytest.warns(UserWarning, match="expected rows with 9 teacher demonstrations, got at most 4"):
        fit(make_module(sources={"teacher": TeacherSource(9)}), max_steps=1)


def test_a_column_of_demonstrations_that_no_source_reads_is_reported(recwarn):
    data, loader = GroupDataModule("rows.jsonl", expert_column="gold", teacher_column="drafts"), tiny_loader()
    warn_of_unused(data, loader, [GroupSampler({"a": ExpertSource(), "b": TeacherSource()}, {"score": DigitSum()})])
    assert not recwarn.list
    with pytest.warns(UserWarning, match="`teacher_column`: .* the column 'drafts' has no effect; add a TeacherSource"):
        warn_of_unused(data, loader, [GroupSampler({"a": ExpertSource()}, {"score": DigitSum()})])


def test_data_of_another_tokenizer_is_refused():
    data = Rows()
    data.tokenizer = ScratchPolicy(ALPHABET[::-1]).tokenizer
    with pytest.raises(ValueError, match="`tokenizer` of the datamodule: expected the policy's, got another one"):
        fit(make_module(), data)


def test_a_row_is_looked_at_once_for_all_stages_with_the_same_rewards():
    seen = []

    class Looks(DigitSum):
        def check_row(self, reference, columns):
            seen.append(reference)

    stages = {"one": Stage(max_steps=1), "two": Stage(sources={"expert": ExpertSource()}, max_steps=1)}
    fit(make_module(SFTLoss(), reward=Looks()), callbacks=[StageSchedule(stages, save=False)], max_epochs=-1)
    assert seen == [row["answer"] for row in ROWS]


def test_a_reward_that_fails_on_a_row_names_it():
    class Fails(DigitSum):
        def check_row(self, reference, columns):
            raise KeyError("level")

    with pytest.raises(ValueError, match=r"train data, row 0 .*: reward 'score' cannot score it: 'level'"):
        fit(make_module(reward=Fails()))


@pytest.mark.parametrize(
    ("lora", "precision", "message"),
    [
        (LoRA(), "bf16-true", "converts them to half precision"),
        (None, "bf16-true", None),
        (LoRA(), "bf16-mixed", None),
        (LoRA(), "64-true", None),
    ],
)
def test_precision_must_leave_adapters_alone(lora, precision, message):
    loader = ScratchPolicy(ALPHABET, lora=lora)
    if message is None:
        loader.check_trainer(SingleDeviceStrategy(), precision)
        return
    with pytest.raises(ValueError, match=message):
        loader.check_trainer(SingleDeviceStrategy(), precision)

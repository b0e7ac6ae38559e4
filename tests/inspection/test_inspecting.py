"""What is said of data, with tokenizers that behave as those of well-known models do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lightning_gft import (
    ChosenSource,
    EndpointSource,
    Evaluation,
    ExactMatchReward,
    ExpertSource,
    FormatReward,
    GatedSum,
    GroupDataModule,
    GroupSampler,
    ScratchPolicy,
    SelfSource,
    SFTLoss,
    SoftOverlongReward,
    StoredSource,
    TeacherSource,
)
from lightning_gft.cli.inspecting import print_report
from lightning_gft.data import RowFilter
from lightning_gft.evaluation import Evaluator
from lightning_gft.inspection import DataReport, inspect_data
from lightning_gft.training import StageParts
from tests.data.conftest import CHATML, TokenizerFactory

Rows = list[dict[str, Any]]


def report_of(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, rows: Rows, sampler: GroupSampler | None = None, **settings: Any
) -> DataReport:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    sampler = sampler or GroupSampler({"expert": ExpertSource()}, {"exact": ExactMatchReward()})
    stages = {"": StageParts(SFTLoss(), sampler)}
    module: Any = SimpleNamespace(
        policy_loader=SimpleNamespace(tokenizer=tokenizer),
        stages=SimpleNamespace(all=lambda: stages, samplers=lambda: [sampler]),
        evaluator=Evaluator(Evaluation(max_new_tokens=4)),
        micro_batch_tokens=64,
        tokenizer=tokenizer,
    )
    data = GroupDataModule(str(path), **{"expert_column": "expert", "batch_size": 2, **settings})
    data.tokenizer = tokenizer
    return inspect_data(data, module)


def rows(count: int) -> Rows:
    return [{"prompt": f"{n}+0=", "answer": str(n), "expert": str(n)} for n in range(count)]


def test_a_prompt_is_shown_as_the_policy_is_given_it(make_tokenizer: TokenizerFactory, tmp_path: Path):
    tokenizer = make_tokenizer(chat_template=CHATML)
    report = report_of(tmp_path, tokenizer, rows(4), system_prompt="Be brief.")
    assert len(report.rendered) == 3
    first = report.rendered[0]
    assert first.prompt.replace(" ", "") == "<|system|>Bebrief.</s><|user|>0+0=</s><|assistant|>"
    assert first.responses == {"expert": ["0 </s>"]}  # this tokenizer writes its tokens apart
    assert first.last_prompt_tokens[-1].text == "<|assistant|>"
    assert [token.text for token in first.first_tokens["expert"]] == ["0", "</s>"]
    assert first.last_tokens["expert"][-1].id == tokenizer.eos_token_id
    assert not report.problems


def test_lengths_and_steps_are_those_of_the_data(tokenizer: PreTrainedTokenizerFast, tmp_path: Path):
    data = [{"prompt": "1" * n, "answer": "1", "expert": "1" * (2 * n)} for n in range(1, 11)]
    own = SelfSource(num_generations=3, max_new_tokens=7)
    sources = {"expert": ExpertSource(), "self": ChosenSource(own, num_responses=2)}
    report = report_of(tmp_path, tokenizer, data, GroupSampler(sources, {"exact": ExactMatchReward()}))
    prompts = report.datasets[0].prompts
    assert prompts is not None
    assert (prompts.least, prompts.median, prompts.q95, prompts.most) == (1, 5.5, pytest.approx(9.55), 10)
    assert prompts.histogram == [1] * 10
    (step,) = report.steps
    assert (step.group_size, step.prompts, step.sequences, step.steps) == (3, 2, 6, 5)
    # Two prompts of 10 and 9 tokens, their experts' 21 and 19, and own responses of 7.
    assert step.tokens == (10 + 21 + 2 * (10 + 7)) + (9 + 19 + 2 * (9 + 7))
    assert (step.longest, step.micro_batches) == (31, 2)
    assert step.sources["self"] == "2 by ChosenSource, of 3, self, up to 7 tokens each"


def test_many_unfit_rows_are_counted_and_the_others_are_looked_at(tokenizer: PreTrainedTokenizerFast, tmp_path: Path):
    data = rows(400)
    for n in range(0, 400, 4):
        data[n]["prompt"] = " "
    report = report_of(tmp_path, tokenizer, data)
    assert (report.datasets[0].rows, report.datasets[0].used) == (400, 300)
    (problem,) = report.problems
    assert problem.startswith("train data: row 0 (counting from 0), column 'prompt': expected a prompt, got a blank")
    assert problem.endswith(" (the same in 99 other rows of train data: 4, 8, 12, ...)")
    assert report.verdicts[0].count == 300


def test_a_column_of_another_kind_is_not_looked_at_for_ever(tokenizer: PreTrainedTokenizerFast, tmp_path: Path):
    report = report_of(tmp_path, tokenizer, [{**row, "prompt": 7} for row in rows(500)])
    assert any("300 more rows were not checked, after 200 unfit ones" in line for line in report.problems)
    assert not report.verdicts
    assert not report.steps


def test_warnings_come_once_with_the_counts_of_all_rows(make_tokenizer: TokenizerFactory, tmp_path: Path):
    data = [{**row, "tools": [{"name": "add"}]} for row in rows(8)]
    data[3]["expert"] = "ab</s>c"  # unfit: an end in the middle
    report = report_of(tmp_path, make_tokenizer(chat_template=CHATML), data)
    (told,) = [line for line in report.warnings if "`tools`" in line]
    assert "(in 7 rows)" in told
    assert len(report.problems) == 1


def test_rewards_count_as_in_a_group(tmp_path: Path):
    rewards = {
        "length": SoftOverlongReward(4, 8),  # of own samples alone
        "format": FormatReward("[0-9]", weight=0.0),
        "exact": ExactMatchReward(),
    }
    sampler = GroupSampler({"expert": ExpertSource()}, rewards, total=GatedSum({"exact": "format"}))
    data = rows(12)
    data[5]["expert"] = "6"
    (verdict,) = report_of(tmp_path, ScratchPolicy("0123456789+=").tokenizer, data, sampler).verdicts
    assert verdict.measured_by == "format", "a penalty measures nothing"
    assert (verdict.right, verdict.count, verdict.wrong) == (10, 12, 2)
    assert (verdict.rewards["length"].mean, verdict.rewards["length"].applies) == (None, 0)
    assert verdict.rewards["exact"].right == 11
    assert verdict.total == pytest.approx(9 / 12), "rows 10 and 11 are right, and gated by their format"
    assert [(wrong.row, wrong.text, wrong.rewards["length"]) for wrong in verdict.examples] == [
        (10, "10", None),
        (11, "11", None),
    ]


def test_parts_that_do_not_go_with_the_data_are_all_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path):
    sources = {"teacher": TeacherSource(), "stored": StoredSource(), "self": SelfSource(max_new_tokens=90)}
    tokenizer.model_max_length = 64
    sampler = GroupSampler(sources, {"exact": ExactMatchReward()}, num_groups=9)
    told = report_of(tmp_path, tokenizer, rows(3), sampler).problems
    for reason in (
        "`num_groups`: expected at most the data's batch_size=2",
        "`TeacherSource`: expected a column of teacher responses, got the columns 'prompt', 'answer', 'expert' and",
        "`stored` of StoredSource: expected self responses in the data, got none",
        "got a prompt of 4 tokens and max_new_tokens=90",
    ):
        assert any(reason in line for line in told), reason


def test_rows_that_cannot_be_scored_hide_no_verdict(tmp_path: Path):
    data = rows(6)
    data[2]["answer"], data[4]["expert"] = "", "9"
    report = report_of(tmp_path, ScratchPolicy("0123456789+=").tokenizer, data)
    (verdict,) = report.verdicts
    assert (verdict.right, verdict.count) == (4, 5)
    assert [wrong.row for wrong in verdict.examples] == [4]
    assert report.datasets[0].dropped["rows that a reward cannot score"].rows == [2]
    (problem,) = report.problems
    assert "row 2 (counting from 0): reward 'exact' cannot score it" in problem


def test_rows_that_a_filter_leaves_out_are_listed(tmp_path: Path):
    class Odd(RowFilter):
        def keep(self, rows: Any) -> list[bool]:
            return [int(row["answer"]) % 2 == 1 for row in rows]

    report = report_of(tmp_path, ScratchPolicy("0123456789+=").tokenizer, rows(6), keep=Odd())
    assert (report.datasets[0].rows, report.datasets[0].used) == (3, 3)
    left_out = report.to_dict()["datasets"][0]["dropped"]
    assert left_out == {"rows that `keep` leaves out": {"count": 3, "rows": [0, 2, 4]}}


@pytest.mark.parametrize(
    ("prompt", "answer", "shown"),
    [
        ("1+0=", "1", "tokens: '1'=.. '+'=.. '0'=.. '='=.. | '1'=.. '<eos>'=.. (expert)"),
        (
            "1+0=" * 3,
            "1" * 15,
            "tokens: ... '1'=.. '+'=.. '0'=.. '='=.. '1'=.. '+'=.. '0'=.. '='=.. | " + "'1'=.. " * 15,
        ),
        ("1", "2" * 20, "| " + "'2'=.. " * 8 + "... " + "'2'=.. " * 7 + "'<eos>'=.. (expert)"),
    ],
)
def test_each_token_is_shown_once(prompt: str, answer: str, shown: str, tmp_path: Path, capsys):
    data = [{"prompt": prompt, "answer": answer, "expert": answer}]
    print_report(report_of(tmp_path, ScratchPolicy("0123456789+=").tokenizer, data), show=3)
    assert shown in re.sub(r"'=\d+", "'=..", capsys.readouterr().out)


def test_what_is_wrong_is_named_by_its_row_where_no_text_is_shown(tmp_path: Path, capsys):
    data = rows(6)
    data[3]["expert"] = data[5]["expert"] = "9"
    report = report_of(tmp_path, ScratchPolicy("0123456789+=").tokenizer, data)
    print_report(report, show=0)
    assert "exact: 4 of 6 expert demonstrations are right\n  2 are not (rows 3, 5)\n" in capsys.readouterr().out
    print_report(report, show=1)
    assert "... and 1 others (rows 5)" in capsys.readouterr().out


def test_responses_of_a_server_are_counted_without_their_tokens(make_tokenizer: TokenizerFactory, tmp_path: Path):
    taught = EndpointSource("teacher", "http://localhost:8000/v1", num_responses=3, cache=str(tmp_path / "cache"))
    sampler = GroupSampler({"taught": taught, "own": SelfSource(2, max_new_tokens=5)}, {"exact": ExactMatchReward()})
    rows = [{"prompt": "1+1=", "answer": "2", "teacher": ["2", "22", "222"]}]
    report = report_of(tmp_path, make_tokenizer(), rows, sampler, expert_column=None, teacher_column="teacher")
    [step] = report.steps
    prompt = report.datasets[0].prompts
    assert prompt is not None
    assert (step.sequences, step.tokens) == (5, 5 * prompt.most + 2 * 5), "the data's teacher is another"
    assert step.sources["taught"] == "3 by EndpointSource, teacher, their tokens not counted"

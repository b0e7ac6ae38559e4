"""The benchmarks of update, whole step and cost run at minuscule sizes, and compare only the same work."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import canned_ours, canned_padded, canned_plain, cost, update
from benchmarks.random_model import write_model
from benchmarks.setting import Setting
from benchmarks.steps import StepLog, take_turns
from benchmarks.work import Job, draw_work

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="comes with the extra `bench`")
SETTING = Setting(
    size="minuscule", method="full", prompts=2, group_size=4, prompt_length=6, response_length=9, rows_per_pass=4
)
MINUSCULE = ["--size=minuscule", "--group-size=4", "--prompt-length=6", "--mean-response=5", "--steps=1", "--warmup=0"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = tmp_path / "model"
    model.mkdir()
    write_model(model, SETTING)
    return Job(SETTING, draw_work(SETTING, flat_share=0.5), model, tmp_path, steps=1, exact=True)


def test_work_is_the_same_for_the_same_seed_and_says_what_it_is():
    work = draw_work(SETTING, flat_share=0.5)
    assert work == draw_work(SETTING, flat_share=0.5)
    assert work != draw_work(replace(SETTING, seed=1), flat_share=0.5)
    described = work.describe()
    assert described["sequences"] == 8
    assert described["tokens"] == 8 * 6 + described["response_tokens"]
    assert 0 < described["informative_tokens"] < described["tokens"]
    flat, other = work.prompts
    assert set(work.scores([flat] * 2, ["w5", "w6"])) == {0.5}
    assert len(set(work.scores([other] * 2, ["w5", "w6"]))) == 2


def test_ours_takes_the_plain_gradient_and_leaves_flat_groups_out(job: Job):
    ours, padded, plain = (StepLog(keep_gradient=True) for _ in range(3))
    canned_ours.train(job, ours)
    canned_padded.train(job, padded)
    canned_plain.train(job, plain)
    assert update.similarity(padded.gradient, ours.gradient) == {
        "cosine": 1.0,
        "norm_ratio": pytest.approx(1, abs=1e-4),
    }
    assert update.similarity(plain.gradient, ours.gradient) == {"cosine": 1.0, "norm_ratio": pytest.approx(1, abs=1e-4)}
    work = job.work.describe()
    assert padded.tokens[0] - padded.padding[0] == work["informative_tokens"]
    # Four sequences have one copy of their prompt, and their last tokens are not run.
    assert ours.tokens[0] == work["informative_tokens"] - 3 * SETTING.prompt_length - 4
    assert ours.padding[0] == 0
    assert plain.tokens[0] - plain.padding[0] == work["tokens"]
    assert ours.figures[0]["completions/mean_length"] == pytest.approx(work["response_tokens"] / 8)


def test_another_objective_has_another_gradient(job: Job):
    gradients = []
    for flat in (job.work.flat, frozenset(job.work.prompts) - job.work.flat):
        log = StepLog(keep_gradient=True)
        canned_plain.train(replace(job, work=replace(job.work, flat=flat)), log)
        gradients.append(log.gradient)
    assert update.similarity(*gradients)["cosine"] < 0.999


def test_turns_alternate_and_leave_the_warmup_out():
    order = []

    def train(name: str, log: StepLog, steps: int) -> None:
        order.append(name)
        for number in range(steps):
            log.begin()
            log.end()
            log.figures.append({"number": number})

    logs = take_turns({name: lambda log, steps, name=name: train(name, log, steps) for name in "ab"}, 2, 3, 1, "cpu")
    assert order == list("abab")
    assert [turn.figures[0] for turn in logs["a"]] == [{"number": 1}] * 2
    assert all(len(turn.seconds) == len(turn.cpu_seconds) == 3 for turns in logs.values() for turn in turns)


@needs_trl
def test_update_from_the_command_line(tmp_path: Path):
    output = tmp_path / "update.json"
    assert update.main([*MINUSCULE, "--prompts=2", "--rounds=1", "--rows-per-pass=4", f"--output={output}"]) == 0
    record = json.loads(output.read_text())
    assert {"command", "date", "hardware", "versions"} <= record.keys()
    assert all(row["cosine"] > 0.9999 for row in record["gradients"].values())
    assert record["results"].keys() == record["sides"].keys() == {"ours", "ours, padded", "TRL", "plain"}
    assert record["results"]["TRL"]["tokens_through_model"] > record["results"]["ours"]["tokens_through_model"]


@needs_trl
def test_nothing_is_timed_where_gradients_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(update, "compare_gradients", lambda _: {"TRL": {"cosine": 0.99, "norm_ratio": 1.0}})
    output = tmp_path / "update.json"
    assert update.main([*MINUSCULE, "--prompts=2", "--rows-per-pass=4", f"--output={output}"]) == 1
    assert json.loads(output.read_text())["results"] is None


@needs_trl
def test_whole_step_from_the_command_line(tmp_path: Path):
    from benchmarks.whole_step import main

    output = tmp_path / "whole_step.json"
    short = ["--prompts=2", "--group-size=4", "--rows-per-pass=8", "--rounds=1", "--steps=1", "--warmup=0"]
    main([*short, f"--output={output}"])  # eight responses may well differ by more than chance allows for many
    record = json.loads(output.read_text())
    assert all(side["generated_tokens"] > 8 for side in record["results"].values())
    assert record["sides"]["TRL"]["max_completion_length"] == 48


@needs_trl
def test_whole_steps_are_compared_only_where_they_are_alike():
    from benchmarks.whole_step import difference

    side = {"reward": 0.4, "generated_tokens": 1000, "tokens_through_model": 1500}
    assert difference(side, {**side, "generated_tokens": 960, "reward": 0.41}, 1000) is None
    assert difference(side, {**side, "generated_tokens": 900}, 1000) == "they generated 1000 and 900 tokens a step"
    assert difference(side, {**side, "reward": 0.6}, 1000) == "their mean rewards were 0.4 and 0.6"


def test_cost_from_the_command_line(tmp_path: Path):
    output, plot = tmp_path / "cost.json", tmp_path / "cost.png"
    sizes = ["--tokens", "50", "100", "--vocab-size=100", "--rounds=1"]
    assert cost.main([*MINUSCULE, *sizes, f"--output={output}", f"--plot={plot}"]) == 0
    record = json.loads(output.read_text())
    assert len(record["informative_tokens"]) == len(record["median_s"]) == len(record["deviations"]) == 2
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_line_tells_the_largest_deviation():
    fitted = cost.fit_line([1000, 2000, 3000, 4000], [2.0, 3.0, 4.4, 5.0])
    assert fitted["largest_deviation"] == max(abs(value) for value in fitted["deviations"]) > 0.05
    assert cost.fit_line([1000, 2000, 4000], [2.0, 3.0, 5.0])["s_per_1000_tokens"] == pytest.approx(1)

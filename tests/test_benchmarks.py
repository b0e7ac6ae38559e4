"""The benchmarks run at minuscule sizes, and compare only the same work."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cost, harness, head, memory, ours, rollout, sampling_difference, update, whole_step
from benchmarks.harness import StepLog
from benchmarks.job import Job, describe, given_job, model_and_workplace
from lightning_gft import PretrainedPolicy, Response
from tests.cli.command import ROOT
from tests.conftest import quick

WORK = ["--size=minuscule", "--group-size=4", "--prompt-length=6"]
SHORT = [*WORK, "--mean-response=5", "--rounds=1", "--steps=1", "--warmup=0"]
ROLLOUT = ["--size=minuscule", "--prompts=3", "--group-size=2", "--prompt-length=6", "--response-length=6"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script from its command line and return its record."""

    def main(script: Any, *args: str, status: int = 0) -> dict[str, Any]:
        output = tmp_path / "records/record.json"
        assert script.main([*args, f"--output={output}"]) == status
        record: dict[str, Any] = json.loads(output.read_text())
        assert record["command"].startswith(f"python -m {script.__name__} --")
        assert {"date", "commit", "hardware", "versions", "setting"} <= record.keys()
        return record

    return main


@pytest.fixture(scope="module")
def job() -> Any:
    sizes = {"group_size": 4, "prompt_length": 6, "rows_per_pass": 4, "steps": 1, "warmup": 0}
    options = Namespace(size="minuscule", seed=0, vocab_size=None, device="cpu", **sizes)
    with model_and_workplace(options) as (model, workplace):
        yield replace(given_job(options, model, workplace, 2, (1, 9), flat_share=0.5), max_grad_norm=None)


def test_turns_alternate_and_leave_the_warmup_out():
    order = []

    def train(name: str, log: StepLog) -> None:
        order.append(name)
        for number in range(3):
            with log.step():
                pass
            log.steps[-1]["number"] = number

    contestants = {name: lambda log, name=name: train(name, log) for name in "ab"}
    turns = harness.take_turns(contestants, 2, warmup_rounds=1, warmup_steps=1)
    assert order == list("ababab")
    assert harness.steps_of(turns, "number") == {"a": [1, 2] * 2, "b": [1, 2] * 2}
    assert harness.compare_times(turns, ours="a")["a"]["ours_over_it"] == 1


def test_a_step_is_split_evenly():
    with pytest.raises(SystemExit, match="`--rows-per-pass`: expected a divisor of the 64 sequences"):
        update.main(["--rows-per-pass=7"])


@pytest.mark.slow
def test_memory_is_measured_in_a_fresh_process():
    sizes = (512, 8, 20_000, "float32", "cpu", 0)
    logits = 512 * 20_000 * 4 / harness.MIB
    assert logits < harness.apart(head._added, "full logits", *sizes) < 6 * logits


@pytest.mark.slow
def test_head(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(harness, "apart", lambda *_: 1.0)  # tested above
    record = run(head, "--tokens=6", "--hidden", "16", "24", "--vocab-size=40", "--rounds=1")
    assert [measured["hidden"] for measured in record["measurements"]] == [16, 24]
    for measured in record["measurements"]:
        assert measured["contestants"]["ours"]["ours_over_it"] == 1
        assert measured["contestants"].keys() | measured["did_not_run"].keys() == head.CONTESTANTS.keys()
        assert "TRL" not in measured["did_not_run"]
    assert "6 tokens" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", head.TOLERANCES)
def test_head_compares_only_the_same_values(dtype: str, monkeypatch: pytest.MonkeyPatch):
    def doubled(given: head.Inputs) -> head.Outputs:
        return head._full_logits(given._replace(coefficients=2 * given.coefficients))

    inputs = head.draw_inputs(6, 16, 40, dtype, "cpu")
    assert all("not installed" in why for why in head.check_agreement(inputs, head.TOLERANCES[dtype]).values())
    monkeypatch.setitem(head.CONTESTANTS, "doubled", doubled)
    with pytest.raises(SystemExit, match=r"doubled and full logits give different values.*loss by 1\.0e\+00"):
        head.check_agreement(inputs, head.TOLERANCES[dtype])


@pytest.mark.parametrize("ragged", quick([False, True], True))
def test_rollout(ragged: bool, run: Run):
    record = run(rollout, *ROLLOUT, "--rounds=1", *(["--ragged"] if ragged else []))
    assert {"generate", "ours"} <= record["results"].keys()
    assert record["results"].keys() | record["did_not_run"].keys() == rollout.CONTESTANTS.keys()
    for row in record["results"].values():
        assert (row["tokens"] < 3 * 2 * 6) == ragged


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> rollout.Work:
    options = Namespace(size="minuscule", seed=0, device="cpu", prompts=3, group_size=2, ragged=False)
    return rollout.Work(
        Namespace(**vars(options), prompt_length=6, response_length=6), tmp_path_factory.mktemp("model")
    )


def test_rollout_times_only_who_draws_the_same(drawing: rollout.Work, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ArithmeticError("no such thing")

    monkeypatch.setitem(rollout.CONTESTANTS, "another", lambda *_, **__: [[1]])
    monkeypatch.setitem(rollout.CONTESTANTS, "broken", broken)
    runnable, did_not_run = rollout.check(drawing)
    assert runnable[:2] == ["generate", "ours"]
    assert "not those of the others" in did_not_run["another"]
    assert did_not_run["broken"] == "ArithmeticError: no such thing"
    monkeypatch.setitem(rollout.CONTESTANTS, "ours", lambda *_, **__: [[1]])
    with pytest.raises(RuntimeError, match="ours did not run: its greedy"):
        rollout.check(drawing)


def test_rollout_takes_the_log_probabilities_of_the_model(drawing: rollout.Work, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rollout.Work, "responses", lambda *_, **__: [[Response([1], logprobs=[-1.0])]] * 3)
    monkeypatch.setitem(rollout.CONTESTANTS, "ours", rollout.CONTESTANTS["generate"])
    with pytest.raises(RuntimeError, match="log-probabilities are up to"):
        rollout.check(drawing)


def test_given_work_is_what_it_says(job: Job):
    described = describe(job)
    assert described["sequences"] == 8
    assert described["tokens"] == 8 * 6 + described["response_tokens"]
    assert 0 < described["informative_tokens"] < described["tokens"]
    flat, other = job.responses
    assert set(job.score([flat] * 2, ["w5", "w6"])) == {0.5}
    assert len(set(job.score([other] * 2, ["w5", "w6"]))) == 2
    assert [len(ids) for ids in job.tokenizer([flat, other])["input_ids"]] == [6, 6]


def test_ours_takes_the_plain_gradient_and_leaves_flat_groups_out(job: Job):
    mine, padded, plain, other = (StepLog(keep_gradient=True) for _ in range(4))
    ours.train(job, mine)
    update.train_padded(job, padded)
    update.train_plain(job, plain)
    same = {"cosine": 1.0, "norm_ratio": pytest.approx(1, abs=1e-4)}
    assert update.similarity(padded.gradient, mine.gradient) == same
    assert update.similarity(plain.gradient, mine.gradient) == same
    work = describe(job)
    (step,) = padded.steps
    assert step["tokens"] - step["padding"] == work["informative_tokens"]
    # Four sequences have one copy of their prompt, and their last tokens are not run.
    assert mine.steps[0]["tokens"] == work["informative_tokens"] - 3 * 6 - 4
    assert mine.steps[0]["padding"] == 0
    assert plain.steps[0]["tokens"] - plain.steps[0]["padding"] == work["tokens"]
    assert mine.steps[0]["completions/mean_length"] == pytest.approx(work["response_tokens"] / 8)
    # Another objective has another gradient.
    update.train_plain(replace(job, score=replace(job.score, flat=frozenset(job.responses) - job.score.flat)), other)
    assert update.similarity(other.gradient, plain.gradient)["cosine"] < 0.999


def test_update(run: Run):
    record = run(update, *SHORT, "--prompts=2", "--rows-per-pass=4")
    contestants = {"ours", "ours, padded", "plain", "TRL"}
    assert record["results"].keys() == record["seconds"].keys() == contestants
    assert all(row["cosine"] > 0.9999 for row in record["gradients"].values())
    tokens = {name: row["tokens_through_model"] for name, row in record["results"].items()}
    assert all(tokens[name] > tokens["ours"] for name in contestants - {"ours"})


def test_update_times_only_the_same_gradients(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(update, "compare_gradients", lambda _: {"TRL": {"cosine": 0.99, "norm_ratio": 1.0}})
    assert run(update, *SHORT, "--prompts=2", "--rows-per-pass=4", status=1)["results"] is None
    assert not update.agree({"TRL": {"cosine": 1.0, "norm_ratio": 1.02}})


@pytest.mark.parametrize("updates", quick([1, 3], 3))
def test_whole_step(updates: int, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(whole_step, "difference", lambda *_: None)  # so few responses may differ by chance
    short = ["--prompts=2", "--group-size=4", "--max-new-tokens=12", "--rows-per-pass=8"]
    record = run(whole_step, *short, "--rounds=1", "--steps=2", "--warmup=1", f"--updates-per-batch={updates}")
    assert {name: len(seconds) for name, seconds in record["seconds"].items()} == {"ours": 2, "TRL": 2}
    assert record["results"].keys() == record["sides"].keys() == {"ours", "TRL"}
    assert all(8 < side["generated_tokens"] <= 8 * 12 for side in record["results"].values())


def test_whole_steps_are_compared_only_where_they_are_alike():
    def differ(**changes: float) -> str | None:
        side = {"reward": 0.4, "generated_tokens": 1000}
        return whole_step.difference({"ours": side, "TRL": {**side, **changes}}, responses=1000)

    assert differ(generated_tokens=960, reward=0.41) is None
    assert differ(generated_tokens=900) == "generated tokens a step: [1000, 900]"
    assert differ(reward=0.6) == "mean rewards: [0.4, 0.6]"


def test_cost(run: Run, tmp_path: Path):
    plot = tmp_path / "cost.png"
    record = run(cost, *SHORT, "--tokens", "50", "100", "--vocab-size=100", f"--plot={plot}")
    assert len(record["informative_tokens"]) == len(record["median_s"]) == len(record["deviations"]) == 2
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_cost_tells_the_largest_deviation_from_a_line():
    def fit(*seconds: float) -> dict[str, Any]:
        return cost.fit_line([1000, 2000, 3000, 4000], {str(value): [value] for value in seconds})

    fitted = fit(2.0, 3.0, 4.4, 5.0)
    assert fitted["largest_deviation"] == max(abs(value) for value in fitted["deviations"]) > 0.05
    assert fit(2.0, 3.0, 4.0, 5.0)["s_per_1000_tokens"] == pytest.approx(1)


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_memory_of_our_side(method: str, run: Run, monkeypatch: pytest.MonkeyPatch):
    def in_this_process(function: Any, side: str, job: Job) -> Any:  # to save imports
        return function(side, job) if side == "ours" else {"error": "it was not asked to"}

    monkeypatch.setattr(harness, "apart", in_this_process)
    record = run(memory, *WORK, f"--method={method}", "--response-length=8", status=1)
    assert record["refused"] == "TRL did not run: it was not asked to"
    result = record["results"]["ours"]
    assert result["trained_tokens"] == 2 * 4 * 8  # of two steps, and no response ended by itself
    assert result["peak_mib"] >= result["loaded_mib"] > 0
    assert result["trained_dtypes"] == {"float32": result["trained_parameters"]}
    assert result["settings"]["gradient_checkpointing"]


@pytest.mark.slow
def test_memory_of_both_sides(run: Run, capsys: pytest.CaptureFixture[str]):
    record = run(memory, *WORK, "--method=lora", "--response-length=8")
    mine, peer = record["results"].values()
    for name in ("trained_tokens", "trained_parameters"):
        assert mine[name] == peer[name]
    assert record["ratios"]["peak_mib"] == pytest.approx(mine["peak_mib"] / peer["peak_mib"], abs=1e-3)
    assert "peak_mib" in capsys.readouterr().out


def test_memory_compares_only_the_same_work():
    side = {"trained_tokens": 100, "trained_parameters": 7}
    assert memory.difference({"ours": side, "TRL": {**side, "trained_tokens": 96}}) is None
    for other, why in [
        ({**side, "trained_tokens": 94}, "trained_tokens: [100, 94]"),
        ({**side, "trained_parameters": 8}, "trained_parameters: [7, 8]"),
        ({"error": "OutOfMemoryError: too large"}, "TRL did not run: OutOfMemoryError: too large"),
    ]:
        assert memory.difference({"ours": side, "TRL": other}) == why


def test_memory_of_what_cannot_run_says_why(job: Job):
    result = memory.run("ours", replace(job, model=Path("no/such/folder")))
    assert "no/such/folder" in result["error"]
    assert result["settings"]["gradient_checkpointing"] is False


def test_random_model_with_a_head_of_its_own_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from benchmarks import job

    monkeypatch.setitem(job.SHAPES, "minuscule", (*job.SHAPES["minuscule"][:-1], False))
    job.write_model(tmp_path, "minuscule", seed=0)
    policy = PretrainedPolicy(str(tmp_path)).load()  # which refuses a model that lacks weights
    assert policy.model.get_output_embeddings().weight[1, 0] == -1


def test_sampling_difference():
    assert sampling_difference.differences().max() < 1e-4


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/results").glob("*.json")), ids=lambda path: path.stem)
def test_committed_records_name_their_file(path: Path):
    record = json.loads(path.read_text())
    assert f"--output benchmarks/results/{path.name}" in record["command"]


def test_gradients_are_those_of_the_same_weights():
    with pytest.raises(ValueError, match="only one of the gradients has b"):
        update.similarity({"a": torch.ones(1), "b": torch.ones(1)}, {"a": torch.ones(1)})

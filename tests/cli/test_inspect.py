"""`lightning-gft inspect`: what there is to say of the data before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft import ArithmeticPolicy, ScratchPolicy
from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, refused
from tests.cli.test_gsm8k import TRAIN, alphabet, overlay  # noqa: F401 (fixtures)

SMALL = ("--data.num_train=8", "--data.num_val=4", "--data.num_second_skill=4", "--data.batch_size=4")


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Any) -> Any:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(ArithmeticPolicy, "load_model", load)
    monkeypatch.setattr(ScratchPolicy, "load_model", load)


def inspected(tmp_path: Path, *args: str) -> dict[str, Any]:
    """Return the report that is written."""
    path = tmp_path / "report.json"
    main(["inspect", *args, f"--output={path}", f"--trainer.default_root_dir={tmp_path}"])
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def failing(tmp_path: Path, *args: str) -> dict[str, Any]:
    """Return the report of data that would stop a run."""
    with pytest.raises(SystemExit) as stop:
        inspected(tmp_path, *args)
    assert stop.value.code == 1
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return report


def test_the_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = inspected(tmp_path, "--config", GFT, *SMALL, "--show=1")
    assert {each["name"]: each["rows"] for each in report["datasets"]} == {
        **{"train": 8, "val": 4, "val/second_skill": 4, "test": 4, "test/second_skill": 4}
    }
    train = report["datasets"][0]
    assert train["used"] == train["prompts"]["count"] == train["demonstrations"]["expert"]["count"] == 8
    assert train["demonstrations"]["teacher"]["count"] == 24
    assert sum(train["demonstrations"]["teacher"]["histogram"]) == 24
    assert [(v["role"], v["count"], v["wrong"], v["rewards"]["accuracy"]["right"]) for v in report["verdicts"]] == [
        ("expert", 8, 0, 8),
        ("teacher", 24, 0, 24),
    ]
    (step,) = report["steps"]
    assert (step["group_size"], step["prompts"], step["sequences"], step["steps"]) == (8, 4, 32, 2)
    assert step["tokens"] > 4 * 4 * 48
    assert not report["problems"]
    (row,) = report["rendered"]
    assert row["responses"]["expert"][0].endswith("<eos>")
    assert row["last_tokens"]["expert"][-1]["text"] == "<eos>"
    assert row["prompt"].endswith(row["last_prompt_tokens"][-1]["text"])
    shown = capsys.readouterr().out
    assert "accuracy: 8 of 8 expert demonstrations are right" in shown
    assert "[expert response begins here]" in shown
    assert row["responses"]["expert"][0] in shown
    assert "nothing found that would stop the run" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"], "no logs"


FAULTS = [
    {"prompt": "1+1=", "answer": "2", "expert": "2", "teacher": ["2", "", "22"], "teacher_finished": None},  # fine
    {"prompt": "1+1=", "answer": "2", "expert": "3", "teacher": None},  # there before; wrong; no teacher
    {"prompt": "", "answer": "2", "expert": "2", "teacher": ["2"]},  # empty
    {"prompt": 7, "answer": "2", "expert": "2", "teacher": ["2"]},  # no text
    {"prompt": "2+2=", "answer": "four", "expert": "4", "teacher": ["4"]},  # a reference that is no number
    {"prompt": "3+3=", "answer": None, "expert": "6", "teacher": ["6"]},  # none
    {"prompt": "9" * 30, "answer": "9", "expert": "9", "teacher": ["9"]},  # overlong
    {"prompt": "4+4=", "answer": "8", "expert": "8" * 30, "teacher": ["8"]},  # an overlong demonstration
    {"prompt": "5~5=", "answer": "10", "expert": "10", "teacher": ["10"]},  # a character without a token
]
VAL = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "7+7=", "answer": "14"}]


@pytest.fixture
def faulty(tmp_path: Path) -> list[str]:
    """Arguments of a run on data with a fault of each kind."""
    train, val = tmp_path / "train.jsonl", tmp_path / "val.jsonl"
    train.write_text("\n".join(map(json.dumps, FAULTS)))
    val.write_text("\n".join(map(json.dumps, VAL)))
    config = {
        "trainer": {"accelerator": "gpu", "devices": 64, "strategy": "fsdp2", "precision": "bf16-mixed"},  # elsewhere
        "model": {
            "policy": {"class_path": "lightning_gft.ScratchPolicy", "init_args": {"alphabet": "0123456789+-="}},
            "sampler": {
                "sources": {
                    "expert": {"class_path": "lightning_gft.ExpertSource"},
                    "teacher": {"class_path": "lightning_gft.TeacherSource", "init_args": {"num_responses": 2}},
                    "self": {"class_path": "lightning_gft.SelfSource", "init_args": {"max_new_tokens": 8}},
                },
                "rewards": {"accuracy": {"class_path": "lightning_gft.NumericReward"}},
                "num_groups": 16,
            },
            "loss": {"class_path": "lightning_gft.GFTLoss"},
        },
        "data": {
            "class_path": "lightning_gft.GroupDataModule",
            "init_args": {
                **{"path": str(train), "val_path": str(val), "batch_size": 4},
                **{"expert_column": "expert", "teacher_column": "teacher"},
                **{"max_prompt_length": 16, "max_response_length": 16},
            },
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path)]


def test_every_fault_is_told_and_not_the_first_alone(
    faulty: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    report = failing(tmp_path, *faulty)
    told = "\n".join(report["problems"])
    for row, reason in {
        2: "column 'prompt': expected a prompt, got a blank one",
        3: "column 'prompt': expected a text or a list of messages, got int",
        4: "reward 'accuracy' cannot score it: ",
        5: "reward 'accuracy' cannot score it: ",
        6: "the prompt has 30 tokens, more than max_prompt_length=16",
        8: "the tokenizer has no token for '~'",
    }.items():
        assert f"row {row} (counting from 0)" in told
        assert reason in told
    assert "`model.sampler.num_groups`: expected at most the data's batch_size=4" in told
    assert len(report["problems"]) == len(told.splitlines()) >= 7
    train, val = report["datasets"]
    assert (train["rows"], train["used"]) == (9, 5)
    assert train["prompts"]["most"] == 30
    assert train["demonstrations"]["expert"]["most"] == 31, "its end belongs to it, and what is dropped is measured too"
    assert train["dropped"]["overlong expert demonstrations"] == {"count": 1, "rows": [7]}
    assert train["dropped"]["blank teacher texts"] == {"count": 1, "rows": [0]}
    assert train["dropped"]["rows without a demonstration for teacher"] == {"count": 1, "rows": [1]}
    assert train["repeated"] == {"count": 1, "rows": [1]}
    assert val["shared"] == {"count": 1, "rows": [0]}
    shown = capsys.readouterr()
    assert "row 6 (counting from 0)" in shown.out
    assert "would stop the run: see the errors above" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_what_rewards_say_of_the_answers_is_listed(faulty: list[str], tmp_path: Path):
    fit = [row for number, row in enumerate(FAULTS) if number in (0, 1, 7)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, fit)))
    report = inspected(tmp_path, *faulty, "--model.sampler.num_groups=4")
    expert, teacher = report["verdicts"]
    assert (expert["count"], expert["wrong"], expert["measured_by"]) == (2, 1, "accuracy")
    assert expert["rewards"]["accuracy"] == {"mean": 0.5, "applies": 2, "right": 1}
    assert expert["examples"] == [{"row": 1, "text": "3", "reference": "2", "rewards": {"accuracy": 0.0}}]
    assert (teacher["count"], teacher["wrong"]) == (3, 1)
    assert any("1 of 3 rows have no expert demonstration" in warning for warning in report["warnings"])


def test_a_column_that_is_not_there_is_one_problem(faulty: list[str], tmp_path: Path):
    report = failing(tmp_path, *faulty, "--data.expert_column=gold", "--model.sampler.num_groups=4")
    assert [line.partition(":")[0] for line in report["problems"]] == ["train data"]
    assert "`data.expert_column`: expected one of the columns" in report["problems"][0]
    assert [each["name"] for each in report["datasets"]] == ["train", "val"]


def test_a_source_without_its_column_is_named_with_its_setting(faulty: list[str], tmp_path: Path):
    (tmp_path / "train.jsonl").write_text(json.dumps(FAULTS[0]))
    report = failing(tmp_path, *faulty, "--data.teacher_column=null", "--model.sampler.num_groups=4")
    assert report["problems"] == [
        "`model.sampler.sources.teacher`: expected a column of teacher responses, got the columns 'prompt', 'answer', "
        "'expert', 'teacher', 'teacher_finished' and none as data.teacher_column; name one there, let the datamodule "
        "make one, or leave TeacherSource out"
    ]


def test_the_same_error_of_two_sources_is_reported_for_both(tmp_path: Path):
    options = {"template": "{prompt} {demonstration}"}
    sources = {
        name: {
            "class_path": "SelfSource",
            "init_args": {"teacher": {"class_path": "DemonstrationTeacher", "init_args": own}},
        }
        for name, own in (("a", options), ("b", {**options, "micro_batch_tokens": 100}))
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": {"sampler": {"init_args": {"sources": sources}}}}))
    problems = failing(tmp_path, "--config", GFT, f"--config={tmp_path / 'own.yaml'}", *SMALL, "--show=0")["problems"]
    named = [problem.partition("`: ")[0].rpartition("`")[2] for problem in problems]
    assert named == [f"model.sampler.sources.{name}.teacher" for name in ("a", "b")]


def test_data_without_validation_are_reported_once_and_stop_what_needs_it(faulty: list[str], tmp_path: Path):
    (tmp_path / "train.jsonl").write_text(json.dumps(FAULTS[0]))
    without = [*faulty, "--model.sampler.num_groups=4", "--data.val_path=null"]
    report = inspected(tmp_path / "plain", *without)
    assert [warning for warning in report["warnings"] if warning.startswith("val data")] == [
        "val data: expected rows, got none, so that `fit` measures nothing while it trains and `validate` fails; set "
        "data.val_split or data.val_path"
    ]
    off = inspected(tmp_path / "off", *without, "--trainer.limit_val_batches=0")
    assert not any(warning.startswith("val data") for warning in off["warnings"])
    stops = "lightning.pytorch.callbacks.EarlyStopping"
    needed = failing(tmp_path, *without, f"--trainer.callbacks={stops}", "--trainer.callbacks.monitor=val/kl")
    (problem,) = needed["problems"]
    assert problem.startswith("EarlyStopping.monitor: expected a figure that is logged, got 'val/kl'; no validation")


def test_a_figure_that_is_measured_too_late_is_a_problem_as_in_a_fit(faulty: list[str], tmp_path: Path):
    (tmp_path / "train.jsonl").write_text("\n".join([json.dumps(FAULTS[0])] * 8))
    stops = ["--trainer.callbacks=lightning.pytorch.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/kl"]
    late = ["--trainer.callbacks.check_on_train_epoch_end=true", "--trainer.check_val_every_n_epoch=2"]
    ends = ["--trainer.max_epochs=4", "--trainer.max_steps=-1", "--trainer.val_check_interval=1.0"]
    (problem,) = failing(tmp_path, *faulty, "--model.sampler.num_groups=1", *stops, *late, *ends)["problems"]
    assert problem.startswith("`EarlyStopping.monitor`: expected a figure that is logged before the end of the first")


def test_data_that_are_not_there_are_a_problem_beside_those_that_are(faulty: list[str], tmp_path: Path):
    (tmp_path / "train.jsonl").write_text(json.dumps(FAULTS[0]))
    (tmp_path / "val.jsonl").unlink()
    report = failing(tmp_path, *faulty, "--model.sampler.num_groups=4")
    assert len(report["problems"]) == 1
    assert "val.jsonl" in report["problems"][0]
    assert report["datasets"][0]["used"] == 1


def test_a_reward_that_fails_is_a_problem(faulty: list[str], tmp_path: Path):
    (tmp_path / "train.jsonl").write_text(json.dumps(FAULTS[0]))
    broken = {"class_path": "lightning_gft.FunctionReward", "init_args": {"function": "math.sqrt"}}
    overlay_path = tmp_path / "broken.yaml"
    overlay_path.write_text(yaml.safe_dump({"model": {"sampler": {"rewards": {"broken": broken}, "num_groups": 4}}}))
    report = failing(tmp_path, *faulty, "--config", str(overlay_path))
    assert any("math.sqrt" in line for line in report["problems"])
    assert not report["verdicts"]
    assert report["datasets"][0]["used"] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--show=-1"], "`show`: expected a whole number of at least 0, got -1"),
        (["--output=report.txt"], "`output`: expected a .json file, got 'report.txt'; rename it"),
    ],
)
def test_options_are_checked(args: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert message in refused(
        capsys, "inspect", "--config", GFT, *SMALL, *args, f"--trainer.default_root_dir={tmp_path}"
    )


def test_a_report_replaces_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "report.json").write_text("{}")
    args = ["--config", GFT, *SMALL, f"--output={tmp_path / 'report.json'}"]
    assert "expected a new path or an empty folder, got existing files; choose another" in refused(
        capsys, "inspect", *args
    )
    assert (tmp_path / "report.json").read_text() == "{}"


def test_stages_are_each_looked_at(tmp_path: Path):
    stages = ("--config", GFT, "--config", str(ROOT / "configs/overlays/sft_gft_grpo.yaml"), *SMALL)
    report = inspected(tmp_path, *stages)
    assert [step["stage"] for step in report["steps"]] == ["sft", "gft", "grpo"]
    assert {verdict["stage"] for verdict in report["verdicts"]} == {"sft", "gft", "grpo"}


@pytest.mark.slow
@pytest.mark.skipif(not TRAIN.exists(), reason="GSM8K is not there")
def test_gsm8k(overlay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # noqa: F811
    all_rows = ["--data.max_train_rows=null", "--data.val_split=null", "--data.max_val_rows=null"]
    config = ["--config", str(ROOT / "configs/gsm8k.yaml"), "--config", overlay]
    report = inspected(tmp_path, *config, *all_rows, "--data.max_response_length=2048")
    (verdict,) = report["verdicts"]
    assert (verdict["count"], verdict["wrong"]) == (7473, 0)
    assert [(each["name"], each["used"]) for each in report["datasets"]] == [("train", 7473), ("test", 1319)]
    assert "accuracy: 7473 of 7473 expert demonstrations are right" in capsys.readouterr().out


def test_a_validation_interval_that_the_rows_are_too_few_for(tmp_path: Path):
    interval = ["--trainer.val_check_interval=3"]
    report = failing(tmp_path, "--config", GFT, *SMALL, *interval, "--trainer.check_val_every_n_epoch=1")
    assert report["problems"] == [
        "`trainer.val_check_interval`: expected at most 2, the batches of an epoch, got 3; set "
        "`trainer.check_val_every_n_epoch: null` to count batches over epochs, or lower it"
    ]
    few = inspected(tmp_path / "few", "--config", GFT, *SMALL, *interval, "--trainer.max_epochs=1")
    assert few["problems"] == []
    assert any(warning.startswith("`trainer.val_check_interval`: expected at most 2") for warning in few["warnings"])

"""Dynamic sampling, lengths and teachers through the real command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, SMALL, column, logged, refused


def layer(folder: Path, sampler: dict[str, Any], **model: Any) -> list[str]:
    path = folder / "layer.yaml"
    path.write_text(yaml.safe_dump({"model": {"sampler": sampler, **model}}))
    return ["--config", GFT, "--config", str(path), f"--trainer.default_root_dir={folder}", *SMALL]


def own(**settings: Any) -> dict[str, Any]:
    return {"class_path": "lightning_gft.SelfSource", "init_args": {"num_generations": 2, **settings}}


def test_a_run_samples_until_enough_groups_differ_and_punishes_length(tmp_path: Path):
    overlong = {
        "class_path": "lightning_gft.SoftOverlongReward",
        "init_args": {"max_completion_length": 48, "soft_punish_cache": 40},
    }
    accuracy = {"class_path": "lightning_gft.ExactMatchReward", "init_args": {"marker": "#"}}
    sampler = {"num_groups": 1, "sources": {"self": own()}, "rewards": {"overlong": overlong, "accuracy": accuracy}}
    main(["fit", *layer(tmp_path, {"init_args": sampler})])
    rows = logged(tmp_path)
    assert all(number >= 1 for number in column(rows, "train/sampling/num_groups"))
    assert min(column(rows, "train/sampling/frac_prompts_tried")) < 1
    assert max(column(rows, "train/rewards/overlong/mean")) < 0
    assert column(rows, "val/greedy_accuracy")[0] > 0  # by the second reward: the first is a penalty


def test_dapo_as_a_whole(tmp_path: Path):
    overlay = f"--config={ROOT / 'configs/overlays/dapo.yaml'}"
    run = [f"--trainer.default_root_dir={tmp_path}", *SMALL, "--model.sampler.num_groups=2", "--data.batch_size=8"]
    main(["fit", "--config", GFT, overlay, *run, "--trainer.val_check_interval=1"])
    rows = logged(tmp_path)
    assert column(rows, "train/sampling/frac_prompts_tried")
    assert column(rows, "train/rewards/overlong/mean")
    assert column(rows, "train/clip_ratio/high_mean")


def test_a_teacher_is_named_in_yaml(tmp_path: Path):
    teacher = {
        "class_path": "lightning_gft.ModelTeacher",
        "init_args": {"policy": {"class_path": "lightning_gft.ArithmeticPolicy"}},
    }
    loss = {"class_path": "lightning_gft.DistillationLoss"}
    main(["fit", *layer(tmp_path, {"init_args": {"sources": {"self": own(teacher=teacher)}}}, loss=loss)])
    first, second = column(logged(tmp_path), "train/teacher_kl")
    assert abs(first) < 1e-5  # it is the policy, before the first update
    assert second == pytest.approx(0, abs=1e-3)


def test_the_policy_is_shown_the_demonstration(tmp_path: Path):
    template = "--model.sampler.sources.self.teacher.template={demonstration}{prompt}"
    overlay = [
        "--config",
        str(ROOT / "configs/overlays/sdft.yaml"),
        template,
        "--model.sampler.sources.self.max_new_tokens=48",
    ]
    main(["fit", "--config", GFT, *overlay, f"--trainer.default_root_dir={tmp_path}", *SMALL])
    assert min(column(logged(tmp_path), "train/teacher_kl")) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model.sampler.num_groups=0"],
            "error: `model.sampler.num_groups`: expected a whole number of at least 1, or null to sample all",
        ),
        (
            ["--model.sampler.num_groups=5"],
            "`model.sampler.num_groups`: expected at most the data's batch_size=4, the prompts that",
        ),
        (
            ["--model.sampler.num_groups=2", "--model.loss=lightning_gft.SFTLoss"],
            "`model.sampler.num_groups`: expected null for SFTLoss, which uses no advantages, got 2; leave it out",
        ),
        (
            ["--model.loss=lightning_gft.DistillationLoss"],
            "error: `model.sampler.sources`: expected one that gives teacher_logprobs, which DistillationLoss needs, ",
        ),
        (
            ["--model.sampler.sources.teacher=lightning_gft.StoredSource"],
            "error: `model.sampler.sources.teacher.stored`: expected self responses in the data, got none; give as",
        ),
        (
            [
                "--model.sampler.sources.teacher=lightning_gft.ChosenSource",
                "--model.sampler.sources.teacher.within=lightning_gft.TeacherSource",
                "--data.num_teacher=0",
            ],
            "error: `model.sampler.sources.teacher.within`: expected a column of teacher responses, got the columns",
        ),
        (
            ["--model.sampler.sources.self.teacher=lightning_gft.DemonstrationTeacher"],
            "`model.sampler.sources.self.teacher`: the prompt with the demonstration: the tokenizer has no token for",
        ),
    ],
)
def test_bad_settings_are_one_line(arguments: list[str], message: str, capsys, tmp_path: Path):
    said = refused(capsys, "fit", "--config", GFT, f"--trainer.default_root_dir={tmp_path}", *SMALL, *arguments)
    assert message in said
    assert len([line for line in said.splitlines() if "expected" in line or "no token" in line]) == 1

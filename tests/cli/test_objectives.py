"""The overlays of objectives train, with the figures that belong to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_gft.cli import main
from tests.cli.command import ROOT, SMALL, base_of, column, logged
from tests.conftest import quick

CLIPPED = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
FIGURES = {
    **dict.fromkeys(("grpo", "dapo", "dr_grpo", "gspo", "psft"), CLIPPED),
    "cispo": ("cispo_clip_ratio",),
}
FEWER = {"dapo": ["--model.sampler.num_groups=2"], "gspo": ["--model.optimizer.lr=3e-5"]}
"""Settings that follow the size of a batch, and a step that does not leave the narrow clip at once."""


@pytest.mark.parametrize("name", quick(FIGURES, "gspo"))
def test_a_policy_gradient_trains(name: str, tmp_path: Path):
    overlay = ROOT / f"configs/overlays/{name}.yaml"
    config = [f"--config={base_of(overlay)}", f"--config={overlay}"]
    steps = ["--trainer.max_steps=8", "--trainer.val_check_interval=1", f"--trainer.default_root_dir={tmp_path}"]
    main(["fit", *config, *SMALL, *steps, *FEWER.get(name, [])])
    rows = logged(tmp_path)
    for figure in FIGURES[name]:
        assert all(0 <= share <= 1 for share in column(rows, f"train/{figure}"))
    moved = [ratio != 1 for ratio in column(rows, "train/ratio_max")]
    assert all(moved) == (name not in ("grpo", "dr_grpo"))  # which take one update on a batch
    assert any(norm > 0 for norm in column(rows, "train/grad_norm"))
    assert column(rows, "val/greedy_accuracy")


@pytest.mark.parametrize("level", quick(("token", "sequence"), "sequence"))
def test_where_the_policy_draws_by_itself_nothing_is_corrected(level: str, tmp_path: Path):
    overlay = ROOT / "configs/overlays/importance_correction.yaml"
    config = [f"--config={base_of(overlay)}", f"--config={overlay}", f"--model.loss.level={level}"]
    main(["fit", *config, *SMALL, "--trainer.max_steps=4", f"--trainer.default_root_dir={tmp_path}"])
    rows, ratio = logged(tmp_path), "train/sampling/importance_sampling_ratio"
    for name, value in {"min": 1, "mean": 1, "max": 1, "truncated_fraction": 0, "unknown_fraction": 0}.items():
        assert column(rows, f"{ratio}/{name}") == pytest.approx([value] * 4, abs=1e-3), name
    assert any(norm > 0 for norm in column(rows, "train/grad_norm"))

"""The overlay of a gate trains, and counts what the gate closes."""

from __future__ import annotations

from pathlib import Path

from lightning_gft.cli import main
from tests.cli.command import GFT, ROOT, SMALL, column, logged


def test_an_answer_counts_where_its_form_is_right(tmp_path: Path):
    overlay = ROOT / "configs/overlays/gated_format.yaml"
    form = "--model.sampler.rewards.format.init_args.pattern=P.*"  # the expert's, not the teacher's
    main(["fit", f"--config={GFT}", f"--config={overlay}", *SMALL, form, f"--trainer.default_root_dir={tmp_path}"])
    rows = logged(tmp_path)
    total, accuracy, formed, gated = (
        column(rows, f"train/{name}")
        for name in ("reward", "rewards/accuracy/mean", "rewards/format/mean", "total/accuracy/gated")
    )
    assert len(total) == len(gated) == 2
    assert min(gated) >= 4 * 3  # the teacher's are all right
    for n in range(2):
        counted = accuracy[n] - gated[n] / 32  # 4 prompts x 8 responses
        assert abs(total[n] - (counted + 0.1 * formed[n])) < 1e-6

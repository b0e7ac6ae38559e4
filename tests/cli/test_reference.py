"""The command line on a checkpoint of a run whose reference was moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_gft.cli import main
from tests.cli.command import GFT, SMALL
from tests.module.test_reference import MOVED, MovesReference


class MovesAfterOne(MovesReference):
    """Moves the reference after one step."""

    def __init__(self) -> None:
        super().__init__(1)


@pytest.mark.slow
def test_every_subcommand_reads_its_checkpoint(tmp_path: Path):
    penalty = ["--model.loss=lightning_gft.KLPenalty", "--model.loss.loss=lightning_gft.GFTLoss"]
    moves = ["--trainer.callbacks+=tests.cli.test_reference.MovesAfterOne"]
    root = f"--trainer.default_root_dir={tmp_path}"
    run = ["--config", GFT, root, *SMALL, *penalty]
    main(["fit", *run, *moves, "--trainer.enable_checkpointing=true"])
    (path,) = tmp_path.rglob("*.ckpt")
    assert any(name.startswith(MOVED) for name in torch.load(path, weights_only=True)["state_dict"])
    main(["validate", *run, f"--ckpt_path={path}"])
    main(
        ["export", "--config", str(next(tmp_path.rglob("config.yaml"))), f"--ckpt_path={path}", f"--path={tmp_path}/e"]
    )
    assert (tmp_path / "e" / "model.safetensors").exists()
    main(["fit", *run, *moves, f"--ckpt_path={path}", "--trainer.max_steps=4"])

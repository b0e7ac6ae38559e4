"""The exit status of a mistake: 2 if the arguments are at fault, before any part of a run is built; otherwise 1."""

from __future__ import annotations

import pytest

from lightning_gft.cli import main
from tests.cli.command import GFT, SFT

FIT = ["fit", "--config", GFT, "--trainer.default_root_dir={tmp}"]


@pytest.mark.parametrize(
    ("status", "args"),
    [
        (0, ["--version"]),
        (0, ["fit", "--help"]),
        (2, []),
        (2, ["fti"]),
        (2, ["doctor", "--all"]),
        (2, ["configs", "paste"]),
        (2, ["configs", "copy", "nothing.yaml"]),
        (1, ["configs", "copy", "--all", "--to", "/dev/null/x"]),
        (2, ["report"]),
        (2, ["report", "{tmp}/nowhere"]),
        (2, ["report", "{tmp}"]),
        (2, ["quickstart", "fast"]),
        (2, ["fit"]),
        (2, ["fit", "--config"]),
        (2, ["fit", "--config={tmp}/nowhere.yaml"]),
        (2, ["fit", "--config={tmp}"]),
        (2, ["fit", "--config", GFT, "--config", SFT]),
        (2, ["fit", "--seed_everything=3", "--config", GFT]),
        (2, [*FIT, "--modle.loss=SFTLoss"]),
        (2, [*FIT, "--max_steps=3"]),
        (2, [*FIT, "--trainer.max_steps=x"]),
        (2, [*FIT, "--model.loss=lightning_gft.GTFLoss"]),
        (2, [*FIT, "--model.sampler.rewards={a: &a [*a]}"]),
        (2, ["rescore", "--config", GFT, "--groups=groups"]),
        (2, [*FIT, "--trainer.max_steps=null"]),
        (2, [*FIT, "--trainer.strategy=warp"]),
        (2, [*FIT, "--trainer.strategy=FSDPStrategy"]),
        (2, [*FIT, "--ckpt_path={tmp}/nowhere.ckpt"]),
        (2, [*FIT, "--ckpt_path=last"]),
        (1, [*FIT, "--ckpt_path={tmp}/broken.ckpt"]),
        (1, [*FIT, "--data.batch_size=0"]),
        (1, [*FIT, "--data=lightning_gft.GroupDataModule", "--data.path={tmp}/no.csv"]),
        (1, ["fit", "--config", GFT, "--trainer.default_root_dir=/dev/null/run"]),
        (1, [*FIT, "--trainer.callbacks=ModelCheckpoint"]),
    ],
)
def test_the_status_says_whether_the_arguments_are_at_fault(status, args, tmp_path, capsys):
    (tmp_path / "broken.ckpt").write_text("")
    with pytest.raises(SystemExit) as stop:
        main([arg.replace("{tmp}", str(tmp_path)) for arg in args])
    assert stop.value.code == status
    error = capsys.readouterr().err
    assert (error == "") == (status == 0)
    assert not error or error.splitlines()[-1].startswith("error: ")

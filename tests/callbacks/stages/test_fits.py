"""What stages share with their module, and with another fit in the same process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lightning_gft import GFTLoss, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule
from tests.callbacks.stages.runs import SHORT, Compared, Finished, TowardsReference, adam, adaptive, checkpoint
from tests.module.runs import Rows, fit, make_module
from tests.tiny import tiny_loader

pytestmark = pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")


def test_a_fit_resumed_with_the_same_stages_begins_each_loss_anew(tmp_path: Path):
    stages = {"one": Stage(SFTLoss(), max_steps=1), "two": Stage(adaptive(), max_steps=2)}
    whole = Finished(tmp_path / "whole", lambda: stages)
    resumed = Finished(tmp_path / "rest", lambda: stages, ckpt_path=whole.schedule.paths[0])
    ends = [checkpoint(run.schedule.paths[-1])["state_dict"] for run in (whole, resumed)]
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    assert resumed.rows == whole.rows[1:]


def test_num_groups_of_the_module_are_for_losses_that_use_advantages():
    module = make_module(GFTLoss(), evaluation=SHORT)
    module.sampler.num_groups = 2
    sampling: list[int | None] = []

    class Sees(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            sampling.append(pl_module.sampler.num_groups)

    stages = {
        "sft": Stage(SFTLoss(), max_steps=1),
        "gft": Stage(max_steps=1),
        "more": Stage(sources=dict(module.sampler.sources), max_steps=1),
        "own": Stage(num_groups=3, max_steps=1),
    }
    fit(module, Rows(batch_size=4), callbacks=[StageSchedule(stages, save=False), Sees()], max_epochs=-1)
    assert sampling == [None, 2, 2, 3]


@pytest.mark.parametrize("kl", [False, True])
def test_stages_that_compare_with_their_own_start_keep_no_other(kl: bool):
    evaluation = replace(SHORT, kl=kl)
    module = make_module(SFTLoss(), policy=tiny_loader(), evaluation=evaluation, optimizer=adam())
    stages = {name: Stage(TowardsReference(), reference="stage", max_steps=2) for name in "ab"}
    compared = Compared()
    fit(module, Rows(batch_size=1), callbacks=[StageSchedule(stages, save=False), compared], max_epochs=-1)
    assert compared.equal == [True, False, True, False]
    assert (module.policy.reference_model is not None) == kl
    assert module.needs_reference is None


def test_another_fit_compares_with_the_start_again():
    module = make_module(SFTLoss(), evaluation=SHORT, optimizer=adam())
    own = Stage(TowardsReference(), reference="stage", max_steps=1)
    stages = {"run": Stage(TowardsReference(), max_steps=1), "own": own}
    compared = Compared()
    for _ in range(2):
        callbacks = [StageSchedule(stages, save=False), compared]
        fit(module, Rows(batch_size=1), callbacks=callbacks, max_epochs=-1)
    assert compared.equal == [True, True, False, True]
    assert compared.moved == [False, True, False, True]

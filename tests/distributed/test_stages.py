"""A run in stages on two ranks, whether each has all weights (DDP) or a shard of each (FSDP2)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW

from lightning_gft import DFTLoss, Evaluation, ExpertSource, GFTLoss, LoRA, SelfSource, SFTLoss
from lightning_gft.callbacks import Stage, StageSchedule, Until
from tests.callbacks.stages.runs import TowardsReference, adaptive
from tests.distributed.launch import run_two_processes
from tests.module.runs import ROWS, Rows, double_loader, fit, make_module, of_the_run, weights


def stages() -> dict[str, Stage]:
    own = {"self": SelfSource(4, max_new_tokens=8), "expert": ExpertSource()}
    return {
        "sft": Stage(SFTLoss(), {"expert": ExpertSource()}, max_steps=2),
        "gft": Stage(adaptive(), learning_rate=0.02, until=Until("val/entropy", patience=9), max_epochs=1),
        "near": Stage(TowardsReference(), optimizer=lambda w: SGD(w, lr=0.1), max_steps=2, reference="stage"),
        "own": Stage(GFTLoss(), own, updates_per_batch=2, max_steps=3),
        "dft": Stage(DFTLoss(), reset_optimizer=True, max_steps=1),
    }


ENDS = ["1-sft", "2-gft", "3-near", "4-own", "5-dft"]

Result = tuple[dict[str, Tensor], dict[str, float]]


def train(rank: int, root: str, strategy: str | None, lora: LoRA | None, ckpt_path: str | None = None) -> Result:
    policy = double_loader()
    policy.lora = lora
    module = make_module(
        SFTLoss(),
        policy=policy,
        evaluation=Evaluation(num_samples=2, max_new_tokens=4),
        optimizer=lambda parameters: AdamW(parameters, lr=0.01),
    )
    distributed = {} if strategy is None else {"strategy": strategy, "devices": 2, "use_distributed_sampler": False}
    data = Rows([*ROWS, *ROWS[::-1]], ROWS[:2], batch_size=2 if strategy is None else 1)
    trainer = fit(
        module,
        data,
        callbacks=[StageSchedule(stages(), dirpath=root)],
        ckpt_path=ckpt_path,
        max_epochs=-1,
        val_check_interval=2,
        **distributed,
    )
    figures = {k: float(v) for k, v in of_the_run(trainer.callback_metrics).items() if k != "tokens/s"}
    return weights(module), figures


CASES = {"ddp": None, "fsdp": None, "ddp with adapters": LoRA(r=2), "fsdp with adapters": LoRA(r=2)}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_run_stages_as_one_and_resume_them(case: str, tmp_path: Path):
    strategy, lora = case.split()[0], CASES[case]
    expected, expected_figures = train(0, str(tmp_path / "alone"), None, lora)
    whole = run_two_processes(train, str(tmp_path / "whole"), strategy, lora)
    for own, figures in whole:
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-8)
        assert figures == pytest.approx(expected_figures, rel=1e-6)
    assert sorted(path.stem for path in (tmp_path / "whole").iterdir()) == ENDS
    for end in ENDS[:4] if lora is None else ENDS[1:4]:
        again = run_two_processes(train, str(tmp_path / end), strategy, lora, str(tmp_path / f"whole/{end}.ckpt"))
        for (own, figures), (all_own, all_figures) in zip(again, whole, strict=True):
            torch.testing.assert_close(own, all_own, rtol=0, atol=0)
            assert figures == {name: all_figures[name] for name in figures}

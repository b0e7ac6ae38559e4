"""Each objective trains a tiny policy through the module, is heard, and is resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gft import (
    AnchoredSFTLoss,
    Annealing,
    CHORDLoss,
    CHORDPhiLoss,
    DFTLoss,
    EAFTLoss,
    ExpertSource,
    GFTLitModule,
    GFTLoss,
    GroupLoss,
    GroupNormalizedAdvantage,
    HPTLoss,
    ImportanceCorrection,
    InfoSFTLoss,
    IWSFTLoss,
    KLPenalty,
    LUFFYLoss,
    MixedLoss,
    RFTLoss,
    RoutedLoss,
    SelfSource,
    SFTLoss,
    TeacherSource,
)
from tests.module.runs import Rows, fit, fresh_weights, make_module, weights

LOSSES = {
    "dft": lambda: DFTLoss(floor=0.1),
    "infosft": InfoSFTLoss,
    "eaft": EAFTLoss,
    "iw_sft": IWSFTLoss,
    "rft": lambda: RFTLoss(correct_reward=0.5),
    "anchored_sft": AnchoredSFTLoss,
    "correction": lambda: ImportanceCorrection(GFTLoss()),
    "correction_of_responses": lambda: KLPenalty(ImportanceCorrection(HPTLoss(1, 0.5), level="sequence")),
    "kl": lambda: KLPenalty(GFTLoss(), beta=0.5, direction="reverse"),
    "luffy": lambda: LUFFYLoss(max_completion_length=8),
    "chord": lambda: CHORDLoss(mu=Annealing(0.9, 0.1, 3)),
    "chord_phi": CHORDPhiLoss,
    "hpt": lambda: HPTLoss(gate=1, correct_reward=0.5),
    "routed": lambda: RoutedLoss(correct_reward=0.5),
    "mixed": lambda: MixedLoss(SFTLoss(), GFTLoss()),
}
FIGURES = {
    "rft": ["rectified_weight_max"],
    "correction": ["sampling/importance_sampling_ratio/mean"],
    "correction_of_responses": ["kl", "frac_sft_prompts", "sampling/importance_sampling_ratio/unknown_fraction"],
    "kl": ["kl", "rectified_weight_max"],
    "anchored_sft": ["kl", "coefficient_mean"],
    "luffy": ["ratio_mean", "coefficient_mean"],
    "chord": ["mu", "clip_ratio/high_mean", "inverse_probability_p99"],
    "hpt": ["frac_sft_prompts", "clip_ratio/low_mean"],
    "routed": ["frac_sft_prompts", "frac_solved_prompts"],
}


def module_with(loss: GroupLoss) -> GFTLitModule:
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(2), "self": SelfSource(3, max_new_tokens=6)}
    return make_module(loss, sources, advantage=GroupNormalizedAdvantage(over="own"), updates_per_batch=2)


@pytest.mark.parametrize("name", LOSSES)
def test_it_trains_and_its_figures_are_finite(name: str):
    module = module_with(LOSSES[name]())
    trainer = fit(module, Rows(batch_size=4), max_steps=2)
    figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert all(value == value and abs(value) != float("inf") for value in figures.values()), figures
    assert figures["train/grad_norm"] > 0
    assert set(figures) <= module.logged_names() | {"train/loss"}
    for figure in ("coefficient_mean", "nll", "rectified_weight_p99", *FIGURES.get(name, [])):
        assert f"train/{figure}" in figures
    before = fresh_weights(module)
    assert any(not torch.equal(before[key], value) for key, value in weights(module).items())


def test_mu_is_that_of_the_last_update():
    schedule = Annealing(0.9, 0.1, 3)
    trainer = fit(module_with(CHORDLoss(mu=schedule)), Rows(batch_size=4), max_steps=2)
    assert trainer.callback_metrics["train/mu"] == pytest.approx(schedule.at(1))


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual", "ignore:Be aware that when using")
def test_a_resumed_run_has_the_same_mu_and_the_same_weights(tmp_path: Path):
    def run(**arguments: Any) -> tuple[GFTLitModule, float]:
        module = module_with(CHORDLoss(mu=Annealing(0.9, 0.1, 7)))
        trainer = fit(module, Rows(batch_size=2), max_steps=6, max_epochs=-1, **arguments)
        return module, trainer.callback_metrics["train/mu"].item()

    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    whole, mu = run(callbacks=[keep], enable_checkpointing=True)
    resumed, again = run(ckpt_path=str(tmp_path / "step=4.ckpt"))
    assert again == mu == pytest.approx(Annealing(0.9, 0.1, 7).at(5))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (HPTLoss(gate=3), "`gate` of HPTLoss: expected less than the 3 own samples of a prompt, got 3"),
        (KLPenalty(HPTLoss(gate=3)), "`gate` of HPTLoss: expected less than the 3 own samples of a prompt, got 3"),
    ],
)
def test_a_gate_that_no_prompt_could_pass_is_refused_at_the_start(loss: GroupLoss, message: str):
    with pytest.raises(ValueError, match=message):
        module_with(loss)


@pytest.mark.parametrize(
    ("loss", "sources", "message"),
    [
        (SFTLoss(), {"self": SelfSource(2)}, "expected demonstrations for SFTLoss, got own samples alone"),
        (RFTLoss(), {"teacher": TeacherSource(2)}, "expected own samples for RFTLoss, got demonstrations alone"),
        (CHORDLoss(), {"teacher": TeacherSource(2)}, "expected own samples for CHORDLoss, got demonstrations alone"),
    ],
)
def test_sources_without_what_a_loss_learns_from_are_refused_at_the_start(loss: GroupLoss, sources: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make_module(loss, sources)

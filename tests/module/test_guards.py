"""Runs that can no longer succeed are stopped, with the reason; what cannot work is refused at the start."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_gft import (
    Evaluation,
    ExpertSource,
    GFTLoss,
    GroupNormalizedAdvantage,
    LeaveOneOutAdvantage,
    RewardAdvantage,
    SelfBaselineAdvantage,
    SelfSource,
    SFTLoss,
    TeacherSource,
    TokenBatch,
)
from tests.module.runs import ROWS, Rows, fit, fresh_weights, make_module, weights

ALL_EQUAL = [ROWS[2]]


class ExplodesAt(SFTLoss):
    """Gives infinite coefficients in some updates."""

    def __init__(self, updates: Collection[int], value: float) -> None:
        super().__init__()
        self.updates, self.value, self.calls, self.steps = updates, value, 0, 0

    def step(self) -> None:
        self.steps += 1

    def coefficients(self, tokens: TokenBatch) -> Tensor:
        self.calls += 1  # once an update
        return torch.full_like(tokens.logprobs, self.value if self.calls - 1 in self.updates else 1.0)


class Steps(Callback):
    """Remembers after each batch: optimizer steps, updates skipped so far, and whether weights are finite."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, bool]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        skipped = int(trainer.callback_metrics["train/nonfinite_updates"])
        finite = all(parameter.isfinite().all() for parameter in pl_module.policy.parameters())
        self.seen.append((trainer.global_step, skipped, finite))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_is_skipped_and_counted(value: float, clip: float | None):
    steps = Steps()
    module = make_module(ExplodesAt({1, 3}, value), gradient_clip_val=clip, max_nonfinite_updates=2)
    fit(module, Rows(ROWS * 2, batch_size=1), limit_train_batches=6, callbacks=[steps])
    assert steps.seen == [(1, 0, True), (1, 1, True), (2, 1, True), (2, 2, True), (3, 2, True), (4, 2, True)]


def test_a_skipped_update_changes_nothing():
    module = make_module(ExplodesAt({0}, torch.nan))
    fit(module)
    torch.testing.assert_close(weights(module), fresh_weights(module), rtol=0, atol=0)
    assert module.loss.steps == 0  # schedules of the loss move with those of the optimizer


def test_too_many_in_a_row_stop_the_run():
    module = make_module(ExplodesAt({0, 2, 3}, torch.inf), max_nonfinite_updates=2)
    with pytest.raises(RuntimeError, match=r"`max_nonfinite_updates`: .* in 2 updates in a row, none of them applied"):
        fit(module, Rows(ROWS * 2, batch_size=1))
    assert module.loss.calls == 4
    assert all(parameter.isfinite().all() for parameter in module.policy.parameters())


def test_batches_without_any_difference_stop_the_run():
    module = make_module(max_uninformative_batches=3)
    rows = [*ALL_EQUAL * 2, ROWS[0], *ALL_EQUAL * 9]
    with pytest.raises(RuntimeError, match=r"got 3 batches in a row without any gradient"):
        fit(module, Rows(rows, batch_size=1))
    assert len(module.sampler.made) == 6


@pytest.mark.parametrize(("loss", "limit"), [(GFTLoss(), None), (SFTLoss(), 1)], ids=["no-limit", "sft"])
def test_batches_without_any_difference_may_be_wanted(loss: Any, limit: int | None):
    sources = {"expert": ExpertSource(), "teacher": TeacherSource(4)}
    rows = [{**ALL_EQUAL[0], "expert": "9"}] * 4
    module = make_module(loss, sources, max_uninformative_batches=limit)
    trainer = fit(module, Rows(rows, batch_size=1))
    assert trainer.callback_metrics["train/frac_reward_zero_std"] == 1
    assert (trainer.callback_metrics["train/grad_norm"] == 0) == (limit is None)


def test_batches_without_demonstrations_do_not_stop_a_loss_that_compares_nothing():
    module = make_module(
        SFTLoss(), {"expert": ExpertSource(), "self": SelfSource(2, max_new_tokens=4)}, max_uninformative_batches=2
    )
    trainer = fit(module, Rows([ROWS[0], {**ROWS[1], "expert": []}, ROWS[3]], batch_size=1))
    assert trainer.global_step == 3
    assert [len(groups) for groups in module.sampler.made] == [3, 2, 3]


@pytest.mark.parametrize("advantage", [GroupNormalizedAdvantage(), LeaveOneOutAdvantage(), None])
def test_a_group_of_one_has_nothing_to_compare_with(advantage: Any):
    with pytest.raises(
        ValueError, match=r"at least 2 responses a prompt .*got 1 from the sources \(only\); .*RewardAdvantage.*SFT"
    ):
        make_module(GFTLoss(), {"only": SelfSource(1)}, advantage=advantage)


def test_a_group_of_one_is_fine_where_nothing_is_compared():
    make_module(SFTLoss(), {"only": ExpertSource()})
    make_module(GFTLoss(), {"only": SelfSource(1)}, advantage=RewardAdvantage())
    make_module(GFTLoss(), {"one": ExpertSource(), "more": SelfSource(1)})


NUMBERS = [
    *("updates_per_batch", "micro_batch_tokens", "gradient_clip_val"),
    *("max_nonfinite_updates", "max_uninformative_batches"),
]


@pytest.mark.parametrize("setting", NUMBERS)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_are_checked(setting: str, value: int):
    with pytest.raises(ValueError, match=rf"`{setting}`: expected a.* number (above 0|of at least 1).*, got {value}"):
        make_module(**{setting: value})


def test_a_batch_without_any_response_is_passed_over():
    rows = [ROWS[0], {**ROWS[1], "expert": []}, ROWS[3]]
    module = make_module(SFTLoss(), {"expert": ExpertSource()})
    trainer = fit(module, Rows(rows, batch_size=1))
    assert [len(groups) for groups in module.sampler.made] == [1, 0, 1]
    assert trainer.global_step == 3
    without = make_module(SFTLoss(), {"expert": ExpertSource()})
    fit(without, Rows([ROWS[0], ROWS[3]], batch_size=1))
    torch.testing.assert_close(weights(module), weights(without), rtol=0, atol=0)


def test_a_first_batch_without_any_response_stops_the_run():
    rows = [{**ROWS[0], "expert": []}, ROWS[1]]
    with pytest.raises(RuntimeError, match=r"`sampler.sources`: expected responses.*max_response_length.*SelfSource"):
        fit(make_module(SFTLoss(), {"expert": ExpertSource()}), Rows(rows, batch_size=1))


def test_a_group_of_one_at_run_time_is_counted_and_warned_of():
    rows = [{**ROWS[0], "teacher": ["12"]}, ROWS[1]]
    module = make_module(sources={"teacher": TeacherSource(4)})
    with pytest.warns(UserWarning, match="several responses in each group, got a group with one"):
        trainer = fit(module, Rows(rows))
    assert trainer.callback_metrics["train/frac_groups_of_one"] == 0.5
    assert trainer.callback_metrics["train/frac_reward_zero_std"] == 0


def test_a_baseline_of_own_samples_needs_own_samples():
    for sources in ({"teacher": TeacherSource(4)}, {"teacher": TeacherSource(4), "self": SelfSource(1)}):
        with pytest.raises(
            ValueError, match=r"`sampler.sources`: expected at least 2 own samples a prompt for SelfBaseline.*got [01] "
        ):
            make_module(sources=sources, advantage=SelfBaselineAdvantage())
    make_module(sources={"teacher": TeacherSource(4), "self": SelfSource(2)}, advantage=SelfBaselineAdvantage())


def test_a_schedule_that_waits_for_a_metric_is_refused():
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        fit(make_module(lr_scheduler=ReduceLROnPlateau))


def test_the_progress_bar_shows_reward_and_speed():
    assert set(fit(make_module()).progress_bar_metrics) >= {"reward", "tokens/s"}


def test_evaluation_of_an_unknown_reward_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"`evaluation.reward`: expected one of score, got 'accurracy'"):
        make_module(evaluation=Evaluation(reward="accurracy"))


def test_scaled_half_precision_is_refused():
    # On a CPU the trainer itself replaces "16-mixed", so it is given as the plugin that it stands for.
    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(ValueError, match=r"`trainer.precision`: expected 32-true or bf16-mixed, got '16-mixed'"):
        fit(make_module(), plugins=[plugin])
